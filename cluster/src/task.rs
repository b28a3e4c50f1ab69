//! The one place where tasks of this crate start: every task has a name and an owner.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Starts `future` under `name`, which shows in logs. The caller owns the handle: dropping it detaches the task, so
/// whoever drops it says in a comment what ends the task.
#[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
pub(crate) fn spawn_named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!("task", name)))
}
