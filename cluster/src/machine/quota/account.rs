//! One account: the level of one key and what of it is out with the nodes. Pure arithmetic on integers, so that every
//! node computes the same.

use super::LEASE_US;
use super::limit::Limit;
use super::share;
use super::time::Time;

/// A node's stated want is remembered for this long, for the others' fair share.
const WANT_KEPT_US: u64 = 1_000_000;

/// Level of one key and what of it is out with the nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Tokens that can be granted.
    pub(super) level: u64,
    /// Part of a token that has flowed in, in units of one over the rate's period.
    pub(super) credit: u64,
    /// Up to when it was refilled, in elapsed time of the machine.
    pub(super) refilled_us: u64,
    /// Window of a budget that the level belongs to.
    pub(super) window: u64,
    /// Tokens that are granted and neither reported nor returned nor expired: the sum of its grants.
    pub(super) outstanding: u64,
    /// Nodes that hold or have lately wanted tokens, by node.
    pub(super) seekers: Vec<Seeker>,
}

/// A node that holds or wants tokens of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seeker {
    pub(super) node: u64,
    /// Its part of what is outstanding.
    pub(super) held: u64,
    /// What it wanted beyond that when it asked last.
    pub(super) want: u64,
    /// When it asked last, in elapsed time of the machine.
    pub(super) asked_us: u64,
}

impl Account {
    /// A full account: nothing was spent yet.
    pub(super) fn full(limit: Limit, time: &Time) -> Self {
        Self {
            level: limit.capacity(),
            refilled_us: time.elapsed_us,
            window: window_of(limit, time),
            ..Self::default()
        }
    }

    /// Lets in what has become due. First step of every command that touches the account.
    pub(super) fn refill(&mut self, limit: Limit, time: &Time) {
        let room = limit
            .capacity()
            .saturating_sub(self.level.saturating_add(self.outstanding));
        match limit {
            Limit::Rate { amount, per_us, .. } => {
                let dt = u128::from(time.elapsed_us - self.refilled_us);
                let due = u128::from(amount) * dt + u128::from(self.credit);
                let tokens = due / u128::from(per_us);
                // What does not fit is lost, its fraction too: the bucket is full.
                if tokens >= u128::from(room) {
                    self.level += room;
                    self.credit = 0;
                } else {
                    // Both fit: less than `room`, and a remainder of `per_us`.
                    self.level += u64::try_from(tokens).unwrap_or(room);
                    self.credit = u64::try_from(due % u128::from(per_us)).unwrap_or(0);
                }
            }
            Limit::Budget { amount, .. } => {
                let window = window_of(limit, time);
                // What is out can still be spent, so the new window pays for it.
                if window > self.window {
                    self.window = window;
                    self.level = amount.saturating_sub(self.outstanding);
                }
            }
        }
        self.refilled_us = time.elapsed_us;
    }

    /// Takes tokens that were spent or have expired out of what is outstanding.
    pub(super) fn settle(&mut self, node: u64, tokens: u64) {
        self.outstanding = self.outstanding.saturating_sub(tokens);
        if let Some(seeker) = self.seekers.iter_mut().find(|seeker| seeker.node == node) {
            seeker.held = seeker.held.saturating_sub(tokens);
        }
    }

    /// Takes tokens back that nobody will spend.
    pub(super) fn give_back(&mut self, node: u64, tokens: u64, limit: Limit) {
        self.settle(node, tokens);
        let room = limit
            .capacity()
            .saturating_sub(self.level.saturating_add(self.outstanding));
        self.level += tokens.min(room);
    }

    /// Grants `node` its fair share of `want` tokens, but not less than `need` when there are as many. Returns how many.
    pub(super) fn grant(&mut self, node: u64, want: u64, need: u64, time: &Time) -> u64 {
        let now_us = time.elapsed_us;
        self.seekers.retain(|seeker| {
            seeker.held > 0 || now_us.saturating_sub(seeker.asked_us) < WANT_KEPT_US
        });
        for seeker in &mut self.seekers {
            if now_us.saturating_sub(seeker.asked_us) >= WANT_KEPT_US {
                seeker.want = 0;
            }
        }
        let at = match self
            .seekers
            .binary_search_by_key(&node, |seeker| seeker.node)
        {
            Ok(at) => at,
            Err(at) => {
                self.seekers.insert(
                    at,
                    Seeker {
                        node,
                        held: 0,
                        want: 0,
                        asked_us: now_us,
                    },
                );
                at
            }
        };
        self.seekers[at].want = want;
        self.seekers[at].asked_us = now_us;
        let desires: Vec<u64> = self
            .seekers
            .iter()
            .map(|seeker| seeker.held.saturating_add(seeker.want))
            .collect();
        let share = share::of(self.level + self.outstanding, &desires, at);
        let fair = share.saturating_sub(self.seekers[at].held);
        let tokens = fair.max(need).min(want.max(need)).min(self.level);
        if tokens < need || tokens == 0 {
            return 0;
        }
        self.level -= tokens;
        self.outstanding += tokens;
        let seeker = &mut self.seekers[at];
        seeker.held += tokens;
        seeker.want = want.saturating_sub(tokens);
        tokens
    }

    /// Goes over to another limit. Nothing is gained by it but what a raised budget adds to its window.
    pub(super) fn change(&mut self, old: Limit, new: Limit, time: &Time) {
        self.refill(old, time);
        match (old, new) {
            (
                Limit::Budget {
                    amount: before,
                    window_ms,
                },
                Limit::Budget {
                    amount: after,
                    window_ms: same,
                },
            ) if window_ms == same => {
                self.level = (self.level + after.saturating_sub(before))
                    .saturating_sub(before.saturating_sub(after));
            }
            (_, Limit::Rate { .. } | Limit::Budget { .. }) => {
                self.credit = 0;
                self.window = window_of(new, time);
            }
        }
        self.level = self
            .level
            .min(new.capacity().saturating_sub(self.outstanding));
    }

    /// Whether it says no more than an account that does not exist.
    pub(super) fn is_full(&self, limit: Limit) -> bool {
        self.outstanding == 0 && self.level == limit.capacity()
    }

    /// Microseconds until `need` tokens can be there. `None` when they never can. What is out with the nodes counts: it
    /// may come back as soon as its leases end.
    pub(super) fn wait_us(&self, need: u64, limit: Limit, time: &Time) -> Option<u64> {
        let flows_in = self.flows_in_us(need, limit, time);
        let can_return = self.level.saturating_add(self.outstanding) >= need;
        let returns = can_return.then_some(LEASE_US);
        flows_in.into_iter().chain(returns).min()
    }

    /// The same, as far as the limit alone decides.
    fn flows_in_us(&self, need: u64, limit: Limit, time: &Time) -> Option<u64> {
        if need > limit.capacity() {
            return None;
        }
        let missing = need.saturating_sub(self.level);
        match limit {
            _ if missing == 0 => Some(0),
            Limit::Rate { amount: 0, .. } => None,
            Limit::Rate { amount, per_us, .. } => {
                let due = u128::from(missing) * u128::from(per_us) - u128::from(self.credit);
                Some(u64::try_from(due.div_ceil(u128::from(amount))).unwrap_or(u64::MAX))
            }
            Limit::Budget { window_ms, .. } => {
                Some((window_ms - time.wall_ms % window_ms).saturating_mul(1000))
            }
        }
    }
}

fn window_of(limit: Limit, time: &Time) -> u64 {
    match limit {
        Limit::Rate { .. } => 0,
        Limit::Budget { window_ms, .. } => time.wall_ms / window_ms,
    }
}
