//! The aim of a plan: where every shard belongs.

use std::collections::BTreeMap;

use lockgate_proto::id::NodeId;

use super::balance::Shares;
use super::{Candidate, Place};
use crate::machine::Shard;

/// Where every shard belongs; `None` for one that is to be left alone.
pub(super) struct Aim {
    places: Vec<Option<Place>>,
}

impl Aim {
    pub(super) fn of(candidates: &[Candidate], shards: &[Shard]) -> Self {
        let accepting: Vec<NodeId> = candidates
            .iter()
            .filter(|candidate| candidate.accepts)
            .map(|candidate| candidate.node)
            .collect();
        let known = |node: NodeId| candidates.iter().any(|candidate| candidate.node == node);
        let movable = |shard: &Shard| shard.primary.is_none_or(|owner| known(owner.node));
        if accepting.is_empty() {
            return Self {
                places: vec![None; shards.len()],
            };
        }
        let primaries = primaries(&accepting, shards, movable);
        let backups = backups(&accepting, shards, &primaries);
        let places = primaries.into_iter().zip(backups);
        Self {
            places: places
                .map(|(primary, backup)| primary.map(|primary| Place { primary, backup }))
                .collect(),
        }
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Option<Place>> + '_ {
        self.places.iter().copied()
    }
}

/// Who is to be primary of each shard. Whoever is keeps as many as its share allows. What is over goes first where its
/// way is shortest: to a backup that is in sync and still lacks shards, then to one that is being filled. So a shard
/// that is on its way stays on it.
fn primaries(
    accepting: &[NodeId],
    shards: &[Shard],
    movable: impl Fn(&Shard) -> bool,
) -> Vec<Option<NodeId>> {
    let owned = shards.iter().filter(|shard| movable(shard));
    let owners = owned.clone().filter_map(|shard| shard.primary);
    let having = count(accepting, owners.map(|owner| owner.node));
    let mut shares = Shares::split(owned.count(), &having);
    let lacking: Vec<NodeId> = having
        .iter()
        .filter(|(node, has)| shares.lacks(**node, **has))
        .map(|(node, _)| *node)
        .collect();
    let way = |shard: &Shard| match shard.backup {
        Some(backup) if lacking.contains(&backup) && shard.in_sync => Way::Ready,
        Some(backup) if lacking.contains(&backup) => Way::Filling,
        _ => Way::Long,
    };
    let mut primaries: Vec<Option<NodeId>> = vec![None; shards.len()];
    for stays in [Way::Long, Way::Filling, Way::Ready] {
        for (place, shard) in primaries.iter_mut().zip(shards) {
            if movable(shard) && way(shard) == stays {
                let owner = shard.primary.map(|owner| owner.node);
                *place = owner.filter(|node| shares.take(*node));
            }
        }
    }
    for goes in [Way::Ready, Way::Filling] {
        for (place, shard) in primaries.iter_mut().zip(shards) {
            if place.is_none() && movable(shard) && way(shard) == goes {
                *place = shard.backup.filter(|backup| shares.take(*backup));
            }
        }
    }
    for (place, shard) in primaries.iter_mut().zip(shards) {
        if place.is_none() && movable(shard) {
            let after = shard.primary.map_or(NodeId(0), |owner| owner.node);
            *place = shares.take_most(None, after);
        }
    }
    primaries
}

/// How far a shard is from another primary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing was done for it.
    Long,
    /// Its backup, which lacks shards, is being filled.
    Filling,
    /// That backup is in sync.
    Ready,
}

/// Who is to be backup of each shard: never its primary, and whoever is stays, as far as its share allows.
fn backups(
    accepting: &[NodeId],
    shards: &[Shard],
    primaries: &[Option<NodeId>],
) -> Vec<Option<NodeId>> {
    let mut backups: Vec<Option<NodeId>> = vec![None; shards.len()];
    if accepting.len() < 2 {
        return backups;
    }
    let fits = |shard: &Shard, primary: &NodeId| shard.backup.filter(|backup| backup != primary);
    let kept = shards.iter().zip(primaries);
    let kept = kept.filter_map(|(shard, primary)| fits(shard, primary.as_ref()?));
    let having = count(accepting, kept);
    let mut shares = Shares::split(primaries.iter().flatten().count(), &having);
    // One that is in sync is worth more than one that is being filled.
    for in_sync in [true, false] {
        for ((place, shard), primary) in backups.iter_mut().zip(shards).zip(primaries) {
            if let (None, Some(primary)) = (&place, primary) {
                let now = fits(shard, primary).filter(|_| shard.in_sync == in_sync);
                *place = now.filter(|backup| shares.take(*backup));
            }
        }
    }
    // Who gives a shard away knows all of it but what comes afterwards.
    for ((place, shard), primary) in backups.iter_mut().zip(shards).zip(primaries) {
        if let (None, Some(primary)) = (&place, primary) {
            let former = shard.primary.map(|owner| owner.node);
            let former = former.filter(|former| former != primary);
            *place = former.filter(|former| shares.take(*former));
        }
    }
    for at in 0..backups.len() {
        if let (None, Some(primary)) = (backups[at], primaries[at]) {
            backups[at] = shares
                .take_most(Some(primary), primary)
                .or_else(|| swap(&mut backups, primaries, &mut shares, primary));
        }
    }
    backups
}

/// Only `primary` itself could still be a backup: it becomes that of another shard, whose backup is free then.
fn swap(
    backups: &mut [Option<NodeId>],
    primaries: &[Option<NodeId>],
    shares: &mut Shares,
    primary: NodeId,
) -> Option<NodeId> {
    let mut others = backups.iter_mut().zip(primaries);
    let (other, _) = others.find(|(backup, owner)| {
        **owner != Some(primary) && backup.is_some_and(|backup| backup != primary)
    })?;
    shares.take(primary).then(|| other.replace(primary))?
}

fn count(accepting: &[NodeId], nodes: impl Iterator<Item = NodeId>) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<NodeId, usize> = accepting.iter().map(|node| (*node, 0)).collect();
    for node in nodes {
        if let Some(count) = counts.get_mut(&node) {
            *count += 1;
        }
    }
    counts
}
