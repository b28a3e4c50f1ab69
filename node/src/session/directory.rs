//! Which session is where: awake (a cell and its actor) or passive (its state as bytes).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use lockgate_proto::id::ServerName;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::call::Caller;
use crate::error::CallError;

use super::cell::{BoundSlot, Cell, Seed};
use super::ended::EndedBytes;
use super::id::SessionKey;
use super::state::State;

/// Locks of the directory; requests of different sessions rarely meet.
const LOCKS: usize = 64;

/// Looked into by every message. Keys are random, and nobody but this node makes them.
type Sessions = HashMap<SessionKey, Slot, RandomState>;

/// All sessions of this node.
#[derive(Debug)]
pub struct Directory {
    shards: Vec<Mutex<Sessions>>,
    active: AtomicUsize,
    passive: AtomicUsize,
    ended_bytes: Arc<EndedBytes>,
}

#[derive(Debug)]
enum Slot {
    Active(Arc<Cell>),
    Passive(Box<Passive>),
}

/// A sleeping session: the compact struct and the far ends that stay open for it.
#[derive(Debug)]
struct Passive {
    state: Box<[u8]>,
    name: Arc<str>,
    route: Arc<str>,
    caller: Arc<Caller>,
    bound: Vec<(ServerName, BoundSlot)>,
    used: Instant,
}

/// A session that is in use: it cannot fall asleep while this exists.
#[derive(Debug)]
pub struct InUse(Arc<Cell>);

impl InUse {
    fn new(cell: &Arc<Cell>) -> Self {
        cell.enter();
        Self(Arc::clone(cell))
    }
}

impl Clone for InUse {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl std::ops::Deref for InUse {
    type Target = Arc<Cell>;

    fn deref(&self) -> &Arc<Cell> {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Default for Directory {
    fn default() -> Self {
        let shards = (0..LOCKS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            active: AtomicUsize::new(0),
            passive: AtomicUsize::new(0),
            ended_bytes: Arc::default(),
        }
    }
}

impl Directory {
    fn shard(&self, key: &SessionKey) -> &Mutex<Sessions> {
        &self.shards[key[2] as usize % LOCKS]
    }

    /// Awake and passive sessions.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.active.load(Ordering::Relaxed),
            self.passive.load(Ordering::Relaxed),
        )
    }

    /// What ended streams of all sessions hold.
    pub fn ended_bytes(&self) -> &Arc<EndedBytes> {
        &self.ended_bytes
    }

    /// Adds a session that begins.
    ///
    /// # Errors
    ///
    /// Fails when `make` cannot start the session's actor.
    pub(super) fn insert(
        &self,
        seed: Seed,
        make: impl FnOnce(Seed) -> Result<Arc<Cell>, CallError>,
    ) -> Result<InUse, CallError> {
        let key = seed.key;
        let cell = make(seed)?;
        let in_use = InUse::new(&cell);
        self.shard(&key).lock().insert(key, Slot::Active(cell));
        self.active.fetch_add(1, Ordering::Relaxed);
        Ok(in_use)
    }

    /// Finds a session and wakes it.
    pub(super) fn find(
        &self,
        key: &SessionKey,
        make: impl FnOnce(Seed) -> Result<Arc<Cell>, CallError>,
    ) -> Option<InUse> {
        let mut shard = self.shard(key).lock();
        let slot = shard.get_mut(key)?;
        if let Slot::Passive(passive) = slot {
            let Ok((state, _)) = bincode::serde::decode_from_slice::<State, _>(
                &passive.state,
                bincode::config::standard(),
            ) else {
                // Written by this very process: cannot happen unless memory is damaged; the session is gone then.
                tracing::error!(session = %passive.name, "state of a passive session cannot be read");
                shard.remove(key);
                self.passive.fetch_sub(1, Ordering::Relaxed);
                return None;
            };
            let cell = make(Seed {
                key: *key,
                name: Arc::clone(&passive.name),
                route: Arc::clone(&passive.route),
                caller: Arc::clone(&passive.caller),
                state,
                bound: passive.bound.clone(),
                ended_bytes: Arc::clone(&self.ended_bytes),
            });
            // Without an actor it stays asleep, whole, for the next request.
            let cell = cell.ok()?;
            *slot = Slot::Active(cell);
            self.passive.fetch_sub(1, Ordering::Relaxed);
            self.active.fetch_add(1, Ordering::Relaxed);
        }
        match slot {
            Slot::Active(cell) => Some(InUse::new(cell)),
            Slot::Passive(_) => None,
        }
    }

    /// Holds a session awake. `None` when `cell` is not its cell any more: it sleeps, woke again, or has ended.
    pub(super) fn hold(&self, cell: &Arc<Cell>) -> Option<InUse> {
        match self.shard(&cell.key).lock().get(&cell.key) {
            Some(Slot::Active(known)) if Arc::ptr_eq(known, cell) => Some(InUse::new(cell)),
            _ => None,
        }
    }

