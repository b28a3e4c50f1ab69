//! Messages that have arrived on an event stream and wait to be taken. Pure: no socket, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use http::HeaderValue;
use lockgate_proto::jsonrpc::{Batch, Frame, Kind, Limits};
use lockgate_proto::mcp::sse::Event;
use tracing::debug;

use super::answer::answering;
use super::blame::Blame;
use super::heard::whole;
use crate::error::UpstreamError;

/// Turns events into messages and keeps what resuming needs.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: VecDeque<Arrived>,
    /// Raw id of the request whose answer ends the stream; `None` on a stream that belongs to no call.
    request_id: Option<Box<str>>,
    has_batches: bool,
    limits: Limits,
    blame: Blame,
    last_event_id: Option<String>,
    retry: Option<Duration>,
    end: End,
}

/// A message and the id of the last event up to it.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) frame: Frame,
    pub(super) event_id: Option<String>,
}

#[derive(Debug)]
enum End {
    /// More may come.
    Open,
    /// The answer is here; nothing after it counts.
    Answered,
    /// Something that is not MCP came after what waits.
    Failed(UpstreamError),
    /// The failure was reported.
    Reported,
}

impl Inbox {
    /// For the stream that answers the request with the raw id `request_id`.
    pub(super) fn of_call(request_id: &str, limits: Limits, blame: Blame) -> Self {
        Self {
            request_id: Some(request_id.into()),
            ..Self::of_listener(limits, blame)
        }
    }

    /// For a stream that belongs to no call.
    pub(super) fn of_listener(limits: Limits, blame: Blame) -> Self {
        Self {
            waiting: VecDeque::new(),
            request_id: None,
            has_batches: false,
            limits,
            blame,
            last_event_id: None,
            retry: None,
            end: End::Open,
        }
    }

    /// Takes arrays of messages too, as 2025-03-26 allows.
    #[must_use]
    pub(super) fn with_batches(mut self) -> Self {
        self.has_batches = true;
        self
    }

    /// Takes events in order, and whatever made the decoder give up after them.
    pub(super) fn take(&mut self, events: impl Iterator<Item = Event>) {
        for event in events {
            if !matches!(self.end, End::Open) {
                return;
            }
            if let Some(ms) = event.retry_ms {
                self.retry = Some(Duration::from_millis(ms));
            }
            if event.id.is_some() {
                self.last_event_id = event.id;
            }
            let is_message = event.name.is_empty() || event.name == "message";
            // An event without data is there for its id alone (SEP-1699).
            if is_message && !event.data.is_empty() {
                self.take_text(event.data);
            }
            if let Some(last) = self.waiting.back_mut() {
                last.event_id.clone_from(&self.last_event_id);
            }
        }
    }

