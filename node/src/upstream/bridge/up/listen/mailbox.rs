//! What one session is to hear, until somebody reads it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use lockgate_proto::jsonrpc::Frame;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::SUBSCRIPTIONS_MAX;

/// Messages kept for a session that does not read. Equal ones are kept once, so that only a server that says more
/// than it was asked for can pass it.
const MAILBOX_MAX: usize = SUBSCRIPTIONS_MAX + 16;

/// What one session is to hear.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<VecDeque<Frame>>,
    news: Notify,
    /// Counts those who came to read; the last one reads.
    readers: AtomicU64,
}

impl Mailbox {
    /// Takes a message, unless an equal one waits already.
    pub(super) fn post(&self, frame: &Frame) {
        let mut waiting = self.waiting.lock();
        // It says that something is new, and says it once however often that happens.
        let is_known = waiting.iter().any(|known| known.text() == frame.text());
        if !is_known && waiting.len() < MAILBOX_MAX {
            waiting.push_back(frame.clone());
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Begins to read; whoever read before hears nothing any more. Returns the reader's number.
    pub(super) fn read(&self) -> u64 {
        let reader = self.readers.fetch_add(1, Ordering::AcqRel) + 1;
        self.news.notify_one();
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
                self.news.notify_one();
                return None;
            }
            let frame = self.waiting.lock().pop_front();
            if frame.is_some() {
                return frame;
            }
            self.news.notified().await;
        }
    }
}
