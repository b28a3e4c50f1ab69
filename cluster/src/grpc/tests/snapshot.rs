use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::time::Duration;

use futures_util::stream;
use lockgate_proto::peer::v1 as pb;
use lockgate_proto::peer::v1::snapshot_part::Part;
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::{Membership, Snapshot};
use tonic::{Code, Status};

use super::super::convert::snapshot_head;
use super::super::{NetworkFactory, snapshot_in, snapshot_out};
use super::world::{LIMIT, World, log_id, member};
use crate::raft::{SnapshotFile, SnapshotMeta, Snapshots, StoredMembership, Vote};

fn meta() -> SnapshotMeta {
    let members = BTreeMap::from([(1, member("n1", "a:1")), (2, member("n2", "b:2"))]);
    let configs = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
    SnapshotMeta {
        last_log_id: Some(log_id(77)),
        last_membership: StoredMembership::new(
            Some(log_id(70)),
            Membership::new(configs, members).unwrap(),
        ),
    }
}

fn write(world: &World, bytes: &[u8]) -> SnapshotFile {
    let path = world.dir.path().join("out.snap");
    std::fs::write(&path, bytes).unwrap();
    SnapshotFile::open(&path).unwrap()
}

#[tokio::test]
async fn a_snapshot_arrives_whole() {
    let world = World::new();
    let mut network = NetworkFactory::new(world.links());
    let mut network = network.new_snapshot_client(2, &world.n2()).await;
    for size in [0, 1, 256 << 10, (3 << 20) + 17] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        let snapshot = Snapshot {
            meta: meta(),
            snapshot: write(&world, &bytes),
        };
        let vote = Vote::new_committed(3, 1);
        let option = RPCOption::new(LIMIT);
        let answer = network
            .full_snapshot(vote, snapshot, pending(), option)
            .await
            .unwrap();
        assert_eq!(answer.vote, vote);
        let (vote_in, meta_in, bytes_in) = world.fake.installed.lock().unwrap().pop().unwrap();
        assert_eq!((vote_in, meta_in), (vote, meta()));
        assert!(bytes_in == bytes, "{size} bytes");
    }
}

#[tokio::test]
async fn a_cancelled_snapshot_leaves_nothing_behind() {
    let world = World::new();
    let mut network = NetworkFactory::new(world.links());
    let mut network = network.new_snapshot_client(2, &world.n2()).await;
    let snapshot = Snapshot {
        meta: meta(),
        snapshot: write(&world, b"x"),
    };
    let cancel = async { ReplicationClosed::new("test") };
    let vote = Vote::new_committed(3, 1);
    // Already cancelled, though it may still win the race against the answer.
    let sent = network
        .full_snapshot(vote, snapshot, cancel, RPCOption::new(LIMIT))
        .await;
    assert!(
        matches!(sent, Err(StreamingError::Closed(_)) | Ok(_)),
        "{sent:?}"
    );
}

#[tokio::test]
async fn a_snapshot_file_that_shrinks_is_tried_again_and_does_not_stop_the_node() {
    let world = World::new();
    let mut network = NetworkFactory::new(world.links());
    let mut network = network.new_snapshot_client(2, &world.n2()).await;
    let snapshot = Snapshot {
        meta: meta(),
        snapshot: write(&world, &[7; 100]),
    };
    std::fs::write(snapshot.snapshot.path(), b"short").unwrap();
    let vote = Vote::new_committed(3, 1);
    let sent = network
        .full_snapshot(vote, snapshot, pending(), RPCOption::new(LIMIT))
        .await;
    assert!(
        matches!(sent, Err(StreamingError::Unreachable(_))),
        "{sent:?}"
    );
    assert!(world.fake.installed.lock().unwrap().is_empty());
}

fn part(part: Part) -> Result<pb::SnapshotPart, Status> {
    Ok(pb::SnapshotPart { part: Some(part) })
}

fn chunk(bytes: &'static [u8]) -> Result<pb::SnapshotPart, Status> {
    part(Part::Chunk(bytes.into()))
}

fn end(of: &[u8]) -> Result<pb::SnapshotPart, Status> {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, of);
    part(Part::End(pb::SnapshotEnd {
        sha256: sha256.as_ref().to_vec().into(),
    }))
}

async fn check_torn(parts: Vec<Result<pb::SnapshotPart, Status>>, size: u64, code: Code) {
    let dir = tempfile::TempDir::new().unwrap();
    let draft = Snapshots::open(dir.path()).unwrap().draft().unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let received = snapshot_in::receive(stream::iter(parts), size, draft, || Ok(())).await;
    assert_eq!(received.unwrap_err().code(), code);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_snapshot_that_is_torn_changed_or_too_long_is_dropped() {
    check_torn(vec![], 4, Code::DataLoss).await;
    check_torn(vec![chunk(b"abcd")], 4, Code::DataLoss).await;
    check_torn(vec![chunk(b"ab"), end(b"ab")], 4, Code::DataLoss).await;
    check_torn(vec![chunk(b"abce"), end(b"abcd")], 4, Code::DataLoss).await;
    check_torn(
        vec![chunk(b"abcde"), end(b"abcde")],
        4,
        Code::InvalidArgument,
    )
    .await;
    check_torn(
        vec![chunk(b"ab"), Err(Status::cancelled(""))],
        4,
        Code::Cancelled,
    )
    .await;
    let head = snapshot_head(&Vote::new(1, 1), &meta(), 4, pb::Sender::default());
    check_torn(vec![part(Part::Head(head))], 4, Code::InvalidArgument).await;
}

#[tokio::test]
async fn a_sender_that_is_removed_meanwhile_is_cut_off() {
    let dir = tempfile::TempDir::new().unwrap();
    let draft = Snapshots::open(dir.path()).unwrap().draft().unwrap();
    let parts = stream::iter([chunk(b"abcd"), end(b"abcd")]);
    let removed = || Err(Status::permission_denied("removed"));
    let received = snapshot_in::receive(parts, 4, draft, removed).await;
    assert_eq!(received.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_does_not_get_on_is_given_up() {
    let world = World::new();
    let snapshot = Snapshot {
        meta: meta(),
        snapshot: write(&world, &[0; 1 << 20]),
    };
    let parts = snapshot_out::parts(Vote::new(1, 1), &snapshot, pb::Sender::default());
    let (_parts, progress) = parts;
    progress.stalled(Duration::from_secs(5)).await;
}