    /// Puts a session to sleep, unless somebody uses it. `true` when it sleeps: its actor drains then.
    pub(super) fn passivate(&self, cell: &Arc<Cell>, now: Instant) -> bool {
        let mut shard = self.shard(&cell.key).lock();
        if cell.users() > 0 || !cell.is_quiet() {
            return false;
        }
        let mut state = cell.state.lock().clone();
        // Its logs stay behind: numbers start anew, and an event id must never name two events.
        state.epoch = state.epoch.wrapping_add(1);
        let state = bincode::serde::encode_to_vec(state, bincode::config::standard());
        let Ok(state) = state else { return false };
        let Some(slot) = shard.get_mut(&cell.key) else {
            return false;
        };
        let idle = cell.idle(now);
        *slot = Slot::Passive(Box::new(Passive {
            state: state.into(),
            name: Arc::clone(&cell.name),
            route: Arc::clone(&cell.route),
            caller: Arc::clone(&cell.caller),
            bound: std::mem::take(&mut cell.bound.lock()),
            used: now.checked_sub(idle).unwrap_or(now),
        }));
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.passive.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Takes a session out. Its far ends come with it.
    pub(super) fn remove(&self, key: &SessionKey) -> Option<Removed> {
        let slot = self.shard(key).lock().remove(key)?;
        Some(match slot {
            Slot::Active(cell) => {
                self.active.fetch_sub(1, Ordering::Relaxed);
                // Before the slots are taken: none is added after.
                cell.ended.cancel();
                let bound = std::mem::take(&mut *cell.bound.lock());
                Removed {
                    cell: Some(cell),
                    bound,
                }
            }
            Slot::Passive(passive) => {
                self.passive.fetch_sub(1, Ordering::Relaxed);
                Removed {
                    cell: None,
                    bound: passive.bound,
                }
            }
        })
    }

    /// Passive sessions that were idle for `limit`.
    pub(super) fn expired(&self, limit: Duration, now: Instant) -> Vec<SessionKey> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            for (key, slot) in &*shard.lock() {
                if let Slot::Passive(passive) = slot
                    && now.duration_since(passive.used) >= limit
                {
                    keys.push(*key);
                }
            }
        }
        keys
    }

    /// Awake sessions.
    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        let mut cells = Vec::new();
        for shard in &self.shards {
            for slot in shard.lock().values() {
                if let Slot::Active(cell) = slot {
                    cells.push(Arc::clone(cell));
                }
            }
        }
        cells
    }

    /// Visits whom every session belongs to.
    pub(super) fn owners(&self, mut see: impl FnMut(&SessionKey, &Arc<str>, &Arc<Caller>)) {
        for shard in &self.shards {
            for (key, slot) in &*shard.lock() {
                match slot {
                    Slot::Active(cell) => see(key, &cell.route, &cell.caller),
                    Slot::Passive(passive) => see(key, &passive.route, &passive.caller),
                }
            }
        }
    }

    /// Takes every session's far ends at servers that are forbidden to its owner.
    pub(super) fn unbind(
        &self,
        forbidden: impl Fn(&Caller, &ServerName) -> bool,
    ) -> Vec<BoundSlot> {
        let mut taken = Vec::new();
        let mut take = |caller: &Caller, bound: &mut Vec<(ServerName, BoundSlot)>| {
            let known = taken.len();
            taken.extend(bound.extract_if(.., |(server, _)| forbidden(caller, server)));
            taken.len() > known
        };
        for shard in &self.shards {
            for slot in shard.lock().values_mut() {
                match slot {
                    Slot::Active(cell) => {
                        if take(&cell.caller, &mut cell.bound.lock()) {
                            cell.actor.unbound();
                        }
                    }
                    Slot::Passive(passive) => {
                        take(&passive.caller, &mut passive.bound);
                    }
                }
            }
        }
        taken.into_iter().map(|(_, slot)| slot).collect()
    }

    /// Visits every session: key, name, route, caller, state, time idle, and the cell when it is awake.
    pub(super) fn visit(&self, now: Instant, mut see: impl FnMut(Seen<'_>)) {
        for shard in &self.shards {
            for (key, slot) in &*shard.lock() {
                match slot {
                    Slot::Active(cell) => see(Seen {
                        key,
                        name: &cell.name,
                        route: &cell.route,
                        caller: &cell.caller,
                        state: &cell.state.lock(),
                        idle: cell.idle(now),
                        calls: Some(cell.calls()),
                    }),
                    Slot::Passive(passive) => {
                        let decoded = bincode::serde::decode_from_slice::<State, _>(
                            &passive.state,
                            bincode::config::standard(),
                        );
                        let Ok((state, _)) = decoded else { continue };
                        see(Seen {
                            key,
                            name: &passive.name,
                            route: &passive.route,
                            caller: &passive.caller,
                            state: &state,
                            idle: now.duration_since(passive.used),
                            calls: None,
                        });
                    }
                }
            }
        }
    }
}

/// A session that was taken out, and its far ends.
#[derive(Debug)]
pub(super) struct Removed {
    /// Absent when it slept.
    pub(super) cell: Option<Arc<Cell>>,
    pub(super) bound: Vec<(ServerName, BoundSlot)>,
}

/// One session as a visitor sees it.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) key: &'a SessionKey,
    pub(super) name: &'a Arc<str>,
    pub(super) route: &'a Arc<str>,
    pub(super) caller: &'a Arc<Caller>,
    pub(super) state: &'a State,
    pub(super) idle: Duration,
    /// Calls in flight; `None` when it sleeps.
    pub(super) calls: Option<usize>,
}
