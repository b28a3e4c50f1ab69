//! The shard map.

use lockgate_proto::id::{Epoch, NodeId, SHARDS};
use lockgate_proto::peer::v1;

use crate::command::wire::WireError;
use crate::machine::shards::{Shard, ShardOwner, Shards};

pub(super) fn to(shards: &Shards) -> v1::ShardsPart {
    let stored = |shard: &Shard| v1::StoredShard {
        primary: shard.primary.map(|owner| v1::ShardOwner {
            node: owner.node.0,
            boot: owner.boot,
        }),
        backup: shard.backup.map(|node| node.0),
        in_sync: shard.in_sync,
        epoch: shard.epoch.0,
        revision: shard.revision,
        lost_at_ms: shard.lost_at_ms,
    };
    v1::ShardsPart {
        shards: shards.map.iter().map(stored).collect(),
    }
}

pub(super) fn from(part: v1::ShardsPart) -> Result<Shards, WireError> {
    if part.shards.len() != usize::from(SHARDS) {
        return Err(WireError::Field { field: "shards" });
    }
    let shard = |stored: v1::StoredShard| Shard {
        primary: stored.primary.map(|owner| ShardOwner {
            node: NodeId(owner.node),
            boot: owner.boot,
        }),
        backup: stored.backup.map(NodeId),
        in_sync: stored.in_sync,
        epoch: Epoch(stored.epoch),
        revision: stored.revision,
        lost_at_ms: stored.lost_at_ms,
    };
    Ok(Shards {
        map: part.shards.into_iter().map(shard).collect(),
    })
}
