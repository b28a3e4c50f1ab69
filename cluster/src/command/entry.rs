//! `Entry` and `Outcome`: what one place in the log holds, and what came of it.

use lockgate_proto::id::NodeId;

use super::{Command, Reply};
use crate::machine::Refusal;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Wall clock of the leader that took the proposal, in milliseconds since 1970. Shown, and compared with what was
    /// stamped the same way; never trusted for safety.
    pub(crate) at_ms: u64,
    /// Clock of that leader's machine since its boot, in microseconds. Comparable within one term only.
    pub(crate) leader_us: u64,
    /// Term in which that leader read its clocks. The entry may have come into the log under a later one.
    pub(crate) leader_term: u64,
    /// Who proposed it. Without one a repetition takes effect again.
    pub(crate) origin: Option<Origin>,
    /// What is to happen.
    pub(crate) command: Command,
}

/// Names one proposal of one life of one node, so that it can be sent again and takes effect once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which node.
    pub node: NodeId,
    /// How often it has started.
    pub boot: u64,
    /// Counts its proposals, from 1.
    pub serial: u64,
    /// Every serial below it has its answer, so that the machine may forget those.
    pub settled: u64,
}

/// What came of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Index of the entry; that of the first one when a proposal was sent twice.
    pub(crate) index: u64,
    /// What the machine answered.
    pub(crate) result: Result<Reply, Refusal>,
}
