//! Keeps the wake-ups of a connection that is polled by its own user from reaching the scheduler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Polls in a row before the scheduler gets its turn. More than two are needed only when a socket goes on delivering,
/// or when tokio's budget is used up, which a yield alone replenishes.
const LAPS_MAX: usize = 4;

/// Waker between a connection and the task that drives it.
///
/// hyper's halves wake each other all the time: a request handed over, a body asked for, an answer ready. When one task
/// polls both, such a wake-up would only schedule that task once more, and make the scheduler rouse another worker for
/// it. So wakes that come while the task polls, or while the connection lies idle, are noted and not passed on; what
/// remains is the socket's wake-up of a task that sleeps.
#[derive(Debug)]
pub(super) struct Gate {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Shared {
    /// A wake came that no poll has followed yet.
    is_woken: AtomicBool,
    /// The task sleeps and wants to be woken.
    is_asleep: AtomicBool,
    task: AtomicWaker,
}

// Both sides store their own flag before they read the other's, in one total order. So either the waker finds the task
// asleep and wakes it, or the task finds the wake and does not sleep.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        Self {
            waker: Waker::from(Arc::clone(&shared)),
            shared,
        }
    }

    /// Whether something happened since the last poll.
    pub(super) fn is_woken(&self) -> bool {
        self.shared.is_woken.load(Ordering::SeqCst)
    }

    /// Polls until there is a result, or nothing happens any more.
    pub(super) fn poll<T>(
        &self,
        cx: &Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let shared = &*self.shared;
        shared.is_asleep.store(false, Ordering::SeqCst);
        for _ in 0..LAPS_MAX {
            shared.is_woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(result) = poll(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(result);
            }
            if self.is_woken() {
                continue;
            }
            shared.task.register(cx.waker());
            shared.is_asleep.store(true, Ordering::SeqCst);
            if !self.is_woken() {
                return Poll::Pending;
            }
            shared.is_asleep.store(false, Ordering::SeqCst);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;
    use crate::task::spawn_named;

    fn counting() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(Arc::clone(&counter));
        (counter, waker)
    }

    #[derive(Debug, Default)]
    struct Counter(std::sync::atomic::AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wake_during_the_poll_polls_again_and_goes_no_further() {
        let (counter, waker) = counting();
        let gate = Gate::new();
        let mut n_polls = 0;
        let polled = gate.poll(&Context::from_waker(&waker), |cx| {
            n_polls += 1;
            if n_polls == 3 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!((polled, n_polls), (Poll::Ready(()), 3));
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_poll_that_wakes_itself_for_ever_yields() {
        let (counter, waker) = counting();
        let polled = Gate::new().poll(&Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(polled, Poll::Pending);
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wake_of_a_sleeper_arrives_and_one_of_an_idler_is_noted() {
        let (counter, waker) = counting();
        let gate = Gate::new();
        let mut inner = None;
        let cx = Context::from_waker(&waker);
        let polled = gate.poll(&cx, |cx| {
            inner = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert_eq!(polled, Poll::Pending);
        let inner = inner.unwrap();
        inner.wake_by_ref();
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(gate.poll(&cx, |_| Poll::Ready(())), Poll::Ready(()));
        assert!(!gate.is_woken());
        inner.wake();
        assert!(gate.is_woken());
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_wake_of_another_thread_is_lost() {
        for _ in 0..2000 {
            let gate = Gate::new();
            let (sender, mut receiver) = oneshot::channel();
            let sending = spawn_named("test-sender", async move { sender.send(()) });
            poll_fn(|cx| gate.poll(cx, |cx| std::pin::Pin::new(&mut receiver).poll(cx)))
                .await
                .unwrap();
            sending.await.unwrap().unwrap();
        }
    }
}
