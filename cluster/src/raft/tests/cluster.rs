//! Three nodes: elections, writes through any of them, restarts, a leader that is cut off.

use super::world::World;
use crate::raft::start::Role;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_acknowledged_every_node_reads() {
    let world = World::of(3).await;
    for (n, through) in world.ids().into_iter().enumerate() {
        world.write(through, "k", &n.to_string()).await;
        for reader in world.ids() {
            assert_eq!(world.read(reader, "k").await, Some(n.to_string()));
        }
    }
    world.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_when_the_leader_ends_and_it_catches_up() {
    let mut world = World::of(3).await;
    let leader = world.leader().await;
    world.write(leader, "k", "before").await;
    world.stop(leader).await;
    let other = world.ids()[0];
    world.write(other, "k", "without").await;
    let name = world.name(leader);
    world.start(leader, &name, Role::Joined(leader)).await;
    assert_eq!(world.read(leader, "k").await.as_deref(), Some("without"));
    world.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_answers_nothing_and_loses_nothing() {
    let world = World::of(3).await;
    let old = world.leader().await;
    world.write(old, "k", "before").await;
    world.hub().isolate(old);
    let others: Vec<_> = world.ids().into_iter().filter(|id| *id != old).collect();
    let new = world.leader_among(&others).await;
    world.write(new, "k", "after").await;
    // The old leader still believes that it leads; a read of it must wait for what it cannot hear.
    let stale = world.node(old).proposer.engine().read_index_here().await;
    assert!(stale.is_err(), "{stale:?}");
    world.hub().heal();
    assert_eq!(world.read(old, "k").await.as_deref(), Some("after"));
    world.check_equal().await;
}
