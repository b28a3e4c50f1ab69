//! Whose each task is, and until when it is known, as data. No channel, no clock.
//!
//! ```text
//! entered ──► open ──► told ─┬─ so long after its client was told how it has ended ─► forgotten
//!               │            └─ at once, where another needs the place ─────────────► forgotten
//!               └─ nobody asks for it in a long time ───────────────────────────────► forgotten
//! ```
//! Every task is taken out once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::digest::Digest;

/// A task that nobody asks for is forgotten after this; its session may end then. Servers tell of lifetimes of minutes.
const IDLE_MS_MAX: u64 = 3_600_000;
/// A task that has ended is forgotten so long after its client was told how: it may ask again, where the answer was
/// lost on its way.
const TOLD_MS_MAX: u64 = 60_000;
/// Digits of the life at the beginning of every id.
const LIFE_DIGITS: usize = 16;

/// Tasks by number. Its owner says what time it is, in milliseconds since 1970, and keeps what they run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    /// Names the server here: ids of another life are nobody's. A book that moves takes its own with it.
    life: u64,
    last: u64,
    entries: BTreeMap<u64, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Tenant, principal and route of whoever began it.
    owner: Digest,
    /// When its client asked for it last.
    used_ms: u64,
    /// When its client was told how it has ended.
    told_ms: Option<u64>,
}

impl Entry {
    fn is_over(&self, now_ms: u64) -> bool {
        // A clock that is behind the one of the node before makes nothing older.
        let is_past = |since_ms: u64, max_ms| now_ms.saturating_sub(since_ms) >= max_ms;
        let is_told = self.told_ms.is_some_and(|told| is_past(told, TOLD_MS_MAX));
        is_told || is_past(self.used_ms, IDLE_MS_MAX)
    }
}

impl Book {
    /// Without tasks; `life` is random.
    pub(super) fn new(life: u64) -> Self {
        Self {
            life,
            last: 0,
            entries: BTreeMap::new(),
        }
    }

    /// The life that an id names.
    pub(super) fn life_of(id: &str) -> Option<u64> {
        let (life, _) = id.split_at_checked(LIFE_DIGITS)?;
        u64::from_str_radix(life, 16).ok()
    }

    /// A task of `owner` has begun. Gives its number, which no other had before.
    pub(super) fn enter(&mut self, owner: Digest, now_ms: u64) -> u64 {
        self.last += 1;
        let entry = Entry {
            owner,
            used_ms: now_ms,
            told_ms: None,
        };
        self.entries.insert(self.last, entry);
        self.last
    }

    /// The task `n` as clients know it.
    pub(super) fn id(&self, n: u64) -> String {
        format!("{:0LIFE_DIGITS$x}{n:x}", self.life)
    }

    /// Number of the task that `owner` knows by this id, which is in use again.
    pub(super) fn find(&mut self, id: &str, owner: &Digest, now_ms: u64) -> Option<u64> {
        let (_, n) = id.split_at_checked(LIFE_DIGITS)?;
        let n = u64::from_str_radix(n, 16).ok()?;
        // Another spelling is another id.
        let is_own = self.id(n) == id;
        let entry = self.entries.get_mut(&n).filter(|_| is_own)?;
        if entry.owner != *owner {
            return None;
        }
        entry.used_ms = entry.used_ms.max(now_ms);
        Some(n)
    }

    /// The client of a task was told how it has ended. Only the first time counts.
    pub(super) fn note_told(&mut self, n: u64, now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(&n) {
            entry.told_ms.get_or_insert(now_ms);
        }
    }

    /// Takes out the task whose end was told first, of `owner` alone or of all: another needs its place.
    pub(super) fn make_room(&mut self, owner: Option<&Digest>) -> Option<u64> {
        let is_meant = |entry: &Entry| owner.is_none_or(|owner| entry.owner == *owner);
        let told = self.entries.iter();
        let told = told.filter_map(|(n, entry)| {
            let told_ms = entry.told_ms.filter(|_| is_meant(entry))?;
            Some((told_ms, *n))
        });
        let (_, n) = told.min()?;
        self.remove(n);
        Some(n)
    }

    /// Takes out the tasks that nobody has asked for in a long time, and those that have ended.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<u64> {
        let over = self
            .entries
            .extract_if(.., |_, entry| entry.is_over(now_ms));
        over.map(|(n, _)| n).collect()
    }

    /// Takes out one.
    pub(super) fn remove(&mut self, n: u64) {
        self.entries.remove(&n);
    }

    /// Takes out all.
    pub(super) fn clear(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.entries).into_keys().collect()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether every task has ended, as far as its client has asked.
    pub(super) fn are_all_told(&self) -> bool {
        self.entries.values().all(|entry| entry.told_ms.is_some())
    }

    /// Whose each task is, by number.
    #[cfg(test)]
    pub(super) fn owners(&self) -> impl Iterator<Item = (u64, &Digest)> {
        let entries = self.entries.iter();
        entries.map(|(n, entry)| (*n, &entry.owner))
    }
}

#[cfg(test)]
mod tests;
