//! Part of the machine: the shard map, which says which life of which node owns a shard, and who has a copy of it.
//! Sessions live in shards; moving all sessions of a node is one entry.
//!
//! ```text
//! unowned ─Assign─► primary, backup empty ─InSync─► primary, backup in sync ─HandOver, TakeOver─► the backup is primary
//!                        ▲  ▲       │                     │
//!                 SetBackup └───────┼────OutOfSync────────┘
//!                                   └─Resume (next life of the primary), Lose (another node begins anew)
//! ```
//!
//! Whatever makes another life the owner adds one to the epoch. Only a backup that is in sync ever becomes primary
//! with what it knows.

use lockgate_proto::id::{Epoch, NodeId, SHARDS};

use super::Stamp;
use super::nodes::{Member, Nodes};
use crate::command::{Fence, Reply, ShardChange, ShardStep, ShardsCommand};

/// One shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Who owns it. `None` before it was placed for the first time.
    pub primary: Option<ShardOwner>,
    /// Who has a copy, or is being given one.
    pub backup: Option<NodeId>,
    /// Whether that copy has everything.
    pub in_sync: bool,
    /// How often it got another owner.
    pub epoch: Epoch,
    /// Index of the entry that changed it last.
    pub revision: u64,
    /// When what its sessions knew was lost for the last time, in milliseconds since 1970.
    pub lost_at_ms: Option<u64>,
}

/// One life of one node. Its next life owns nothing until the map says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardOwner {
    /// Which node.
    pub node: NodeId,
    /// How often it had started.
    pub boot: u64,
}

impl Shard {
    /// What a change of it must name.
    pub fn fence(&self) -> Fence {
        Fence {
            epoch: self.epoch,
            revision: self.revision,
        }
    }
}

/// All shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shards {
    pub(super) map: Vec<Shard>,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            map: vec![Shard::default(); usize::from(SHARDS)],
        }
    }
}

impl Shards {
    /// All of them, each at the place of its number.
    pub(crate) fn map(&self) -> &[Shard] {
        &self.map
    }

    /// Whether `node` owns a shard or has a copy of one.
    pub(crate) fn names(&self, node: NodeId) -> bool {
        self.map.iter().any(|shard| {
            shard.backup == Some(node) || shard.primary.is_some_and(|owner| owner.node == node)
        })
    }

    /// A node has started anew, with whatever was only in its memory gone.
    pub(super) fn forget_backup(&mut self, node: NodeId, index: u64) {
        for shard in &mut self.map {
            if shard.backup == Some(node) && shard.in_sync {
                shard.in_sync = false;
                shard.revision = index;
            }
        }
    }

    pub(super) fn apply(&mut self, command: ShardsCommand, stamp: Stamp, nodes: &Nodes) -> Reply {
        match command {
            ShardsCommand::Batch(changes) => {
                let mut refused = Vec::new();
                for change in &changes {
                    if self.change(change, stamp, nodes).is_none() {
                        refused.push(change.shard);
                    }
                }
                let changed = changes.len() - refused.len();
                Reply::Changed {
                    changed: u32::try_from(changed).unwrap_or(u32::MAX),
                    refused,
                }
            }
            ShardsCommand::TakeOver { node, boot } => Reply::Changed {
                changed: self.take_over(ShardOwner { node, boot }, stamp, nodes),
                refused: Vec::new(),
            },
        }
    }

    fn take_over(&mut self, dead: ShardOwner, stamp: Stamp, nodes: &Nodes) -> u32 {
        let mut taken = 0;
        for shard in &mut self.map {
            let dead_owns = shard
                .primary
                .is_some_and(|owner| owner.node == dead.node && owner.boot <= dead.boot);
            if dead_owns && shard.promote(None, nodes).is_some() {
                shard.revision = stamp.index;
                taken += 1;
            }
        }
        taken
    }

    /// `None` when the shard has moved on, or when the step does not fit it.
    fn change(&mut self, change: &ShardChange, stamp: Stamp, nodes: &Nodes) -> Option<()> {
        let shard = self.map.get_mut(usize::from(change.shard.number()))?;
        if shard.fence() != change.fence {
            return None;
        }
        match change.step {
            ShardStep::Assign { primary, backup } => {
                if shard.primary.is_some() {
                    return None;
                }
                shard.begin(primary, backup, nodes)?;
            }
            ShardStep::SetBackup { backup } => {
                let primary = shard.primary?;
                check_backup(backup, primary.node, nodes)?;
                shard.backup = backup;
                shard.in_sync = false;
            }
            ShardStep::InSync => {
                shard.backup?;
                shard.in_sync = true;
            }
            ShardStep::OutOfSync => {
                shard.backup?;
                shard.in_sync = false;
            }
            ShardStep::HandOver { backup } => shard.promote(backup, nodes)?,
            ShardStep::Resume => {
                let owner = shard.primary?;
                let life = owner_now(owner.node, nodes)?;
                // The life that owns it already goes on without being told.
                if life == owner || shard.in_sync {
                    return None;
                }
                shard.primary = Some(life);
                shard.epoch.0 += 1;
            }
            ShardStep::Lose { primary, backup } => {
                // Whoever has everything must have it first.
                if shard.primary.is_none() || shard.in_sync {
                    return None;
                }
                shard.begin(primary, backup, nodes)?;
                shard.lost_at_ms = Some(stamp.at_ms);
            }
        }
        shard.revision = stamp.index;
        Some(())
    }
}

impl Shard {
    fn begin(&mut self, primary: NodeId, backup: Option<NodeId>, nodes: &Nodes) -> Option<()> {
        check_backup(backup, primary, nodes)?;
        self.primary = Some(owner_now(primary, nodes)?);
        self.backup = backup;
        self.in_sync = false;
        self.epoch.0 += 1;
        Some(())
    }

    /// Makes the backup primary, if it is in sync.
    fn promote(&mut self, backup: Option<NodeId>, nodes: &Nodes) -> Option<()> {
        let heir = self.backup.filter(|_| self.in_sync)?;
        self.begin(heir, backup, nodes)
    }
}

/// The life of `node` that may own a shard.
fn owner_now(node: NodeId, nodes: &Nodes) -> Option<ShardOwner> {
    let member = nodes.live(node).filter(|member| member.is_seated())?;
    Some(ShardOwner {
        node,
        boot: member.boot,
    })
}

fn check_backup(backup: Option<NodeId>, primary: NodeId, nodes: &Nodes) -> Option<()> {
    match backup {
        None => Some(()),
        Some(node) if node == primary => None,
        Some(node) => nodes
            .live(node)
            .filter(|one| Member::is_seated(one))
            .map(|_| ()),
    }
}
