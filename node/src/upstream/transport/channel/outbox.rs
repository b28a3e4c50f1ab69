//! Lines on their way to the far end, in order and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::line::Up;

/// Requests and notifications of callers that wait for the child to read.
const CALLER_LINES_MAX: usize = 32;

/// Lines of our own that wait apart, because whoever writes them can't wait: answers to the server, cancels.
const OWN_LINES_MAX: usize = 128;

/// A line, and its place in the queue.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) up: Up,
    _place: Place,
}

/// Room for one line. Given back when the far end has the line.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The child has ended.
    Closed,
    /// The child does not read.
    Full,
}

/// The queue of lines. Callers wait for room; what is written on behalf of the server never does.
#[derive(Debug)]
pub(super) struct Outbox {
    lines: mpsc::Sender<Queued>,
    caller_places: Arc<Semaphore>,
    own_places: Arc<Semaphore>,
    /// Highest [`Up::n`] that the far end has.
    delivered: AtomicU64,
}

impl Outbox {
    /// An outbox, and its other end.
    pub(super) fn new() -> (Self, mpsc::Receiver<Queued>) {
        let (lines, queued) = mpsc::channel(CALLER_LINES_MAX + OWN_LINES_MAX);
        let outbox = Self {
            lines,
            caller_places: Arc::new(Semaphore::new(CALLER_LINES_MAX)),
            own_places: Arc::new(Semaphore::new(OWN_LINES_MAX)),
            delivered: AtomicU64::new(0),
        };
        (outbox, queued)
    }

    /// Room for a caller's line; waits at most `limit`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn place(&self, limit: Duration) -> Result<Place, NoPlace> {
        match timeout(limit, Arc::clone(&self.caller_places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Place(place)),
            Ok(Err(_closed)) => Err(NoPlace::Closed),
            Err(_elapsed) => Err(NoPlace::Full),
        }
    }

    /// Room for a line of our own, if there is any.
    pub(super) fn own_place(&self) -> Option<Place> {
        let place = Arc::clone(&self.own_places).try_acquire_owned();
        place.ok().map(Place)
    }

    /// Queues a line. Whoever calls numbers lines in the order of the calls.
    pub(super) fn push(&self, up: Up, place: Place) {
        // There is room in the channel for every place. It is closed only when the child is about to end: the line
        // then counts as not delivered.
        let _closed = self.lines.try_send(Queued { up, _place: place });
    }

    /// The far end has every line up to `n`.
    pub(super) fn on_delivered(&self, n: u64) {
        self.delivered.store(n, Ordering::Release);
    }

    /// Whether the far end has line `n`.
    pub(super) fn has_delivered(&self, n: u64) -> bool {
        n <= self.delivered.load(Ordering::Acquire)
    }

    /// Ends the wait for room.
    pub(super) fn close(&self) {
        self.caller_places.close();
        self.own_places.close();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn fill(outbox: &Outbox) {
        for n in 1..=CALLER_LINES_MAX as u64 {
            let place = outbox.place(Duration::ZERO).await.unwrap();
            let line = Bytes::from_static(b"{}");
            outbox.push(Up { n, line }, place);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_wait_for_the_child_to_read() {
        let (outbox, mut lines) = Outbox::new();
        fill(&outbox).await;
        let limit = Duration::from_secs(60);
        assert_eq!(outbox.place(limit).await.unwrap_err(), NoPlace::Full);
        assert_eq!(lines.recv().await.unwrap().up.n, 1);
        assert!(outbox.place(limit).await.is_ok());
    }

    #[tokio::test]
    async fn our_own_lines_have_room_when_the_callers_have_none() {
        let (outbox, _lines) = Outbox::new();
        fill(&outbox).await;
        let places: Vec<_> = (0..OWN_LINES_MAX).map(|_| outbox.own_place()).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(outbox.own_place().is_none());
    }

    #[tokio::test]
    async fn the_end_wakes_who_waits() {
        let (outbox, _lines) = Outbox::new();
        fill(&outbox).await;
        let waiting = outbox.place(Duration::from_secs(600));
        let (place, ()) = tokio::join!(waiting, async { outbox.close() });
        assert_eq!(place.unwrap_err(), NoPlace::Closed);
    }
}
