//! Commands and answers about quotas.

use std::collections::BTreeMap;

use crate::command::Command;
use crate::machine::quota::{
    Answer, Batch, Command as C, Key, Limit, Reply, Report, UsageDelta, Want,
};

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let rate = Limit::Rate {
        amount: 20,
        per_us: 1_000_000,
        burst: 100,
    };
    let budget = Limit::Budget {
        amount: 5_000_000,
        window_ms: 86_400_000,
    };
    let limits = BTreeMap::from([
        ("*/principal/requests/1s/rate".into(), rate),
        ("acme/tool/cost/1d".into(), budget),
    ]);
    let want = |rule: &str, subject: &str, tokens| Want {
        key: Key::new(rule, subject),
        tokens,
        need: 1,
    };
    let usage = UsageDelta {
        tenant: "acme".into(),
        principal: "ci-bot".into(),
        server: "market".into(),
        tool: "market_news".into(),
        requests: 300,
        limited: 2,
        cost_micros: 15_000_000,
    };
    let first = Batch {
        node: 1,
        boot: 1,
        seq: 1,
        wants: vec![
            want("*/principal/requests/1s/rate", "acme/ci-bot", 40),
            want("acme/tool/cost/1d", "market_news", 300_000),
        ],
        usage_seq: 1,
        usage: vec![usage],
        ..Batch::default()
    };
    let second = Batch {
        node: 1,
        boot: 1,
        seq: 3,
        reports: vec![
            Report {
                lease: 1,
                used: 7,
                done: false,
            },
            Report {
                lease: 2,
                used: 150_000,
                done: true,
            },
        ],
        abandoned: vec![2],
        usage_seq: 1,
        ..Batch::default()
    };
    vec![
        ("quota_limits", C::SetLimits { version: 1, limits }.into()),
        ("quota_batch", C::Batch(first).into()),
        ("quota_reports", C::Batch(second).into()),
        ("quota_expire", C::Expire { below: 2 }.into()),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let granted = Answer {
        lease: 300,
        tokens: 40,
        wait_us: Some(0),
    };
    vec![
        ("quota_done", Reply::Done),
        ("quota_stale", Reply::Stale),
        (
            "quota_answers",
            Reply::Answers(vec![granted, Answer::default()]),
        ),
    ]
}
