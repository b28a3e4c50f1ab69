//! The identity in force, and whether those who came in under an earlier one may still be here.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::authenticate::{Authenticated, Identity};
use crate::error::CallError;

/// The identity in force. A request reads it; whatever goes on for longer keeps a [`Standing`].
#[derive(Debug)]
pub struct Identities {
    current: ArcSwap<Identity>,
    /// Version of `current`; follows it.
    version: watch::Sender<u64>,
}

impl Identities {
    /// Begins with `first`.
    pub fn new(first: Identity) -> Self {
        let version = watch::Sender::new(first.version());
        Self {
            current: ArcSwap::from_pointee(first),
            version,
        }
    }

    /// The identity in force.
    pub fn load(&self) -> Guard<Arc<Identity>> {
        self.current.load()
    }

    /// Puts `next` in force and wakes everything that goes on under the one before, which is given back.
    pub fn swap(&self, next: Arc<Identity>) -> Arc<Identity> {
        let version = next.version();
        let before = self.current.swap(next);
        // After the identity itself: whoever is woken must find it.
        self.version.send_replace(version);
        before
    }

    /// What `who` is now, when something of theirs arrives after they were let in.
    ///
    /// # Errors
    ///
    /// [`CallError::Unauthenticated`] when the credential is not good any more.
    pub fn renew(&self, who: Arc<Authenticated>) -> Result<Arc<Authenticated>, CallError> {
        let identity = self.load();
        if identity.version() == who.version() {
            return Ok(who);
        }
        let renewed = identity.renewed(&who).map(Arc::clone);
        renewed.ok_or(CallError::Unauthenticated { what: WITHDRAWN })
    }

    /// Follows what `who` may do from here on.
    pub fn standing(self: &Arc<Self>, who: &Arc<Authenticated>) -> Standing {
        Standing {
            changes: self.version.subscribe(),
            identities: Arc::clone(self),
            who: Arc::clone(who),
        }
    }
}

/// Why something ends whose credential was revoked, rotated, or taken out of the configuration.
pub const WITHDRAWN: &str = "the credential is not valid any more";

/// Rights of somebody for whom something goes on: a call, a stream.
#[derive(Debug)]
pub struct Standing {
    identities: Arc<Identities>,
    who: Arc<Authenticated>,
    changes: watch::Receiver<u64>,
}

impl Standing {
    /// Waits for the next identity, at once if there has been one already, and says who the caller is under it; `None`
    /// when the credential is not good any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<Arc<Authenticated>> {
        let known = self.who.version();
        if self.changes.wait_for(|now| *now != known).await.is_err() {
            // The sender is ours: never.
            std::future::pending::<()>().await;
        }
        self.who = Arc::clone(self.identities.load().renewed(&self.who)?);
        Some(Arc::clone(&self.who))
    }

    /// Waits until the credential is not good any more.
    pub async fn withdrawn(mut self) {
        while self.changed().await.is_some() {}
    }
}
