//! Who has used what: calls and cost by day, for people. Counted once, bounded in names and days.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command::UsageDelta;

/// Days that are kept, today included.
pub(super) const N_DAYS_MAX: usize = 35;
/// Names of one dimension that are told apart within a day. Further ones are counted together.
const N_NAMES_MAX: usize = 1024;
/// Name under which the others are counted together.
pub(crate) const OTHERS: &str = "*";
const DAY_MS: u64 = 86_400_000;

/// What usage is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Workspace.
    Tenant,
    /// Who called.
    Principal,
    /// Server that was called.
    Server,
    /// Tool that was called.
    Tool,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Principal, Self::Server, Self::Tool];
}

/// Calls and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls that were let through.
    pub requests: u64,
    /// Calls that were refused by a quota.
    pub limited: u64,
    /// What the calls cost, in millionths of a dollar.
    pub cost_micros: u64,
}

impl Usage {
    /// Adds another count to this one.
    pub fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.limited = self.limited.saturating_add(other.limited);
        self.cost_micros = self.cost_micros.saturating_add(other.cost_micros);
    }
}

/// Counts of one day, by dimension and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) by: BTreeMap<Dimension, BTreeMap<Arc<str>, Usage>>,
}

impl Day {
    fn add(&mut self, dimension: Dimension, name: &Arc<str>, usage: Usage) {
        // Not every call has a tenant or a tool.
        if name.is_empty() {
            return;
        }
        let names = self.by.entry(dimension).or_default();
        if let Some(counted) = names.get_mut(name) {
            counted.add(usage);
            return;
        }
        let name = if names.len() < N_NAMES_MAX {
            Arc::clone(name)
        } else {
            Arc::from(OTHERS)
        };
        names.entry(name).or_default().add(usage);
    }
}

/// Counts by day since 1970, in UTC. A clone shares all days but the one that changes next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UsageByDay {
    pub(super) days: BTreeMap<u64, Arc<Day>>,
}

impl UsageByDay {
    /// Counts calls at `wall_ms`.
    pub(super) fn count(&mut self, wall_ms: u64, deltas: &[UsageDelta]) {
        if deltas.is_empty() {
            return;
        }
        let day = Arc::make_mut(self.days.entry(wall_ms / DAY_MS).or_default());
        for delta in deltas {
            let usage = Usage {
                requests: delta.requests,
                limited: delta.limited,
                cost_micros: delta.cost_micros,
            };
            day.add(Dimension::Tenant, &delta.tenant, usage);
            day.add(Dimension::Principal, &delta.principal, usage);
            day.add(Dimension::Server, &delta.server, usage);
            day.add(Dimension::Tool, &delta.tool, usage);
        }
        while self.days.len() > N_DAYS_MAX {
            self.days.pop_first();
        }
    }

    /// What was counted by `dimension` over the last `n_days` days before and with `wall_ms`.
    pub(super) fn sum(
        &self,
        dimension: Dimension,
        wall_ms: u64,
        n_days: u64,
    ) -> BTreeMap<Arc<str>, Usage> {
        let today = wall_ms / DAY_MS;
        let first = (today + 1).saturating_sub(n_days);
        let mut all = BTreeMap::<Arc<str>, Usage>::new();
        for day in self
            .days
            .range(first..=today.max(first))
            .map(|(_, day)| day)
        {
            for (name, usage) in day.by.get(&dimension).into_iter().flatten() {
                all.entry(Arc::clone(name)).or_default().add(*usage);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(principal: &str) -> UsageDelta {
        UsageDelta {
            tenant: "acme".into(),
            principal: principal.into(),
            server: "s".into(),
            tool: "s_t".into(),
            requests: 1,
            limited: 0,
            cost_micros: 10,
        }
    }

    #[test]
    fn a_call_is_counted_in_every_dimension() {
        let mut usage = UsageByDay::default();
        usage.count(0, &[call("a"), call("b")]);
        usage.count(DAY_MS, &[call("a")]);
        let requests = |dimension, n_days| -> Vec<(String, u64)> {
            let sum = usage.sum(dimension, DAY_MS, n_days);
            sum.into_iter()
                .map(|(name, usage)| (name.to_string(), usage.requests))
                .collect()
        };
        assert_eq!(
            requests(Dimension::Principal, 2),
            [("a".into(), 2), ("b".into(), 1)]
        );
        assert_eq!(requests(Dimension::Principal, 1), [("a".into(), 1)]);
        assert_eq!(requests(Dimension::Tool, 2), [("s_t".into(), 3)]);
        assert_eq!(requests(Dimension::Tenant, 9), [("acme".into(), 3)]);
    }

    #[test]
    fn names_and_days_are_bounded() {
        let mut usage = UsageByDay::default();
        let many: Vec<_> = (0..3000).map(|n| call(&n.to_string())).collect();
        usage.count(0, &many);
        let sum = usage.sum(Dimension::Principal, 0, 1);
        assert_eq!(sum.len(), N_NAMES_MAX + 1);
        assert_eq!(sum[OTHERS].requests, 3000 - N_NAMES_MAX as u64);
        for day in 0..100 {
            usage.count(day * DAY_MS, &[call("a")]);
        }
        assert_eq!(usage.days.len(), N_DAYS_MAX);
    }
}
