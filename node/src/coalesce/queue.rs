//! The sockets with waiting bytes of one thread.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::outgoing::Outgoing;

/// So many sockets are not kept waiting longer.
const SOCKETS_MAX: usize = 32;
/// After that the next write takes all others along: a worker that is never idle does not park.
pub(super) const WAIT_MAX: Duration = Duration::from_micros(300);

/// A thread that writes what its sockets hold before it parks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread(NonZeroU64);

#[derive(Debug)]
struct Queue {
    /// `None` until the thread has called [`before_park`]: nobody would write for it.
    thread: Cell<Option<Thread>>,
    /// Whether a small write has left since the thread parked.
    has_begun: Cell<bool>,
    sockets: RefCell<Vec<Weak<Outgoing>>>,
    /// When the first of `sockets` came.
    since: Cell<Option<Instant>>,
}

thread_local! {
    static QUEUE: Queue = const {
        Queue {
            thread: Cell::new(None),
            has_begun: Cell::new(false),
            sockets: RefCell::new(Vec::new()),
            since: Cell::new(None),
        }
    };
}

/// Writes what the sockets of this thread hold. To be called whenever a worker of the runtime is about to park
/// (`on_thread_park` of tokio's builder), and by nobody else: from then on the thread's sockets rely on it.
pub fn before_park() {
    QUEUE.with(|queue| {
        if queue.thread.get().is_none() {
            static THREADS: AtomicU64 = AtomicU64::new(1);
            let number = NonZeroU64::new(THREADS.fetch_add(1, Ordering::Relaxed));
            queue.thread.set(number.map(Thread));
        }
        queue.flush();
        queue.has_begun.set(false);
    });
}

/// Whether a small write of this thread is not the first since it parked; the next one is not.
pub(super) fn is_behind() -> bool {
    QUEUE.with(|queue| queue.has_begun.replace(true))
}

/// This thread, if it writes before it parks.
pub(super) fn here() -> Option<Thread> {
    QUEUE.with(|queue| queue.thread.get())
}

/// Enlists a socket. Must not be called with its lock held.
pub(super) fn enlist(socket: Weak<Outgoing>) {
    QUEUE.with(|queue| {
        let len = {
            let mut sockets = queue.sockets.borrow_mut();
            sockets.push(socket);
            sockets.len()
        };
        let now = Instant::now();
        let since = queue.since.get().unwrap_or(now);
        queue.since.set(Some(since));
        if len >= SOCKETS_MAX || now - since > WAIT_MAX {
            queue.flush();
        }
    });
}

impl Queue {
    fn flush(&self) {
        if self.since.take().is_none() {
            return;
        }
        let mut sockets = self.sockets.take();
        for socket in sockets.drain(..) {
            // One that was dropped has written what it held.
            if let Some(socket) = socket.upgrade() {
                socket.depart();
            }
        }
        // Keeps the room.
        self.sockets.replace(sockets);
    }
}
