//! P7: a quota is never exceeded by more than its stated bound, whatever dies.

use super::world::{Order, Seen, run};
use crate::machine::quota::{Limit, RHO_PER_MILLE};

/// Runs of an ordinary test; `LOCKGATE_QUOTA_RUNS` says otherwise.
const N_RUNS: u64 = 2_000;

/// By how much the rate was exceeded in the worst of all intervals. Not above 0 when the bound holds.
fn rate_excess(seen: &Seen) -> f64 {
    let burst = seen.rates.iter().map(|(_, limit)| limit.capacity()).max();
    let burst = burst.unwrap_or(0) as f64;
    // Tokens that flow in up to some time, at the rate in force, on the fastest clock.
    let mut allowed = Allowed::new(seen);
    // The maximum over i <= j of (j - i + 1) - (allowed(j) - allowed(i)).
    let (mut best, mut worst) = (f64::MIN, f64::MIN);
    for (j, spent_us) in seen.rate_spent_us.iter().enumerate() {
        let allowed = allowed.at(*spent_us);
        best = best.max(allowed - j as f64);
        worst = worst.max((j + 1) as f64 - allowed + best);
    }
    worst - burst
}

/// Integral of the rate over time.
struct Allowed<'a> {
    rates: &'a [(u64, Limit)],
    at_us: u64,
    sum: f64,
}

impl<'a> Allowed<'a> {
    fn new(seen: &'a Seen) -> Self {
        Self {
            rates: &seen.rates,
            at_us: 0,
            sum: 0.0,
        }
    }

    /// Times must not go back.
    fn at(&mut self, now_us: u64) -> f64 {
        while let [(_, limit), rest @ ..] = self.rates {
            let until_us = rest
                .first()
                .map_or(now_us, |(from_us, _)| now_us.min(*from_us));
            if let Limit::Rate { amount, per_us, .. } = limit {
                let fastest = 1.0 + RHO_PER_MILLE as f64 / 1000.0;
                let dt = until_us.saturating_sub(self.at_us) as f64;
                self.sum += *amount as f64 / *per_us as f64 * fastest * dt;
            }
            self.at_us = self.at_us.max(until_us);
            if rest.is_empty() || until_us == now_us {
                break;
            }
            self.rates = rest;
        }
        self.sum
    }
}

/// By how much the budget was exceeded in the worst window.
fn budget_excess(seen: &Seen) -> i64 {
    let Some(Limit::Budget { amount, window_ms }) = seen.budgets.first().copied() else {
        return 0;
    };
    let mut windows = std::collections::BTreeMap::<u64, i64>::new();
    for spent_us in &seen.budget_spent_us {
        *windows.entry(spent_us / 1000 / window_ms).or_default() += 1;
    }
    let most = windows.into_values().max().unwrap_or(0);
    most - i64::try_from(amount).unwrap()
}

fn n_runs(default: u64) -> u64 {
    let runs = std::env::var("LOCKGATE_QUOTA_RUNS").ok();
    runs.and_then(|runs| runs.parse().ok()).unwrap_or(default)
}

fn first_seed() -> u64 {
    let seed = std::env::var("LOCKGATE_QUOTA_SEED").ok();
    seed.and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "figures for the report of the long suite"
)]
fn no_fault_lets_a_quota_exceed_its_bound() {
    let (mut n_spent, mut worst, mut n_commits_max) = (0, f64::MIN, 0.0_f64);
    for seed in first_seed()..first_seed() + n_runs(N_RUNS) {
        let seen = run(seed, Order::RefillFirst);
        let excess = rate_excess(&seen);
        let again = format!(
            "seed {seed}; repeat with LOCKGATE_QUOTA_SEED={seed} LOCKGATE_QUOTA_RUNS=1 cargo test -p lockgate-cluster \
             no_fault_lets_a_quota"
        );
        // Tokens are whole and sums are floats.
        assert!(excess <= 1e-6, "rate exceeded by {excess}: {again}");
        let excess_of_budget = budget_excess(&seen);
        assert!(
            excess_of_budget <= 0,
            "budget exceeded by {excess_of_budget}: {again}"
        );
        n_spent += seen.rate_spent_us.len() + seen.budget_spent_us.len();
        worst = worst.max(excess);
        let per_s = seen.n_commits as f64 / (seen.run_us as f64 / 1e6);
        n_commits_max = n_commits_max.max(per_s / seen.n_nodes as f64);
    }
    println!(
        "{} runs, {n_spent} tokens spent, worst excess {worst:.2}, at most {n_commits_max:.2} commits per node and second",
        n_runs(N_RUNS)
    );
    assert!(
        n_spent as u64 > 100 * n_runs(N_RUNS),
        "too little was spent to show anything"
    );
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "figures for the report of the long suite"
)]
fn reports_before_refill_are_caught() {
    let caught =
        (0..n_runs(N_RUNS)).find(|seed| rate_excess(&run(*seed, Order::ReportsFirst)) > 1e-6);
    println!(
        "caught by seed {}",
        caught.expect("the wrong order goes unnoticed")
    );
}
