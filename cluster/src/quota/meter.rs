//! Counts who has used what, until the next batch takes it along.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::{FixedState, RandomState};
use parking_lot::Mutex;

use crate::machine::quota::{OTHERS, Usage, UsageDelta};

/// Locks that the counts are spread over.
const N_TRAYS: usize = 16;
/// Combinations of principal and tool that one tray keeps apart between two batches. Further calls are counted together.
const N_NAMES_MAX: usize = 1024;
/// Counts after which a batch takes no further tray along.
const N_DELTAS: usize = 512;

/// Counts who has used what.
#[derive(Debug)]
pub struct Meter {
    trays: [Mutex<Tray>; N_TRAYS],
    hasher: RandomState,
    n_names: AtomicUsize,
}

/// Whom and what a call is counted for. Empty where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Caller<'a> {
    /// Where the principal belongs.
    pub tenant: &'a str,
    /// Who calls.
    pub principal: &'a str,
    /// Server that is called.
    pub server: &'a str,
    /// Tool that is called.
    pub tool: &'a str,
}

impl Caller<'_> {
    const OTHERS: Self = Self {
        tenant: OTHERS,
        principal: OTHERS,
        server: OTHERS,
        tool: OTHERS,
    };
}

/// Counts by the hash of the name, so that a count finds its place without making a name.
type Tray = HashMap<u64, UsageDelta, FixedState>;

impl Meter {
    /// Counts calls: what was let through, refused by a quota, and what it cost.
    pub fn count(&self, caller: Caller<'_>, usage: Usage) {
        let hash = self.hasher.hash_one(caller);
        #[allow(clippy::cast_possible_truncation, reason = "any bits will do")]
        let mut tray = self.trays[hash as usize % N_TRAYS].lock();
        if let Some(delta) = tray.get_mut(&hash)
            && is_of(delta, caller)
        {
            return add(delta, usage);
        }
        // Two names with one hash, or too many names: counted, but not apart.
        let (hash, caller) = if tray.len() < N_NAMES_MAX && !tray.contains_key(&hash) {
            (hash, caller)
        } else {
            (0, Caller::OTHERS)
        };
        let delta = tray.entry(hash).or_insert_with(|| {
            self.n_names.fetch_add(1, Ordering::Relaxed);
            UsageDelta {
                tenant: caller.tenant.into(),
                principal: caller.principal.into(),
                server: caller.server.into(),
                tool: caller.tool.into(),
                ..UsageDelta::default()
            }
        });
        add(delta, usage);
    }

    /// Whether nothing was counted since it was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.n_names.load(Ordering::Relaxed) == 0
    }

    /// Takes what was counted; the rest, if that is a lot, stays for the next time.
    pub(super) fn take(&self) -> Vec<UsageDelta> {
        let mut deltas = Vec::new();
        for tray in &self.trays {
            if deltas.len() >= N_DELTAS {
                break;
            }
            let taken = std::mem::take(&mut *tray.lock());
            self.n_names.fetch_sub(taken.len(), Ordering::Relaxed);
            deltas.extend(taken.into_values());
        }
        deltas
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            trays: Default::default(),
            hasher: RandomState::default(),
            n_names: AtomicUsize::new(0),
        }
    }
}

fn is_of(delta: &UsageDelta, caller: Caller<'_>) -> bool {
    *delta.principal == *caller.principal
        && *delta.tool == *caller.tool
        && *delta.tenant == *caller.tenant
        && *delta.server == *caller.server
}

fn add(delta: &mut UsageDelta, usage: Usage) {
    delta.requests += usage.requests;
    delta.limited += usage.limited;
    delta.cost_micros = delta.cost_micros.saturating_add(usage.cost_micros);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_taken_once() {
        let meter = Meter::default();
        let caller = |principal| Caller {
            tenant: "acme",
            principal,
            server: "s",
            tool: "s_t",
        };
        let one = Usage {
            requests: 1,
            limited: 0,
            cost_micros: 7,
        };
        meter.count(caller("a"), one);
        meter.count(caller("a"), one);
        meter.count(caller("b"), one);
        let mut taken = meter.take();
        taken.sort_by_key(|delta| delta.requests);
        let counts: Vec<_> = taken
            .iter()
            .map(|delta| (&*delta.principal, delta.requests, delta.cost_micros))
            .collect();
        assert_eq!(counts, [("b", 1, 7), ("a", 2, 14)]);
        assert!(meter.is_empty() && meter.take().is_empty());
    }

    #[test]
    fn more_names_than_are_kept_lose_no_call() {
        let meter = Meter::default();
        for n in 0..50_000 {
            let principal = n.to_string();
            let caller = Caller {
                principal: &principal,
                ..Caller::default()
            };
            let one = Usage {
                requests: 1,
                ..Usage::default()
            };
            meter.count(caller, one);
        }
        let (mut n_calls, mut n_names) = (0, 0);
        while !meter.is_empty() {
            for delta in meter.take() {
                n_calls += delta.requests;
                n_names += 1;
            }
        }
        assert_eq!(n_calls, 50_000);
        assert!(n_names <= N_TRAYS * (N_NAMES_MAX + 1), "{n_names}");
    }
}
