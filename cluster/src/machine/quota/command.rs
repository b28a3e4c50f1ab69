//! What can be proposed about quotas, and what the machine answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::Key;
use super::limit::Limit;

/// A change of the quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// What one node has spent, wants, and gives back. Answered with [`Reply::Answers`] or [`Reply::Stale`].
    Batch(Batch),
    /// Takes grants away that no node can spend any more.
    Expire {
        /// All leases below this number were granted longer ago than a lease lives.
        below: u64,
    },
    /// Puts the limits of one version of the configuration in force. An older version than the present one changes
    /// nothing.
    SetLimits {
        /// Version of the configuration, or any number that grows.
        version: u64,
        /// All limits by rule.
        limits: BTreeMap<Arc<str>, Limit>,
    },
}

/// What one life of one node has to say: at most one is on its way at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Raft id of the node.
    pub node: u64,
    /// How often it has started.
    pub boot: u64,
    /// Counts the batches of that life. One that is not above the last one applied changes nothing.
    pub seq: u64,
    /// What was spent of its grants.
    pub reports: Vec<Report>,
    /// Earlier batches whose answer never came: whatever they were granted is given back, unspent.
    pub abandoned: Vec<u64>,
    /// What it would like to be granted.
    pub wants: Vec<Want>,
    /// Number of the usage that follows. Usage of a number that was counted already is not counted again.
    pub usage_seq: u64,
    /// Calls that were made, by who and what.
    pub usage: Vec<UsageDelta>,
}

/// What was spent of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which grant.
    pub lease: u64,
    /// Tokens spent since it was granted, so that a lost report is made good by the next.
    pub used: u64,
    /// Whether the node will spend no more of it: what is left is given back.
    pub done: bool,
}

/// Tokens that a node would like to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Of which account.
    pub key: Key,
    /// How many.
    pub tokens: u64,
    /// With fewer than this it can do nothing.
    pub need: u64,
}

/// Calls of one principal to one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageDelta {
    /// Where the principal belongs, or empty.
    pub tenant: Arc<str>,
    /// Who called.
    pub principal: Arc<str>,
    /// Server that was called, or empty.
    pub server: Arc<str>,
    /// Tool that was called, or empty.
    pub tool: Arc<str>,
    /// Calls that were let through.
    pub requests: u64,
    /// Calls that were refused by a quota.
    pub limited: u64,
    /// What the calls cost, in millionths of a dollar.
    pub cost_micros: u64,
}

/// What the machine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// To each want of the batch, in order.
    Answers(Vec<Answer>),
    /// The batch was not above the last one of its node: nothing has changed.
    Stale,
}

/// Answer to one want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Number of the grant. Never used again.
    pub lease: u64,
    /// Tokens granted; with 0 there is no grant.
    pub tokens: u64,
    /// When as many tokens as were needed can be there (again, behind a grant), in microseconds from now, if nobody else
    /// takes them. `None` when the limit is below what is needed, or the account can't be kept.
    pub wait_us: Option<u64>,
}
