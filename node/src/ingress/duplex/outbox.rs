//! Everything for the client, in order.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Reading end of a line's queue. Dropping it tells the line that nobody takes anything any more.
#[derive(Debug)]
pub(in crate::ingress) struct Outbox {
    queue: mpsc::Receiver<Bytes>,
    /// Fires when nothing more will be put in.
    closed: CancellationToken,
}

impl Outbox {
    pub(super) fn new(queue: mpsc::Receiver<Bytes>, closed: CancellationToken) -> Self {
        Self { queue, closed }
    }

    /// Next message, on one line; `None` when the line has ended and everything was taken.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(in crate::ingress) async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            message = self.queue.recv() => message,
            () = self.closed.cancelled() => {
                // What is in it already is still told.
                self.queue.close();
                self.queue.recv().await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_put_in_before_the_end_is_still_taken() {
        let (put, queue) = mpsc::channel(8);
        let closed = CancellationToken::new();
        let mut outbox = Outbox::new(queue, closed.clone());
        for text in ["a", "b"] {
            put.send(Bytes::from(text)).await.unwrap();
        }
        closed.cancel();
        assert_eq!(outbox.next().await.unwrap(), "a");
        assert_eq!(outbox.next().await.unwrap(), "b");
        assert_eq!(outbox.next().await, None);
        assert!(put.send(Bytes::new()).await.is_err());
    }
}
