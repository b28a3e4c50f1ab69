//! Keeps the catalog of one era current. Pure part of [`super::core`].
//!
//! Told of a change it waits a moment (several come at once), then fetches everything again. Where the server offers no
//! stream that tells, or lists what no stream tells of, it fetches again when the time to live is over.

use std::time::Duration;

use lockgate_proto::mcp::Era;

use super::core::{Effect, Event, Timer, backoff};

/// Changes within this time lead to one fetch.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Life of a catalog about which the server says nothing.
const TTL_DEFAULT: Duration = Duration::from_secs(60);
/// Shortest life that we believe: a server that says 0 means "do not cache", not "ask all the time".
const TTL_MIN: Duration = Duration::from_secs(5);
/// A stream that lasted this long and then ended was well.
const LASTED_WELL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Keeper {
    era: Era,
    /// A fetch is under way.
    fetching: bool,
    /// A change was told while it was.
    dirty: bool,
    /// The session, or the last discovery, still holds.
    connected: bool,
    /// The server offers no stream that tells of changes.
    untold: bool,
    /// It lists something whose changes no stream tells of.
    has_untold: bool,
    /// The first fetch has ended, either way.
    settled: bool,
    /// The last fetch succeeded.
    reached: bool,
    ttl: Duration,
    failures: u32,
    drops: u32,
}

impl Keeper {
    pub(super) fn new(era: Era) -> Self {
        Self {
            era,
            fetching: false,
            dirty: false,
            connected: false,
            untold: false,
            has_untold: false,
            settled: false,
            reached: false,
            ttl: TTL_DEFAULT,
            failures: 0,
            drops: 0,
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    pub(super) fn is_reached(&self) -> bool {
        self.reached
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.fetching
    }

    /// Fetches now, unless it does already.
    pub(super) fn fetch(&mut self, effects: &mut Vec<Effect>) {
        if !self.fetching {
            self.fetching = true;
            self.dirty = false;
            effects.push(Effect::Fetch {
                era: self.era,
                anew: !self.connected,
            });
        }
    }

    /// The timer of the next fetch ran out.
    pub(super) fn on_due(&mut self, effects: &mut Vec<Effect>) {
        self.fetch(effects);
    }

    /// Nobody is let ask again before `shut_for` is over.
    pub(super) fn on_unfetched(&mut self, shut_for: Duration, effects: &mut Vec<Effect>) {
        self.fetching = false;
        self.settled = true;
        self.reached = false;
        self.connected = false;
        self.failures = self.failures.saturating_add(1);
        self.arm(backoff(self.failures).max(shut_for), effects);
    }

    pub(super) fn on_fetched(
        &mut self,
        ttl: Option<Duration>,
        has_untold: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.fetching = false;
        self.settled = true;
        self.reached = true;
        self.failures = 0;
        self.ttl = ttl.unwrap_or(TTL_DEFAULT).max(TTL_MIN);
        self.has_untold = has_untold;
        if !self.connected {
            self.connected = true;
            self.untold = false;
            effects.push(Effect::Listen(self.era));
        }
        if self.dirty {
            self.arm(DEBOUNCE, effects);
        } else if self.untold || self.has_untold {
            self.arm(self.ttl, effects);
        }
    }

    pub(super) fn on_changed(&mut self, effects: &mut Vec<Effect>) {
        if self.fetching {
            self.dirty = true;
        } else if !self.dirty {
            self.dirty = true;
            self.arm(DEBOUNCE, effects);
        }
    }

    pub(super) fn on_listen_ended(
        &mut self,
        offered: bool,
        lasted: Duration,
        effects: &mut Vec<Effect>,
    ) {
        if !offered {
            self.untold = true;
            if !self.fetching {
                self.arm(self.ttl, effects);
            }
            return;
        }
        self.connected = false;
        self.drops = if lasted >= LASTED_WELL {
            1
        } else {
            self.drops.saturating_add(1)
        };
        if !self.fetching {
            self.arm(backoff(self.drops), effects);
        }
    }

    fn arm(&self, after: Duration, effects: &mut Vec<Effect>) {
        effects.push(Effect::Arm(Timer::Fetch(self.era), after));
    }
}

impl Event {
    /// A catalog could not be fetched.
    pub(super) fn unfetched(era: Era, shut_for: Duration) -> Self {
        Self::Fetched {
            era,
            done: false,
            ttl: None,
            has_untold: false,
            shut_for,
        }
    }
}
