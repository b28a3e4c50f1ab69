use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use openraft::entry::RaftEntry;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesResponse, StreamAppendError, TransferLeaderError, TransferLeaderRequest,
    VoteRequest,
};
use tokio::time::Instant;

use super::super::NetworkFactory;
use super::super::network::Network;
use super::world::{LIMIT, World, log_id, request};
use crate::raft::{Member, Vote};

pub(super) async fn network(world: &World) -> Network {
    let mut factory = NetworkFactory::new(world.links());
    factory.new_client(2, &world.n2()).await
}

#[tokio::test]
async fn appends_arrive_in_order_and_answers_too() {
    let world = World::new();
    let mut network = network(&world).await;
    let sent: Vec<_> = (0..200).map(|i| request(i * 3, 3, 100)).collect();
    let input = stream::iter(sent.clone());
    let answers = network
        .stream_append(input, RPCOption::new(LIMIT))
        .await
        .unwrap();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let expected: Vec<_> = (0..200).map(|i| Ok(Some(log_id(i * 3 + 2)))).collect();
    assert_eq!(answers, expected);
    let arrived = world.fake.appended.lock().unwrap();
    let entries = |requests: &[openraft::raft::AppendEntriesRequest<_>]| {
        requests
            .iter()
            .flat_map(|it| it.entries.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(entries(&arrived), entries(&sent));
}

#[tokio::test]
async fn a_request_larger_than_a_message_arrives_in_pieces() {
    let world = World::new();
    let mut network = network(&world).await;
    // 40 MiB: more than one message may have.
    let big = request(1, 40, 1 << 20);
    let answer = network
        .append_entries(big.clone(), RPCOption::new(LIMIT))
        .await
        .unwrap();
    assert_eq!(answer, AppendEntriesResponse::Success);
    let arrived = world.fake.appended.lock().unwrap();
    assert!(arrived.len() > 1);
    let last = arrived.last().unwrap().entries.last().unwrap().log_id();
    assert_eq!(last, log_id(40));
}

#[tokio::test]
async fn the_first_conflict_ends_the_stream() {
    let world = World::with_conflict(5);
    let mut network = network(&world).await;
    let input = stream::iter((0..10).map(|i| request(i, 1, 10)));
    let answers = network
        .stream_append(input, RPCOption::new(LIMIT))
        .await
        .unwrap();
    let answers: Vec<_> = answers.take(6).map(Result::unwrap).collect().await;
    assert_eq!(answers[4], Ok(Some(log_id(4))));
    assert_eq!(answers[5], Err(StreamAppendError::Conflict(log_id(5))));
}

#[tokio::test]
async fn a_heartbeat_passes_while_appends_are_stuck() {
    let world = World::new();
    let mut appends = network(&world).await;
    let stuck = stream::iter((0..1).map(|i| request(i, 1, 10))).chain(stream::pending());
    let mut answers = appends
        .stream_append(stuck, RPCOption::new(LIMIT))
        .await
        .unwrap();
    assert!(answers.next().await.unwrap().is_ok());
    let mut factory = NetworkFactory::new(world.links());
    let mut pulse = factory.new_heartbeat_client(2, &world.n2()).await;
    let beat = request(1, 0, 0);
    let answer = pulse
        .append_entries(beat, RPCOption::new(LIMIT))
        .await
        .unwrap();
    assert_eq!(answer, AppendEntriesResponse::Success);
}

#[tokio::test]
async fn votes_and_pre_votes_are_told_apart() {
    let world = World::new();
    let mut network = network(&world).await;
    let asked = VoteRequest {
        vote: Vote::new(7, 1),
        last_log_id: Some(log_id(3)),
        leadership_transfer: true,
    };
    let vote = network
        .vote(asked.clone(), RPCOption::new(LIMIT))
        .await
        .unwrap();
    assert!(vote.vote_granted);
    assert_eq!(
        (vote.vote, vote.last_log_id),
        (Vote::new(7, 1), Some(log_id(4)))
    );
    let pre = network
        .pre_vote(asked.clone(), RPCOption::new(LIMIT))
        .await
        .unwrap();
    assert!(!pre.vote_granted);
    assert_eq!(
        (pre.vote, pre.last_log_id),
        (Vote::new_committed(9, 2), None)
    );
    let heard = world.fake.votes.lock().unwrap();
    assert_eq!(*heard, [(asked.clone(), false), (asked, true)]);
}

#[tokio::test]
async fn a_refused_transfer_says_what_the_other_has() {
    let world = World::new();
    let mut network = network(&world).await;
    let asked = TransferLeaderRequest::new(Vote::new_committed(3, 1), 2, Some(log_id(9)));
    let ask = network
        .transfer_leader(asked.clone(), RPCOption::new(LIMIT))
        .await;
    assert_eq!(ask.unwrap(), Ok(()));
    let behind = TransferLeaderError::LogNotFlushed {
        expected: Some(log_id(9)),
        actual: Some(log_id(8)),
    };
    *world.fake.transfer_answer.lock().unwrap() = Err(behind.clone());
    let ask = network
        .transfer_leader(asked.clone(), RPCOption::new(LIMIT))
        .await;
    assert_eq!(ask.unwrap(), Err(behind));
    let moved = TransferLeaderError::VoteChanged {
        expected: Vote::new_committed(3, 1),
        actual: Vote::new(4, 3),
    };
    *world.fake.transfer_answer.lock().unwrap() = Err(moved.clone());
    let ask = network
        .transfer_leader(asked.clone(), RPCOption::new(LIMIT))
        .await;
    assert_eq!(ask.unwrap(), Err(moved));
    assert_eq!(world.fake.transfers.lock().unwrap()[0], asked);
}

/// The engine tries again at once.
#[tokio::test]
async fn streams_to_a_node_that_is_gone_are_tried_with_pauses() {
    let world = World::new();
    // Bound and closed again: nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let member = Member {
        address: gone.local_addr().unwrap().to_string(),
        ..world.n2()
    };
    drop(gone);
    let mut factory = NetworkFactory::new(world.links());
    let mut network = factory.new_client(2, &member).await;
    let began = Instant::now();
    for _attempt in 0..4 {
        let input = stream::iter([request(0, 1, 1)]);
        let opened = network.stream_append(input, RPCOption::new(LIMIT)).await;
        assert!(opened.is_err());
    }
    assert!(began.elapsed() >= Duration::from_millis(50 + 100 + 200 + 400));
}
