//! How a server is doing, for people: admin API, `servers list`, `/readyz` detail.

use std::time::Duration;

use lockgate_proto::id::ServerName;
use serde::Serialize;

use super::breaker::Gate;
use super::catalog::Catalog;

/// State of one server at one moment.
///
/// ```json
/// {"name":"github","up":true,"settled":true,
///  "eras":{"session":true,"stateless":false,"origin":"found","found_secs_ago":12},
///  "endpoints":[{"address":"http://127.0.0.1:8001/mcp","transport":"http","healthy":true,"breaker":"closed",
///                "retry_after_secs":null,"in_flight":3}],
///  "in_flight":3,"children":0,"last_error":null,"last_error_secs_ago":null,
///  "last_call_error":null,"last_call_error_secs_ago":null,
///  "session_catalog":{"tools":40,"prompts":2,"resources":0,"templates":1,"bytes":61234},"stateless_catalog":null,
///  "flaws":["mended in `tools/list`: `inputSchema` of `t`"]}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Key in the configuration.
    pub name: ServerName,
    /// Whether it answered when last asked.
    pub up: bool,
    /// Whether the first attempt to reach it has ended, either way.
    pub settled: bool,
    /// What it speaks.
    pub eras: ErasStatus,
    /// Its addresses, in the order of the file; for a command, one.
    pub endpoints: Vec<EndpointStatus>,
    /// Calls in flight at all endpoints.
    pub in_flight: usize,
    /// Live child processes.
    pub children: usize,
    /// What went wrong last, with its causes; stays after recovery.
    pub last_error: Option<String>,
    /// How long ago that was.
    pub last_error_secs_ago: Option<u64>,
    /// Why it failed a client's call last, with the causes; stays when others pass.
    pub last_call_error: Option<String>,
    /// How long ago that was.
    pub last_call_error_secs_ago: Option<u64>,
    /// What it offers to clients of the session era.
    pub session_catalog: Option<CatalogStatus>,
    /// What it offers to clients of the stateless era.
    pub stateless_catalog: Option<CatalogStatus>,
    /// What was wrong with entries of its lists, which were mended or left out; the first ten of each list.
    pub flaws: Vec<String>,
}

/// Which eras a server speaks; null while not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ErasStatus {
    /// Up to 2025-11-25.
    pub session: Option<bool>,
    /// From 2026-07-28.
    pub stateless: Option<bool>,
    /// `decreed` by the configuration or `found` by asking; null when not known.
    pub origin: Option<&'static str>,
    /// Age of the verdict; null when the configuration decrees it or none was found.
    pub found_secs_ago: Option<u64>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// URL without credentials, or the command.
    pub address: String,
    /// `http`, `sse` or `stdio`; null while not known.
    pub transport: Option<&'static str>,
    /// Whether the server is up and the last sign of this address was a good one.
    pub healthy: bool,
    /// `closed`, `half_open` or `open`.
    pub breaker: &'static str,
    /// Time until trial calls pass, while open.
    pub retry_after_secs: Option<u64>,
    /// Calls in flight.
    pub in_flight: u32,
}

impl ErasStatus {
    /// Of a server that nobody has asked yet.
    pub const UNKNOWN: Self = Self {
        session: None,
        stateless: None,
        origin: None,
        found_secs_ago: None,
    };
}

impl EndpointStatus {
    pub(super) fn gate(gate: Gate) -> (&'static str, Option<u64>) {
        match gate {
            Gate::Closed => ("closed", None),
            Gate::HalfOpen { .. } => ("half_open", None),
            Gate::Open { retry_after, .. } => ("open", Some(secs_up(retry_after))),
        }
    }
}

/// Size of a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogStatus {
    /// Tools.
    pub tools: usize,
    /// Prompts.
    pub prompts: usize,
    /// Resources.
    pub resources: usize,
    /// Resource templates.
    pub templates: usize,
    /// Raw bytes of all items.
    pub bytes: usize,
}

impl From<&Catalog> for CatalogStatus {
    fn from(catalog: &Catalog) -> Self {
        let lists = [
            &catalog.tools,
            &catalog.prompts,
            &catalog.resources,
            &catalog.templates,
        ];
        Self {
            tools: catalog.tools.len(),
            prompts: catalog.prompts.len(),
            resources: catalog.resources.len(),
            templates: catalog.templates.len(),
            bytes: lists.iter().map(|list| list.raw_bytes()).sum(),
        }
    }
}

fn secs_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
