//! The gateway's own session at a server, over which it lists and listens.

use std::sync::Arc;

use parking_lot::Mutex;

use super::bound::BoundSession;

/// Where the session is kept from the moment that it is open: whatever becomes of the task that opened it, the server
/// is told of its end.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnSession(Arc<Mutex<Option<BoundSession>>>);

impl OwnSession {
    /// The session, if one was opened.
    pub(super) fn get(&self) -> Option<BoundSession> {
        self.0.lock().clone()
    }

    /// Keeps one that was just opened. The one before it was taken.
    pub(super) fn keep(&self, session: BoundSession) {
        *self.0.lock() = Some(session);
    }

    /// Hands it over to whoever closes it.
    pub(super) fn take(&self) -> Option<BoundSession> {
        self.0.lock().take()
    }
}
