//! The part itself: accounts, grants, limits, usage, and what each command does to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::Account;
use super::command::{Answer, Batch, Command, Reply, Report, Want};
use super::grant::Grant;
use super::key::Key;
use super::limit::Limit;
use super::parted::Parted;
use super::time::{Stamp, Time};
use super::usage::{Dimension, Usage, UsageByDay};

/// Accounts that are kept. A key beyond that is granted nothing until others are full again.
const N_ACCOUNTS_MAX: usize = 65_536;
/// Grants that are kept. Beyond that nothing is granted until some are spent or have expired.
const N_GRANTS_MAX: usize = 262_144;
/// Full accounts are looked for when there are more than this.
const N_ACCOUNTS_UNSWEPT: usize = 1024;
/// Nodes whose last batch is remembered.
const N_NODES_MAX: usize = 1024;

/// Accounts, grants, limits and usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub(super) version: u64,
    pub(super) limits: Arc<BTreeMap<Arc<str>, Limit>>,
    pub(super) time: Time,
    pub(super) accounts: Parted<Key, Account>,
    pub(super) grants: Parted<u64, Grant>,
    /// Number of the last grant.
    pub(super) last_lease: u64,
    /// Grants below this number have expired.
    pub(super) expired_below: u64,
    pub(super) nodes: BTreeMap<u64, Mark>,
    pub(super) usage: UsageByDay,
    /// Part of the accounts that the next sweep looks at.
    pub(super) sweep_at: u64,
    /// Subtracts reports before it refills, which breaks the bound: the test of the bound must notice.
    #[cfg(test)]
    pub(crate) reports_first: bool,
}

/// Last that was heard of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) boot: u64,
    pub(super) seq: u64,
    pub(super) usage_seq: u64,
}

impl Quota {
    /// Applies one command. Every account that it touches is refilled before anything else happens to it.
    pub(crate) fn apply(&mut self, command: Command, stamp: Stamp) -> Reply {
        self.time.advance(stamp);
        match command {
            Command::Batch(batch) => self.on_batch(&batch),
            Command::Expire { below } => {
                self.expire(below);
                Reply::Done
            }
            Command::SetLimits { version, limits } => {
                self.set_limits(version, limits);
                Reply::Done
            }
        }
    }

    /// Forgets a node that has left for good. What it holds is left to expire.
    pub(crate) fn forget(&mut self, node: u64) {
        self.nodes.remove(&node);
    }

