//! The network of the bare engine: direct calls within the process.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream::BoxStream};
use openraft::{
    EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    base::BoxFuture,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        VoteRequest, VoteResponse,
    },
};

use super::{Engine, Snapshot, TypeConfig, Vote, machine::Registers};

type RpcError = RPCError<TypeConfig>;

/// All nodes of the process.
#[derive(Clone, Default)]
pub(super) struct Hub {
    engines: Arc<Mutex<BTreeMap<u64, Engine>>>,
}

impl Hub {
    pub(super) fn add(&self, id: u64, engine: Engine) {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.insert(id, engine);
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// The way to one node.
#[derive(Debug)]
pub(super) struct Line {
    hub: Hub,
    to: u64,
}

impl Line {
    fn reach(&self) -> Result<Engine, Unreachable<TypeConfig>> {
        let engines = &self.hub.engines;
        let engines = engines.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engines.get(&self.to).cloned();
        engine.ok_or_else(|| Unreachable::new(&io::Error::from(io::ErrorKind::NotConnected)))
    }
}

impl RaftNetworkFactory<TypeConfig> for Hub {
    type Network = Line;

    async fn new_client(&mut self, to: u64, _node: &EmptyNode) -> Line {
        Line {
            hub: self.clone(),
            to,
        }
    }
}

fn lost(error: impl std::error::Error + 'static) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}

impl RaftNetworkV2<TypeConfig> for Line {
    type SnapshotData = Registers;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        self.reach()?.append_entries(request).await.map_err(lost)
    }

    fn stream_append<'s, R>(
        &'s mut self,
        input: R,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>,
    >
    where
        R: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        async move {
            let results = self.reach()?.stream_append(input);
            Ok(results.map(|result| result.map_err(lost)).boxed())
        }
        .boxed()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.reach()?.vote(request).await.map_err(lost)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.reach()?.pre_vote(request).await.map_err(lost)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let installed = self.reach()?.install_full_snapshot(vote, snapshot).await;
        installed.map_err(|error| StreamingError::Network(NetworkError::new(&error)))
    }
}
