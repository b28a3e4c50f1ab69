//! The stream of a call's answer, with what the call holds until it ends.

use lockgate_proto::jsonrpc::{Frame, Kind};

use crate::error::UpstreamError;

use super::admission::{Admission, Place};
use super::link::MessageStream;
use super::transport::http::HttpStream;
use super::transport::stdio::StdioStream;

/// A stream that gives its permits back, and reports how the call went, at its final response or its failure.
#[derive(Debug)]
pub struct GuardedStream {
    source: Source,
    held: Option<(Admission, Place)>,
}

#[derive(Debug)]
enum Source {
    Http(Box<HttpStream>),
    Stdio(StdioStream),
}

impl GuardedStream {
    /// Guards the stream of one call. A bridged call guards each of its requests by itself, and a listener is no call.
    pub(super) fn guard(
        stream: MessageStream,
        admission: Admission,
        place: Place,
    ) -> MessageStream {
        let source = match stream {
            MessageStream::Http(stream) => Source::Http(stream),
            MessageStream::Stdio(stream) => Source::Stdio(stream),
            MessageStream::Guarded(inner) => inner.source,
            MessageStream::Up(_) | MessageStream::Heard(_) => {
                admission.succeed();
                return stream;
            }
        };
        let held = Some((admission, place));
        MessageStream::Guarded(Box::new(Self { source, held }))
    }

    /// See [`MessageStream::next`].
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        let got = match &mut self.source {
            Source::Http(stream) => stream.next().await,
            Source::Stdio(stream) => stream.next().await,
        };
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
