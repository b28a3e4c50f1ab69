//! Any command about quotas, mostly about few accounts.

use proptest::prelude::*;

use crate::machine::quota::{Batch, Command, Key, Limit, Report, UsageDelta, Want};

pub(super) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => batch().prop_map(Command::Batch),
        1 => (0..20_u64).prop_map(|below| Command::Expire { below }),
        1 => limits(),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    ("[rs]", "[ab]").prop_map(|(rule, subject)| Key::new(rule, subject))
}

fn limits() -> impl Strategy<Value = Command> {
    let limit = prop_oneof![
        (0..9_u64, 0..3_u64, 0..20_u64).prop_map(|(amount, per_us, burst)| Limit::Rate {
            amount,
            per_us: per_us * 1_000_000,
            burst,
        }),
        (0..50_u64, 0..3_u64).prop_map(|(amount, window)| Limit::Budget {
            amount,
            window_ms: window * 1000,
        }),
    ];
    let limits = prop::collection::btree_map("[rs]".prop_map(Into::into), limit, 0..3);
    (0..5_u64, limits).prop_map(|(version, limits)| Command::SetLimits { version, limits })
}

fn batch() -> impl Strategy<Value = Batch> {
    let report = (0..12_u64, 0..9_u64, any::<bool>()).prop_map(|(lease, used, done)| Report {
        lease,
        used,
        done,
    });
    let want =
        (key(), 0..9_u64, 0..4_u64).prop_map(|(key, tokens, need)| Want { key, tokens, need });
    let usage = ("[ab]?", "[ab]", 0..9_u64).prop_map(|(tenant, principal, n)| UsageDelta {
        tenant: tenant.into(),
        principal: principal.into(),
        requests: n,
        limited: n / 2,
        cost_micros: n * 10,
        ..UsageDelta::default()
    });
    (
        (1..4_u64, 0..3_u64, 0..9_u64, 0..4_u64),
        prop::collection::vec(report, 0..4),
        prop::collection::vec(0..9_u64, 0..2),
        prop::collection::vec(want, 0..3),
        prop::collection::vec(usage, 0..3),
    )
        .prop_map(
            |((node, boot, seq, usage_seq), reports, abandoned, wants, usage)| Batch {
                node,
                boot,
                seq,
                reports,
                abandoned,
                wants,
                usage_seq,
                usage,
            },
        )
}
