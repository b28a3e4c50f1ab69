//! Life of one server. Pure: no clock, no channel, no actor; events in, effects out.
//!
//! ```text
//! Probing --[a catalog is there]---------> Up
//! Probing --[no answer, or no catalog]---> Down   tried again after 0.5 s x 2^n, at most 30 s, but not before a
//!                                                 breaker lets the catalog be asked for
//! Down    --[a catalog is there]---------> Up     however many of its probes were answered before
//! Up      --[no catalog can be fetched]--> Down
//! Up      --[nobody at any endpoint]-----> Down   until a check passes
//! ```
//!
//! To try is to probe for the eras and to fetch the catalog of each; a decreed era is fetched alone. Beside that, for
//! each era, its catalog is kept current, and for each endpoint, its health. A timer is named by what it is for; arming
//! it again replaces it.

use std::time::Duration;

use lockgate_proto::mcp::Era;
use tokio::time::Instant;

use crate::config::EraChoice;

use super::checks::Checks;
use super::keeper::Keeper;

/// First wait before a server that is down is tried again; doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two probes of a server that answers: its eras do not change more often.
const PROBE_INTERVAL_MIN: Duration = Duration::from_secs(5);

/// A verdict younger than this answers a call that wants the server: many calls must not become many attempts.
const VERDICT_FRESH: Duration = Duration::from_millis(100);

/// Wait after failure number `failures` (the first is 1).
pub(super) fn backoff(failures: u32) -> Duration {
    BACKOFF_MIN
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(BACKOFF_MAX)
}

/// What the core has to know of the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Which eras may be spoken.
    pub(super) era: EraChoice,
    /// How many endpoints.
    pub(super) endpoints: usize,
    /// Time between rounds of health checks.
    pub(super) check_interval: Duration,
    /// Time between looks at the eras of a server that is up.
    pub(super) probe_interval: Duration,
}

/// Which eras a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Eras {
    /// Up to 2025-11-25. `None`: not known yet.
    pub(super) session: Option<bool>,
    /// From 2026-07-28.
    pub(super) stateless: Option<bool>,
}

/// For log lines.
impl std::fmt::Display for Eras {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.session, self.stateless) {
            (Some(true), Some(true)) => "session and stateless",
            (Some(true), _) => "session",
            (_, Some(true)) => "stateless",
            _ => "none yet",
        })
    }
}

impl Eras {
    /// Of somebody who answers without a word of MCP.
    pub(super) const NONE: Self = Self {
        session: Some(false),
        stateless: Some(false),
    };

    /// Verdict on one era.
    pub(super) fn speaks(self, era: Era) -> Option<bool> {
        match era {
            Era::Session => self.session,
            Era::Stateless => self.stateless,
        }
    }

    /// Whether it speaks this era, and surely not the other.
    pub(super) fn speaks_only(self, era: Era) -> bool {
        let other = match era {
            Era::Session => Era::Stateless,
            Era::Stateless => Era::Session,
        };
        self.speaks(era) == Some(true) && self.speaks(other) == Some(false)
    }

    /// What the configuration decides alone.
    pub(super) fn decreed(choice: EraChoice) -> Self {
        let (session, stateless) = match choice {
            EraChoice::Auto => (None, None),
            EraChoice::Session => (Some(true), Some(false)),
            EraChoice::Stateless => (Some(false), Some(true)),
        };
        Self { session, stateless }
    }

    fn spoken(self) -> impl Iterator<Item = Era> {
        [Era::Session, Era::Stateless]
            .into_iter()
            .filter(move |era| self.speaks(*era) == Some(true))
    }
}

/// Whether the server can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is known yet.
    Probing,
    /// It gave a catalog when last asked.
    Up,
    /// It did not.
    Down,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// Probe again a server that is down.
    Probe,
    /// Probe again one that is up: nothing else ends a verdict under which all goes well.
    Reprobe,
    /// Fetch the catalog again.
    Fetch(Era),
    /// Check one endpoint again.
    Check(usize),
    /// Look for endpoints that have been silent.
    Health,
}

