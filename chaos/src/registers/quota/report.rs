//! What a run of quotas says.

use std::fmt::Write as _;

use serde::Serialize;

use super::judge::{Record, Sums};
use super::tenant::TENANTS;
use crate::invariant::Verdict;
use crate::report::print;

#[derive(Debug, Serialize)]
struct TenantLine {
    tenant: &'static str,
    quota: String,
    calls: usize,
    admitted: usize,
    refused: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct FaultLine {
    fault: &'static str,
    node: usize,
    lasted_ms: u64,
    /// From healing until every node answered.
    recovered_after_ms: u64,
    /// What showed that it happened.
    shown: Option<String>,
}

/// Result of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    holds: bool,
    /// Whether the nodes had a network of their own, whose ways could be cut.
    cuts: bool,
    commits_per_second_max: f64,
    tenants: Vec<TenantLine>,
    faults: Vec<FaultLine>,
    invariants: Vec<Verdict>,
}

impl Report {
    pub(super) fn new(seed: u64, cuts: bool, record: &Record, invariants: Vec<Verdict>) -> Self {
        let tenants = TENANTS.iter().enumerate().map(|(at, tenant)| {
            let Sums {
                calls,
                admitted,
                refused,
                failed,
            } = record.sums(at);
            TenantLine {
                tenant: tenant.name,
                quota: tenant.quota(),
                calls,
                admitted,
                refused,
                failed,
            }
        });
        let faults = record.faults.iter().map(|injected| FaultLine {
            fault: injected.fault.name(),
            node: injected.node + 1,
            lasted_ms: (injected.healed_us - injected.from_us) / 1000,
            recovered_after_ms: (injected.recovered_us - injected.healed_us) / 1000,
            shown: injected.shown.clone(),
        });
        Self {
            seed,
            holds: invariants.iter().all(|verdict| verdict.holds),
            cuts,
            commits_per_second_max: record.commits,
            tenants: tenants.collect(),
            faults: faults.collect(),
            invariants,
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            print(&(serde_json::to_string_pretty(self)? + "\n"));
        } else {
            print(&self.table()?);
        }
        Ok(())
    }

    fn table(&self) -> Result<String, std::fmt::Error> {
        let mut out = format!("seed {}\n", self.seed);
        if !self.cuts {
            out.push_str("left out for want of root, ip or nft: every cut between nodes\n");
        }
        writeln!(
            out,
            "\n{:<34}{:>8}{:>10}{:>9}{:>8}",
            "quota", "calls", "admitted", "refused", "failed"
        )?;
        for TenantLine {
            quota,
            calls,
            admitted,
            refused,
            failed,
            ..
        } in &self.tenants
        {
            writeln!(
                out,
                "{quota:<34}{calls:>8}{admitted:>10}{refused:>9}{failed:>8}"
            )?;
        }
        writeln!(
            out,
            "\n{:<18}{:>5}{:>10}{:>13}  shown by",
            "fault", "node", "lasts ms", "recovers ms"
        )?;
        for FaultLine {
            fault,
            node,
            lasted_ms,
            recovered_after_ms,
            shown,
        } in &self.faults
        {
            let shown = shown.as_deref().unwrap_or("NOTHING");
            writeln!(
                out,
                "{fault:<18}{node:>5}{lasted_ms:>10}{recovered_after_ms:>13}  {shown}"
            )?;
        }
        writeln!(out)?;
        for Verdict {
            letter,
            invariant,
            holds,
            seen,
        } in &self.invariants
        {
            let word = if *holds { "holds" } else { "BROKEN" };
            writeln!(out, "{letter}  {word:<8}{invariant}: {seen}")?;
        }
        Ok(out)
    }
}
