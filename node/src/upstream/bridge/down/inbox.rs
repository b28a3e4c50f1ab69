//! Messages for one running call that came beside its own stream.

use std::collections::VecDeque;
use std::sync::Arc;

use lockgate_proto::jsonrpc::Frame;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Messages that wait for one call.
pub(super) const INBOX_MAX: usize = 64;

/// Messages for one running call that came on the session's own stream.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Number of the call.
    pub(super) n: u64,
    /// Whether the call can be answered with a question.
    pub(super) can_ask: bool,
    frames: Mutex<VecDeque<Frame>>,
    wake: Notify,
}

impl Inbox {
    /// Of the call under number `n`.
    pub(super) fn new(n: u64, can_ask: bool) -> Arc<Self> {
        Arc::new(Self {
            n,
            can_ask,
            frames: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// Adds a message.
    ///
    /// # Errors
    ///
    /// Gives it back when too many wait already.
    pub(super) fn put(&self, frame: Frame) -> Result<(), Frame> {
        let mut frames = self.frames.lock();
        if frames.len() >= INBOX_MAX {
            return Err(frame);
        }
        frames.push_back(frame);
        drop(frames);
        self.wake.notify_one();
        Ok(())
    }

    /// Next message.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next(&self) -> Frame {
        loop {
            let next = self.frames.lock().pop_front();
            if let Some(frame) = next {
                return frame;
            }
            // Keeps a wake that came in between: there is one reader.
            self.wake.notified().await;
        }
    }

    /// Takes out what nobody will read here.
    pub(super) fn drain(&self) -> Vec<Frame> {
        self.frames.lock().drain(..).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.frames.lock().len()
    }
}
