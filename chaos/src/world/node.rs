//! One node of a cluster under test: its name, addresses and configuration.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Network, Process};

/// Each node has an address of its own, so all have the same ports.
const CALLS_PORT: u16 = 7777;
const ADMIN_PORT: u16 = 7778;
const CLUSTER_PORT: u16 = 7800;
/// Lets operators in who are not on the node's own address.
pub(crate) const TOKEN: &str = "token-of-a-chaos-run";
/// API key of all clients.
pub(crate) const KEY: &str = "key-of-the-clients-of-a-chaos-run";
/// Variable of a node with that key.
pub(super) const KEY_ENV: &str = "LOCKGATE_CHAOS_KEY";

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) host: Ipv4Addr,
    /// What it runs.
    pub(super) program: PathBuf,
    pub(super) process: Option<Process>,
}

impl Node {
    pub(super) fn new(at: usize, network: Option<&Network>, program: &Path) -> Self {
        let host = match network {
            Some(network) => network.address(at),
            None => loopback(at),
        };
        Self {
            name: format!("n{}", at + 1),
            host,
            program: program.to_owned(),
            process: None,
        }
    }

    /// Where MCP clients call.
    pub(super) fn calls(&self) -> SocketAddr {
        SocketAddr::from((self.host, CALLS_PORT))
    }

    /// Where operators ask.
    pub(super) fn admin(&self) -> SocketAddr {
        SocketAddr::from((self.host, ADMIN_PORT))
    }

    fn cluster(&self) -> SocketAddr {
        SocketAddr::from((self.host, CLUSTER_PORT))
    }

    /// Its configuration. `registry` is what all of them have in common.
    pub(super) fn config(
        &self,
        dir: &Path,
        all: &[Self],
        registry: &str,
    ) -> Result<String, std::fmt::Error> {
        let (name, dir) = (&self.name, dir.display());
        let mut text = String::new();
        writeln!(text, "listen: {}", self.calls())?;
        writeln!(text, "admin: {{ listen: {} }}", self.admin())?;
        writeln!(text, "data_dir: \"{dir}/{name}/data\"")?;
        writeln!(text, "audit: {{ file: \"{dir}/{name}/audit.jsonl\" }}")?;
        writeln!(text, "cluster:\n  node: {name}")?;
        writeln!(text, "  listen: {}\n  peers:", self.cluster())?;
        for node in all {
            writeln!(text, "    {}: \"{}\"", node.name, node.cluster())?;
        }
        writeln!(
            text,
            "  tls: {{ ca: \"{dir}/certs/ca.pem\", cert: \"{dir}/certs/{name}.pem\", key: \"{dir}/certs/{name}.key\" }}"
        )?;
        writeln!(text, "identity:\n  api_keys:")?;
        writeln!(
            text,
            "    - {{ id: chaos, key_env: {KEY_ENV}, principal: chaos, roles: [all] }}"
        )?;
        writeln!(text, "roles: {{ all: {{ allow: [\"*\"] }} }}")?;
        text.push_str(registry);
        Ok(text)
    }
}

/// Without a network of our own: the whole of 127.0.0.0/8 is this machine, so that no port has to be looked for.
fn loopback(at: usize) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    // At most 16 nodes.
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, 10 + at as u8)
}
