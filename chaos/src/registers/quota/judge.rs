//! What must hold of quotas, judged from what the clients were told and what the server executed.
//!
//! A call was admitted at some moment between its beginning, as its client saw it, and its execution, as the counting
//! server saw it; both are on one clock. So whatever began after `a` and was executed before `b` was admitted in
//! between, however long anything took on its way.

use std::collections::HashMap;

use super::super::fault::NODES;
use super::client::Outcome;
use super::fault::Injected;
use super::load::Call;
use super::tenant::{Limit, TENANTS, Tenant};
use crate::invariant::Verdict;

/// How much the rates of two clocks may differ, as the documentation has it.
const RHO: f64 = 0.05;
/// A node serves no longer than this without its cluster, by its lease.
const LEASE_US: u64 = 1_500_000;
/// A node holds no more than it uses in about this time, of which half as much again is conceded.
const PREFETCH_US: u64 = 4_000_000;
/// Most commits per second for quotas.
const COMMITS_MAX: f64 = 15.0;
/// What a bucket must let through after all faults, in percent of its rate.
const RECOVERED_PERCENT: u64 = 70;
/// That rate is taken over so long, and looked for from so many moments.
const WINDOW_US: u64 = 4_000_000;
const WINDOW_STEP_US: usize = 500_000;

/// Everything that is known of a run.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) calls: Vec<Call>,
    /// First execution of each key, in microseconds.
    pub(super) executed_us: HashMap<String, u64>,
    pub(super) faults: Vec<Injected>,
    /// Days in UTC that the run has touched.
    pub(super) days: u64,
    /// From the end of all faults to that of the run.
    pub(super) calm_us: (u64, u64),
    /// Most commits per second.
    pub(super) commits: f64,
}

/// A call that was executed.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    node: usize,
    from_us: u64,
    to_us: u64,
}

/// What one tenant did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) calls: usize,
    pub(super) admitted: usize,
    pub(super) refused: usize,
    pub(super) failed: usize,
}

impl Record {
    fn admitted(&self, tenant: usize) -> Vec<Admitted> {
        let calls = self.calls.iter().filter(|call| call.tenant == tenant);
        let admitted = calls.filter_map(|call| {
            Some(Admitted {
                node: call.node,
                from_us: call.began_us,
                to_us: *self.executed_us.get(&call.key)?,
            })
        });
        admitted.collect()
    }

    pub(super) fn sums(&self, tenant: usize) -> Sums {
        let mut sums = Sums {
            admitted: self.admitted(tenant).len(),
            ..Sums::default()
        };
        for call in self.calls.iter().filter(|call| call.tenant == tenant) {
            sums.calls += 1;
            match call.outcome {
                Outcome::Done => {}
                Outcome::Refused { .. } => sums.refused += 1,
                Outcome::Failed | Outcome::Wrong(_) => sums.failed += 1,
            }
        }
        sums
    }
}

/// Judges a run by every invariant but those that all runs of clusters have.
pub(super) fn judge(record: &Record) -> Vec<Verdict> {
    vec![
        bound(record),
        budgets(record),
        isolated(record),
        refusals(record),
        recovered(record),
        commits(record),
    ]
}

/// Q: what is let through never exceeds the bound of a bucket, in any interval.
fn bound(record: &Record) -> Verdict {
    let mut seen = Vec::new();
    let mut holds = true;
    for (at, tenant) in TENANTS.iter().enumerate() {
        let Limit::Rate { per_second, burst } = tenant.limit else {
            continue;
        };
        let excess = excess(&record.admitted(at), per_second, burst);
        holds &= excess <= 0.0;
        seen.push(format!("{} {excess:+.1}", tenant.name));
    }
    Verdict {
        letter: "Q",
        invariant: "in no interval T more than burst + 1.05 x rate x T are let through",
        holds,
        seen: seen.join(", "),
    }
}

/// By how many calls the worst interval is over the bound; below 0 when none is.
fn excess(admitted: &[Admitted], per_second: u64, burst: u64) -> f64 {
    let mut by_end = admitted.to_vec();
    by_end.sort_by_key(|one| one.to_us);
    let per_us = per_second as f64 * (1.0 + RHO) / 1e6;
    let mut worst = f64::NEG_INFINITY;
    for begin in admitted.iter().map(|one| one.from_us) {
        let mut n = 0_u64;
        for one in by_end.iter().filter(|one| one.from_us >= begin) {
            n += 1;
            let took_us = one.to_us.saturating_sub(begin);
            worst = worst.max(n as f64 - burst as f64 - per_us * took_us as f64);
        }
    }
    worst
}

/// W: a budget is spent at most once, and but for what dead nodes held it is spent.
fn budgets(record: &Record) -> Verdict {
    let mut seen = Vec::new();
    let mut holds = true;
    for (at, tenant) in TENANTS.iter().enumerate() {
        let Some(amount) = tenant.budget() else {
            continue;
        };
        let most = amount * record.days;
        let lost = held_max(tenant) * record.faults.len() as u64;
        let n = record.admitted(at).len() as u64;
        holds &= n <= most && n + lost >= amount;
        let least = amount.saturating_sub(lost);
        seen.push(format!("{} {n} of {least} to {most}", tenant.name));
    }
    Verdict {
        letter: "W",
        invariant: "a budget is let through once, less what nodes held that were lost",
        holds,
        seen: seen.join(", "),
    }
}

