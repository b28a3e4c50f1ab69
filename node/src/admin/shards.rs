//! The shard map: which node owns which part of the sessions' places.

use std::collections::BTreeMap;

use lockgate_cluster::{Shard, View};
use lockgate_proto::id::{NodeId, ShardId};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::parts::Parts;
use super::status::timestamp_ms;

/// All shards, and how many each node has.
pub(super) fn map(parts: &Parts) -> Answer {
    let view = parts.cluster.view();
    let (mut primaries, mut backups) = (BTreeMap::new(), BTreeMap::new());
    for shard in view.shards() {
        if let Some(owner) = shard.primary {
            *primaries.entry(owner.node).or_insert(0_usize) += 1;
        }
        if let Some(backup) = shard.backup {
            *backups.entry(backup).or_insert(0_usize) += 1;
        }
    }
    let count = |of: &BTreeMap<NodeId, usize>, node| of.get(&node).copied().unwrap_or(0);
    let live = view.members().values().filter(|member| member.is_live());
    let nodes = live.map(|member| {
        json!({
            "node": member.name.as_str(),
            "primary": count(&primaries, member.id),
            "backup": count(&backups, member.id),
        })
    });
    let nodes: Vec<Value> = nodes.collect();
    let with = |is: fn(&Shard) -> bool| view.shards().iter().filter(|shard| is(shard)).count();
    let shards = ShardId::all().zip(view.shards());
    let shards: Vec<Value> = shards.map(|(id, shard)| shown(&view, id, shard)).collect();
    answer::ok(&json!({
        "nodes": nodes,
        "unowned": with(|shard| shard.primary.is_none()),
        "in_sync": with(|shard| shard.in_sync),
        "lost": with(|shard| shard.lost_at_ms.is_some()),
        "shards": shards,
    }))
}

fn shown(view: &View, id: ShardId, shard: &Shard) -> Value {
    let name = |node: NodeId| view.members().get(&node).map(|it| it.name.to_string());
    json!({
        "shard": id.number(),
        "primary": shard.primary.and_then(|owner| name(owner.node)),
        "boot": shard.primary.map(|owner| owner.boot),
        "backup": shard.backup.and_then(name),
        "in_sync": shard.in_sync,
        "epoch": shard.epoch.0,
        "lost_at": shard.lost_at_ms.map(timestamp_ms),
    })
}