/// Everything that can happen to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The actor has started.
    Started,
    /// A probe ended; `None` when there was no answer.
    Probed(Option<Eras>),
    /// Fetching a catalog ended. `ttl` is how long it may be kept, if the server said so; `has_untold`: some of it may
    /// change without a word; `shut_for`: how long breakers let nobody ask again.
    Fetched {
        era: Era,
        done: bool,
        ttl: Option<Duration>,
        has_untold: bool,
        shut_for: Duration,
    },
    /// The server says that a list changed.
    ListChanged(Era),
    /// The stream that would tell of changes ended after `lasted`, or was never `offered`.
    ListenEnded {
        era: Era,
        offered: bool,
        lasted: Duration,
    },
    /// A call found nobody at an endpoint.
    Refused(usize),
    /// A health check ended.
    Checked { endpoint: usize, passed: bool },
    /// A call wants a server that is down.
    Wanted,
    /// There is reason to doubt the eras: a call was refused as if its era were unknown, or the server was restarted.
    ErasDoubted,
    /// A timer ran out. With [`Timer::Health`], `silent` has a bit for each endpoint without traffic.
    TimerOver { timer: Timer, silent: u64 },
}

/// What the actor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Find out the eras.
    Probe,
    /// Fetch the catalog; `anew` over a new session, as the old one is gone.
    Fetch { era: Era, anew: bool },
    /// Follow the stream that tells of changes.
    Listen(Era),
    /// Ask an endpoint whether anybody is there.
    Check(usize),
    /// Send [`Event::TimerOver`] after this time, and not before.
    Arm(Timer, Duration),
    /// Set the health of an endpoint, for all who choose one.
    Health { endpoint: usize, healthy: bool },
    /// Wake the calls that wait for a verdict.
    Announce,
}

/// State machine of one server.
#[derive(Debug)]
pub(super) struct Machine {
    settings: Settings,
    phase: Phase,
    eras: Eras,
    probing: bool,
    /// When the last probe ended, either way.
    probed_at: Option<Instant>,
    /// Whether a probe has ever found the eras.
    probed: bool,
    /// Whether the last probe found an era, and the endpoints have not gone silent since.
    answered: bool,
    verdict_at: Option<Instant>,
    /// Attempts in a row that brought no catalog.
    failures: u32,
    session: Keeper,
    stateless: Keeper,
    checks: Checks,
}

impl Machine {
    /// Knows nothing yet, except `eras` that an earlier actor has found out.
    pub(super) fn new(settings: Settings, eras: Eras) -> Self {
        Self {
            settings,
            phase: Phase::Probing,
            eras,
            probing: false,
            probed_at: None,
            probed: false,
            answered: false,
            verdict_at: None,
            failures: 0,
            session: Keeper::new(Era::Session),
            stateless: Keeper::new(Era::Stateless),
            checks: Checks::new(settings.endpoints),
        }
    }

    /// Whether it can be used.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Which eras it speaks.
    pub(super) fn eras(&self) -> Eras {
        self.eras
    }

    /// Whether the first attempt at everything has ended, either way.
    pub(super) fn is_settled(&self) -> bool {
        match self.phase {
            Phase::Probing => false,
            Phase::Down => true,
            Phase::Up => self.eras.spoken().all(|era| self.keeper(era).is_settled()),
        }
    }

