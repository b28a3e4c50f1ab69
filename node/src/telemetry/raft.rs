//! Writes what the replicating engine measures about itself.

use super::exposition::{Exposition, Kind};
use super::gauges::{LatencyGauge, RaftGauges};
use super::histogram::Reading;
use super::names;

pub(super) fn render(out: &mut Exposition, raft: &RaftGauges) {
    let gauges: [(&'static str, &str, u64); 13] = [
        (names::RAFT_TERM, "Term of the cluster.", raft.term),
        (
            names::RAFT_IS_LEADER,
            "Whether this node leads, and a quorum follows it.",
            raft.leads.into(),
        ),
        (
            names::RAFT_HAS_LEADER,
            "Whether this node knows a leader.",
            raft.has_leader.into(),
        ),
        (
            names::RAFT_LEASE,
            "Whether this node may serve.",
            raft.lease.into(),
        ),
        (
            names::RAFT_VOTERS,
            "Members with a vote.",
            raft.voters as u64,
        ),
        (
            names::RAFT_LEARNERS,
            "Members without a vote.",
            raft.learners as u64,
        ),
        (
            names::RAFT_SILENT,
            "Members that do not answer this node, if it leads.",
            raft.silent as u64,
        ),
        (
            names::RAFT_LAST_LOG,
            "Index of the last entry of the log.",
            raft.last_log,
        ),
        (
            names::RAFT_COMMIT,
            "Index up to which the log is committed.",
            raft.committed,
        ),
        (
            names::RAFT_APPLY,
            "Index up to which the log is applied.",
            raft.applied,
        ),
        (
            names::RAFT_DIVERGENCE,
            "Members whose state is another than this node's.",
            raft.divergence as u64,
        ),
        (
            names::RAFT_SNAPSHOT,
            "Index of the last entry in the newest snapshot.",
            raft.snapshot,
        ),
        (
            names::RAFT_SNAPSHOT_BYTES,
            "Size of the newest snapshot.",
            raft.snapshot_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        out.family(name, Kind::Gauge, help);
        out.sample(&[], value);
    }
    clock(out, raft);
    latencies(out, raft);
}

fn clock(out: &mut Exposition, raft: &RaftGauges) {
    let behind = "How far the latest time in the log is ahead of this node's clock.";
    out.family(names::RAFT_CLOCK_BEHIND, Kind::Gauge, behind);
    let us = u64::try_from(raft.clock_behind.as_micros()).unwrap_or(u64::MAX);
    out.sample(&[], seconds(us));
}

fn latencies(out: &mut Exposition, raft: &RaftGauges) {
    let append = "Time from handing entries to the log until they are on the disk.";
    out.family(names::RAFT_APPEND, Kind::Histogram, append);
    latency(out, &raft.append, raft.bounds_us);
    let sync = "Time of one write of the log with its sync.";
    out.family(names::RAFT_FSYNC, Kind::Histogram, sync);
    latency(out, &raft.sync, raft.bounds_us);
}

fn latency(out: &mut Exposition, latency: &LatencyGauge, bounds_us: &[u64]) {
    let mut count = 0;
    let mut cumulative = Vec::new();
    for (bound, n) in bounds_us.iter().zip(&latency.counts) {
        count += n;
        cumulative.push((seconds(*bound), count));
    }
    count += latency.counts.get(bounds_us.len()).copied().unwrap_or(0);
    let buckets = cumulative.iter().map(|(le, n)| (&**le, *n));
    out.histogram(
        &[],
        &Reading {
            cumulative: buckets.collect(),
            count,
            sum: seconds(latency.sum_us),
        },
    );
}

/// Exact, without what a floating-point number would add.
pub(super) fn seconds(us: u64) -> String {
    let fraction = format!("{:06}", us % 1_000_000);
    match fraction.trim_end_matches('0') {
        "" => (us / 1_000_000).to_string(),
        fraction => format!("{}.{fraction}", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn microseconds_become_seconds_exactly() {
        for (us, text) in [
            (0, "0"),
            (50, "0.00005"),
            (1_600, "0.0016"),
            (2_000_000, "2"),
        ] {
            assert_eq!(seconds(us), text);
        }
    }

    #[test]
    fn buckets_add_up() {
        let raft = RaftGauges {
            bounds_us: &[50, 100],
            sync: LatencyGauge {
                counts: vec![1, 2, 3],
                sum_us: 1_500,
            },
            clock_behind: Duration::from_millis(2_500),
            ..RaftGauges::default()
        };
        let mut out = Exposition::default();
        render(&mut out, &raft);
        let text = out.finish();
        for line in [
            "lockgate_raft_clock_behind_seconds 2.5",
            "lockgate_raft_fsync_seconds_bucket{le=\"0.0001\"} 3",
            "lockgate_raft_fsync_seconds_bucket{le=\"+Inf\"} 6",
            "lockgate_raft_fsync_seconds_sum 0.0015",
            "lockgate_raft_fsync_seconds_count 6",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
