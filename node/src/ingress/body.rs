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
}

/// Events and the clock of their keep-alive.
#[derive(Debug)]
pub struct EventBody {
    events: Events,
    silence: Pin<Box<Sleep>>,
}

impl Body {
    /// Streams events.
    pub fn events(events: Events) -> Self {
        Self::Events(Box::new(EventBody {
            events,
            silence: Box::pin(tokio::time::sleep(KEEP_ALIVE)),
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
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.events.0.as_mut().poll_next(context) {
            Poll::Ready(Some(event)) => {
                self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                Poll::Ready(Some(sse::encode(
                    event.id.as_deref(),
                    event.retry_ms,
                    &event.data,
                )))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                std::task::ready!(self.silence.as_mut().poll(context));
                self.silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                // Registers the new deadline with the clock.
                let _pending = self.silence.as_mut().poll(context);
                Poll::Ready(Some(Bytes::from_static(b":\r\n\r\n")))
            }
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Chunks(chunks) => chunks.iter().all(Bytes::is_empty),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Chunks(chunks) => {
                SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum())
            }
            Self::Events(_) => SizeHint::default(),
        }
    }
}
