//! `Reply`: what the machine answers to a command that took effect.

use lockgate_proto::id::{NodeId, ShardId};

use super::QuotaReply;
use crate::machine::audit::AuditReply;

/// What the machine answers to a command that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Done.
    Done,
    /// How often the node has started, this start included.
    Boot(u64),
    /// The node is a member under this number.
    Joined(NodeId),
    /// A configuration is in force.
    Configured {
        /// Its version.
        version: u64,
        /// Whether it is a new one; the same document again is not.
        changed: bool,
        /// Keys that were revoked because the change said so.
        keys_pruned: u32,
        /// Added servers that were removed because the change said so.
        servers_pruned: u32,
        /// From this entry on nothing that it took away is granted.
        index: u64,
    },
    /// A key opens nothing on any node that has applied this entry.
    Revoked {
        /// Index of that entry.
        index: u64,
    },
    /// A register or a secret has this revision now: the index of this entry.
    Written {
        /// See above.
        revision: u64,
    },
    /// Shards were changed.
    Changed {
        /// How many.
        changed: u32,
        /// Which were not, because they had moved on since or because the change does not fit them.
        refused: Vec<ShardId>,
    },
    /// About quotas.
    Quota(QuotaReply),
    /// About the audit log.
    Audit(AuditReply),
}
