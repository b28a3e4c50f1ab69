//! The far end of a channel, held by a test.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Limits};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::handle::Channel;
use super::hub::Hub;
use super::line::Down;
use super::outbox::Queued;
use crate::task::spawn_named;

/// Longest line, and longest wait for `initialize`.
const LINE_BYTES_MAX: usize = 1 << 20;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A server without a transport: its test says what it says, and reads what it is told.
#[derive(Debug)]
pub(in crate::upstream) struct FarEnd {
    hub: Arc<Hub>,
    lines: mpsc::Receiver<Queued>,
    n_said: u64,
}

impl FarEnd {
    /// A channel of `server`, and its far end, which ends as soon as it is told to.
    pub(in crate::upstream) fn new(server: ServerName) -> (Channel, Self) {
        let (hub, lines) = Hub::new(server, LINE_BYTES_MAX);
        let stop = CancellationToken::new();
        let (stopped, ending) = (stop.clone(), Arc::clone(&hub));
        // Ends with the last handle of the channel.
        drop(spawn_named("far end of a channel", async move {
            stopped.cancelled().await;
            ending.on_ended("was stopped");
        }));
        let channel = Channel::new(Arc::clone(&hub), stop, HANDSHAKE_MAX);
        let n_said = 0;
        (channel, Self { hub, lines, n_said })
    }

    /// Next message for the server.
    pub(in crate::upstream) async fn hear(&mut self) -> Option<Frame> {
        let queued = self.lines.recv().await?;
        Some(self.taken(queued))
    }

    /// Next message for the server, if there is one.
    pub(in crate::upstream) fn try_hear(&mut self) -> Option<Frame> {
        let queued = self.lines.try_recv().ok()?;
        Some(self.taken(queued))
    }

    fn taken(&self, queued: Queued) -> Frame {
        self.hub.on_delivered(queued.up.n);
        Frame::parse(queued.up.line, &Limits::default()).unwrap()
    }

    /// The server says this.
    pub(in crate::upstream) fn say(&mut self, text: String) {
        self.n_said += 1;
        self.hub.on_down(Down {
            n: self.n_said,
            line: text.into(),
        });
    }

    /// The channel goes on with a copy of all that is data.
    pub(in crate::upstream) fn copy(&self) {
        self.hub.copy();
    }

    /// The server is gone.
    pub(in crate::upstream) fn end(&self) {
        self.hub.on_ended("is gone");
    }

    /// Whether it is.
    pub(in crate::upstream) fn has_ended(&self) -> bool {
        self.hub.has_ended()
    }
}
