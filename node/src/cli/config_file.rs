//! The configuration file of a verb, which people name both ways: `lockgate config check FILE`, `lockgate serve
//! --config FILE`. Verbs that read one take either.

use std::path::{Path, PathBuf};

/// Read where none is named.
const DEFAULT: &str = "lockgate.yaml";

/// The file, as it was named.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFile {
    /// Configuration file [default: lockgate.yaml].
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file.
    pub fn path(&self) -> &Path {
        let named = self.file.as_deref().or(self.config.as_deref());
        named.unwrap_or_else(|| Path::new(DEFAULT))
    }
}
