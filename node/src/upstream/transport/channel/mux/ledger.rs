//! What the sessions of a shared child want of it: one log level and one set of subscriptions for all.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Owner;

/// Log levels of MCP (RFC 5424), most verbose first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in super::super) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
        (Self::Error, "error"),
        (Self::Critical, "critical"),
        (Self::Alert, "alert"),
        (Self::Emergency, "emergency"),
    ];

    pub(super) fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(level, _)| level)
    }

    pub(super) fn as_str(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(level, _)| *level == self);
        found.map_or("debug", |(_, name)| name)
    }
}

/// What each attached session wants.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Wants {
    level: Option<Level>,
    listening: bool,
}

/// Wants of all attached sessions.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    owners: BTreeMap<Owner, Wants>,
    /// Who has which resource. Only what the server confirmed.
    subscribers: BTreeMap<Box<str>, BTreeSet<Owner>>,
    /// Level that the server was told last.
    level: Option<Level>,
}

impl Ledger {
    pub(super) fn attach(&mut self, owner: Owner) {
        self.owners.insert(owner, Wants::default());
    }

    /// Forgets a session. Gives the resources that nobody has any more, and the level to set now.
    pub(super) fn detach(&mut self, owner: Owner) -> (Vec<Box<str>>, Option<Level>) {
        self.owners.remove(&owner);
        for owners in self.subscribers.values_mut() {
            owners.remove(&owner);
        }
        let mut orphaned = Vec::new();
        self.subscribers.retain(|uri, owners| {
            if owners.is_empty() {
                orphaned.push(uri.clone());
            }
            !owners.is_empty()
        });
        (orphaned, self.level_to_set())
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = Owner> + '_ {
        self.owners.keys().copied()
    }

    pub(super) fn set_listening(&mut self, owner: Owner, listening: bool) {
        if let Some(wants) = self.owners.get_mut(&owner) {
            wants.listening = listening;
        }
    }

    pub(super) fn is_listening(&self, owner: Owner) -> bool {
        self.owners.get(&owner).is_some_and(|wants| wants.listening)
    }

    /// Notes a session's level. Gives the level to set, if the server's has to change.
    pub(super) fn want_level(&mut self, owner: Owner, level: Level) -> Option<Level> {
        self.owners.entry(owner).or_default().level = Some(level);
        self.level_to_set()
    }

    /// The server refused the level.
    pub(super) fn level_refused(&mut self, owner: Owner) {
        self.level = None;
        if let Some(wants) = self.owners.get_mut(&owner) {
            wants.level = None;
        }
    }

    fn level_to_set(&mut self) -> Option<Level> {
        let wanted = self.owners.values().filter_map(|wants| wants.level).min()?;
        if self.level == Some(wanted) {
            return None;
        }
        self.level = Some(wanted);
        self.level
    }

    /// Whether a session takes a log message. One that set no level takes what the server chose by itself; once
    /// another session has set a level nobody can tell what that was, and it takes `info` and above.
    pub(super) fn admits(&self, owner: Owner, level: Option<Level>) -> bool {
        let Some(level) = level.filter(|_| self.level.is_some()) else {
            return true;
        };
        let wanted = self.owners.get(&owner).and_then(|wants| wants.level);
        level >= wanted.unwrap_or(Level::Info)
    }

    pub(super) fn is_subscribed(&self, uri: &str) -> bool {
        self.subscribers.contains_key(uri)
    }

    pub(super) fn subscribe(&mut self, owner: Owner, uri: &str) {
        // An answer may come after its session went.
        if self.owners.contains_key(&owner) {
            let owners = self.subscribers.entry(uri.into()).or_default();
            owners.insert(owner);
        }
    }

    /// Whether others still have it, so that the server must not hear of it.
    pub(super) fn unsubscribe(&mut self, owner: Owner, uri: &str) -> bool {
        let Some(owners) = self.subscribers.get_mut(uri) else {
            return false;
        };
        owners.remove(&owner);
        if owners.is_empty() {
            self.subscribers.remove(uri);
            return false;
        }
        true
    }

    /// Who hears of a change of `uri`: those that subscribed it, or a resource that it is a part of
    /// (MCP 2025-11-25, "Subscriptions": the URI may be a sub-resource).
    pub(super) fn subscribers(&self, uri: &str) -> BTreeSet<Owner> {
        let concerned = self.subscribers.iter().filter(|(key, _)| covers(key, uri));
        concerned.flat_map(|(_, owners)| owners).copied().collect()
    }
}

fn covers(subscribed: &str, changed: &str) -> bool {
    let Some(rest) = changed.strip_prefix(subscribed) else {
        return false;
    };
    rest.is_empty() || subscribed.ends_with('/') || rest.starts_with(['/', '?', '#'])
}
