//! A connection has to ask for something: until the first request is there, its time is bounded. The HTTP library
//! bounds a head that has begun, not the silence before the protocol is known.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

/// Notes the first request of one connection.
#[derive(Clone, Debug, Default)]
pub struct FirstRequest(Arc<AtomicBool>);

impl FirstRequest {
    /// A request has arrived.
    pub fn arrived(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Resolves after `limit`, if no request has arrived by then; never otherwise.
    pub async fn missing_after(&self, limit: Duration) {
        let mut over = pin!(tokio::time::sleep(limit));
        // A connection is polled several times a request, and then asks the clock no more.
        poll_fn(|context| match self.0.load(Ordering::Relaxed) {
            true => Poll::Pending,
            false => over.as_mut().poll(context),
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_found_after_the_limit() {
        let limit = Duration::from_secs(15);
        FirstRequest::default().missing_after(limit).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asked_is_left_alone() {
        let first = FirstRequest::default();
        first.arrived();
        let missing = first.missing_after(Duration::from_secs(15));
        let waited = tokio::time::timeout(Duration::from_secs(3600), missing).await;
        assert!(waited.is_err());
    }
}
