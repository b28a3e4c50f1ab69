//! Timers of one length, used again and again.
//!
//! Nearly every call sets a timer that never fires. To register one with tokio and to take it out again are two locks
//! and a walk through its wheel; to move the deadline of a registered one into the future is one atomic. So timers that
//! were not needed are kept as they are, for whoever comes next: as all of one pool wait equally long, each new
//! deadline is later than the last.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

/// Timers that are kept. More may be in use at once.
const KEPT_MAX: usize = 256;

/// Timers that run for one duration.
#[derive(Debug)]
pub struct Timers {
    limit: Duration,
    kept: Mutex<Vec<Pin<Box<Sleep>>>>,
}

/// A running timer. Ready once its time is over.
#[derive(Debug)]
#[must_use = "a timer does nothing unless it is polled"]
pub struct Timer<H: Deref<Target = Timers> = Arc<Timers>> {
    /// `None` once it has fired.
    sleep: Option<Pin<Box<Sleep>>>,
    home: H,
}

impl Timers {
    /// For timers of `limit`.
    pub fn new(limit: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit,
            kept: Mutex::default(),
        })
    }

    /// Starts one.
    pub fn start(self: &Arc<Self>) -> Timer {
        self.start_in(Arc::clone(self))
    }

    fn start_in<H: Deref<Target = Self>>(&self, home: H) -> Timer<H> {
        let deadline = Instant::now() + self.limit;
        let kept = self.kept.lock().pop();
        let sleep = match kept {
            Some(mut sleep) => {
                sleep.as_mut().reset(deadline);
                sleep
            }
            None => Box::pin(sleep_until(deadline)),
        };
        Timer {
            sleep: Some(sleep),
            home,
        }
    }

    /// What `future` gives, or `None` when it is not ready in time. It is polled before a timer is started.
    pub async fn limit<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut timer = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let timer = timer.get_or_insert_with(|| self.start_in(self));
            Pin::new(timer).poll(context).map(|()| None)
        })
        .await
    }
}

impl<H: Deref<Target = Timers> + Unpin> Future for Timer<H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(context));
            self.sleep = None;
        }
        Poll::Ready(())
    }
}

impl<H: Deref<Target = Timers>> Drop for Timer<H> {
    fn drop(&mut self) {
        let Some(sleep) = self.sleep.take() else {
            return;
        };
        let mut kept = self.home.kept.lock();
        if kept.len() < KEPT_MAX {
            kept.push(sleep);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_kept_timer_runs_its_full_time_again() {
        let timers = Timers::new(LIMIT);
        let started = Instant::now();
        for _ in 0..3 {
            let mut timer = timers.start();
            // Registered with the clock, as by a task that waits.
            assert!(futures_util::poll!(&mut timer).is_pending());
            advance(LIMIT / 2).await;
            assert!(futures_util::poll!(&mut timer).is_pending());
        }
        assert_eq!(timers.kept.lock().len(), 1);
        timers.start().await;
        assert_eq!(started.elapsed(), LIMIT / 2 * 3 + LIMIT);
        assert_eq!(timers.kept.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_future_is_cut_off_at_the_limit_and_not_before() {
        let timers = Timers::new(LIMIT);
        let started = Instant::now();
        let slow = pin!(pending::<()>());
        assert_eq!(timers.limit(slow).await, None);
        assert_eq!(started.elapsed(), LIMIT);
        let quick = pin!(async {
            sleep(LIMIT / 2).await;
            7
        });
        assert_eq!(timers.limit(quick).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_at_once_starts_no_timer() {
        let timers = Timers::new(LIMIT);
        assert_eq!(timers.limit(pin!(ready(7))).await, Some(7));
        assert_eq!(timers.kept.lock().len(), 0);
    }
}
