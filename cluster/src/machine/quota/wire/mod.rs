//! Quotas as protobuf: what is proposed and answered, and the state in a snapshot. A message that this version can't
//! read in full gives `None`: whoever applied half of it would hold another state than the others.

mod command;
mod snapshot;

use lockgate_proto::peer::v1;

use super::key::Key;
use super::limit::Limit;

fn key_to_wire(key: &Key) -> v1::QuotaKey {
    v1::QuotaKey {
        rule: key.rule.to_string(),
        subject: key.subject.to_string(),
    }
}

fn key_from_wire(key: Option<v1::QuotaKey>) -> Option<Key> {
    let key = key?;
    Some(Key::new(key.rule, key.subject))
}

fn rule_to_wire(rule: &str, limit: Limit) -> v1::QuotaRule {
    let limit = match limit {
        Limit::Rate {
            amount,
            per_us,
            burst,
        } => v1::quota_rule::Limit::Rate(v1::QuotaRate {
            amount,
            per_us,
            burst,
        }),
        Limit::Budget { amount, window_ms } => {
            v1::quota_rule::Limit::Budget(v1::QuotaBudget { amount, window_ms })
        }
    };
    v1::QuotaRule {
        rule: rule.to_owned(),
        limit: Some(limit),
    }
}

fn limit_from_wire(limit: Option<v1::quota_rule::Limit>) -> Option<Limit> {
    Some(match limit? {
        v1::quota_rule::Limit::Rate(rate) => Limit::Rate {
            amount: rate.amount,
            per_us: rate.per_us,
            burst: rate.burst,
        },
        v1::quota_rule::Limit::Budget(budget) => Limit::Budget {
            amount: budget.amount,
            window_ms: budget.window_ms,
        },
    })
}
