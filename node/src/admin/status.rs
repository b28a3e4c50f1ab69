//! What this node is, and what lives in it now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::answer::{self, Answer};
use super::parts::Parts;
use crate::stamp::Stamp;
use crate::telemetry::Process;

/// Address, version, node, boot, configuration.
pub(super) fn info(parts: &Parts) -> Answer {
    let view = parts.cluster.view();
    // A configuration that is no file has one version.
    let version = parts
        .config
        .as_ref()
        .map_or(1, |config| config.current().version);
    answer::ok(&json!({
        "listen": parts.listen,
        "tls": parts.tls,
        "version": env!("CARGO_PKG_VERSION"),
        "node": view.node(),
        "boot": view.boot(),
        "config_version": version,
        "started_at": timestamp(parts.started),
    }))
}

/// Live counts. After all clients have left, they are those of an idle node again.
pub(super) fn runtime(parts: &Parts) -> Answer {
    let (active, passive, session_actors) = parts.sessions.counts();
    let servers = parts.upstreams.all();
    let children: usize = servers.iter().map(|server| server.status().children).sum();
    let process = Process::read();
    answer::ok(&json!({
        "sessions": { "active": active, "passive": passive },
        "session_actors": session_actors,
        "calls_in_flight": parts.pipeline.calls_in_flight(),
        "children": children,
        "connections": (parts.connections)(),
        "open_fds": process.open_fds,
        "rss_bytes": process.rss_bytes,
    }))
}

/// RFC 3339, UTC.
pub(super) fn timestamp(at: SystemTime) -> String {
    Stamp::new().at(at).to_owned()
}

/// The same from milliseconds since 1970.
pub(super) fn timestamp_ms(at_ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    timestamp(at.unwrap_or(UNIX_EPOCH))
}
