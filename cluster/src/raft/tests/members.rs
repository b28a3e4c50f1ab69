//! Members come, go, change their role, and catch up from a snapshot.

use std::time::Duration;

use super::world::World;
use crate::raft::AdminError;
use crate::raft::start::Role;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leadership_is_handed_over_without_a_lost_write() {
    let world = World::of(3).await;
    let old = world.leader().await;
    let to = world.ids().into_iter().find(|id| *id != old).unwrap();
    let engine = world.node(old).proposer.engine();
    engine.transfer_leader(to).await.unwrap();
    assert_eq!(world.leader().await, to);
    let refused = engine.transfer_leader(old).await;
    assert_eq!(refused, Err(AdminError::NotLeader { leader: Some(to) }));
    world.write(old, "k", "v").await;
    world.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_to_five_and_shrinks_back() {
    let mut world = World::of(5).await;
    world.write(1, "k", "five").await;
    let gone: Vec<_> = world.ids().into_iter().skip(3).collect();
    world.unseat(gone.iter().copied()).await;
    for id in gone {
        world.stop(id).await;
    }
    world.write(1, "k", "three").await;
    let status = world.node(1).proposer.engine().status();
    assert_eq!(status.seats.iter().filter(|seat| seat.votes).count(), 3);
    world.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_catches_up_from_a_snapshot_behind_which_the_log_is_gone() {
    let mut world = World::of(3).await;
    for n in 0..20 {
        world.write(1, "k", &n.to_string()).await;
    }
    let upto = world.node(1).proposer.engine().status().applied;
    for id in world.ids() {
        let engine = world.node(id).proposer.engine();
        engine.write_snapshot().await.unwrap();
        let raft = engine.raft();
        let written = raft.wait(Some(Duration::from_secs(10)));
        written
            .metrics(|m| m.snapshot.is_some(), "snapshot")
            .await
            .unwrap();
        raft.trigger().purge_log(upto).await.unwrap();
    }
    world.write(1, "k", "behind").await;

    // A node that lost its disk comes back as another one.
    let (lost, name) = (world.ids()[2], "n3");
    world.stop(lost).await;
    world.unseat([lost]).await;
    world.remove(lost).await;
    let id = world.join(name).await;
    assert_ne!(id, lost);
    world.promote(id).await;
    assert_eq!(world.read(id, "k").await.as_deref(), Some("behind"));
    let status = world.node(id).proposer.engine().status();
    assert!(status.snapshot >= upto, "{status:?}");
    world.check_equal().await;

    // And from its own files.
    world.stop(id).await;
    world.start(id, name, Role::Joined(id)).await;
    assert_eq!(world.read(id, "k").await.as_deref(), Some("behind"));
    world.check_equal().await;
}
