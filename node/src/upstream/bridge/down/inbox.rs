//! Where one running call reads what came beside its own stream.

use std::sync::Arc;

use lockgate_proto::jsonrpc::Frame;
use tokio::sync::Notify;

use super::hub::Hub;

/// One call's door to what the session's own stream brings it.
#[derive(Debug)]
pub(super) struct Inbox {
    hub: Arc<Hub>,
    /// Number of the call.
    n: u64,
    /// Whether the call can be answered with a question.
    can_ask: bool,
    wake: Arc<Notify>,
}

impl Inbox {
    /// Of the call under number `n`, which runs from now on.
    pub(super) fn open(hub: &Arc<Hub>, n: u64, can_ask: bool) -> Self {
        let wake = Arc::<Notify>::default();
        hub.open(n, &wake);
        let inbox = Self {
            hub: Arc::clone(hub),
            n,
            can_ask,
            wake,
        };
        inbox.enter();
        inbox
    }

    /// The call goes on.
    pub(super) fn enter(&self) {
        self.hub.enter(self.n, self.can_ask);
    }

    /// The call waits for its client: nothing new is about it.
    pub(super) fn leave(&self) {
        self.hub.leave(self.n);
    }

    /// Next message.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn next(&self) -> Frame {
        loop {
            if let Some(frame) = self.hub.take(self.n) {
                return frame;
            }
            // Keeps a wake that came in between: there is one reader.
            self.wake.notified().await;
        }
    }

    /// The call has ended. Returns what it has not read.
    pub(super) fn close(self) -> Vec<Frame> {
        self.leave();
        self.hub.close(self.n)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.hub.n_unread(self.n)
    }
}
