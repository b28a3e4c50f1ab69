//! The network of a cluster of one: there is nobody to reach.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::engine::Engine;
use super::network::{BoxFuture, Network, PeerError, Peers};
use super::snapshot::SnapshotFile;
use super::types::{Member, RaftId, Snapshot, TypeConfig, Vote};

/// Reaches nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone;

impl Network for Alone {
    type Factory = Self;

    fn factory(&self) -> Self {
        *self
    }

    fn peers(&self) -> Arc<dyn Peers> {
        Arc::new(*self)
    }

    async fn serve(self, _engine: Engine) -> io::Result<()> {
        Ok(())
    }
}

impl RaftNetworkFactory<TypeConfig> for Alone {
    type Network = Self;

    async fn new_client(&mut self, _target: RaftId, _member: &Member) -> Self {
        *self
    }
}

impl RaftNetworkV2<TypeConfig> for Alone {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(nobody().into())
    }
}

impl Peers for Alone {
    fn propose<'a>(
        &'a self,
        _leader: RaftId,
        _member: &'a Member,
        _entry: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable(WHY.to_owned())) })
    }

    fn read_index<'a>(
        &'a self,
        _leader: RaftId,
        _member: &'a Member,
    ) -> BoxFuture<'a, Result<u64, PeerError>> {
        Box::pin(async { Err(PeerError::Unreachable(WHY.to_owned())) })
    }
}

const WHY: &str = "this node has no listener for a cluster";

fn nobody() -> Unreachable<TypeConfig> {
    Unreachable::new(&io::Error::new(io::ErrorKind::NotConnected, WHY))
}
