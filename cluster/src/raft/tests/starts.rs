//! Starts that meet trouble: an engine that ends, a leader that is lost for a while.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::{Instant, pause, resume, sleep};

use super::world::World;
use crate::command::{NodesCommand, Speaks};
use crate::error::OpenError;
use crate::raft::start::{Role, count_start, take_part};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_engine_ends_ends_too() {
    let world = World::one().await;
    let proposer = Arc::clone(&world.node(1).proposer);
    proposer.engine().raft().shutdown().await.unwrap();
    let count = NodesCommand::Boot {
        name: "n1".into(),
        address: String::new(),
        nonce: [7; 16],
        speaks: Speaks::ours(),
    };
    // On a thread of its own: one that tries for ever would not let this test end either.
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let counting = count_start(&count, &proposer, Instant::now() + LONG);
        let _gone = ended.send(runtime.block_on(counting));
    });
    let counted = end.recv_timeout(SOON).expect("it has ended");
    assert!(
        matches!(counted, Err(OpenError::NotCounted(_))),
        "{counted:?}"
    );
}

/// All that the start does is done, and then the leader is away for longer than one read is tried.
#[tokio::test]
async fn a_start_outlasts_the_loss_of_its_leader_to_the_end() {
    let world = World::of(3).await;
    let leader = world.leader().await;
    let id = world.ids().into_iter().find(|id| *id != leader).unwrap();
    let mut options = world.options(id, &world.name(id), Role::Joined(id));
    options.wait_max = None;
    let hub = world.hub();
    hub.isolate_after_read(id);
    let heal = async {
        hub.isolated().await;
        // Only this node's waits are of this clock.
        pause();
        sleep(Duration::from_secs(15)).await;
        hub.heal();
        resume();
    };
    let proposer = &world.node(id).proposer;
    let (taken, ()) = tokio::join!(take_part(&options, proposer), heal);
    taken.unwrap();
    world.check_equal().await;
}
