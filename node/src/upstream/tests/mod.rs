//! Whole servers, against small real ones.

mod asides;
mod bridge;
mod calls;
mod eras;
mod fake;
mod life;
mod sessions;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::id::Principal;
use lockgate_proto::jsonrpc::{Frame, Limits};
use lockgate_proto::mcp::{Era, Revision};

use super::link::{Outgoing, Reply, SessionInit};
use super::retry::CallClass;
use super::supervision::SupervisorHandle;
use super::{Owner, SessionKey, UpstreamHandle, WaitingRoom};
use crate::config;
use crate::error::UpstreamError;
use crate::seal::Sealer;

/// Longest wait for anything that has to happen.
const SOON: Duration = Duration::from_secs(20);

/// A server of the configuration that has these addresses.
pub(super) fn server(name: &str, urls: &[http::Uri]) -> config::Server {
    config::Server {
        name: name.into(),
        transport: config::Transport::Http {
            endpoints: urls
                .iter()
                .map(|url| config::Endpoint {
                    url: url.clone(),
                    address: url.to_string().into(),
                    weight: 1,
                })
                .collect(),
            kind: config::HttpTransport::Auto,
            balance: config::Balance::Failover,
            headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
        },
        timeout: Duration::from_secs(10),
        prefix: None,
        uri_prefix: None,
        breaker: config::Breaker {
            failures: 3,
            failure_rate_threshold: 0.5,
            sliding_window_size: 100,
            minimum_calls: 20,
            slow_call_duration: Duration::from_secs(30),
            open_for: Duration::from_secs(30),
            open_for_max: Duration::from_secs(300),
            half_open_calls: 3,
            max_ejection_percent: if urls.len() == 1 { 100 } else { 50 },
        },
        retry: config::Retry {
            max_attempts: 3,
            budget: 0.2,
            concurrent_min: 3,
        },
        in_flight_max: 4,
        health: config::Health {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
        },
        era: config::EraChoice::Auto,
        probe_interval: Duration::from_secs(3600),
        tools: Vec::new(),
    }
}

/// The same, checked so often that an outage is noticed soon.
fn watched(name: &str, urls: &[http::Uri]) -> config::Server {
    config::Server {
        health: config::Health {
            interval: Duration::from_millis(50),
            timeout: Duration::from_secs(5),
        },
        ..server(name, urls)
    }
}

async fn spawn(settings: config::Server) -> UpstreamHandle {
    spawn_with(settings, None).await
}

async fn spawn_with(settings: config::Server, room: Option<Arc<WaitingRoom>>) -> UpstreamHandle {
    // Actor names are process-wide, and plain `cargo test` runs all tests in one process.
    static NODES: AtomicUsize = AtomicUsize::new(0);
    let node = format!("test-{}", NODES.fetch_add(1, Ordering::Relaxed));
    let supervisor = SupervisorHandle::spawn(&node).await.unwrap();
    let handle = UpstreamHandle::spawn(Arc::new(settings), 1 << 20, room, &supervisor)
        .await
        .unwrap();
    handle.settled(SOON).await;
    handle
}

fn request(method: &str, params: &str) -> Outgoing {
    let text = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{params}}}}}"#);
    let frame = Frame::parse(Bytes::from(text), &Limits::default()).unwrap();
    Outgoing::plain(frame, Duration::from_secs(10))
}

fn stateless_call() -> Outgoing {
    let meta = r#""name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    request("tools/call", meta)
}

async fn call(handle: &UpstreamHandle, class: CallClass) -> Result<Reply, UpstreamError> {
    let ann = Principal::new("ann");
    let owner = Owner {
        tenant: None,
        principal: &ann,
        scoped: true,
    };
    handle.call(&stateless_call(), class, &owner).await
}

fn init() -> SessionInit {
    SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: r#"{"name":"test","version":"1"}"#.into(),
        now_ms: 0,
    }
}

fn key() -> SessionKey {
    SessionKey {
        session: "s".into(),
        principal: Principal::new("ann"),
        tenant: None,
    }
}

fn tools(handle: &UpstreamHandle, era: Era) -> Option<Vec<String>> {
    let catalog = handle.catalog(era)?;
    let names = catalog
        .tools
        .items()
        .iter()
        .map(|tool| tool.key.to_string());
    Some(names.collect())
}

/// Waits until `is_so`, looking again whenever something was published, and every few milliseconds for what is only
/// counted.
async fn until(handle: &UpstreamHandle, is_so: impl Fn(&UpstreamHandle) -> bool) {
    let mut changes = handle.changes();
    let wait = async {
        while !is_so(handle) {
            let _news = tokio::time::timeout(Duration::from_millis(5), changes.changed()).await;
        }
    };
    let in_time = tokio::time::timeout(SOON, wait).await;
    assert!(
        in_time.is_ok(),
        "never came true; status: {:#?}",
        handle.status()
    );
}
