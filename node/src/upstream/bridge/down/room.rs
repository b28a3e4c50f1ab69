//! Places and memory for calls that wait for their clients: so many for the node, and so many for each caller.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config;
use crate::seal::Sealer;
use crate::upstream::bridge::clock::Clock;
use crate::upstream::shared::Shared;

use super::digest::Digest;

/// Where the calls of one node wait that ask their clients something, whichever server asks.
#[derive(Debug)]
pub struct WaitingRoom {
    /// Seals what clients bring back.
    pub(super) sealer: Arc<Sealer>,
    pub(super) limits: config::Bridge,
    /// What time it is, for all that waits.
    pub(super) clock: Clock,
    used: Mutex<Used>,
    refused: AtomicU64,
    /// Whose calls wait here, by the life that their states name. One that was replaced is here until its last such
    /// call has ended.
    lives: Mutex<HashMap<u64, Weak<Shared>>>,
}

/// What is used of it, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Calls that wait.
    pub calls: usize,
    /// Bytes of what they ask.
    pub bytes: usize,
    /// Calls so far that found no room.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct Used {
    all: Share,
    callers: HashMap<Digest, Share>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    calls: usize,
    bytes: usize,
}

impl Share {
    fn has_room(self, bytes: usize, limit: Self) -> bool {
        self.calls < limit.calls && self.bytes.saturating_add(bytes) <= limit.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.calls += 1;
        self.bytes += bytes;
    }

    fn take_off(&mut self, bytes: usize) {
        self.calls -= 1;
        self.bytes -= bytes;
    }
}

/// Whose bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream::bridge) enum NoRoom {
    Caller,
    Node,
}

impl NoRoom {
    /// For the log, and for the server that wanted to ask.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "too many calls of this caller wait for their client",
            Self::Node => "too many calls wait for their clients",
        }
    }
}

/// One call's place, given back when this is dropped.
#[derive(Debug)]
pub(in crate::upstream::bridge) struct Seat {
    room: Arc<WaitingRoom>,
    caller: Digest,
    bytes: usize,
}

impl WaitingRoom {
    /// An empty one; `now_ms` is the time, in milliseconds since 1970.
    pub fn new(sealer: Arc<Sealer>, limits: config::Bridge, now_ms: u64) -> Self {
        Self {
            sealer,
            limits,
            clock: Clock::set_to(now_ms),
            used: Mutex::default(),
            refused: AtomicU64::new(0),
            lives: Mutex::default(),
        }
    }

    /// How long a call waits for its client.
    pub(in crate::upstream) fn wait(&self) -> Duration {
        self.limits.wait
    }

    /// A server begins to let calls wait.
    pub(super) fn open(&self, life: u64, server: &Arc<Shared>) {
        self.lives.lock().insert(life, Arc::downgrade(server));
    }

    /// It has ended.
    pub(super) fn close(&self, life: u64) {
        self.lives.lock().remove(&life);
    }

    /// Whose calls of this life are.
    pub(super) fn server(&self, life: u64) -> Option<Arc<Shared>> {
        self.lives.lock().get(&life)?.upgrade()
    }

