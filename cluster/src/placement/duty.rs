//! What the leader does about the shard map next. Pure.
//!
//! ```text
//! owner serves         backup in place ─► in sync                     the rest is the planner's
//! owner's life is over backup in sync, and serves ─► take over
//!                      nothing in sync, a next life has begun ─► that goes on (Resume)
//!                      nobody in sync comes back ─► lost, another node begins anew
//! ```

use std::collections::BTreeMap;

use lockgate_proto::id::{NodeId, ShardId};

use super::{Candidate, Pace, plan};
use crate::command::{ShardChange, ShardStep};
use crate::machine::{Member, Shard, ShardOwner};

/// How the leader sees a life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It may serve.
    Serves,
    /// Its lease is over.
    Over,
    /// That was so long ago, or an operator is about to remove it: it is not waited for.
    Gone,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Give the shards of this life to their backups.
    TakeOver(ShardOwner),
    /// Change shards.
    Change(Vec<ShardChange>),
}

/// What is to be done about the shard map, if anything. `pulse` tells how a life of a member stands.
pub(crate) fn next_duty(
    members: &BTreeMap<NodeId, Member>,
    shards: &[Shard],
    pace: Pace,
    pulse: impl Fn(ShardOwner) -> Pulse,
) -> Option<Duty> {
    let serving: Vec<&Member> = members
        .values()
        .filter(|member| member.is_seated() && pulse(life(member)) == Pulse::Serves)
        .collect();
    let serves = |node: NodeId| serving.iter().any(|member| member.id == node);
    let is_over = |owner: ShardOwner| pulse(owner) != Pulse::Serves;
    let heir = |shard: &Shard| shard.backup.filter(|heir| shard.in_sync && serves(*heir));
    let mut orphans = shards.iter().filter(|shard| heir(shard).is_some());
    if let Some(dead) = orphans.find_map(|shard| shard.primary.filter(|owner| is_over(*owner))) {
        return Some(Duty::TakeOver(dead));
    }
    let candidates: Vec<Candidate> = serving
        .iter()
        .map(|member| Candidate {
            node: member.id,
            accepts: member.draining_since_ms.is_none(),
        })
        .collect();
    let mut accepting = candidates.iter().filter(|one| one.accepts).cycle();
    let steps = ShardId::all().zip(shards).filter_map(|(shard, now)| {
        let owner = now.primary?;
        let next_life = members.get(&owner.node).filter(|one| one.is_seated());
        let next_life = next_life.filter(|one| one.boot > owner.boot);
        let step = match pulse(owner) {
            // Nothing lives in a shard that a backup had to copy first: sessions stay on the node they were opened on.
            Pulse::Serves if !now.in_sync && now.backup.is_some_and(serves) => ShardStep::InSync,
            Pulse::Serves => return None,
            Pulse::Over | Pulse::Gone if next_life.is_some() && !now.in_sync => ShardStep::Resume,
            // Its backup knows everything, but is not there either.
            Pulse::Gone if now.in_sync => ShardStep::OutOfSync,
            Pulse::Gone => ShardStep::Lose {
                primary: accepting.next()?.node,
                backup: None,
            },
            Pulse::Over => return None,
        };
        let fence = now.fence();
        Some(ShardChange { shard, fence, step })
    });
    let steps: Vec<ShardChange> = steps.take(pace.changes_max).collect();
    let changes = match steps.is_empty() {
        true => plan(&candidates, shards, pace),
        false => steps,
    };
    (!changes.is_empty()).then_some(Duty::Change(changes))
}

