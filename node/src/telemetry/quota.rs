//! Writes what quotas cost, and how they stand.

use super::exposition::{Exposition, Kind};
use super::gauges::QuotaGauges;
use super::names;

pub(super) fn render(out: &mut Exposition, quotas: &QuotaGauges) {
    let gauges: [(&'static str, &str, u64); 3] = [
        (
            names::QUOTA_ACCOUNTS,
            "Accounts of quotas in use on this node.",
            quotas.accounts as u64,
        ),
        (
            names::QUOTA_GRANTS,
            "Grants of quotas that nodes of the cluster hold.",
            quotas.grants as u64,
        ),
        (
            names::QUOTA_CUT_OFF,
            "Whether this node gets no grants of quotas.",
            quotas.cut_off.into(),
        ),
    ];
    for (name, help, value) in gauges {
        out.family(name, Kind::Gauge, help);
        out.sample(&[], value);
    }
    let help = "What this node has proposed about quotas.";
    out.family(names::QUOTA_PROPOSALS, Kind::Counter, help);
    out.sample(&[("command", "batch")], quotas.batches);
    out.sample(&[("command", "expire")], quotas.expiries);
    let counts: [(&'static str, &str, u64); 3] = [
        (
            names::QUOTA_UNANSWERED,
            "Proposals about quotas whose answer never came.",
            quotas.unanswered,
        ),
        (
            names::QUOTA_WAITS,
            "Calls that had to wait for what their quota grants.",
            quotas.waits,
        ),
        (
            names::QUOTA_DECIDED_AFAR,
            "Calls on small quotas that another node decided.",
            quotas.afar,
        ),
    ];
    for (name, help, value) in counts {
        out.family(name, Kind::Counter, help);
        out.sample(&[], value);
    }
}
