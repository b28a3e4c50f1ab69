//! The server's side of a session: one event stream.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::mcp::sse::{Decoder, Event};
use tokio::time::timeout;
use tracing::debug;

use crate::error::UpstreamError;
use crate::upstream::transport::channel::{Down, Hub};
use crate::upstream::transport::http::{Blame, Exchange};

/// A stream that is silent for this long is made to speak, by a `ping`: proxies close what is silent for a minute
/// (nginx, AWS), and with the stream goes what the server keeps for the session. A peer that vanished is noticed by TCP.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Reads one event stream. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Events {
    exchange: Exchange,
    decoder: Decoder,
    /// Complete, and not taken yet.
    waiting: VecDeque<Event>,
    scratch: Vec<Event>,
    /// What made the decoder give up after those.
    failed: Option<String>,
}

impl Events {
    /// Of events up to `bytes_max`.
    pub(super) fn new(exchange: Exchange, bytes_max: usize) -> Self {
        Self {
            exchange,
            decoder: Decoder::new(bytes_max),
            waiting: VecDeque::new(),
            scratch: Vec::new(),
            failed: None,
        }
    }

    /// The first event, which must say where messages go.
    ///
    /// # Errors
    ///
    /// `Garbage` when it is another, `Broken` when the stream ends before it.
    pub(super) async fn target(&mut self, blame: &Blame) -> Result<String, UpstreamError> {
        let event = self.next(None).await.map_err(|how| blame.broken(how))?;
        if event.name != "endpoint" {
            return Err(blame.garbage("the event stream does not begin with an `endpoint` event"));
        }
        Ok(String::from_utf8_lossy(&event.data).into_owned())
    }

    /// Hands every message to `hub`, which never makes it wait. Returns how the stream ended.
    pub(super) async fn read(mut self, hub: &Hub) -> String {
        let mut n = 0;
        loop {
            let event = match self.next(Some(hub)).await {
                Ok(event) => event,
                Err(how) => return how,
            };
            match &*event.name {
                "" | "message" if event.data.is_empty() => {}
                "" | "message" => {
                    n += 1;
                    hub.on_down(Down {
                        n,
                        line: event.data,
                    });
                }
                name => debug!(server = %hub.server(), name, "event of no meaning"),
            }
        }
    }

    /// Next event; an error when there is none any more says how the stream ended. With `hub`, the stream is kept alive.
    async fn next(&mut self, hub: Option<&Hub>) -> Result<Event, String> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            if let Some(how) = self.failed.take() {
                return Err(how);
            }
            let chunk = match self.chunk(hub).await {
                None => return Err("the event stream ended".to_owned()),
                Some(chunk) => chunk?,
            };
            let fed = self.decoder.feed(&chunk, &mut self.scratch);
            self.waiting.extend(self.scratch.drain(..));
            self.failed = fed.err().map(|error| error.to_string());
        }
    }

    /// Next bytes, be they a comment; a server that says nothing for too long is asked once for a sign of life.
    async fn chunk(&mut self, hub: Option<&Hub>) -> Option<Result<Bytes, String>> {
        if let Some(hub) = hub {
            match timeout(KEEP_ALIVE, self.exchange.chunk()).await {
                Ok(chunk) => return chunk,
                Err(_) => hub.ping(),
            }
        }
        self.exchange.chunk().await
    }
}
