//! Writes how the audit log does.

use super::exposition::{Exposition, Kind};
use super::gauges::AuditGauges;
use super::names;
use super::raft::seconds;

pub(super) fn render(out: &mut Exposition, audit: &AuditGauges) {
    let gauges: [(&'static str, &str, u64); 10] = [
        (
            names::AUDIT_RECORDS,
            "Records in the log of the cluster.",
            audit.records,
        ),
        (
            names::AUDIT_QUEUE,
            "Records of this node that the log does not have yet.",
            audit.queue,
        ),
        (
            names::AUDIT_QUEUE_BYTES,
            "Size of the records of this node that the log does not have yet.",
            audit.queue_bytes,
        ),
        (
            names::AUDIT_OPEN_CALLS,
            "Calls that have begun and not ended.",
            audit.open_calls,
        ),
        (
            names::AUDIT_UNSIGNED,
            "Records that no checkpoint covers yet.",
            audit.unsigned,
        ),
        (
            names::AUDIT_SEGMENTS,
            "Files in which this node has records.",
            audit.segments,
        ),
        (
            names::AUDIT_SEGMENT_BYTES,
            "Size of the files in which this node has records.",
            audit.segment_bytes,
        ),
        (
            names::AUDIT_COMPLETE,
            "Whether this node has all records.",
            audit.is_complete.into(),
        ),
        (
            names::AUDIT_HEALTHY,
            "Whether records are taken; otherwise no call is.",
            audit.is_healthy.into(),
        ),
        (
            names::AUDIT_DEGRADED,
            "Whether records wait for the log in memory only.",
            audit.is_degraded.into(),
        ),
    ];
    for (name, help, value) in gauges {
        out.family(name, Kind::Gauge, help);
        out.sample(&[], value);
    }
    let help = "Age of the oldest record of this node that the log does not have yet.";
    out.family(names::AUDIT_LAG, Kind::Gauge, help);
    out.sample(&[], seconds(micros(audit.lag_ms)));
    let help = "Age of the last checkpoint while records wait for the next one, otherwise 0.";
    out.family(names::AUDIT_CHECKPOINT_AGE, Kind::Gauge, help);
    out.sample(&[], seconds(micros(audit.checkpoint_age_ms)));
    let help = "Records of this node that found no room.";
    out.family(names::AUDIT_LOST, Kind::Counter, help);
    out.sample(&[], audit.lost);
}

fn micros(ms: u64) -> u64 {
    ms.saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_seconds() {
        let audit = AuditGauges {
            records: 7,
            lag_ms: 1_500,
            checkpoint_age_ms: 2_000,
            is_complete: true,
            ..AuditGauges::default()
        };
        let mut out = Exposition::default();
        render(&mut out, &audit);
        let text = out.finish();
        for line in [
            "lockgate_audit_records 7",
            "lockgate_audit_lag_seconds 1.5",
            "lockgate_audit_checkpoint_age_seconds 2",
            "lockgate_audit_complete 1",
            "lockgate_audit_lost_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }
}
