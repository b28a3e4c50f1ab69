//! The place of the node among others.

use super::{Context, Findings};
use crate::config::checked::{ClusterNode, ClusterTls};
use crate::config::raw;
use crate::config::tree::KeyPath;

/// `None` when a required key is missing, which the table of keys has reported.
pub(super) fn cluster(
    raw: raw::Cluster,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<ClusterNode> {
    let at = KeyPath::root().key("cluster");
    let (node, listen, tls) = (raw.node?, raw.listen?, raw.tls?);
    let tls = ClusterTls {
        ca: context.path(&tls.ca?),
        cert: context.path(&tls.cert?),
        key: context.path(&tls.key?),
        ca_key: tls.ca_key.map(|key| context.path(&key)),
    };
    let peers = raw.peers.unwrap_or_default();
    for (name, address) in &peers {
        check_reachable(&at.key("peers").key(name), address, found);
    }
    if let Some(advertise) = &raw.advertise {
        check_reachable(&at.key("advertise"), advertise, found);
    }
    let advertise = raw.advertise.or_else(|| peers.get(&node).cloned());
    if advertise.is_none() && listen.ip().is_unspecified() {
        found.refuse(
            &at.key("advertise"),
            format!("{listen} is no address at which other nodes reach this one"),
            "write `advertise: host:port`, or add this node to `peers`",
        );
    }
    Some(ClusterNode {
        node: node.as_str().into(),
        listen,
        advertise: advertise.unwrap_or_default(),
        peers,
        tls,
    })
}

/// Refuses what is no host with a port.
fn check_reachable(at: &KeyPath, address: &str, found: &mut Findings) {
    let authority = address.parse::<http::uri::Authority>().ok();
    let fits = authority.is_some_and(|authority| {
        authority.port_u16().is_some_and(|port| port != 0) && !authority.as_str().contains('@')
    });
    if !fits {
        found.refuse(
            at,
            format!("{address:?} is not a host with a port"),
            "write host:port, for example n1.internal:7800",
        );
    }
}
