//! Bodies of the echo's answers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often an open stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A body that is known, an event stream that ends, or one that stays open.
#[derive(Debug)]
pub(crate) enum EchoBody {
    /// Parts, written as they are.
    Parts(VecDeque<Bytes>),
    /// Server-sent events. Each is flushed by itself, as from a server that reports while it works.
    Events {
        /// Events still to be sent.
        events: VecDeque<Bytes>,
        /// Whether the turn was given back since the last event.
        yielded: bool,
    },
    /// A `GET` stream: comments, for as long as the client listens.
    Open(Interval),
}

impl EchoBody {
    /// No byte.
    pub(super) fn empty() -> Self {
        Self::Parts(VecDeque::new())
    }

    /// One part.
    pub(super) fn one(part: Bytes) -> Self {
        Self::Parts(VecDeque::from([part]))
    }

    /// Two parts.
    pub(super) fn two(head: Bytes, tail: Bytes) -> Self {
        Self::Parts(VecDeque::from([head, tail]))
    }

    /// A stream of events.
    pub(super) fn events(events: VecDeque<Bytes>) -> Self {
        Self::Events {
            events,
            yielded: true,
        }
    }

    /// A stream that stays open.
    pub(super) fn open() -> Self {
        let mut ticks = interval(KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Open(ticks)
    }
}

impl Body for EchoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Parts(parts) => Poll::Ready(parts.pop_front().map(|part| Ok(Frame::data(part)))),
            Self::Events { events, yielded } => {
                if !std::mem::replace(yielded, true) {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                *yielded = false;
                Poll::Ready(events.pop_front().map(|event| Ok(Frame::data(event))))
            }
            Self::Open(ticks) => ticks
                .poll_tick(context)
                .map(|_now| Some(Ok(Frame::data(Bytes::from_static(b": alive\n\n"))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Parts(parts) if parts.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Parts(parts) => {
                SizeHint::with_exact(parts.iter().map(|part| part.len() as u64).sum())
            }
            Self::Events { .. } | Self::Open(_) => SizeHint::default(),
        }
    }
}
