//! The tenants of a run: what each may use, as the nodes are told and as the judge computes it.

use std::fmt::Write as _;
use std::time::Duration;

/// One tenant with one quota. Each has clients at every node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant {
    pub(super) name: &'static str,
    /// What its quota counts.
    pub(super) per: &'static str,
    pub(super) limit: Limit,
    /// Pause of each of its clients between two calls.
    pub(super) pause: Duration,
}

/// How much a tenant may use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// A token bucket.
    Rate { per_second: u64, burst: u64 },
    /// So many calls a day.
    Day { calls: u64 },
    /// So many thousandths of a dollar a day.
    Money { milli_usd: u64 },
}

/// What one call costs, in thousandths of a dollar.
pub(super) const COST_MILLI_USD: u64 = 10;

/// All tenants. The nodes divide the first among them; the second is too small for that, so the leader decides it. The
/// last two end within a run.
pub(super) const TENANTS: [Tenant; 4] = [
    Tenant {
        name: "large",
        per: "tenant",
        limit: Limit::Rate {
            per_second: 100,
            burst: 100,
        },
        pause: Duration::from_millis(8),
    },
    Tenant {
        name: "small",
        per: "principal",
        limit: Limit::Rate {
            per_second: 2,
            burst: 6,
        },
        pause: Duration::from_millis(150),
    },
    Tenant {
        name: "daily",
        per: "server",
        limit: Limit::Day { calls: 1_200 },
        pause: Duration::from_millis(50),
    },
    Tenant {
        name: "money",
        per: "tool",
        limit: Limit::Money { milli_usd: 5_000 },
        pause: Duration::from_millis(120),
    },
];

impl Tenant {
    /// Name of its quota in answers.
    pub(super) fn quota(&self) -> String {
        let (unit, window) = match self.limit {
            Limit::Rate { .. } => ("requests", "1s/rate"),
            Limit::Day { .. } => ("requests", "1d"),
            Limit::Money { .. } => ("cost", "1d"),
        };
        format!("{}/{}/{unit}/{window}", self.name, self.per)
    }

    /// Calls that a day has, unless it is a bucket.
    pub(super) fn budget(&self) -> Option<u64> {
        match self.limit {
            Limit::Rate { .. } => None,
            Limit::Day { calls } => Some(calls),
            Limit::Money { milli_usd } => Some(milli_usd / COST_MILLI_USD),
        }
    }
}

/// The tenants as the configuration has them, with `factor` times what the judge knows.
pub(super) fn config(factor: u64) -> Result<String, std::fmt::Error> {
    let mut text = "tenants:\n".to_owned();
    for Tenant {
        name, per, limit, ..
    } in &TENANTS
    {
        let limit = match limit {
            Limit::Rate { per_second, burst } => {
                let (rate, burst) = (per_second * factor, burst * factor);
                format!("requests: {rate}, window: 1s, burst: {burst}")
            }
            Limit::Day { calls } => format!("requests: {}, window: 1d", calls * factor),
            Limit::Money { milli_usd } => {
                let milli_usd = milli_usd * factor;
                let (dollars, rest) = (milli_usd / 1000, milli_usd % 1000);
                format!("cost_usd: {dollars}.{rest:03}, window: 1d")
            }
        };
        writeln!(text, "  {name}: {{ quotas: [{{ per: {per}, {limit} }}] }}")?;
    }
    Ok(text)
}
