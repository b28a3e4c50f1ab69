//! What the gateway has to know of a session that it owns to go on with it, as data. No channel, no clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::Key;
use super::level::Level;

/// What is known of one session. Its owner says what time it is, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Whose session it is.
    pub(super) key: Key,
    /// Number of its last request. None is given twice, wherever the session goes on: it is the progress token, too.
    last: u64,
    /// From which level on the server was asked to log; `None` while nothing was said about that.
    level: Option<Level>,
    /// Whether it does one call at a time.
    pub(super) has_turns: bool,
    /// Whether a question of the server says by its stream which call it is about.
    pub(super) asks_in_place: bool,
    /// Listens of each resource that the server was asked to tell of.
    subscriptions: BTreeMap<String, usize>,
    /// When it was used last.
    used_ms: u64,
}

impl Account {
    /// Of a session that begins now.
    pub(super) fn new(key: Key, has_turns: bool, asks_in_place: bool, now_ms: u64) -> Self {
        Self {
            key,
            last: 0,
            level: None,
            has_turns,
            asks_in_place,
            subscriptions: BTreeMap::new(),
            used_ms: now_ms,
        }
    }

    /// A number that no request of this session had before.
    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// It is in use.
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.used_ms = self.used_ms.max(now_ms);
    }

    /// When it was used last.
    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms
    }

    /// Whether the server has to be asked to say more, for somebody to hear all from `wanted` on.
    pub(super) fn says_too_little(&self, wanted: Level) -> bool {
        self.level.is_none_or(|level| wanted < level)
    }

    /// The server logs from this level on.
    pub(super) fn note_level(&mut self, level: Level) {
        self.level = Some(level);
    }

    /// One listener more. Whether it is the first, for whom the server has to be asked.
    pub(super) fn subscribe(&mut self, uri: &str) -> bool {
        if let Some(n) = self.subscriptions.get_mut(uri) {
            *n += 1;
            return false;
        }
        self.subscriptions.insert(uri.to_owned(), 1);
        true
    }

    /// The server does not tell of it: nobody listens to it.
    pub(super) fn forget_subscription(&mut self, uri: &str) {
        self.subscriptions.remove(uri);
    }

    /// One listener less. Whether it was the last, for whom the server has to be told.
    pub(super) fn unsubscribe(&mut self, uri: &str) -> bool {
        let Some(n) = self.subscriptions.get_mut(uri) else {
            return false;
        };
        *n = n.saturating_sub(1);
        let is_last = *n == 0;
        if is_last {
            self.subscriptions.remove(uri);
        }
        is_last
    }
}

#[cfg(test)]
mod tests;
