//! Where one session reads its news, and where others leave it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockgate_proto::jsonrpc::Frame;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::session::State;

/// The door to the news in a session's state.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Arc<Mutex<State>>,
    posted: Notify,
    /// Counts those who came to read; the last one reads.
    readers: AtomicU64,
}

impl Mailbox {
    pub(super) fn new(state: Arc<Mutex<State>>) -> Self {
        Self {
            state,
            posted: Notify::new(),
            readers: AtomicU64::new(0),
        }
    }

    /// The state that the news is part of.
    pub(super) fn state(&self) -> &Mutex<State> {
        &self.state
    }

    /// Takes a message, unless an equal one waits already.
    pub(super) fn post(&self, frame: &Frame) {
        self.state.lock().wants.news.post(frame);
        self.posted.notify_one();
    }

    /// Begins to read; whoever read before hears nothing any more. Returns the reader's number.
    pub(super) fn read(&self) -> u64 {
        let reader = self.readers.fetch_add(1, Ordering::AcqRel) + 1;
        self.posted.notify_one();
        reader
    }

    /// Next message for the reader of this number; `None` when another one reads now.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next(&self, reader: u64) -> Option<Frame> {
        loop {
            if self.readers.load(Ordering::Acquire) != reader {
                // Whoever reads now may have waited for the news that ended this one.
                self.posted.notify_one();
                return None;
            }
            let frame = self.state.lock().wants.news.take();
            if frame.is_some() {
                return frame;
            }
            self.posted.notified().await;
        }
    }
}
