//! `ShardsCommand`: which node owns which shard.

use lockgate_proto::id::{Epoch, NodeId, ShardId};

/// A change of the shard map.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardsCommand {
    /// Changes of single shards, each on its own: one that is refused stops no other. At most one a shard.
    Batch(Vec<ShardChange>),
    /// Gives the shards of a life that is over to their in-sync backups. Only the leader proposes it, when the lease
    /// of that life ran out or its process is proved dead. Shards without such a backup stay as they are.
    TakeOver {
        /// Which node.
        node: NodeId,
        /// Which of its lives; older ones are meant, too, newer ones are not.
        boot: u64,
    },
}

/// A change of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardChange {
    /// Which.
    pub shard: ShardId,
    /// What its proposer saw.
    pub fence: Fence,
    /// What is to happen.
    pub step: ShardStep,
}

/// State of a shard that a change was made for. In any other the change is refused.
///
/// The epoch alone does not do: within one epoch a backup may be dropped, replaced and come back empty, and a late
/// "in sync" about its first time must not count for its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// How often it had changed its primary.
    pub epoch: Epoch,
    /// Index of the entry that had changed it last.
    pub revision: u64,
}

/// What can happen to one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardStep {
    /// It has had no primary, and gets one.
    Assign {
        /// Which.
        primary: NodeId,
        /// Its backup, which is empty and therefore not in sync.
        backup: Option<NodeId>,
    },
    /// It gets another backup, which is not in sync.
    SetBackup {
        /// Which, if any.
        backup: Option<NodeId>,
    },
    /// The backup has everything. The primary says so.
    InSync,
    /// The backup lacks something. The primary says so, before it shows a client what the backup lacks.
    OutOfSync,
    /// The in-sync backup becomes primary. The primary says so, after it has stopped and sent it everything.
    HandOver {
        /// The new backup, which is not in sync.
        backup: Option<NodeId>,
    },
    /// The next life of its primary goes on with what that has on disk, for want of an in-sync backup.
    Resume,
    /// What its primary and backup knew is given up; another node begins anew.
    Lose {
        /// Which.
        primary: NodeId,
        /// Its backup, which is not in sync.
        backup: Option<NodeId>,
    },
}
