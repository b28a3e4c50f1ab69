//! `lockgate demo`.

use std::net::SocketAddr;

/// What `lockgate demo` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Address of the data plane.
    #[arg(long, default_value = "127.0.0.1:7777", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Address of the admin plane.
    #[arg(long, default_value = "127.0.0.1:7778", value_name = "ADDRESS")]
    pub admin_listen: SocketAddr,
    /// Print one line of JSON with the addresses on standard output when the gateway answers.
    #[arg(long)]
    pub ready_json: bool,
}
