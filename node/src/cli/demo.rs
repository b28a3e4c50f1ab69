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
    /// How many nodes. Several are one cluster, and choose their own ports.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nodes: u8,
    /// Print one line of JSON with the addresses on standard output when the gateway answers.
    #[arg(long)]
    pub ready_json: bool,
}
