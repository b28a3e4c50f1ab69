//! `lockgate stdio`: a gateway for one desktop client that starts its servers itself.

use std::path::PathBuf;

/// What `lockgate stdio` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct StdioOptions {
    /// Configuration file. Its listeners are not opened.
    #[arg(long, short, default_value = "lockgate.yaml", value_name = "FILE")]
    pub config: PathBuf,
}
