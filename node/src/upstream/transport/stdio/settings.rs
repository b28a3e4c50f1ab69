//! How a child is started.

use std::path::PathBuf;

use lockgate_proto::id::ServerName;
use secrecy::SecretString;

/// How a child is started.
#[derive(Clone, Debug)]
pub struct ChildSettings {
    /// Server it belongs to.
    pub server: ServerName,
    /// Program.
    pub command: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment beside the allow-list.
    pub env: Vec<(String, SecretString)>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Largest line.
    pub answer_bytes_max: usize,
}
