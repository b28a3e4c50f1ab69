use bytes::Bytes;

use super::super::Peers;
use super::world::{CLUSTER, LIMIT, World, links, load, member, now};
use crate::machine::quota::Key;
use crate::raft::{PeerError, Peers as _};

#[tokio::test]
async fn a_proposal_comes_back_with_the_machines_answer() {
    let world = World::new();
    let peers = Peers::new(world.links());
    let entry = Bytes::from_static(b"entry");
    let answer = peers.propose(2, &world.n2(), entry.clone()).await.unwrap();
    assert_eq!(answer, entry);
    assert_eq!(*world.fake.proposed.lock().unwrap(), [entry]);
}

#[tokio::test]
async fn a_follower_names_the_leader_and_a_lost_leader_says_unknown() {
    let world = World::new();
    let peers = Peers::new(world.links());
    let ask = |entry: &'static [u8]| {
        let (peers, n2) = (peers.clone(), world.n2());
        async move { peers.propose(2, &n2, Bytes::from_static(entry)).await }
    };
    let elsewhere = ask(b"lead").await;
    assert!(matches!(
        elsewhere,
        Err(PeerError::NotLeader { leader: Some(3) })
    ));
    let lost = ask(b"lost").await;
    assert!(matches!(lost, Err(PeerError::Unknown(_))), "{lost:?}");
}

#[tokio::test]
async fn reads_and_status_are_answered() {
    let world = World::new();
    let peers = Peers::new(world.links());
    let n2 = world.n2();
    assert_eq!(peers.read_index(2, &n2).await.unwrap(), 42);
    assert_eq!(peers.status((2, &n2), LIMIT).await.unwrap().term, 3);
}

#[tokio::test]
async fn a_small_quota_is_decided_by_the_peer() {
    let world = World::new();
    let (peers, n2) = (Peers::new(world.links()), world.n2());
    let spend = async |rule: &str| peers.spend((2, &n2), &Key::new(rule, "s"), 7).await;
    assert_eq!(spend("full").await.unwrap(), None);
    assert_eq!(spend("slow").await.unwrap(), Some(7));
    assert_eq!(spend("never").await.unwrap(), Some(u64::MAX));
    let refused = spend("lead").await;
    let leader = Some(3);
    assert!(
        matches!(refused, Err(PeerError::NotLeader { leader: it }) if it == leader),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_stranger_is_refused_and_knows_that_nothing_was_done() {
    let world = World::new();
    let n3 = load(world.certs.node("n3", now()).unwrap(), "n3");
    let peers = Peers::new(links(n3, CLUSTER, 3, 1));
    let refused = peers.propose(2, &world.n2(), Bytes::new()).await;
    assert!(
        matches!(refused, Err(PeerError::Unreachable(_))),
        "{refused:?}"
    );
    assert!(world.fake.proposed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_that_is_down_has_certainly_done_nothing() {
    let world = World::new();
    // Held, but nobody listens: connections are refused.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap().to_string();
    let down = member("n2", &address);
    let peers = Peers::new(world.links());
    let asked = peers.read_index(2, &down).await;
    assert!(matches!(asked, Err(PeerError::Unreachable(_))), "{asked:?}");
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused() {
    let world = World::new();
    let peers = Peers::new(world.links());
    let huge = Bytes::from(vec![0; super::super::MESSAGE_BYTES_MAX + 1]);
    assert!(peers.propose(2, &world.n2(), huge).await.is_err());
    assert!(world.fake.proposed.lock().unwrap().is_empty());
    let small = peers
        .propose(2, &world.n2(), Bytes::from_static(b"x"))
        .await;
    assert!(small.is_ok(), "the connection goes on: {small:?}");
}
