//! Whether the node can take its place in a cluster of several.

use std::io::ErrorKind;
use std::net::UdpSocket;

use serde_json::Value;

use super::super::Starts;
use super::{Check, Verdict, port};
use crate::config::{ClusterNode, Env};

/// Brings a certificate to a node that has none.
const JOIN_TOKEN: &str = "LOCKGATE_JOIN_TOKEN";

/// `running`: what a gateway on this machine says of itself.
pub(super) fn all(
    cluster: &ClusterNode,
    running: Option<&Value>,
    starts: &dyn Starts,
    env: &Env,
) -> Vec<Check> {
    let is_ours = running.is_some_and(|info| info["node"] == cluster.node.as_str());
    let token = env(JOIN_TOKEN).filter(|token| !token.is_empty());
    vec![
        listen(cluster, is_ours),
        files(cluster, token.is_some(), starts),
    ]
}

/// The other nodes come in over TCP and over UDP, on one port.
fn listen(cluster: &ClusterNode, is_ours: bool) -> Check {
    let name = "cluster.listen";
    let address = cluster.listen;
    let held = is_ours.then(|| address.to_string());
    let tcp = port(name, address, held.as_deref());
    if tcp.result != Verdict::Good || address.port() == 0 {
        return tcp;
    }
    match UdpSocket::bind(address) {
        Err(error) if !(is_ours && error.kind() == ErrorKind::AddrInUse) => Check::failed(
            name,
            format!("{address} cannot be used over UDP: {error}"),
            "stop the process that holds it, or choose another port",
        ),
        _ => tcp,
    }
}

fn files(cluster: &ClusterNode, has_token: bool, starts: &dyn Starts) -> Check {
    let name = "cluster.tls";
    let cert = cluster.tls.cert.display();
    if has_token && !cluster.tls.cert.exists() {
        return Check::good(name, format!("{cert} comes with the join token"));
    }
    match starts.check_cluster_files(cluster) {
        Ok(()) => Check::good(name, format!("{cert} is good for node {}", cluster.node)),
        Err(failure) => Check::failed(
            name,
            failure.message,
            "have the cluster's CA sign a certificate for this node, or join with a token \
             (`lockgate cluster token create` at a member that has `cluster.tls.ca_key`)",
        ),
    }
}
