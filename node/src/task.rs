//! The one place where tasks start: every task has a name and an owner.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
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

/// As [`timeout`], for a future that is often ready at once: no timer is armed before it has been polled.
///
/// # Errors
///
/// Fails when `limit` is over first.
pub async fn within<F: Future>(
    limit: Duration,
    mut future: Pin<&mut F>,
) -> Result<F::Output, Elapsed> {
    if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return Ok(output);
    }
    timeout(limit, future).await
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
