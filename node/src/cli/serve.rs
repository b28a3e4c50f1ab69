//! `lockgate serve`.

use super::config_file::ConfigFile;

/// What `lockgate serve` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print one line of JSON with the addresses on standard output when the gateway answers.
    #[arg(long)]
    pub ready_json: bool,
    /// Accept listeners that other machines reach without a key.
    #[arg(long)]
    pub unsafe_no_auth: bool,
}