    /// Takes one event; effects are appended in the order in which they are to be done.
    pub(super) fn on(&mut self, event: Event, now: Instant, effects: &mut Vec<Effect>) {
        match event {
            Event::Started => self.on_started(effects),
            Event::Probed(found) => self.on_probed(found, now, effects),
            Event::Fetched {
                era,
                done,
                ttl,
                has_untold,
                shut_for,
            } => {
                self.verdict_at = Some(now);
                let keeper = self.keeper_mut(era);
                if done {
                    keeper.on_fetched(ttl, has_untold, effects);
                } else {
                    keeper.on_unfetched(shut_for, effects);
                }
                self.on_fetched(era, shut_for, now, effects);
            }
            // Of an era that it has lost meanwhile, a late word.
            Event::ListChanged(era) if self.eras.speaks(era) == Some(false) => {}
            Event::ListChanged(era) => self.keeper_mut(era).on_changed(effects),
            Event::ListenEnded {
                era,
                offered,
                lasted,
            } => self
                .keeper_mut(era)
                .on_listen_ended(offered, lasted, effects),
            Event::Refused(endpoint) => {
                self.checks.on_refused(endpoint, effects);
                self.look_at_checks();
            }
            Event::Checked { endpoint, passed } => {
                self.verdict_at = Some(now);
                let is_back = passed && self.checks.is_failing(endpoint);
                self.checks.on_checked(endpoint, passed, effects);
                self.look_at_checks();
                if passed && self.phase == Phase::Down {
                    // Of a server that answers, and yet gives no catalog, it says nothing new.
                    if !self.answered && self.checks.vouch(endpoint) {
                        self.retry(effects);
                    }
                } else if is_back {
                    // It may have come back as another.
                    self.on_eras_doubted(now, effects);
                }
            }
            Event::Wanted => self.on_wanted(now, effects),
            Event::ErasDoubted => self.on_eras_doubted(now, effects),
            Event::TimerOver { timer, silent } => self.on_timer(timer, silent, effects),
        }
    }

