//! The children of one server.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::join_all;
use lockgate_proto::mcp::Era;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::scope::{ChildKey, stateless_key};
use super::settings::ChildSettings;
use super::slot::{ChildHome, Keeper, Slot};
use crate::config::Scope;
use crate::error::UpstreamError;
use crate::upstream::link::SessionInit;
use crate::upstream::session_key::Owner;
use crate::upstream::transport::channel::{Channel, ChannelSession, Home, Queue, WeakChannel};

/// The children of one server, started on demand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Children(Arc<Pool>);

/// Figures of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes that are not reaped yet.
    pub live: usize,
    /// Children so far that ended without being asked to.
    pub crashes: u64,
    /// Lines on standard output that were not MCP, of the processes that live.
    pub stray_lines: u64,
    /// Notifications that found their reader too slow, of the processes that live.
    pub dropped: u64,
}

#[derive(Debug)]
pub(super) struct Pool {
    settings: Arc<ChildSettings>,
    scope: Scope,
    children_max: u32,
    /// One for each process that may live.
    places: Arc<Semaphore>,
    slots: Mutex<HashMap<(Era, ChildKey), Arc<Slot>>>,
    live: Mutex<Vec<WeakChannel>>,
    crashes: AtomicU64,
    /// No other child starts.
    is_stopping: AtomicBool,
}

impl Children {
    /// A pool without children. At most `children_max` live at once.
    pub fn new(settings: Arc<ChildSettings>, scope: Scope, children_max: u32) -> Self {
        Self(Arc::new(Pool {
            settings,
            scope,
            children_max,
            places: Arc::new(Semaphore::new(children_max as usize)),
            slots: Mutex::default(),
            live: Mutex::default(),
            crashes: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
        }))
    }

    /// A session at the child of `key` (see [`super::child_key`]). A key of a session gets a fresh child, opened
    /// with `init`; the others share one, which is opened with no capabilities in this gateway's name.
    ///
    /// A child that ended is opened again by the next call, and by a listener at once: log level and
    /// subscriptions are replayed.
    ///
    /// # Errors
    ///
    /// Fails when the child cannot be started, or too many live.
    pub async fn session(
        &self,
        key: ChildKey,
        init: SessionInit,
    ) -> Result<ChannelSession, UpstreamError> {
        let pool = Arc::clone(&self.0);
        let home = match key {
            ChildKey::Session(_) => ChildHome::Own {
                pool,
                slot: Slot::new(Keeper::Sessions),
                init,
            },
            key => ChildHome::Shared {
                slot: pool.slot(Era::Session, key),
                pool,
            },
        };
        let mailbox = Arc::new(Queue::new(self.0.settings.answer_bytes_max));
        let link = home.link(&mailbox).await?;
        Ok(ChannelSession::new(link, mailbox, Some(Box::new(home))))
    }

    /// The child for requests of the stateless era by `owner`.
    ///
    /// # Errors
    ///
    /// Fails when the child cannot be started, or too many live.
    pub async fn stateless(&self, owner: &Owner<'_>) -> Result<Channel, UpstreamError> {
        let key = stateless_key(self.0.scope, owner);
        let slot = self.0.slot(Era::Stateless, key);
        let child = Arc::clone(&slot).child(Arc::clone(&self.0)).await;
        match child {
            Err(UpstreamError::AtLimit { .. }) if self.0.make_room().await => {
                slot.child(Arc::clone(&self.0)).await
            }
            other => other,
        }
    }

    /// Requests of the stateless era by `owner` go over `channel`, as to a child that was started for them.
    #[cfg(test)]
    pub(in crate::upstream) async fn adopt(&self, owner: &Owner<'_>, channel: &Channel) {
        let key = stateless_key(self.0.scope, owner);
        self.0.slot(Era::Stateless, key).adopt(channel).await;
    }

    /// Ends all children; the next calls start others.
    pub async fn restart(&self) {
        let living = self.0.living();
        join_all(living.iter().map(Channel::stop)).await;
    }

    /// Who shares a child here.
    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// Figures, for metrics and tests.
    pub fn counts(&self) -> Counts {
        let free = self.0.places.available_permits();
        let mut counts = Counts {
            live: (self.0.children_max as usize).saturating_sub(free),
            crashes: self.0.crashes.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for child in self.0.living() {
            let losses = child.losses();
            counts.stray_lines += losses.stray_lines;
            counts.dropped += losses.dropped;
        }
        counts
    }

    /// Stops all children and waits until they are reaped. No other starts.
    pub async fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::SeqCst);
        // One that does not answer its opening holds its slot until it ends.
        self.restart().await;
        let slots: Vec<_> = self.0.slots.lock().drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            slot.clear().await;
        }
        // Those that were let go before may still be ending.
        let _all = self.0.places.acquire_many(self.0.children_max).await;
        self.0.places.close();
    }
}

impl Pool {
    pub(super) fn settings(&self) -> &Arc<ChildSettings> {
        &self.settings
    }

    /// Room for one more process.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, UpstreamError> {
        if self.is_stopping.load(Ordering::SeqCst) {
            return Err(self.removed());
        }
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits => UpstreamError::AtLimit {
                    server: self.settings.server.clone(),
                    limit: self.children_max as usize,
                    what: "children",
                },
                TryAcquireError::Closed => self.removed(),
            })
    }

    fn removed(&self) -> UpstreamError {
        self.unreachable(io::Error::new(
            io::ErrorKind::NotConnected,
            "the server was removed",
        ))
    }

    pub(super) fn unreachable(&self, source: io::Error) -> UpstreamError {
        UpstreamError::Unreachable {
            server: self.settings.server.clone(),
            source,
        }
    }

    /// Counts a child that ended without being asked to.
    pub(super) fn count_crash(&self) {
        self.crashes.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers a child that was started.
    ///
    /// # Errors
    ///
    /// Fails when all children are being stopped.
    pub(super) fn note(&self, child: &Channel) -> Result<(), UpstreamError> {
        {
            let mut live = self.live.lock();
            live.retain(|child| child.upgrade().is_some());
            live.push(child.downgrade());
        }
        // Looked at after it was remembered: whoever stops the children says so before looking for them.
        if self.is_stopping.load(Ordering::SeqCst) {
            return Err(self.removed());
        }
        Ok(())
    }

    fn living(&self) -> Vec<Channel> {
        self.live
            .lock()
            .iter()
            .filter_map(WeakChannel::upgrade)
            .collect()
    }

    /// Stops the child of the principal that was quiet for longest: nothing else ends a child of the stateless
    /// era, where nobody says goodbye.
    async fn make_room(&self) -> bool {
        let mut slots: Vec<Arc<Slot>> = {
            let slots = self.slots.lock();
            let of_principals = slots
                .iter()
                .filter(|(place, _)| matches!(place, (Era::Stateless, ChildKey::Principal(..))));
            of_principals.map(|(_, slot)| Arc::clone(slot)).collect()
        };
        slots.sort_by_key(|slot| slot.used());
        for slot in slots {
            if slot.give_way().await {
                return true;
            }
        }
        false
    }

    fn slot(&self, era: Era, key: ChildKey) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        let place = (era, key);
        if let Some(slot) = slots.get(&place) {
            return Arc::clone(slot);
        }
        // Principals come and go; what one left behind is swept when another comes.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.is_idle());
        // A session's child ends with its sessions; a request has nothing that could keep its child.
        let keeper = match place {
            (Era::Session, ChildKey::Principal(..)) => Keeper::Sessions,
            _ => Keeper::Slot,
        };
        let slot = Slot::new(keeper);
        slots.insert(place, Arc::clone(&slot));
        slot
    }
}
