//! The one place where tasks start: every task has a name and an owner.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::Instrument;

/// Starts `future` under `name`, which shows in logs. The caller owns the handle: dropping it detaches the task,
/// so whoever drops it says in a comment what ends the task.
#[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
pub fn spawn_named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)))
}

/// What `future` gives, or `None` when it is not ready within `limit`. For a future that is often ready at once: no timer
/// is made before it has been polled.
pub async fn within<F: Future>(limit: Duration, mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut late = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let late = late.get_or_insert_with(|| Box::pin(sleep(limit)));
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// What `first` gives, or what `second` gives where that comes sooner; `first` is asked first. `select!` moves what it
/// waits for, which for a call and all that it may wait for is some thousand bytes.
///
/// # Errors
///
/// What `second` gives.
pub async fn either<A: Future, B: Future>(
    mut first: Pin<&mut A>,
    mut second: Pin<&mut B>,
) -> Result<A::Output, B::Output> {
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => second.as_mut().poll(cx).map(Err),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_ready_is_given_up_at_the_limit() {
        let (limit, started) = (Duration::from_secs(3), Instant::now());
        assert_eq!(within(limit, pin!(ready(7))).await, Some(7));
        assert_eq!(within(limit, pin!(pending::<()>())).await, None);
        assert_eq!(started.elapsed(), limit);
        let later = pin!(async {
            sleep(limit / 2).await;
            7
        });
        assert_eq!(within(limit, later).await, Some(7));
    }
}
