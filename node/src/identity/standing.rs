//! The identity in force, and whether those who came in under an earlier one may still be here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::authenticate::{Authenticated, Identity};
use crate::error::CallError;

/// The identity in force. A request reads it; whatever goes on for longer keeps a [`Standing`].
#[derive(Debug)]
pub struct Identities {
    current: ArcSwap<Identity>,
    /// Of `current`; follows it.
    version: AtomicU64,
    /// Tells of every new `version`.
    changes: watch::Sender<()>,
}

impl Identities {
    /// Begins with `first`.
    pub fn new(first: Identity) -> Self {
        Self {
            version: AtomicU64::new(first.version()),
            current: ArcSwap::from_pointee(first),
            changes: watch::Sender::default(),
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
        // After the identity itself: whoever sees it, or is woken, must find that.
        self.version.store(version, Ordering::Release);
        self.changes.send_replace(());
        before
    }

    /// What `who` is now, when something of theirs arrives after they were let in.
    ///
    /// # Errors
    ///
    /// [`CallError::Unauthenticated`] when the credential is not good any more.
    pub fn renew(&self, who: Arc<Authenticated>) -> Result<Arc<Authenticated>, CallError> {
        if self.is_current(&who) {
            return Ok(who);
        }
        let renewed = self.load().renewed(&who).map(Arc::clone);
        renewed.ok_or(CallError::Unauthenticated { what: WITHDRAWN })
    }

    /// Waits for an identity after the one that `who` came in under, and says who the caller is under it; `None` when the
    /// credential is not good any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn changed(&self, who: &Authenticated) -> Option<Arc<Authenticated>> {
        // Before the look, so that no change goes unseen between.
        let mut changes = self.changes.subscribe();
        loop {
            if !self.is_current(who) {
                let identity = self.load();
                // The same for the moment in which an identity is in force and its version not yet stored.
                if identity.version() != who.version() {
                    return identity.renewed(who).map(Arc::clone);
                }
            }
            if changes.changed().await.is_err() {
                // The sender is ours: never.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Follows what `who` may do from here on.
    pub fn standing(self: &Arc<Self>, who: &Arc<Authenticated>) -> Standing {
        Standing {
            identities: Arc::clone(self),
            who: Arc::clone(who),
        }
    }

    fn is_current(&self, who: &Authenticated) -> bool {
        self.version.load(Ordering::Acquire) == who.version()
    }
}

/// Why something ends whose credential was revoked, rotated, or taken out of the configuration.
pub const WITHDRAWN: &str = "the credential is not valid any more";

/// Rights of somebody for whom something goes on: a call, a stream.
#[derive(Debug)]
pub struct Standing {
    identities: Arc<Identities>,
    who: Arc<Authenticated>,
}

impl Standing {
    /// Waits for the next identity, at once if there has been one already, and says who the caller is under it; `None`
    /// when the credential is not good any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn changed(&mut self) -> Option<Arc<Authenticated>> {
        self.who = self.identities.changed(&self.who).await?;
        Some(Arc::clone(&self.who))
    }

    /// Waits until the credential is not good any more.
    pub async fn withdrawn(mut self) {
        while self.changed().await.is_some() {}
    }
}