    /// What is used of it.
    pub fn usage(&self) -> Waiting {
        let Share { calls, bytes } = self.used.lock().all;
        Waiting {
            calls,
            bytes,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Calls and bytes of each caller that has a place.
    #[cfg(test)]
    pub(super) fn usage_by_caller(&self) -> std::collections::BTreeMap<Digest, (usize, usize)> {
        let used = self.used.lock();
        let callers = used.callers.iter();
        callers
            .map(|(caller, share)| (*caller, (share.calls, share.bytes)))
            .collect()
    }

    /// A place for a call of `caller` that weighs so many bytes.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; it is counted.
    pub(super) fn seat(self: &Arc<Self>, caller: Digest, bytes: usize) -> Result<Seat, NoRoom> {
        let taken = self.take(caller, bytes);
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken.map(|()| Seat {
            room: Arc::clone(self),
            caller,
            bytes,
        })
    }

    /// What one caller may use, and what all may together.
    fn bounds(&self) -> (Share, Share) {
        let limits = &self.limits;
        let of_caller = Share {
            calls: limits.waiting_principal_max,
            bytes: limits.memory_principal_bytes_max,
        };
        let of_node = Share {
            calls: limits.waiting_max,
            bytes: limits.memory_bytes_max,
        };
        (of_caller, of_node)
    }

    fn resize(&self, caller: Digest, before: usize, bytes: usize) -> Result<(), NoRoom> {
        let (of_caller, of_node) = self.bounds();
        let mut used = self.used.lock();
        let Used { all, callers } = &mut *used;
        let mine = callers.entry(caller).or_default();
        let (mut all_after, mut mine_after) = (*all, *mine);
        all_after.take_off(before);
        mine_after.take_off(before);
        if bytes > before && !mine_after.has_room(bytes, of_caller) {
            return Err(NoRoom::Caller);
        }
        if bytes > before && !all_after.has_room(bytes, of_node) {
            return Err(NoRoom::Node);
        }
        all_after.add(bytes);
        mine_after.add(bytes);
        (*all, *mine) = (all_after, mine_after);
        Ok(())
    }

    fn take(&self, caller: Digest, bytes: usize) -> Result<(), NoRoom> {
        let (of_caller, of_node) = self.bounds();
        let mut used = self.used.lock();
        let mine = used.callers.get(&caller).copied().unwrap_or_default();
        if !mine.has_room(bytes, of_caller) {
            return Err(NoRoom::Caller);
        }
        if !used.all.has_room(bytes, of_node) {
            return Err(NoRoom::Node);
        }
        used.all.add(bytes);
        used.callers.entry(caller).or_default().add(bytes);
        Ok(())
    }
}

impl Seat {
    /// What waits here weighs so many bytes from now on.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing has changed then, and it is counted. Never when it is less than before.
    pub(in crate::upstream::bridge) fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let taken = self.room.resize(self.caller, self.bytes, bytes);
        match taken {
            Ok(()) => self.bytes = bytes,
            Err(_) => {
                self.room.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        taken
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut used = self.room.used.lock();
        used.all.take_off(self.bytes);
        if let Some(mine) = used.callers.get_mut(&self.caller) {
            mine.take_off(self.bytes);
            if mine.calls == 0 {
                used.callers.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lockgate_cluster::Keyring;

    use super::*;

    const ANN: Digest = [1; 32];
    const BOB: Digest = [2; 32];

    fn room() -> Arc<WaitingRoom> {
        let sealer = Sealer::new(&Keyring::generate().unwrap()).unwrap();
        let limits = config::Bridge {
            waiting_max: 3,
            waiting_principal_max: 2,
            memory_bytes_max: 100,
            memory_principal_bytes_max: 60,
            ..config::Bridge::default()
        };
        Arc::new(WaitingRoom::new(Arc::new(sealer), limits, 0))
    }

    fn check(taken: &[(Digest, usize)], next: (Digest, usize), expected: Result<(), NoRoom>) {
        let room = room();
        let seats: Vec<Seat> = taken
            .iter()
            .map(|(caller, bytes)| room.seat(*caller, *bytes).unwrap())
            .collect();
        let seen = room.seat(next.0, next.1).map(drop);
        assert_eq!(seen, expected, "{next:?} after {} others", taken.len());
        assert_eq!(room.usage().refused, u64::from(expected.is_err()));
        drop(seats);
        let used = room.used.lock();
        assert_eq!((used.all, used.callers.len()), (Share::default(), 0));
    }

    #[test]
    fn what_a_seat_holds_grows_within_the_same_bounds() {
        let room = room();
        let mut ann = room.seat(ANN, 10).unwrap();
        let bob = room.seat(BOB, 50).unwrap();
        for (bytes, expected, used) in [
            (50, Ok(()), 100),
            (51, Err(NoRoom::Node), 100),
            (61, Err(NoRoom::Caller), 100),
            (0, Ok(()), 50),
        ] {
            assert_eq!(ann.resize(bytes), expected, "{bytes}");
            assert_eq!(room.usage().bytes, used, "{bytes}");
        }
        drop((ann, bob));
        assert_eq!(room.usage().bytes + room.usage().calls, 0);
    }

    #[test]
    fn no_caller_takes_all_and_all_have_a_bound() {
        check(&[], (ANN, 60), Ok(()));
        check(&[], (ANN, 61), Err(NoRoom::Caller));
        check(&[(ANN, 40)], (ANN, 20), Ok(()));
        check(&[(ANN, 40)], (ANN, 21), Err(NoRoom::Caller));
        check(&[(ANN, 1), (ANN, 1)], (ANN, 1), Err(NoRoom::Caller));
        check(&[(ANN, 1), (ANN, 1)], (BOB, 1), Ok(()));
        check(&[(ANN, 1), (ANN, 1), (BOB, 1)], (BOB, 1), Err(NoRoom::Node));
        check(&[(ANN, 60)], (BOB, 41), Err(NoRoom::Node));
    }
}
