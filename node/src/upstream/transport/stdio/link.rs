//! A session's place at a child.

use std::sync::Arc;

use super::child::Child;
use super::handshake::Agreement;
use super::mux::Owner;
use super::queue::Queue;

/// One session attached to one child. Dropping it detaches: its calls end, what it alone wanted is taken back.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) child: Child,
    owner: Owner,
    pub(super) agreement: Agreement,
}

impl Link {
    /// Attaches; what the server says to no call goes to `mailbox`.
    pub(super) fn new(child: Child, mailbox: &Arc<Queue>, agreement: Agreement) -> Self {
        let owner = child.hub().attach(Arc::clone(mailbox));
        Self {
            child,
            owner,
            agreement,
        }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.child.hub().detach(self.owner);
    }
}
