//! Health of the endpoints of one server. Pure part of [`super::core`].

use super::core::{Effect, Timer, backoff};

#[derive(Debug)]
pub(super) struct Checks {
    endpoints: Vec<Check>,
}

#[derive(Clone, Debug, Default)]
struct Check {
    /// Failures since it was last well; 0 while it is.
    failures: u32,
    under_way: bool,
    /// Whether one that passed has begun an attempt at the server, and neither has a catalog come since nor one failed.
    has_vouched: bool,
}

impl Checks {
    pub(super) fn new(endpoints: usize) -> Self {
        Self {
            endpoints: vec![Check::default(); endpoints],
        }
    }

    /// A call found nobody there.
    pub(super) fn on_refused(&mut self, endpoint: usize, effects: &mut Vec<Effect>) {
        if self
            .endpoints
            .get(endpoint)
            .is_some_and(|check| check.failures == 0)
        {
            self.fail(endpoint, effects);
        }
    }

    /// A check ended.
    pub(super) fn on_checked(&mut self, endpoint: usize, passed: bool, effects: &mut Vec<Effect>) {
        let Some(check) = self.endpoints.get_mut(endpoint) else {
            return;
        };
        check.under_way = false;
        if passed {
            check.failures = 0;
            effects.push(Effect::Health {
                endpoint,
                healthy: true,
            });
        } else {
            check.has_vouched = false;
            self.fail(endpoint, effects);
        }
        effects.push(Effect::Announce);
    }

    /// Whether that one has passed says something new of a server that gave no catalog. It does once.
    pub(super) fn vouch(&mut self, endpoint: usize) -> bool {
        let check = self.endpoints.get_mut(endpoint);
        check.is_some_and(|check| !std::mem::replace(&mut check.has_vouched, true))
    }

    /// A catalog came.
    pub(super) fn on_reached(&mut self) {
        for check in &mut self.endpoints {
            check.has_vouched = false;
        }
    }

    /// The wait of one that is down is over.
    pub(super) fn on_due(&mut self, endpoint: usize, effects: &mut Vec<Effect>) {
        if self
            .endpoints
            .get(endpoint)
            .is_some_and(|check| check.failures > 0)
        {
            self.start(endpoint, effects);
        }
    }

    /// A round of checks: `silent` has a bit for each endpoint that no call has proved alive. Those that are down have
    /// a timer of their own.
    pub(super) fn on_silence(&mut self, silent: u64, effects: &mut Vec<Effect>) {
        for endpoint in 0..self.endpoints.len().min(64) {
            if silent >> endpoint & 1 == 1 && self.endpoints[endpoint].failures == 0 {
                self.start(endpoint, effects);
            }
        }
    }

    /// A call waits: whoever is down is checked at once.
    pub(super) fn on_wanted(&mut self, effects: &mut Vec<Effect>) {
        for endpoint in 0..self.endpoints.len() {
            self.on_due(endpoint, effects);
        }
    }

    /// Whether nobody was found there last.
    pub(super) fn is_failing(&self, endpoint: usize) -> bool {
        let check = self.endpoints.get(endpoint);
        check.is_some_and(|check| check.failures > 0)
    }

    /// Whether nobody is anywhere.
    pub(super) fn all_failing(&self) -> bool {
        self.endpoints.iter().all(|check| check.failures > 0)
    }

    pub(super) fn any_under_way(&self) -> bool {
        self.endpoints.iter().any(|check| check.under_way)
    }

    fn start(&mut self, endpoint: usize, effects: &mut Vec<Effect>) {
        let check = &mut self.endpoints[endpoint];
        if !check.under_way {
            check.under_way = true;
            effects.push(Effect::Check(endpoint));
        }
    }

    fn fail(&mut self, endpoint: usize, effects: &mut Vec<Effect>) {
        let check = &mut self.endpoints[endpoint];
        check.failures = check.failures.saturating_add(1);
        effects.push(Effect::Health {
            endpoint,
            healthy: false,
        });
        effects.push(Effect::Arm(Timer::Check(endpoint), backoff(check.failures)));
    }
}