/// The present life of a member.
fn life(member: &Member) -> ShardOwner {
    ShardOwner {
        node: member.id,
        boot: member.boot,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lockgate_proto::id::SHARDS;

    use super::*;
    use crate::command::{NodesCommand, ShardsCommand};
    use crate::machine::test_cluster::TestCluster;

    const PACE: Pace = Pace {
        changes_max: 512,
        fills_max: 512,
    };

    /// A cluster, and who of it serves.
    struct World {
        cluster: TestCluster,
        over: BTreeSet<u64>,
        gone: bool,
    }

    impl World {
        /// Balanced.
        fn of(nodes: usize) -> Self {
            let mut world = Self {
                cluster: TestCluster::of(nodes),
                over: BTreeSet::new(),
                gone: false,
            };
            world.settle();
            world
        }

        fn duty(&self) -> Option<Duty> {
            let members = self.cluster.parts().nodes().members();
            next_duty(members, self.cluster.shards(), PACE, |life| {
                let boot = members.get(&life.node).map(|member| member.boot);
                match boot == Some(life.boot) && !self.over.contains(&life.node.0) {
                    true => Pulse::Serves,
                    false if self.gone => Pulse::Gone,
                    false => Pulse::Over,
                }
            })
        }

        /// Does what is to be done until nothing is; returns the lives whose shards were taken over.
        fn settle(&mut self) -> Vec<ShardOwner> {
            let mut taken = Vec::new();
            for _ in 0..100 {
                match self.duty() {
                    None => return taken,
                    Some(Duty::Change(changes)) => self.cluster.change(changes),
                    Some(Duty::TakeOver(dead)) => {
                        taken.push(dead);
                        let ShardOwner { node, boot } = dead;
                        let command = ShardsCommand::TakeOver { node, boot };
                        self.cluster.shards_command(command);
                    }
                }
            }
            panic!("it never comes to rest: {:?}", self.duty());
        }

        fn number(&self, place: usize) -> u64 {
            self.cluster.nodes()[place]
        }

        fn owned(&self, node: u64) -> usize {
            let owners = self.cluster.shards().iter();
            let owners = owners.filter(|shard| shard.primary.is_some_and(|it| it.node.0 == node));
            owners.count()
        }

        fn lost(&self) -> usize {
            let shards = self.cluster.shards().iter();
            shards.filter(|shard| shard.lost_at_ms.is_some()).count()
        }

        #[track_caller]
        fn check_all_in_sync(&self) {
            for shard in self.cluster.shards() {
                assert!(shard.primary.is_some() && shard.in_sync, "{shard:?}");
            }
        }
    }

    #[test]
    fn every_shard_gets_an_owner_and_a_backup_in_sync() {
        let world = World::of(3);
        world.check_all_in_sync();
        for place in 0..3 {
            let owned = world.owned(world.number(place));
            assert!((341..=342).contains(&owned), "{owned}");
        }
    }

    #[test]
    fn the_shards_of_a_dead_node_go_to_their_backups_with_a_new_epoch() {
        let mut world = World::of(3);
        let dead = world.number(1);
        let before: Vec<Shard> = world.cluster.shards().to_vec();
        world.over.insert(dead);
        let taken = world.settle();
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].node.0, world.owned(dead)), (dead, 0));
        for (now, before) in world.cluster.shards().iter().zip(&before) {
            if before.primary.unwrap().node.0 == dead {
                assert!(now.epoch > before.epoch);
            }
        }
        assert_eq!(world.lost(), 0);
        world.check_all_in_sync();
        // It has nothing that would keep it from being removed.
        let remove = NodesCommand::Remove {
            node: NodeId(dead),
            lost: true,
        };
        world.cluster.done(remove);
    }

    #[test]
    fn a_node_that_comes_back_gets_its_share_again() {
        let mut world = World::of(3);
        let node = world.number(2);
        world.over.insert(node);
        world.settle();
        world.cluster.boot("n3", 77);
        world.over.clear();
        world.settle();
        assert!((341..=342).contains(&world.owned(node)));
        world.check_all_in_sync();
    }

    #[test]
    fn without_a_backup_the_next_life_goes_on_and_nothing_is_lost() {
        let mut world = World::of(1);
        let node = world.number(0);
        let epoch = world.cluster.shards()[0].epoch;
        world.over.insert(node);
        assert_eq!(world.settle(), vec![]);
        assert_eq!(world.owned(node), usize::from(SHARDS));
        world.cluster.boot("n1", 77);
        world.over.clear();
        world.settle();
        let shard = world.cluster.shards()[0];
        assert_eq!(
            (shard.primary.unwrap().boot, shard.epoch.0),
            (2, epoch.0 + 1)
        );
        assert_eq!(world.lost(), 0);
    }

    #[test]
    fn what_nobody_has_is_lost_when_it_is_not_waited_for_any_more() {
        let mut world = World::of(3);
        let (one, other) = (world.number(0), world.number(1));
        world.over.extend([one, other]);
        world.settle();
        // Each of them was the backup of some shards of the other.
        assert!(world.owned(one) + world.owned(other) > 0);
        assert_eq!(world.lost(), 0);
        world.gone = true;
        world.settle();
        assert_eq!(world.owned(world.number(2)), usize::from(SHARDS));
        assert!(world.lost() > 0);
    }

    #[test]
    fn a_node_that_drains_gives_its_shards_away() {
        let mut world = World::of(3);
        let node = world.number(0);
        let drain = NodesCommand::Drain {
            node: NodeId(node),
            on: true,
        };
        world.cluster.done(drain);
        assert_eq!(world.settle(), vec![]);
        assert_eq!((world.owned(node), world.lost()), (0, 0));
        assert!(!world.cluster.parts().shards().names(NodeId(node)));
    }
}
