//! The state as protobuf. Equal states have equal bytes, since the state hash is taken over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockgate_proto::peer::v1;

use super::{key_from_wire, key_to_wire, limit_from_wire, rule_to_wire};
use crate::machine::quota::account::{Account, Seeker};
use crate::machine::quota::grant::Grant;
use crate::machine::quota::part::{Mark, Quota};
use crate::machine::quota::time::Time;
use crate::machine::quota::usage::{Day, Dimension, Usage, UsageByDay};

impl Quota {
    /// All of it, for a snapshot.
    pub(crate) fn to_wire(&self) -> v1::QuotaPart {
        let mut accounts: Vec<_> = self.accounts.iter().collect();
        accounts.sort_unstable_by_key(|(key, _)| *key);
        let accounts = accounts.into_iter().map(|(key, account)| v1::QuotaAccount {
            key: Some(key_to_wire(key)),
            level: account.level,
            credit: account.credit,
            refilled_us: account.refilled_us,
            window: account.window,
            seekers: account.seekers.iter().map(seeker_to_wire).collect(),
        });
        let mut grants: Vec<_> = self.grants.iter().collect();
        grants.sort_unstable_by_key(|(lease, _)| **lease);
        let grants = grants.into_iter().map(|(lease, grant)| v1::QuotaGrant {
            lease: *lease,
            key: Some(key_to_wire(&grant.key)),
            node: grant.node,
            boot: grant.boot,
            seq: grant.seq,
            tokens: grant.tokens,
            used: grant.used,
        });
        let rules = self.limits.iter();
        let nodes = self.nodes.iter().map(|(node, mark)| v1::QuotaNode {
            node: *node,
            boot: mark.boot,
            seq: mark.seq,
            usage_seq: mark.usage_seq,
        });
        v1::QuotaPart {
            version: self.version,
            rules: rules
                .map(|(rule, limit)| rule_to_wire(rule, *limit))
                .collect(),
            time: Some(v1::QuotaTime {
                term: self.time.term,
                leader_us: self.time.leader_us,
                elapsed_us: self.time.elapsed_us,
                wall_ms: self.time.wall_ms,
            }),
            accounts: accounts.collect(),
            grants: grants.collect(),
            last_lease: self.last_lease,
            expired_below: self.expired_below,
            nodes: nodes.collect(),
            days: self.usage.days.iter().map(day_to_wire).collect(),
            sweep_at: self.sweep_at,
        }
    }

    /// Reads a snapshot. `None` when it is not whole, or when its parts contradict each other.
    pub(crate) fn from_wire(snapshot: v1::QuotaPart) -> Option<Self> {
        let rules = snapshot.rules.into_iter();
        let limits: BTreeMap<_, _> = rules
            .map(|rule| Some((rule.rule.into(), limit_from_wire(rule.limit)?)))
            .collect::<Option<_>>()?;
        let time = snapshot.time?;
        let mut quota = Self {
            version: snapshot.version,
            limits: Arc::new(limits),
            time: Time {
                term: time.term,
                leader_us: time.leader_us,
                elapsed_us: time.elapsed_us,
                wall_ms: time.wall_ms,
            },
            last_lease: snapshot.last_lease,
            expired_below: snapshot.expired_below,
            sweep_at: snapshot.sweep_at,
            ..Self::default()
        };
        for account in snapshot.accounts {
            let key = key_from_wire(account.key)?;
            let account = Account {
                level: account.level,
                credit: account.credit,
                // Time behind the present would be counted as a huge span.
                refilled_us: (account.refilled_us <= time.elapsed_us)
                    .then_some(account.refilled_us)?,
                window: account.window,
                outstanding: 0,
                seekers: account.seekers.iter().map(seeker_from_wire).collect(),
            };
            quota.accounts.insert(key, account);
        }
        for grant in snapshot.grants {
            let key = key_from_wire(grant.key)?;
            let held = grant.tokens.checked_sub(grant.used)?;
            // A grant lives in an account, with its holder among the seekers.
            let account = quota.accounts.get_mut(&key)?;
            account.outstanding = account.outstanding.checked_add(held)?;
            let mut seekers = account.seekers.iter_mut();
            let seeker = seekers.find(|seeker| seeker.node == grant.node)?;
            seeker.held += held;
            let lease = grant.lease;
            let grant = Grant {
                key,
                node: grant.node,
                boot: grant.boot,
                seq: grant.seq,
                tokens: grant.tokens,
                used: grant.used,
            };
            quota.grants.insert(lease, grant);
        }
        for node in snapshot.nodes {
            let mark = Mark {
                boot: node.boot,
                seq: node.seq,
                usage_seq: node.usage_seq,
            };
            quota.nodes.insert(node.node, mark);
        }
        quota.usage = usage_from_wire(snapshot.days)?;
        Some(quota)
    }
}

fn seeker_to_wire(seeker: &Seeker) -> v1::QuotaSeeker {
    v1::QuotaSeeker {
        node: seeker.node,
        want: seeker.want,
        asked_us: seeker.asked_us,
    }
}

/// What it holds is the sum of its grants, which come later.
fn seeker_from_wire(seeker: &v1::QuotaSeeker) -> Seeker {
    Seeker {
        node: seeker.node,
        held: 0,
        want: seeker.want,
        asked_us: seeker.asked_us,
    }
}

fn day_to_wire((day, counts): (&u64, &Arc<Day>)) -> v1::QuotaUsageDay {
    let names = counts.by.iter().flat_map(|(dimension, names)| {
        names.iter().map(|(name, usage)| v1::QuotaUsageName {
            dimension: dimension_to_wire(*dimension).into(),
            name: name.to_string(),
            requests: usage.requests,
            limited: usage.limited,
            cost_micros: usage.cost_micros,
        })
    });
    v1::QuotaUsageDay {
        day: *day,
        names: names.collect(),
    }
}

fn usage_from_wire(days: Vec<v1::QuotaUsageDay>) -> Option<UsageByDay> {
    let mut all = UsageByDay::default();
    for day in days {
        let mut counts = Day::default();
        for name in day.names {
            let dimension = dimension_from_wire(name.dimension())?;
            let usage = Usage {
                requests: name.requests,
                limited: name.limited,
                cost_micros: name.cost_micros,
            };
            let names = counts.by.entry(dimension).or_default();
            names.insert(name.name.into(), usage);
        }
        all.days.insert(day.day, Arc::new(counts));
    }
    Some(all)
}

fn dimension_to_wire(dimension: Dimension) -> v1::QuotaDimension {
    match dimension {
        Dimension::Tenant => v1::QuotaDimension::Tenant,
        Dimension::Principal => v1::QuotaDimension::Principal,
        Dimension::Server => v1::QuotaDimension::Server,
        Dimension::Tool => v1::QuotaDimension::Tool,
    }
}

fn dimension_from_wire(dimension: v1::QuotaDimension) -> Option<Dimension> {
    Some(match dimension {
        v1::QuotaDimension::Unspecified => return None,
        v1::QuotaDimension::Tenant => Dimension::Tenant,
        v1::QuotaDimension::Principal => Dimension::Principal,
        v1::QuotaDimension::Server => Dimension::Server,
        v1::QuotaDimension::Tool => Dimension::Tool,
    })
}
