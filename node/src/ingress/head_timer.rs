//! The clock by which hyper waits for the head of a request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
#[expect(clippy::disallowed_types, reason = "hyper's own interface")]
use std::time::Instant;

use hyper::rt::{Sleep, Timer};

use crate::timers::{self, Timers};

/// Hands out timers that are used again: hyper sets one for every request and throws it away with its head.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer {
    timers: Arc<Timers>,
    /// hyper reads the clock for a deadline which nobody looks at.
    born: tokio::time::Instant,
}

impl HeadTimer {
    /// `limit` must be what hyper waits for.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            timers: Timers::new(limit),
            born: tokio::time::Instant::now(),
        }
    }

    fn start(&self) -> Pin<Box<dyn Sleep>> {
        Box::pin(Running(self.timers.start()))
    }
}

/// hyper asks for nothing but the one duration that it was given beside this, from now on.
#[expect(clippy::disallowed_types, reason = "hyper's own interface")]
impl Timer for HeadTimer {
    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.start()
    }

    fn sleep_until(&self, _deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.start()
    }

    fn now(&self) -> Instant {
        self.born.into_std()
    }
}

struct Running(timers::Timer);

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Sleep for Running {}
