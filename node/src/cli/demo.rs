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
    /// How many nodes: 1, 3 or 5. Several are one cluster, and choose their own ports.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = nodes)]
    pub nodes: u8,
    /// Print one line of JSON with the addresses on standard output when the gateway answers.
    #[arg(long)]
    pub ready_json: bool,
}

/// A cluster goes on while most of its nodes live, so that one more node than an odd number is one more that can fail and
/// survives nothing more.
fn nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(n @ (1 | 3 | 5)) => Ok(n),
        Ok(n @ (2 | 4)) => Err(format!(
            "{n} nodes survive no more failures than {}; take 1, 3 or 5",
            n - 1
        )),
        _ => Err("take 1, 3 or 5".to_owned()),
    }
}
