//! How one running call learns that nobody wants its answer any more.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// Fires once, and wakes the one task that waits for it. Every call has one and nearly none is fired, so that it has no
/// lock and no list of those who wait.
#[derive(Debug, Default)]
pub struct Cancel {
    fired: AtomicBool,
    waiter: AtomicWaker,
}

impl Cancel {
    /// Fires; a second time does nothing.
    pub fn fire(&self) {
        self.fired.store(true, Ordering::Release);
        self.waiter.wake();
    }

    /// Whether it has fired.
    pub fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    /// Waits until it has fired. Of several tasks that wait only the last to be polled is woken.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn fired(&self) {
        poll_fn(|context| {
            if !self.has_fired() {
                self.waiter.register(context.waker());
                // It may have fired before there was somebody to wake.
                if !self.has_fired() {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use futures_util::poll;

    use super::*;
    use crate::task::spawn_named;

    #[tokio::test]
    async fn who_waits_is_woken_wherever_it_goes_on() {
        let cancel = Arc::new(Cancel::default());
        let (waits, fires) = (Arc::clone(&cancel), Arc::clone(&cancel));
        let mut waiting = Box::pin(async move { waits.fired().await });
        assert!(poll!(&mut waiting).is_pending());
        let moved = spawn_named("test", waiting);
        tokio::task::yield_now().await;
        assert!(!cancel.has_fired());
        fires.fire();
        moved.await.unwrap();
        assert!(cancel.has_fired());
    }

    #[tokio::test]
    async fn what_has_fired_keeps_nobody_waiting() {
        let cancel = Cancel::default();
        cancel.fire();
        cancel.fire();
        assert!(poll!(pin!(cancel.fired())).is_ready());
    }
}
