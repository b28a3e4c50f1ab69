//! A session's place at a channel.

use std::sync::Arc;

use super::handle::Channel;
use super::handshake::Agreement;
use super::mux::Owner;
use super::queue::Queue;

/// One session attached to one channel. Dropping it detaches: its calls end, what it alone wanted is taken back.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) channel: Channel,
    owner: Owner,
    pub(crate) agreement: Agreement,
}

impl Link {
    /// Attaches; what the server says to no call goes to `mailbox`.
    pub(super) fn new(channel: Channel, mailbox: &Arc<Queue>, agreement: Agreement) -> Self {
        let owner = channel.hub().attach(Arc::clone(mailbox));
        Self {
            channel,
            owner,
            agreement,
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.channel.hub().detach(self.owner);
    }
}