    fn on_started(&mut self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Arm(Timer::Health, self.settings.check_interval));
        self.retry(effects);
    }

    /// Tries to reach the server: by a probe, or at once by what the configuration decrees.
    fn retry(&mut self, effects: &mut Vec<Effect>) {
        match self.settings.era {
            // It is being tried: its catalog is under way.
            EraChoice::Auto if self.answered && self.is_fetching() => {}
            EraChoice::Auto => self.probe(effects),
            EraChoice::Session => self.session.fetch(effects),
            EraChoice::Stateless => self.stateless.fetch(effects),
        }
    }

    fn probe(&mut self, effects: &mut Vec<Effect>) {
        if !self.probing {
            self.probing = true;
            effects.push(Effect::Probe);
        }
    }

    fn on_probed(&mut self, found: Option<Eras>, now: Instant, effects: &mut Vec<Effect>) {
        self.probing = false;
        self.probed_at = Some(now);
        self.verdict_at = Some(now);
        self.answered = found.is_some_and(|eras| eras.spoken().next().is_some());
        match found {
            // It is up when its catalog is there.
            Some(eras) if self.answered => {
                self.probed = true;
                self.eras = eras;
                for era in eras.spoken() {
                    self.keeper_mut(era).fetch(effects);
                }
            }
            // An answer without any era is as useless as no answer, but it is a verdict.
            Some(eras) => {
                self.eras = eras;
                self.go_down(Duration::ZERO, effects);
            }
            // Silence is no evidence against what was found before, and a catalog under way decides by itself.
            None if self.probed && (self.phase == Phase::Up || self.is_fetching()) => {}
            None => self.go_down(Duration::ZERO, effects),
        }
        if self.answered || self.phase != Phase::Down {
            effects.push(Effect::Arm(Timer::Reprobe, self.settings.probe_interval));
        }
        effects.push(Effect::Announce);
    }

    /// Tried again not before `shut_for` is over: until then nobody could ask for a catalog.
    fn go_down(&mut self, shut_for: Duration, effects: &mut Vec<Effect>) {
        self.phase = Phase::Down;
        self.failures = self.failures.saturating_add(1);
        // Where the configuration decrees the era nothing is probed, and the keeper has a timer of its own.
        if self.settings.era == EraChoice::Auto {
            let wait = backoff(self.failures).max(shut_for);
            effects.push(Effect::Arm(Timer::Probe, wait));
        }
    }

    /// One catalog is enough to be up; when none of them can be had the server is down.
    fn on_fetched(
        &mut self,
        era: Era,
        shut_for: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let is_reached = |era| {
            let keeper = self.keeper(era);
            // What was fetched before it went down says nothing of now.
            keeper.is_reached() && (self.phase == Phase::Up || !keeper.is_fetching())
        };
        let reached = self.eras.spoken().any(is_reached);
        // Of an era that it has lost meanwhile, a late word.
        let counts = self.eras.speaks(era) == Some(true);
        if reached {
            let was_down = std::mem::replace(&mut self.phase, Phase::Up) == Phase::Down;
            self.failures = 0;
            self.checks.on_reached();
            // What a timer of probes meant to do while it was down is still to be done.
            if was_down && self.answered {
                effects.push(Effect::Arm(Timer::Reprobe, self.settings.probe_interval));
            } else if was_down {
                self.on_eras_doubted(now, effects);
            }
        } else if counts && !self.is_fetching() {
            self.go_down(shut_for, effects);
        }
        effects.push(Effect::Announce);
    }

    /// Whether a catalog is under way.
    fn is_fetching(&self) -> bool {
        let mut spoken = self.eras.spoken();
        spoken.any(|era| self.keeper(era).is_fetching())
    }

    /// Without any endpoint a server is down. The checks have timers, and the first that passes begins anew: a server
    /// that was away may have come back as another.
    fn look_at_checks(&mut self) {
        if self.phase == Phase::Up && self.checks.all_failing() {
            self.phase = Phase::Down;
            self.answered = false;
        }
    }

    fn on_wanted(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let is_fresh = self
            .verdict_at
            .is_some_and(|at| now.saturating_duration_since(at) < VERDICT_FRESH);
        if is_fresh {
            effects.push(Effect::Announce);
            return;
        }
        self.checks.on_wanted(effects);
        if self.phase == Phase::Down {
            self.retry(effects);
        }
        let is_there = self.answered || self.phase == Phase::Up;
        let nothing_to_wait_for = is_there && !self.checks.any_under_way();
        if nothing_to_wait_for {
            effects.push(Effect::Announce);
        }
    }

    fn on_eras_doubted(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        // One that is down is probed until it is up.
        if self.settings.era != EraChoice::Auto || self.phase == Phase::Down {
            return;
        }
        let age = self.probed_at.map(|at| now.saturating_duration_since(at));
        let rest = age.map_or(Duration::ZERO, |age| PROBE_INTERVAL_MIN.saturating_sub(age));
        if rest.is_zero() {
            self.probe(effects);
        } else {
            // Too soon, but not to be forgotten.
            effects.push(Effect::Arm(Timer::Reprobe, rest));
        }
    }

    fn on_timer(&mut self, timer: Timer, silent: u64, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Probe if self.phase == Phase::Up => {}
            Timer::Probe => self.retry(effects),
            // One that is down is probed until it is up, and then this begins anew.
            Timer::Reprobe if self.phase == Phase::Down => {}
            Timer::Reprobe => self.probe(effects),
            Timer::Fetch(era) if self.eras.speaks(era) == Some(false) => {}
            // The next probe decides whether there is anybody to fetch it from.
            Timer::Fetch(_)
                if self.phase == Phase::Down && self.settings.era == EraChoice::Auto => {}
            Timer::Fetch(era) => self.keeper_mut(era).on_due(effects),
            Timer::Check(endpoint) => self.checks.on_due(endpoint, effects),
            Timer::Health => {
                self.checks.on_silence(silent, effects);
                effects.push(Effect::Arm(Timer::Health, self.settings.check_interval));
            }
        }
    }

    fn keeper(&self, era: Era) -> &Keeper {
        match era {
            Era::Session => &self.session,
            Era::Stateless => &self.stateless,
        }
    }

    fn keeper_mut(&mut self, era: Era) -> &mut Keeper {
        match era {
            Era::Session => &mut self.session,
            Era::Stateless => &mut self.stateless,
        }
    }
}

#[cfg(test)]
mod tests;
