//! The planner together with the map that it plans for: what it proposes is applied, backups are filled, and it is
//! asked again, until it has nothing more to say.

use std::collections::BTreeMap;

use lockgate_proto::id::{NodeId, SHARDS, ShardId};
use proptest::prelude::*;

use super::{Candidate, Pace, plan};
use crate::command::{ShardChange, ShardStep, ShardsCommand};
use crate::machine::Shard;
use crate::machine::test_cluster::TestCluster;

const PACE: Pace = Pace {
    changes_max: 200,
    fills_max: 300,
};

fn candidates(accepting: &[u64], draining: &[u64]) -> Vec<Candidate> {
    let candidate = |accepts| {
        move |node: &u64| Candidate {
            node: NodeId(*node),
            accepts,
        }
    };
    let accepting = accepting.iter().map(candidate(true));
    accepting
        .chain(draining.iter().map(candidate(false)))
        .collect()
}

/// Carries plans out until there is none; returns how often a shard got another primary.
fn settle(cluster: &mut TestCluster, candidates: &[Candidate], pace: Pace) -> usize {
    let mut moves = 0;
    for _ in 0..400 {
        let changes = plan(candidates, cluster.shards(), pace);
        assert!(changes.len() <= pace.changes_max);
        let filling = filling(cluster.shards());
        if changes.is_empty() && filling.is_empty() {
            return moves;
        }
        let handed = |change: &&ShardChange| matches!(change.step, ShardStep::HandOver { .. });
        moves += changes.iter().filter(handed).count();
        cluster.change(changes);
        // Those that nobody owned before are empty, and need no filling.
        let old = |change: &&ShardChange| change.fence.epoch.0 > 1;
        assert!(filling.iter().filter(old).count() <= pace.fills_max);
        cluster.change(filling);
    }
    panic!("the planner never comes to rest");
}

/// What fills backups: those that were being filled before the last batch are in sync, unless it replaced them.
fn filling(shards: &[Shard]) -> Vec<ShardChange> {
    let shards = ShardId::all().zip(shards);
    let empty = shards.filter(|(_, shard)| shard.backup.is_some() && !shard.in_sync);
    empty
        .map(|(shard, now)| ShardChange {
            shard,
            fence: now.fence(),
            step: ShardStep::InSync,
        })
        .collect()
}

/// Shards by primary and by backup.
fn counts(shards: &[Shard]) -> [BTreeMap<u64, usize>; 2] {
    let mut counts = [BTreeMap::new(), BTreeMap::new()];
    for shard in shards {
        let owner = shard.primary.map(|owner| owner.node);
        assert!(owner.is_none() || owner != shard.backup);
        for (counts, node) in counts.iter_mut().zip([owner, shard.backup]) {
            if let Some(node) = node {
                *counts.entry(node.0).or_insert(0) += 1;
            }
        }
    }
    counts
}

#[track_caller]
fn check_balanced(shards: &[Shard], accepting: &[u64]) {
    let nodes = accepting.len();
    for (what, counts) in ["primary", "backup"].into_iter().zip(counts(shards)) {
        if what == "backup" && nodes == 1 {
            assert!(counts.is_empty());
            continue;
        }
        assert_eq!(counts.len(), nodes, "{what}: {counts:?}");
        let each = usize::from(SHARDS) / nodes;
        for (node, count) in &counts {
            assert!(accepting.contains(node), "{what}: {counts:?}");
            let fair = *count == each || (usize::from(SHARDS) > each * nodes && *count == each + 1);
            assert!(fair, "{what}: {counts:?}");
        }
    }
}

/// Fewest shards that must change their primary.
fn fewest_moves(before: &BTreeMap<u64, usize>, accepting: &[u64]) -> usize {
    let (each, more) = (
        usize::from(SHARDS) / accepting.len(),
        usize::from(SHARDS) % accepting.len(),
    );
    let mut have: Vec<usize> = accepting
        .iter()
        .map(|node| before.get(node).copied().unwrap_or(0))
        .collect();
    have.sort_unstable_by(|a, b| b.cmp(a));
    let kept = have.iter().enumerate();
    let kept: usize = kept
        .map(|(place, has)| (*has).min(each + usize::from(place < more)))
        .sum();
    usize::from(SHARDS) - kept
}

#[test]
fn nobody_accepts_nothing_moves() {
    let cluster = TestCluster::of(2);
    assert_eq!(plan(&candidates(&[], &[1, 2]), cluster.shards(), PACE), []);
}

#[test]
fn a_sole_node_is_primary_of_all_and_backup_of_none() {
    let mut cluster = TestCluster::of(1);
    assert_eq!(settle(&mut cluster, &candidates(&[1], &[]), PACE), 0);
    check_balanced(cluster.shards(), &[1]);
}

#[test]
fn a_drained_node_is_emptied_by_handing_over() {
    let mut cluster = TestCluster::of(3);
    let all = cluster.nodes();
    settle(&mut cluster, &candidates(&all, &[]), PACE);
    let before = counts(cluster.shards());
    let moves = settle(&mut cluster, &candidates(&all[1..], &all[..1]), PACE);
    assert_eq!(moves, before[0][&all[0]]);
    check_balanced(cluster.shards(), &all[1..]);
    assert!(cluster.shards().iter().all(|shard| shard.in_sync));
}

#[test]
fn what_a_dead_node_owns_is_left_alone_until_it_is_taken_over() {
    let mut cluster = TestCluster::of(3);
    let all = cluster.nodes();
    settle(&mut cluster, &candidates(&all, &[]), PACE);
    let dead = NodeId(all[0]);
    let living = candidates(&all[1..], &[]);
    let owned = |shard: &Shard| shard.primary.is_some_and(|owner| owner.node == dead);
    let changes = plan(&living, cluster.shards(), PACE);
    let shard = |change: &ShardChange| cluster.shards()[usize::from(change.shard.number())];
    assert!(!changes.iter().any(|change| owned(&shard(change))));

    let boot = 1;
    cluster.shards_command(ShardsCommand::TakeOver { node: dead, boot });
    settle(&mut cluster, &living, PACE);
    check_balanced(cluster.shards(), &all[1..]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Nodes come, drain and return in any order; each time the planner comes to rest balanced, and no shard moved
    /// that did not have to.
    #[test]
    fn balance_is_reached_with_the_fewest_moves(
        nodes in 1..7_usize,
        rounds in prop::collection::vec((any::<u8>(), 1..400_usize, 1..400_usize), 1..4),
    ) {
        let mut cluster = TestCluster::of(nodes);
        let all = cluster.nodes();
        let mut placed = false;
        for (mask, changes_max, fills_max) in rounds {
            let on = |(at, _): &(usize, &u64)| mask >> at & 1 == 1;
            let (accepting, draining): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(on);
            let ids = |some: Vec<(usize, &u64)>| some.into_iter().map(|(_, node)| *node).collect::<Vec<_>>();
            let (accepting, draining) = (ids(accepting), ids(draining));
            if accepting.is_empty() {
                continue;
            }
            let pace = Pace { changes_max: changes_max.max(16), fills_max: fills_max.max(16) };
            let before = counts(cluster.shards());
            let fewest = if placed { fewest_moves(&before[0], &accepting) } else { 0 };
            let moves = settle(&mut cluster, &candidates(&accepting, &draining), pace);
            check_balanced(cluster.shards(), &accepting);
            prop_assert_eq!(moves, fewest);
            placed = true;
        }
    }
}
