//! `lockgate stdio`: a gateway for one desktop client that starts its servers itself.

use super::config_file::ConfigFile;

/// What `lockgate stdio` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct StdioOptions {
    /// Configuration file. Its listeners are not opened.
    #[command(flatten)]
    pub config: ConfigFile,
}