    /// Takes messages that came without events.
    pub(super) fn take_frames(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            self.take_frame(frame);
        }
    }

    /// Ends the stream after what waits.
    pub(super) fn fail(&mut self, error: UpstreamError) {
        if matches!(self.end, End::Open) {
            self.end = End::Failed(error);
        }
    }

    /// Next message; an error after the last one; `None` when there is nothing, now or ever.
    pub(super) fn pop(&mut self) -> Option<Result<Arrived, UpstreamError>> {
        if let Some(arrived) = self.waiting.pop_front() {
            return Some(Ok(arrived));
        }
        if matches!(self.end, End::Failed(_))
            && let End::Failed(error) = std::mem::replace(&mut self.end, End::Reported)
        {
            return Some(Err(error));
        }
        None
    }

    /// Whether nothing more can arrive.
    pub(super) fn is_over(&self) -> bool {
        !matches!(self.end, End::Open)
    }

    /// The answer that ended the stream, while it waits.
    pub(super) fn answer(&self) -> Option<&Frame> {
        match self.end {
            End::Answered => self.waiting.back().map(|arrived| &arrived.frame),
            End::Open | End::Failed(_) | End::Reported => None,
        }
    }

    /// `Last-Event-ID` to go on with: the id of the last event that was taken. `None` when there was none, when the
    /// server took it back with an empty one, and when no header can carry it.
    pub(super) fn position(&self) -> Option<HeaderValue> {
        let id = self.last_event_id.as_ref().filter(|id| !id.is_empty())?;
        HeaderValue::from_bytes(id.as_bytes()).ok()
    }

    /// The server's wish for the pause before a reconnect.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Largest event.
    pub(super) fn bytes_max(&self) -> usize {
        self.limits.body_bytes_max
    }

    /// Forgets ids of a stream that cannot be resumed any more.
    pub(super) fn forget_position(&mut self) {
        self.last_event_id = None;
    }

    fn take_text(&mut self, text: bytes::Bytes) {
        let read = if self.has_batches && text.trim_ascii_start().first() == Some(&b'[') {
            Batch::parse(text, &self.limits)
        } else {
            Frame::parse(text, &self.limits).map(Batch::One)
        };
        match read {
            Ok(Batch::One(frame)) => self.take_frame(frame),
            Ok(Batch::Many(elements)) => match whole(elements) {
                Ok(frames) => self.take_frames(frames),
                Err(error) => self.fail(self.blame.garbage(error)),
            },
            Err(error) => self.fail(self.blame.garbage(error)),
        }
    }

    fn take_frame(&mut self, frame: Frame) {
        if self.is_over() {
            return;
        }
        let frame = match (frame.kind(), &self.request_id) {
            (Kind::Request | Kind::Notification, _) => frame,
            (Kind::Result | Kind::Error, Some(request_id)) => match answering(request_id, frame) {
                Some(answer) => {
                    self.end = End::Answered;
                    answer
                }
                None => {
                    self.fail(
                        self.blame
                            .garbage("the stream answers another request than its own"),
                    );
                    return;
                }
            },
            (Kind::Result | Kind::Error, None) => {
                debug!("answer on a stream that belongs to no call, dropped");
                return;
            }
        };
        self.waiting.push_back(Arrived {
            frame,
            event_id: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::mcp::sse::Decoder;
    use proptest::prelude::*;

    use super::*;

    fn inbox() -> Inbox {
        Inbox::of_call("1", Limits::default(), Blame::new("fake".into()))
    }

    fn taken(inbox: &mut Inbox) -> Vec<String> {
        std::iter::from_fn(|| inbox.pop())
            .map(|arrived| arrived.unwrap().frame.text().to_owned())
            .collect()
    }

    /// Events `0..n`, each under its number as id; some only prime, the last one answers.
    fn events(primes: &[bool]) -> Vec<String> {
        let last = primes.len();
        let event = |(n, primes): (usize, &bool)| match primes {
            true => format!("id: {n}\ndata:\n\n"),
            false => {
                format!("id: {n}\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"m{n}\"}}\n\n")
            }
        };
        let answer =
            format!("id: {last}\ndata: {{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{}}}}\n\n");
        primes
            .iter()
            .enumerate()
            .map(event)
            .chain([answer])
            .collect()
    }

    /// What arrives when the connection breaks after `cuts` bytes, one after the other, and a server that keeps all
    /// events goes on after the position that it is told.
    fn received(events: &[String], cuts: &[usize]) -> Vec<String> {
        let mut inbox = inbox();
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let first = inbox
                .position()
                .map_or(0, |id| id.to_str().unwrap().parse::<usize>().unwrap() + 1);
            let stream = events[first..].concat();
            let piece = Bytes::copy_from_slice(&stream.as_bytes()[..cut.min(stream.len())]);
            let mut decoded = Vec::new();
            let mut decoder = Decoder::new(1 << 20);
            decoder.feed(&piece, &mut decoded).unwrap();
            inbox.take(decoded.into_iter());
            if inbox.is_over() {
                break;
            }
        }
        taken(&mut inbox)
    }

    proptest! {
        #[test]
        fn a_stream_that_breaks_anywhere_has_no_gap_and_no_double(
            primes in prop::collection::vec(any::<bool>(), 0..8),
            cuts in prop::collection::vec(0_usize..400, 0..6),
        ) {
            let events = events(&primes);
            prop_assert_eq!(received(&events, &cuts), received(&events, &[]));
        }
    }

    #[test]
    fn nothing_counts_after_the_answer() {
        let mut inbox = inbox();
        let text = "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\ndata: garbage\n\n";
        let mut decoded = Vec::new();
        let mut decoder = Decoder::new(1 << 20);
        decoder
            .feed(&Bytes::from_static(text.as_bytes()), &mut decoded)
            .unwrap();
        inbox.take(decoded.into_iter());
        assert!(inbox.answer().is_some());
        assert_eq!(taken(&mut inbox).len(), 1);
    }

    #[test]
    fn other_events_and_empty_ids_are_understood() {
        let mut inbox = inbox();
        let event = |name: &str, id: Option<&str>, data: &'static str| Event {
            name: name.to_owned(),
            id: id.map(str::to_owned),
            data: Bytes::from_static(data.as_bytes()),
            retry_ms: Some(5),
        };
        let message = r#"{"jsonrpc":"2.0","method":"m"}"#;
        inbox.take(
            [
                event("ping", Some("1"), "not JSON"),
                event("", None, message),
            ]
            .into_iter(),
        );
        assert_eq!(inbox.position().unwrap(), "1");
        assert_eq!(inbox.retry(), Some(Duration::from_millis(5)));
        inbox.take([event("message", Some(""), "")].into_iter());
        assert_eq!(inbox.position(), None);
        assert_eq!(taken(&mut inbox), [message]);
    }
}
