//! One connection: an event stream and the POSTs that belong to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::events::Events;
use super::posts::Posts;
use super::target;
use crate::error::UpstreamError;
use crate::task::spawn_named;
use crate::upstream::transport::channel::{Channel, Hub, Queued};
use crate::upstream::transport::http::HttpEndpoint;

/// Longest wait for the `endpoint` event. Servers send it at once; a stream without it is something else.
const TARGET_WAIT: Duration = Duration::from_secs(10);

/// Opens the event stream and learns where messages go; speaks no MCP yet.
///
/// # Errors
///
/// `Status` and `Garbage` from what does not speak this transport; see [`UpstreamError`] for the rest.
pub(super) async fn connect(http: &HttpEndpoint) -> Result<Channel, UpstreamError> {
    let (settings, blame) = (http.settings(), http.blame());
    let exchange = http.open_events(http.timeout()).await?;
    let mut events = Events::new(exchange, settings.answer_bytes_max);
    let limit = http.timeout().min(TARGET_WAIT);
    let target = timeout(limit, events.target(blame))
        .await
        .unwrap_or_else(|_| Err(blame.unreachable(unnamed(limit))))?;
    let target = target::resolve(&settings.url, &target).map_err(|error| blame.garbage(error))?;
    let (hub, lines) = Hub::new(settings.server.clone(), settings.answer_bytes_max);
    let stop = CancellationToken::new();
    let carrier = Carrier {
        hub: Arc::clone(&hub),
        stop: stop.clone(),
        events,
        posts: Posts::new(http.clone(), http.plain().at(&target)),
        lines,
    };
    // Detached: ends with the stream, or when the last user of the channel is gone.
    let _detached = spawn_named("sse-connection", carrier.run());
    Ok(Channel::new(hub, stop, http.timeout()))
}

/// There is nowhere to send anything to.
fn unnamed(limit: Duration) -> io::Error {
    let what = format!("its stream named no `endpoint` within {limit:?}");
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// Carries the messages of one session, in one task.
#[derive(Debug)]
struct Carrier {
    hub: Arc<Hub>,
    stop: CancellationToken,
    events: Events,
    posts: Posts,
    lines: mpsc::Receiver<Queued>,
}

impl Carrier {
    async fn run(self) {
        let hub = &*self.hub;
        // Whichever ends first ends the others: both directions are one session.
        let how = tokio::select! {
            () = self.stop.cancelled() => "closed".to_owned(),
            how = self.events.read(hub) => how,
            how = self.posts.send(self.lines, hub) => how,
        };
        debug!(server = %hub.server(), how, "event stream over");
        hub.on_ended(&how);
    }
}
