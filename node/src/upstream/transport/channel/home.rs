//! Where a session gets another channel from.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::link::Link;
use super::queue::Queue;
use crate::error::UpstreamError;

/// Where a session gets another channel from when the one that it has ended.
pub(crate) trait Home: Debug + Send + Sync {
    /// Opens one for the session whose own messages go to `mailbox`.
    fn link<'a>(&'a self, mailbox: &'a Arc<Queue>) -> BoxFuture<'a, Result<Link, UpstreamError>>;
}

/// A handshake that failed has done nothing of what the caller wanted.
pub(crate) fn nothing_sent(error: UpstreamError) -> UpstreamError {
    match error {
        UpstreamError::Broken { server, what } => UpstreamError::Unreachable {
            server,
            source: io::Error::new(io::ErrorKind::BrokenPipe, what),
        },
        UpstreamError::Timeout { server, limit } => {
            let what = format!("`initialize` was not answered within {limit:?}");
            let source = io::Error::new(io::ErrorKind::TimedOut, what);
            UpstreamError::Unreachable { server, source }
        }
        other => other,
    }
}