/// What one node may hold of a budget: its only client there calls no faster than it pauses.
fn held_max(tenant: &Tenant) -> u64 {
    let pause_us = u64::try_from(tenant.pause.as_micros()).unwrap_or(u64::MAX);
    PREFETCH_US * 3 / 2 / pause_us
}

/// E: a node without its cluster lets nothing through when its lease has ended, and the others go on.
fn isolated(record: &Record) -> Verdict {
    let (mut n_late, mut n_asked, mut n_silent) = (0, 0, 0);
    for injected in record.faults.iter().filter(|one| one.fault.isolates()) {
        let late = injected.from_us + LEASE_US..injected.healed_us;
        let at_it = |node: usize| node == injected.node;
        let calls = record.calls.iter();
        n_asked += calls
            .filter(|call| at_it(call.node) && late.contains(&call.began_us))
            .count();
        let all: Vec<_> = (0..TENANTS.len())
            .flat_map(|tenant| record.admitted(tenant))
            .collect();
        let within = |one: &&Admitted| late.contains(&one.from_us) && late.contains(&one.to_us);
        n_late += all
            .iter()
            .filter(within)
            .filter(|one| at_it(one.node))
            .count();
        let others = all.iter().filter(within).filter(|one| !at_it(one.node));
        n_silent += usize::from(others.count() == 0);
    }
    let n_cuts = record.faults.iter().filter(|one| one.fault.isolates());
    let n_cuts = n_cuts.count();
    Verdict {
        letter: "E",
        invariant: "an isolated node lets nothing through beyond its lease, the others do",
        // Without a network of the run's own no node was isolated.
        holds: n_late == 0 && n_silent == 0 && (n_asked > 0 || n_cuts == 0),
        seen: format!("{n_late} of {n_asked} calls at {n_cuts} isolated nodes"),
    }
}

/// A: what a quota refuses is refused by the right one, with 429 and a time, and not carried out.
fn refusals(record: &Record) -> Verdict {
    let (mut n_refused, mut wrong) = (0, Vec::new());
    for call in &record.calls {
        let is_executed = record.executed_us.contains_key(&call.key);
        match &call.outcome {
            Outcome::Done if is_executed => {}
            Outcome::Done => wrong.push(format!("{} was never executed", call.key)),
            Outcome::Refused { .. } if is_executed => {
                wrong.push(format!("{} was refused and executed", call.key));
            }
            Outcome::Refused { quota, .. } if *quota == TENANTS[call.tenant].quota() => {
                n_refused += 1;
            }
            Outcome::Refused { quota, .. } => wrong.push(format!("{} by {quota}", call.key)),
            Outcome::Failed => {}
            Outcome::Wrong(why) => wrong.push(format!("{}: {why}", call.key)),
        }
    }
    Verdict {
        letter: "A",
        invariant: "who is over a quota gets 429 with Retry-After, and nothing is carried out",
        holds: wrong.is_empty() && n_refused > 0,
        seen: match wrong.first() {
            Some(first) => format!("{} are not, first {first}", wrong.len()),
            None => format!("{n_refused} refused"),
        },
    }
}

/// R: after all faults the buckets give what their rate says: nothing is lost for good.
fn recovered(record: &Record) -> Verdict {
    let (from_us, to_us) = record.calm_us;
    let mut seen = Vec::new();
    let mut holds = true;
    for (at, tenant) in TENANTS.iter().enumerate() {
        let Limit::Rate { per_second, .. } = tenant.limit else {
            continue;
        };
        let admitted = record.admitted(at);
        let calls = record.calls.iter().filter(|call| call.tenant == at);
        let began_us: Vec<_> = calls.map(|call| call.began_us).collect();
        let windows = (from_us..to_us).step_by(WINDOW_STEP_US);
        let best = windows.map_while(|begin_us| {
            let window = begin_us..begin_us + WINDOW_US;
            (window.end <= to_us).then_some(())?;
            let asked = began_us.iter().filter(|at_us| window.contains(at_us));
            let due = per_second * WINDOW_US / 1_000_000;
            let due = due.min(asked.count() as u64);
            let n = admitted.iter().filter(|one| window.contains(&one.to_us));
            let n = n.count() as u64;
            Some(((n * 100).checked_div(due).unwrap_or(0), n, due))
        });
        let (percent, n, due) = best.max().unwrap_or_default();
        holds &= percent >= RECOVERED_PERCENT;
        seen.push(format!("{} {n} of {due}", tenant.name));
    }
    Verdict {
        letter: "R",
        invariant: "after all faults a bucket gives 70 % of its rate, if asked for, over 4 s",
        holds,
        seen: seen.join(", "),
    }
}

/// C: no commit per call.
fn commits(record: &Record) -> Verdict {
    Verdict {
        letter: "C",
        invariant: "quotas cost at most 15 commits per second",
        // None at all would mean that nobody has counted.
        holds: record.commits > 0.0 && record.commits <= COMMITS_MAX,
        seen: format!(
            "{:.1} in the worst ten seconds of {NODES} nodes",
            record.commits
        ),
    }
}

#[cfg(test)]
mod tests;
