//! `Engine`: what the service asks of Raft on this node. A trait, so that the wire is tested without one.

use std::future::Future;
use std::io;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;

use crate::raft::{self, Draft, SnapshotFile, SnapshotMeta, TypeConfig, Vote};

/// Raft on this node has stopped, and with it the node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("raft has stopped on this node: {0}")]
pub(crate) struct EngineStopped(pub(crate) String);

/// Raft on this node.
pub(crate) trait Engine: Clone + Send + Sync + 'static {
    /// Appends entries in order; answers in the same order, each when its entries are on the disk. Ends after the first
    /// answer that is not a success.
    fn append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<TypeConfig>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<TypeConfig>, EngineStopped>>;

    /// Answers a candidate.
    fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> impl Future<Output = Result<VoteResponse<TypeConfig>, EngineStopped>> + Send;

    /// Says how a vote would be answered.
    fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> impl Future<Output = Result<VoteResponse<TypeConfig>, EngineStopped>> + Send;

    /// Takes over the leadership, or makes way for who does.
    fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> impl Future<Output = Result<TransferLeaderResponse<TypeConfig>, EngineStopped>> + Send;

    /// A new file to receive a snapshot into.
    fn draft(&self) -> io::Result<Draft>;

    /// Installs a snapshot that was received whole.
    fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> impl Future<Output = Result<Vote, EngineStopped>> + Send;
}

impl Engine for raft::Engine {
    fn append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<TypeConfig>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<TypeConfig>, EngineStopped>> {
        let engine = self.clone();
        let requests = requests.inspect(move |_request| engine.hear_leader());
        let results = self.raft().stream_append(requests);
        Box::pin(results.map(|result| result.map_err(stopped)))
    }

    async fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, EngineStopped> {
        self.raft().vote(request).await.map_err(stopped)
    }

    async fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Result<VoteResponse<TypeConfig>, EngineStopped> {
        self.raft().pre_vote(request).await.map_err(stopped)
    }

    async fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Result<TransferLeaderResponse<TypeConfig>, EngineStopped> {
        let answer = self.raft().handle_transfer_leader(request).await;
        answer.map_err(stopped)
    }

    fn draft(&self) -> io::Result<Draft> {
        self.snapshots().draft()
    }

    async fn install_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<Vote, EngineStopped> {
        let snapshot = Snapshot {
            meta,
            snapshot: file,
        };
        let installed = self.raft().install_full_snapshot(vote, snapshot).await;
        installed.map(|response| response.vote).map_err(stopped)
    }
}

fn stopped(error: impl std::fmt::Display) -> EngineStopped {
    EngineStopped(error.to_string())
}
