//! Response bodies: nothing, a few chunks, or server-sent events with keep-alives.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use lockgate_proto::mcp::sse;
use tokio::time::{Instant, Sleep};

use crate::answer::{Chunks, Events};

use super::sse::StreamBody;

/// A silent stream sends a comment this often, so that balancers and proxies keep it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Body of a response.
#[derive(Debug)]
pub enum Body {
    /// No bytes.
    Empty,
    /// Chunks, written in order.
    Chunks(Chunks),
    /// Events.
    Events(Box<EventBody>),
    /// Everything for a client of HTTP+SSE.
    Stream(Box<StreamBody>),
}

/// Events and the clock of their keep-alive.
#[derive(Debug)]
pub struct EventBody {
    events: Events,
    silence: Silence,
}

/// How long a stream has been silent.
#[derive(Debug)]
pub(super) struct Silence(Pin<Box<Sleep>>);

impl Default for Silence {
    fn default() -> Self {
        Self(Box::pin(tokio::time::sleep(KEEP_ALIVE)))
    }
}

impl Silence {
    /// Something was said.
    pub(super) fn broken(&mut self) {
        self.0.as_mut().reset(Instant::now() + KEEP_ALIVE);
    }

    /// A comment, when it is time for one.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        std::task::ready!(self.0.as_mut().poll(context));
        self.broken();
        // Registers the new deadline with the clock.
        let _pending = self.0.as_mut().poll(context);
        Poll::Ready(Bytes::from_static(b":\r\n\r\n"))
    }
}

impl Body {
    /// Streams events.
    pub fn events(events: Events) -> Self {
        Self::Events(Box::new(EventBody {
            events,
            silence: Silence::default(),
        }))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::Chunks(smallvec::smallvec![Bytes::from_static(text.as_bytes())])
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Chunks(smallvec::smallvec![Bytes::from(text)])
    }
}

impl EventBody {
    /// The next event, or a comment when there was none for long; `None` at the end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.events.0.as_mut().poll_next(context) {
            Poll::Ready(Some(event)) => {
                self.silence.broken();
                Poll::Ready(Some(sse::encode(
                    event.id.as_deref(),
                    event.retry_ms,
                    &event.data,
                )))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.silence.poll(context).map(Some),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Chunks(chunks) => {
                while chunks.first().is_some_and(Bytes::is_empty) {
                    chunks.remove(0);
                }
                let next = (!chunks.is_empty()).then(|| chunks.remove(0));
                Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
            }
            Self::Events(events) => events
                .poll(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream
                .poll(context)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Chunks(chunks) => chunks.iter().all(Bytes::is_empty),
            Self::Events(_) | Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Chunks(chunks) => {
                SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum())
            }
            Self::Events(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}
