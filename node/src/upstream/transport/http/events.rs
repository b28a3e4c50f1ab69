//! Server-sent events as they come in on one response.

use lockgate_proto::mcp::sse::{Decoder, Event};

use super::blame::Blame;
use super::exchange::Exchange;
use super::inbox::Inbox;

/// Reads one event stream into an [`Inbox`].
#[derive(Debug)]
pub(super) struct Events {
    exchange: Exchange,
    decoder: Decoder,
    scratch: Vec<Event>,
}

/// How a piece of the stream was received.
#[derive(Debug)]
pub(super) enum Progress {
    /// Bytes came; `n_events` events were completed by them.
    Fed {
        /// Events, also those without a message.
        n_events: usize,
    },
    /// The body ended or broke; the text says how.
    Over(String),
}

impl Events {
    pub(super) fn new(exchange: Exchange, event_bytes_max: usize) -> Self {
        Self {
            exchange,
            decoder: Decoder::new(event_bytes_max),
            scratch: Vec::new(),
        }
    }

    /// Waits for bytes and hands over the events that they complete.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is taken before it is in the inbox.
    pub(super) async fn read(&mut self, inbox: &mut Inbox, blame: &Blame) -> Progress {
        let chunk = match self.exchange.chunk().await {
            None => return Progress::Over("the stream ended before the answer".to_owned()),
            Some(Err(what)) => return Progress::Over(what),
            Some(Ok(chunk)) => chunk,
        };
        let fed = self.decoder.feed(&chunk, &mut self.scratch);
        let n_events = self.scratch.len();
        inbox.take(self.scratch.drain(..));
        if let Err(error) = fed {
            inbox.fail(blame.garbage(error));
        }
        Progress::Fed { n_events }
    }

    /// Ends the stream after its answer and keeps the connection, if the server ends it too.
    pub(super) async fn settle(self) {
        self.exchange.settle().await;
    }
}
