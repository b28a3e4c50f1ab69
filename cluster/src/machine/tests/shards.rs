use lockgate_proto::id::{Epoch, NodeId, ShardId};

use crate::command::{Fence, NodesCommand, Reply, ShardChange, ShardStep, ShardsCommand};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{Shard, ShardOwner};

/// Three nodes, and what happens to the first shard.
struct World {
    cluster: TestCluster,
    nodes: [NodeId; 3],
}

impl World {
    /// The first node is primary, the second backup.
    fn new() -> Self {
        let cluster = TestCluster::of(3);
        let [a, b, c] = cluster.nodes()[..] else {
            panic!("three nodes");
        };
        let mut world = Self {
            cluster,
            nodes: [a, b, c].map(NodeId),
        };
        let [primary, backup, _] = world.nodes;
        let backup = Some(backup);
        world.does(ShardStep::Assign { primary, backup });
        world
    }

    fn in_sync() -> Self {
        let mut world = Self::new();
        world.does(ShardStep::InSync);
        world
    }

    fn shard(&self) -> Shard {
        self.cluster.shards()[0]
    }

    /// Whether the step took effect.
    fn tries(&mut self, fence: Fence, step: ShardStep) -> bool {
        let shard = ShardId::all().next().unwrap();
        let change = ShardChange { shard, fence, step };
        let before = self.shard();
        let reply = self
            .cluster
            .shards_command(ShardsCommand::Batch(vec![change]));
        let (changed, refused) = match reply {
            Reply::Changed { changed, refused } => (changed, refused),
            other => panic!("{other:?}"),
        };
        assert_eq!(changed == 0, refused == [shard]);
        assert_eq!(changed == 0, before == self.shard());
        changed == 1
    }

    #[track_caller]
    fn does(&mut self, step: ShardStep) {
        let fence = self.shard().fence();
        assert!(self.tries(fence, step), "{step:?}");
    }

    #[track_caller]
    fn refuses(&mut self, step: ShardStep) {
        let fence = self.shard().fence();
        assert!(!self.tries(fence, step), "{step:?}");
    }

    fn take_over(&mut self, node: NodeId, boot: u64) -> u32 {
        let take_over = ShardsCommand::TakeOver { node, boot };
        match self.cluster.shards_command(take_over) {
            Reply::Changed { changed, .. } => changed,
            other => panic!("{other:?}"),
        }
    }

    fn owner(&self) -> Option<(NodeId, u64)> {
        self.shard().primary.map(|owner| (owner.node, owner.boot))
    }
}

#[test]
fn what_was_seen_in_another_state_is_refused() {
    let mut world = World::in_sync();
    let seen = world.shard().fence();
    world.does(ShardStep::OutOfSync);
    assert!(!world.tries(seen, ShardStep::HandOver { backup: None }));
    let epoch = Epoch(seen.epoch.0 + 1);
    let revision = world.shard().revision;
    assert!(!world.tries(Fence { epoch, revision }, ShardStep::InSync));
}

#[test]
fn a_late_word_about_a_former_turn_as_backup_does_not_count() {
    let mut world = World::new();
    let [_, b, c] = world.nodes;
    let late = world.shard().fence();
    world.does(ShardStep::SetBackup { backup: Some(c) });
    world.does(ShardStep::SetBackup { backup: Some(b) });
    assert_eq!(world.shard().epoch, late.epoch);
    assert!(!world.tries(late, ShardStep::InSync));
}

#[test]
fn only_a_backup_in_sync_takes_over() {
    let mut world = World::new();
    let [a, b, _] = world.nodes;
    world.refuses(ShardStep::HandOver { backup: None });
    assert_eq!(world.take_over(a, 1), 0);
    world.does(ShardStep::InSync);
    assert_eq!(world.take_over(a, 1), 1);
    let shard = world.shard();
    assert_eq!(world.owner(), Some((b, 1)));
    assert_eq!((shard.backup, shard.in_sync), (None, false));
    assert_eq!(shard.epoch, Epoch(2));
    assert_eq!(shard.lost_at_ms, None);
}

#[test]
fn a_take_over_concerns_the_life_that_is_over_and_none_after_it() {
    let mut world = World::in_sync();
    let [a, b, _] = world.nodes;
    assert_eq!(world.take_over(b, 1), 0);
    assert_eq!(world.take_over(a, 0), 0);
    world.cluster.boot("n1", 60);
    assert_eq!(
        world.take_over(a, 2),
        1,
        "what an older life owned is meant"
    );
}

