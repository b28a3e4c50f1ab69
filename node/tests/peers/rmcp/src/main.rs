//! A client and a server on the Rust SDK `rmcp`, which the gateway is tested with.
//!
//! ```text
//! lockgate-peer-rmcp client PLAN initialize|discover     plays a plan: see ../matrix/play.py
//! lockgate-peer-rmcp server http                         prints {"url"} once it listens
//! lockgate-peer-rmcp server stdio
//! lockgate-peer-rmcp tasks http                          a server with the tasks extension
//! ```

#![expect(
    deprecated,
    reason = "sampling and roots are what is tested, though the newest revision deprecates them"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "`spawn_named` is the gateway's, of which this is no part"
)]

mod client;
mod plays;
mod server;
mod tasks;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["server", "http"] => server::serve_http().await,
        ["server", "stdio"] => server::serve_stdio().await,
        ["tasks", "http"] => tasks::serve_http().await,
        ["client", plan, mode] => plays::play(plan, mode).await,
        _ => anyhow::bail!(
            "client PLAN initialize|discover, server http, server stdio or tasks http"
        ),
    }
}
