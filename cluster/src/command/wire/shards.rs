//! Commands on the shard map.

use lockgate_proto::id::{Epoch, NodeId, ShardId};
use lockgate_proto::peer::v1;

use super::{WireError, need};
use crate::command::{Fence, ShardChange, ShardStep, ShardsCommand};

pub(super) fn command_to(command: &ShardsCommand) -> v1::ShardsCommand {
    use v1::shards_command::{Batch, Command as Wire, TakeOver};
    let command = match command {
        ShardsCommand::Batch(changes) => Wire::Batch(Batch {
            changes: changes.iter().map(change_to).collect(),
        }),
        ShardsCommand::TakeOver { node, boot } => Wire::TakeOver(TakeOver {
            node: node.0,
            boot: *boot,
        }),
    };
    v1::ShardsCommand {
        command: Some(command),
    }
}

pub(super) fn command_from(message: v1::ShardsCommand) -> Result<ShardsCommand, WireError> {
    use v1::shards_command::Command as Wire;
    Ok(match need("shards command", message.command)? {
        Wire::Batch(batch) => {
            let changes = batch.changes.into_iter().map(change_from);
            ShardsCommand::Batch(changes.collect::<Result<_, _>>()?)
        }
        Wire::TakeOver(one) => ShardsCommand::TakeOver {
            node: NodeId(one.node),
            boot: one.boot,
        },
    })
}

fn change_to(change: &ShardChange) -> v1::ShardChange {
    use v1::shard_change::{
        Assign, HandOver, InSync, Lose, OutOfSync, Resume, SetBackup, Step as Wire,
    };
    let number = |node: Option<NodeId>| node.map(|node| node.0);
    let step = match change.step {
        ShardStep::Assign { primary, backup } => Wire::Assign(Assign {
            primary: primary.0,
            backup: number(backup),
        }),
        ShardStep::SetBackup { backup } => Wire::SetBackup(SetBackup {
            backup: number(backup),
        }),
        ShardStep::InSync => Wire::InSync(InSync {}),
        ShardStep::OutOfSync => Wire::OutOfSync(OutOfSync {}),
        ShardStep::HandOver { backup } => Wire::HandOver(HandOver {
            backup: number(backup),
        }),
        ShardStep::Resume => Wire::Resume(Resume {}),
        ShardStep::Lose { primary, backup } => Wire::Lose(Lose {
            primary: primary.0,
            backup: number(backup),
        }),
    };
    v1::ShardChange {
        shard: u32::from(change.shard.number()),
        epoch: change.fence.epoch.0,
        revision: change.fence.revision,
        step: Some(step),
    }
}

fn change_from(message: v1::ShardChange) -> Result<ShardChange, WireError> {
    use v1::shard_change::Step as Wire;
    let step = match need("step", message.step)? {
        Wire::Assign(one) => ShardStep::Assign {
            primary: NodeId(one.primary),
            backup: one.backup.map(NodeId),
        },
        Wire::SetBackup(one) => ShardStep::SetBackup {
            backup: one.backup.map(NodeId),
        },
        Wire::InSync(_) => ShardStep::InSync,
        Wire::OutOfSync(_) => ShardStep::OutOfSync,
        Wire::HandOver(one) => ShardStep::HandOver {
            backup: one.backup.map(NodeId),
        },
        Wire::Resume(_) => ShardStep::Resume,
        Wire::Lose(one) => ShardStep::Lose {
            primary: NodeId(one.primary),
            backup: one.backup.map(NodeId),
        },
    };
    Ok(ShardChange {
        shard: shard_from(message.shard)?,
        fence: Fence {
            epoch: Epoch(message.epoch),
            revision: message.revision,
        },
        step,
    })
}

pub(super) fn shard_from(number: u32) -> Result<ShardId, WireError> {
    let number = u16::try_from(number).ok();
    need("shard", number.and_then(ShardId::new))
}
