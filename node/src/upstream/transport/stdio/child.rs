//! One running process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::process;
use super::settings::ChildSettings;
use super::supervise::Supervisor;
use crate::error::UpstreamError;
use crate::upstream::transport::channel::{Channel, Hub};

/// Longest time for `initialize`: a package runner may have to fetch the program first.
const INITIALIZE_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts the process; speaks no MCP yet. To stop it closes its input, waits 2 s, sends SIGTERM, waits 2 s, and sends
/// SIGKILL to the group; it is reaped by then.
///
/// # Errors
///
/// Fails when the program cannot be started.
pub(super) async fn start(settings: Arc<ChildSettings>) -> Result<Channel, UpstreamError> {
    start_in(settings, None).await
}

/// Starts the process, which holds `place` until it is reaped.
pub(super) async fn start_in(
    settings: Arc<ChildSettings>,
    place: Option<OwnedSemaphorePermit>,
) -> Result<Channel, UpstreamError> {
    let line_bytes_max = settings.answer_bytes_max;
    let (hub, lines) = Hub::new(settings.server.clone(), line_bytes_max);
    let started = process::start(settings).await;
    let started = started.map_err(|source| UpstreamError::Unreachable {
        server: hub.server().clone(),
        source,
    })?;
    let stop = CancellationToken::new();
    let supervisor = Supervisor {
        hub: Arc::clone(&hub),
        stop: stop.clone(),
        place,
    };
    supervisor.spawn(started, lines, line_bytes_max);
    Ok(Channel::new(hub, stop, INITIALIZE_TIMEOUT))
}
