//! The stream of a call's answer, with what the call holds until it ends.

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Kind};

use crate::error::UpstreamError;

use super::admission::{Admission, Place};
use super::link::MessageStream;
use super::transport::channel::ChannelStream;
use super::transport::http::HttpStream;

/// A stream that gives its permits back, and reports how the call went, at its final response or its failure.
#[derive(Debug)]
pub struct GuardedStream {
    source: Source,
    /// Whether its result says anything.
    has_content: bool,
    held: Option<(Admission, Place)>,
}

#[derive(Debug)]
enum Source {
    Http(Box<HttpStream>),
    Channel(ChannelStream),
}

impl GuardedStream {
    /// Guards the stream of one call. A bridged call guards each of its requests by itself, and a listener is no call.
    pub(super) fn guard(
        stream: MessageStream,
        has_content: bool,
        admission: Admission,
        place: Place,
    ) -> MessageStream {
        let source = match stream {
            MessageStream::Http(stream) => Source::Http(stream),
            MessageStream::Channel(stream) => Source::Channel(stream),
            MessageStream::Guarded(inner) => inner.source,
            // What it translates is guarded.
            MessageStream::Bridged(stream) => return MessageStream::Bridged(stream),
            MessageStream::Up(_) | MessageStream::Heard(_) => {
                admission.succeed();
                return stream;
            }
        };
        let held = Some((admission, place));
        MessageStream::Guarded(Box::new(Self {
            source,
            has_content,
            held,
        }))
    }

    /// The stream of a session's call. `None` for one that is translated, which no session gives.
    pub(super) fn of(stream: MessageStream) -> Option<Box<Self>> {
        let source = match stream {
            MessageStream::Http(stream) => Source::Http(stream),
            MessageStream::Channel(stream) => Source::Channel(stream),
            MessageStream::Guarded(stream) => return Some(stream),
            MessageStream::Up(_) | MessageStream::Heard(_) | MessageStream::Bridged(_) => {
                return None;
            }
        };
        Some(Box::new(Self {
            source,
            has_content: false,
            held: None,
        }))
    }

    /// Gives the permits back before the answer: the server has done its part, and waits for somebody else.
    pub(super) fn settle_early(&mut self) {
        self.settle(Admission::succeed);
    }

    /// The server's silence begins now: until now it was somebody else who was waited for.
    pub(super) fn restart_silence(&mut self) {
        match &mut self.source {
            Source::Http(stream) => stream.restart_silence(),
            Source::Channel(stream) => stream.restart_silence(),
        }
    }

    /// See [`MessageStream::next`].
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        let mut got = match &mut self.source {
            Source::Http(stream) => stream.next().await,
            Source::Channel(stream) => stream.next().await,
        };
        if let (Ok(Some(frame)), Some((_, place))) = (&got, &self.held)
            && let Err(error) = check(frame, self.has_content, place.server())
        {
            got = Err(error);
        }
        match &got {
            Ok(Some(frame)) => {
                if let Some((admission, _)) = &mut self.held {
                    admission.heard();
                }
                if matches!(frame.kind(), Kind::Result | Kind::Error) {
                    self.settle(Admission::succeed);
                }
            }
            // In order, but without a response.
            Ok(None) => self.settle(Admission::ended_early),
            Err(error) => self.settle(|admission| admission.fail(error)),
        }
        got
    }

    fn settle(&mut self, how: impl FnOnce(Admission)) {
        if let Some((admission, _place)) = self.held.take() {
            how(admission);
        }
    }
}

/// Refuses a result that ought to say something and is no object: results are (MCP, "Base Protocol"), and no client could
/// read anything out of another.
pub(super) fn check(
    answer: &Frame,
    has_content: bool,
    server: &ServerName,
) -> Result<(), UpstreamError> {
    let is_object = || answer.body().is_some_and(|body| body.starts_with('{'));
    if !has_content || answer.kind() != Kind::Result || is_object() {
        return Ok(());
    }
    Err(UpstreamError::Garbage {
        server: server.clone(),
        what: "its result is no object".to_owned(),
    })
}
