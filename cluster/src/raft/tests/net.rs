//! A network within one process: nodes call each other's engines, as far as no line between them is cut.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::Notify;

use crate::raft::engine::Engine;
use crate::raft::network::{BoxFuture, Network, PeerError, Peers};
use crate::raft::snapshot::SnapshotFile;
use crate::raft::types::{Member, RaftId, Snapshot, TypeConfig, Vote};

/// All nodes, and the lines that are cut.
#[derive(Clone, Default)]
pub(super) struct Hub {
    engines: Arc<Mutex<BTreeMap<RaftId, Engine>>>,
    cut: Arc<Mutex<BTreeSet<(RaftId, RaftId)>>>,
    /// Who is cut off as soon as it has read, and who waits for that.
    last_read: Arc<Mutex<Option<RaftId>>>,
    isolated: Arc<Notify>,
}

/// The end of the network at one node.
#[derive(Clone)]
pub(super) struct InProcess {
    hub: Hub,
    from: RaftId,
}

/// A line to another node.
pub(super) struct Line {
    end: InProcess,
    to: RaftId,
}

impl Hub {
    pub(super) fn end(&self, from: RaftId) -> InProcess {
        let hub = self.clone();
        InProcess { hub, from }
    }

    /// The node is not reached any more.
    pub(super) fn forget(&self, id: RaftId) {
        self.engines.lock().unwrap().remove(&id);
    }

    pub(super) fn isolate(&self, id: RaftId) {
        let mut cut = self.cut.lock().unwrap();
        for other in self.engines.lock().unwrap().keys() {
            cut.extend([(id, *other), (*other, id)]);
        }
    }

    /// Isolates a node when it has applied what it reads next.
    pub(super) fn isolate_after_read(&self, id: RaftId) {
        *self.last_read.lock().unwrap() = Some(id);
    }

    /// Waits until that is done.
    pub(super) async fn isolated(&self) {
        self.isolated.notified().await;
    }

    /// A node has read.
    async fn on_read(&self, id: RaftId, index: u64) {
        let asked = self.last_read.lock().unwrap().take_if(|last| *last == id);
        if asked.is_none() {
            return;
        }
        let mut applied = self.engines.lock().unwrap()[&id].applied();
        let reached = applied.wait_for(|applied| applied.index >= index);
        reached.await.map(drop).unwrap();
        self.isolate(id);
        self.isolated.notify_one();
    }

    pub(super) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }

    fn reach(&self, from: RaftId, to: RaftId) -> Result<Engine, io::Error> {
        let is_cut = self.cut.lock().unwrap().contains(&(from, to));
        let engine = self.engines.lock().unwrap().get(&to).cloned();
        let missing = || io::Error::from(io::ErrorKind::HostUnreachable);
        engine.filter(|_| !is_cut).ok_or_else(missing)
    }
}

impl Line {
    fn reach(&self) -> Result<Engine, Unreachable<TypeConfig>> {
        let reached = self.end.hub.reach(self.end.from, self.to);
        reached.map_err(|error| Unreachable::new(&error))
    }
}

impl Network for InProcess {
    type Factory = Self;

    fn factory(&self) -> Self {
        self.clone()
    }

    fn peers(&self) -> Arc<dyn Peers> {
        Arc::new(self.clone())
    }

    async fn serve(self, engine: Engine) -> io::Result<()> {
        self.hub.engines.lock().unwrap().insert(self.from, engine);
        Ok(())
    }
}

impl RaftNetworkFactory<TypeConfig> for InProcess {
    type Network = Line;

    async fn new_client(&mut self, to: RaftId, _member: &Member) -> Line {
        let end = self.clone();
        Line { end, to }
    }
}

fn lost(error: impl std::error::Error + 'static) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&error))
}

impl RaftNetworkV2<TypeConfig> for Line {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let engine = self.reach()?;
        engine.raft().append_entries(request).await.map_err(lost)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let engine = self.reach()?;
        engine.raft().vote(request).await.map_err(lost)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let engine = self.reach()?;
        engine.raft().pre_vote(request).await.map_err(lost)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let engine = self.reach()?;
        let copy = || {
            let mut draft = engine.snapshots().draft()?;
            let bytes = std::fs::read(snapshot.snapshot.path())?;
            io::Write::write_all(&mut draft, &bytes)?;
            draft.finish()
        };
        let file = copy().map_err(|error: io::Error| Unreachable::new(&error))?;
        let received = Snapshot {
            meta: snapshot.meta,
            snapshot: file,
        };
        let installed = engine.raft().install_full_snapshot(vote, received).await;
        installed.map_err(|error| StreamingError::Network(NetworkError::new(&error)))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let engine = self.reach()?;
        engine
            .raft()
            .handle_transfer_leader(request)
            .await
            .map_err(lost)
    }
}

impl Peers for InProcess {
    fn propose<'a>(
        &'a self,
        leader: RaftId,
        _member: &'a Member,
        entry: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            match self.hub.reach(self.from, leader) {
                Ok(engine) => engine.propose_here(entry).await,
                Err(error) => Err(PeerError::Unreachable(error.to_string())),
            }
        })
    }

    fn read_index<'a>(
        &'a self,
        leader: RaftId,
        _member: &'a Member,
    ) -> BoxFuture<'a, Result<u64, PeerError>> {
        Box::pin(async move {
            match self.hub.reach(self.from, leader) {
                Ok(engine) => {
                    let index = engine.read_index_here().await?;
                    self.hub.on_read(self.from, index).await;
                    Ok(index)
                }
                Err(error) => Err(PeerError::Unreachable(error.to_string())),
            }
        })
    }
}