    /// Latest wall clock that a command was stamped with, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.time.wall_ms
    }

    /// Version of the limits in force; 0 before there were any.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Limits in force, by rule.
    pub fn limits(&self) -> &Arc<BTreeMap<Arc<str>, Limit>> {
        &self.limits
    }

    /// Number of the last grant that was made.
    pub fn last_lease(&self) -> u64 {
        self.last_lease
    }

    /// Grants that are out with nodes.
    pub fn n_grants(&self) -> usize {
        self.grants.len()
    }

    /// Whether a grant below `lease` is out.
    pub fn has_grant_below(&self, lease: u64) -> bool {
        self.grants.iter().any(|(at, _)| *at < lease)
    }

    /// What was used over the last `n_days` days, today included, by name. What had no place under a name of its own
    /// stands under `*`.
    pub fn usage(&self, dimension: Dimension, n_days: u64) -> BTreeMap<Arc<str>, Usage> {
        self.usage.sum(dimension, self.time.wall_ms, n_days)
    }

    fn on_batch(&mut self, batch: &Batch) -> Reply {
        let mark = self.nodes.get(&batch.node).copied().unwrap_or_default();
        if (batch.boot, batch.seq) <= (mark.boot, mark.seq) {
            return Reply::Stale;
        }
        let usage_seq = if batch.boot == mark.boot {
            mark.usage_seq
        } else {
            0
        };
        if batch.usage_seq > usage_seq {
            self.usage.count(self.time.wall_ms, &batch.usage);
        }
        let mark = Mark {
            boot: batch.boot,
            seq: batch.seq,
            usage_seq: usage_seq.max(batch.usage_seq),
        };
        self.nodes.insert(batch.node, mark);
        // Raft ids are never reused, so the lowest is the one most likely gone.
        while self.nodes.len() > N_NODES_MAX {
            self.nodes.pop_first();
        }
        for report in &batch.reports {
            self.report(batch, *report);
        }
        self.abandon(batch);
        let answers = batch
            .wants
            .iter()
            .map(|want| self.want(batch, want))
            .collect();
        self.sweep();
        Reply::Answers(answers)
    }

    fn report(&mut self, batch: &Batch, report: Report) {
        let Some(grant) = self.grants.get(&report.lease) else {
            return;
        };
        if (grant.node, grant.boot) != (batch.node, batch.boot) {
            return;
        }
        let newly = report.used.min(grant.tokens).saturating_sub(grant.used);
        let key = grant.key.clone();
        #[cfg(test)]
        if self.reports_first {
            self.spent(report.lease, &key, newly);
        }
        self.refill(&key);
        #[cfg(test)]
        let newly = if self.reports_first { 0 } else { newly };
        self.spent(report.lease, &key, newly);
        if report.done {
            self.take_back(report.lease);
        }
    }

    fn spent(&mut self, lease: u64, key: &Key, tokens: u64) {
        let Some(grant) = self.grants.get_mut(&lease) else {
            return;
        };
        grant.used += tokens;
        let (node, left) = (grant.node, grant.left());
        if let Some(account) = self.accounts.get_mut(key) {
            account.settle(node, tokens);
        }
        if left == 0 {
            self.grants.remove(&lease);
        }
    }

    /// Puts what is left of a grant back into its account, which has been refilled.
    fn take_back(&mut self, lease: u64) {
        let Some(grant) = self.grants.remove(&lease) else {
            return;
        };
        let limit = self.limits.get(&grant.key.rule).copied();
        if let (Some(limit), Some(account)) = (limit, self.accounts.get_mut(&grant.key)) {
            account.give_back(grant.node, grant.left(), limit);
        }
    }

    fn abandon(&mut self, batch: &Batch) {
        if batch.abandoned.is_empty() {
            return;
        }
        let leases = self.leases_where(|_, grant| {
            (grant.node, grant.boot) == (batch.node, batch.boot)
                && batch.abandoned.contains(&grant.seq)
        });
        for (lease, key) in leases {
            self.refill(&key);
            self.take_back(lease);
        }
    }

    fn want(&mut self, batch: &Batch, want: &Want) -> Answer {
        let Some(limit) = self.limits.get(&want.key.rule).copied() else {
            return Answer::default();
        };
        if self.accounts.get(&want.key).is_none() {
            if self.accounts.len() >= N_ACCOUNTS_MAX {
                return Answer::default();
            }
            let account = Account::full(limit, &self.time);
            self.accounts.insert(want.key.clone(), account);
        }
        let has_room = self.grants.len() < N_GRANTS_MAX;
        let Some(account) = self.accounts.get_mut(&want.key) else {
            return Answer::default();
        };
        account.refill(limit, &self.time);
        let need = want.need.max(1);
        let tokens = if has_room && need <= limit.capacity() {
            account.grant(batch.node, want.tokens, need, &self.time)
        } else {
            0
        };
        let wait_us = account.wait_us(need, limit, &self.time);
        if tokens == 0 {
            return Answer {
                wait_us,
                ..Answer::default()
            };
        }
        self.last_lease += 1;
        let grant = Grant {
            key: want.key.clone(),
            node: batch.node,
            boot: batch.boot,
            seq: batch.seq,
            tokens,
            used: 0,
        };
        self.grants.insert(self.last_lease, grant);
        Answer {
            lease: self.last_lease,
            tokens,
            wait_us,
        }
    }

    fn expire(&mut self, below: u64) {
        let below = below.min(self.last_lease + 1);
        if below <= self.expired_below {
            return;
        }
        self.expired_below = below;
        for (lease, key) in self.leases_where(|lease, _| lease < below) {
            self.refill(&key);
            let Some(grant) = self.grants.remove(&lease) else {
                continue;
            };
            if let Some(account) = self.accounts.get_mut(&key) {
                account.settle(grant.node, grant.left());
            }
        }
    }

    /// A rule that is gone takes its accounts and grants along; one that comes back begins full.
    fn set_limits(&mut self, version: u64, mut limits: BTreeMap<Arc<str>, Limit>) {
        if version <= self.version {
            return;
        }
        self.version = version;
        limits.retain(|_, limit| limit.is_valid());
        if *self.limits == limits {
            return;
        }
        let old = std::mem::replace(&mut self.limits, Arc::new(limits));
        let keys: Vec<Key> = self.accounts.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let before = old.get(&key.rule).copied();
            match (before, self.limits.get(&key.rule).copied()) {
                (Some(before), Some(after)) if before == after => {}
                (Some(before), Some(after)) => {
                    if let Some(account) = self.accounts.get_mut(&key) {
                        account.change(before, after, &self.time);
                    }
                }
                (None, _) | (_, None) => {
                    self.accounts.remove(&key);
                }
            }
        }
        for (lease, key) in self.leases_where(|_, _| true) {
            if !self.limits.contains_key(&key.rule) {
                self.grants.remove(&lease);
            }
        }
    }

    fn refill(&mut self, key: &Key) {
        let limit = self.limits.get(&key.rule).copied();
        if let (Some(limit), Some(account)) = (limit, self.accounts.get_mut(key)) {
            account.refill(limit, &self.time);
        }
    }

    fn leases_where(&self, wanted: impl Fn(u64, &Grant) -> bool) -> Vec<(u64, Key)> {
        let mut leases: Vec<_> = self
            .grants
            .iter()
            .filter(|(lease, grant)| wanted(**lease, grant))
            .map(|(lease, grant)| (*lease, grant.key.clone()))
            .collect();
        leases.sort_unstable_by_key(|(lease, _)| *lease);
        leases
    }

    /// Drops full accounts of one part: a key without an account begins full.
    fn sweep(&mut self) {
        if self.accounts.len() <= N_ACCOUNTS_UNSWEPT {
            return;
        }
        let (limits, time) = (&self.limits, &self.time);
        let at = usize::try_from(self.sweep_at).unwrap_or(0);
        self.accounts.sweep(at, |key, account| {
            let Some(limit) = limits.get(&key.rule).copied() else {
                return true;
            };
            // Where it stands now: refilling an account twice within one entry changes nothing.
            let mut account = account.clone();
            account.refill(limit, time);
            account.is_full(limit)
        });
        self.sweep_at = (self.sweep_at + 1) % super::parted::N_PARTS as u64;
    }

    /// Whether every account is within its limit and agrees with its grants.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut outstanding = BTreeMap::<&Key, BTreeMap<u64, u64>>::new();
        for (_, grant) in self.grants.iter() {
            *outstanding
                .entry(&grant.key)
                .or_default()
                .entry(grant.node)
                .or_default() += grant.left();
        }
        for (key, account) in self.accounts.iter() {
            let held = outstanding.remove(key).unwrap_or_default();
            assert_eq!(account.outstanding, held.values().sum::<u64>(), "{key:?}");
            for seeker in &account.seekers {
                assert_eq!(seeker.held, held.get(&seeker.node).copied().unwrap_or(0));
            }
            let capacity = self.limits[&key.rule].capacity();
            assert!(account.level <= capacity.saturating_sub(account.outstanding.min(capacity)));
        }
        assert!(outstanding.is_empty(), "grants without an account");
    }
}
