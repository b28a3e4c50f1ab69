//! A node that listens, and others that call it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lockgate_proto::peer::v1 as pb;
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::convert::log_id_from;
use super::super::engine::{Engine, EngineStopped};
use super::super::peer_service::{Handler, LeaseRenewal};
use super::super::{Guard, Links, Listener, Members, Roster};
use crate::machine::quota::Key;
use crate::raft::{
    Draft, Entry, LogId, Member, Payload, PeerError, RaftId, SnapshotFile, SnapshotMeta, Snapshots,
    TypeConfig, Vote,
};
use crate::tls::{Credentials, DevCerts, Identity, TlsFiles};

pub(super) const CLUSTER: [u8; 16] = [1; 16];
pub(super) const LIMIT: Duration = Duration::from_secs(10);

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are made and checked in real time"
)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// What the fake engine was asked, and how it answers.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) snapshots: Snapshots,
    pub(super) appended: Mutex<Vec<AppendEntriesRequest<TypeConfig>>>,
    pub(super) votes: Mutex<Vec<(VoteRequest<TypeConfig>, bool)>>,
    pub(super) transfers: Mutex<Vec<TransferLeaderRequest<TypeConfig>>>,
    pub(super) transfer_answer: Mutex<TransferLeaderResponse<TypeConfig>>,
    pub(super) installed: Mutex<Vec<(Vote, SnapshotMeta, Vec<u8>)>>,
    pub(super) proposed: Mutex<Vec<Bytes>>,
    /// Whether proposals that begin with `held` are answered by now.
    pub(super) released: watch::Sender<bool>,
    /// How many wait for that.
    pub(super) n_held: watch::Sender<usize>,
    pub(super) joined: Mutex<Vec<(Option<Identity>, pb::JoinRequest)>>,
    /// From this index on appends conflict.
    pub(super) conflict_from: u64,
}

/// A proposal that waits, until this is dropped.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn new(n_held: &'a watch::Sender<usize>) -> Self {
        n_held.send_modify(|n_held| *n_held += 1);
        Self(n_held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n_held| *n_held -= 1);
    }
}

/// Both an engine and a handler.
#[derive(Clone, Debug)]
pub(super) struct FakeNode(pub(super) Arc<Fake>);

impl Engine for FakeNode {
    fn append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<TypeConfig>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<TypeConfig>, EngineStopped>> {
        let fake = Arc::clone(&self.0);
        requests
            .map(move |request| {
                let last = request.entries.last().map(RaftEntry::log_id);
                let last = last.or(request.prev_log_id);
                fake.appended.lock().unwrap().push(request);
                match last {
                    Some(last) if last.index >= fake.conflict_from => {
                        Ok(Err(StreamAppendError::Conflict(last)))
                    }
                    last => Ok(Ok(last)),
                }
            })
            .boxed()
    }

    async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, EngineStopped> {
        let answer = VoteResponse::new(request.vote, Some(log_id(4)), true);
        self.0.votes.lock().unwrap().push((request, false));
        Ok(answer)
    }

    async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, EngineStopped> {
        let answer = VoteResponse::new(Vote::new_committed(9, 2), None, false);
        self.0.votes.lock().unwrap().push((request, true));
        Ok(answer)
    }

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Result<TransferLeaderResponse<TypeConfig>, EngineStopped> {
        self.0.transfers.lock().unwrap().push(request);
        Ok(self.0.transfer_answer.lock().unwrap().clone())
    }

    fn draft(&self) -> io::Result<Draft> {
        self.0.snapshots.draft()
    }

    async fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Vote, EngineStopped> {
        let bytes = std::fs::read(file.path()).unwrap();
        std::fs::remove_file(file.path()).unwrap();
        self.0.installed.lock().unwrap().push((vote, meta, bytes));
        Ok(vote)
    }
}

impl Handler for FakeNode {
    async fn renew_lease(
        &self,
        _node: RaftId,
        _renewal: LeaseRenewal,
    ) -> Result<Duration, PeerError> {
        Err(PeerError::NotLeader { leader: None })
    }

    async fn is_past(&self, _index: u64) -> Result<bool, PeerError> {
        Err(PeerError::NotLeader { leader: None })
    }

    async fn spend(&self, key: Key, tokens: u64) -> Result<Option<u64>, PeerError> {
        match &*key.rule {
            "lead" => Err(PeerError::NotLeader { leader: Some(3) }),
            "full" => Ok(None),
            "slow" => Ok(Some(tokens)),
            _ => Ok(Some(u64::MAX)),
        }
    }

    async fn propose(&self, entry: Bytes) -> Result<Bytes, PeerError> {
        if entry.starts_with(b"lead") {
            return Err(PeerError::NotLeader { leader: Some(3) });
        }
        if entry.starts_with(b"lost") {
            return Err(PeerError::Unknown("lost the leadership".to_owned()));
        }
        self.0.proposed.lock().unwrap().push(entry.clone());
        if entry.starts_with(b"held") {
            let _held = Held::new(&self.0.n_held);
            let mut released = self.0.released.subscribe();
            released.wait_for(|released| *released).await.unwrap();
        }
        Ok(entry)
    }