#[test]
fn a_hand_over_makes_the_backup_primary_under_the_next_epoch() {
    let mut world = World::in_sync();
    let [a, b, _] = world.nodes;
    world.does(ShardStep::HandOver { backup: Some(a) });
    assert_eq!(world.owner(), Some((b, 1)));
    let shard = world.shard();
    assert_eq!((shard.backup, shard.in_sync), (Some(a), false));
    assert_eq!(shard.epoch, Epoch(2));
}

#[test]
fn a_backup_that_starts_anew_is_in_sync_no_more() {
    let mut world = World::in_sync();
    let before = world.shard();
    world.cluster.boot("n2", 60);
    let after = world.shard();
    assert!(!after.in_sync);
    assert!(
        after.revision > before.revision,
        "the primary's word is fenced"
    );
    world.does(ShardStep::InSync);
    let seen = world.shard();
    world.cluster.boot("n2", 60);
    assert_eq!(world.shard(), seen, "the same start told twice");
}

#[test]
fn a_new_life_owns_nothing_until_the_map_says_so() {
    let mut world = World::new();
    let [a, ..] = world.nodes;
    world.refuses(ShardStep::Resume);
    world.cluster.boot("n1", 60);
    assert_eq!(world.owner(), Some((a, 1)));
    world.does(ShardStep::Resume);
    assert_eq!(world.owner(), Some((a, 2)));
    assert_eq!(world.shard().epoch, Epoch(2));
}

#[test]
fn a_new_life_goes_on_only_for_want_of_a_backup_in_sync() {
    let mut world = World::in_sync();
    world.cluster.boot("n1", 60);
    world.refuses(ShardStep::Resume);
}

#[test]
fn what_is_given_up_is_dated_and_never_what_somebody_still_has() {
    let mut world = World::in_sync();
    let [_, _, c] = world.nodes;
    let lose = ShardStep::Lose {
        primary: c,
        backup: None,
    };
    world.refuses(lose);
    world.does(ShardStep::OutOfSync);
    world.does(lose);
    assert_eq!(world.owner(), Some((c, 1)));
    assert_eq!(world.shard().lost_at_ms, Some(world.cluster.now_ms));
}

#[test]
fn nobody_is_placed_who_is_not_seated_or_backs_up_itself() {
    let mut world = World::new();
    let [a, _, c] = world.nodes;
    world.refuses(ShardStep::SetBackup { backup: Some(a) });
    let stranger = Some(NodeId(99));
    world.refuses(ShardStep::SetBackup { backup: stranger });
    let (node, lost) = (c, false);
    world.cluster.done(NodesCommand::Remove { node, lost });
    world.refuses(ShardStep::SetBackup { backup: Some(c) });
    world.refuses(ShardStep::Lose {
        primary: c,
        backup: None,
    });
    let primary = a;
    world.refuses(ShardStep::Assign {
        primary,
        backup: None,
    });
}

#[test]
fn without_a_backup_nothing_is_in_sync() {
    let mut world = World::in_sync();
    world.does(ShardStep::SetBackup { backup: None });
    world.refuses(ShardStep::InSync);
    world.refuses(ShardStep::OutOfSync);
    world.refuses(ShardStep::HandOver { backup: None });
}

#[test]
fn one_refused_change_stops_no_other() {
    let mut world = World::new();
    let [a, ..] = world.nodes;
    let [first, second] = [0, 1].map(|at| ShardId::all().nth(at).unwrap());
    let stale = Fence {
        epoch: Epoch(9),
        revision: 9,
    };
    let fence = world.cluster.shards()[1].fence();
    let step = ShardStep::Assign {
        primary: a,
        backup: None,
    };
    let reply = world.cluster.shards_command(ShardsCommand::Batch(vec![
        ShardChange {
            shard: first,
            fence: stale,
            step,
        },
        ShardChange {
            shard: second,
            fence,
            step,
        },
    ]));
    let want = Reply::Changed {
        changed: 1,
        refused: vec![first],
    };
    assert_eq!(reply, want);
    let owner = ShardOwner { node: a, boot: 1 };
    assert_eq!(world.cluster.shards()[1].primary, Some(owner));
}