    async fn read_index(&self) -> Result<u64, PeerError> {
        Ok(42)
    }

    async fn hand_over(&self, to: RaftId) -> Result<RaftId, PeerError> {
        Ok(to)
    }

    async fn join(
        &self,
        identity: Option<Identity>,
        request: pb::JoinRequest,
    ) -> Result<pb::join_response::Result, PeerError> {
        self.0.joined.lock().unwrap().push((identity, request));
        Ok(pb::join_response::Result::Admitted(pb::Admitted::default()))
    }

    fn status(&self) -> pb::StatusResponse {
        pb::StatusResponse {
            term: 3,
            ..pb::StatusResponse::default()
        }
    }
}

/// `n2` under number 2, which listens; certificates for `n1` (number 1) and strangers.
pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) certs: DevCerts,
    pub(super) n1: Credentials,
    pub(super) n2_credentials: Credentials,
    pub(super) fake: Arc<Fake>,
    pub(super) address: String,
    pub(super) roster: watch::Sender<Arc<Roster>>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) serving: JoinHandle<()>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_conflict(u64::MAX)
    }

    pub(super) fn with_conflict(conflict_from: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let certs = DevCerts::create(&dir.path().join("certs"), "prod", now()).unwrap();
        let n1 = load(certs.node("n1", now()).unwrap(), "n1");
        let n2 = load(certs.node("n2", now()).unwrap(), "n2");
        let fake = Arc::new(Fake {
            snapshots: Snapshots::open(&dir.path().join("snapshots")).unwrap(),
            appended: Mutex::default(),
            votes: Mutex::default(),
            transfers: Mutex::default(),
            transfer_answer: Mutex::new(Ok(())),
            installed: Mutex::default(),
            proposed: Mutex::default(),
            released: watch::Sender::new(false),
            n_held: watch::Sender::new(0),
            joined: Mutex::default(),
            conflict_from,
        });
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let listener = Listener::from_std(socket).unwrap();
        let members = [(1, member("n1", "")), (2, member("n2", &address))];
        let roster = watch::Sender::new(Arc::new(Roster {
            cluster: CLUSTER.to_vec().into(),
            applied: Members {
                upto: 1,
                by_id: BTreeMap::from(members),
            },
            ..Roster::default()
        }));
        let guard = Arc::new(Guard::new(2, roster.subscribe()));
        let stop = watch::Sender::new(false);
        let node = FakeNode(Arc::clone(&fake));
        let engine_and_handler = (node.clone(), node);
        let serving = listener.serve(n2.clone(), guard, engine_and_handler, stop.subscribe());
        Self {
            dir,
            certs,
            n1,
            n2_credentials: n2,
            fake,
            address,
            roster,
            stop,
            serving,
        }
    }

    /// The listening node, as a member.
    pub(super) fn n2(&self) -> Member {
        member("n2", &self.address)
    }

    /// Waits until so many proposals are held.
    pub(super) async fn holds(&self, n: usize) {
        let mut n_held = self.fake.n_held.subscribe();
        let held = timeout(LIMIT, n_held.wait_for(|n_held| *n_held == n)).await;
        drop(held.unwrap().unwrap());
    }

    /// Links of `n1`, as it should be.
    pub(super) fn links(&self) -> Links {
        links(self.n1.clone(), CLUSTER, 1, 1)
    }
}

/// Links of a node that speaks as number `raft_id` of `cluster`.
pub(super) fn links(
    credentials: Credentials,
    cluster: [u8; 16],
    raft_id: RaftId,
    boot: u64,
) -> Links {
    let roster = Roster {
        cluster: cluster.to_vec().into(),
        ..Roster::default()
    };
    Links::new(
        credentials,
        watch::Sender::new(Arc::new(roster)).subscribe(),
        raft_id,
        boot,
    )
}

pub(super) fn load(files: TlsFiles, name: &str) -> Credentials {
    Credentials::load(files, name, now).unwrap()
}

pub(super) fn member(name: &str, address: &str) -> Member {
    Member {
        name: name.to_owned(),
        address: address.to_owned(),
    }
}

pub(super) fn log_id(index: u64) -> LogId {
    log_id_from(&pb::RaftLogId {
        term: 3,
        leader: 1,
        index,
    })
}

/// Entries `first..first + n` after `first - 1`.
pub(super) fn request(first: u64, n: u64, bytes: usize) -> AppendEntriesRequest<TypeConfig> {
    let entry = |index| Entry {
        log_id: log_id(index),
        payload: openraft::EntryPayload::Normal(Payload(Bytes::from(vec![index as u8; bytes]))),
    };
    AppendEntriesRequest {
        vote: Vote::new_committed(3, 1),
        prev_log_id: first.checked_sub(1).map(log_id),
        entries: (first..first + n).map(entry).collect(),
        leader_commit: None,
    }
}
