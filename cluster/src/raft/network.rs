//! What the engine needs of the room that reaches other nodes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftNetworkFactory;
use openraft::network::NetSnapshot;

use super::engine::Engine;
use super::snapshot::SnapshotFile;
use super::types::{Member, RaftId, TypeConfig};

/// A future behind a trait object.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way to other nodes, and from them to this one.
pub(crate) trait Network: Send + 'static {
    /// Gives the engine its clients.
    type Factory: RaftNetworkFactory<
            TypeConfig,
            Network: NetSnapshot<TypeConfig, SnapshotData = SnapshotFile>,
        >;

    /// Makes the clients of the engine.
    fn factory(&self) -> Self::Factory;

    /// What a node asks of the leader.
    fn peers(&self) -> Arc<dyn Peers>;

    /// Begins to answer other nodes with `engine`. Runs on the cluster's runtime; what it starts ends with that.
    fn serve(self, engine: Engine) -> impl Future<Output = std::io::Result<()>> + Send;
}

/// What a node asks of the leader.
pub(crate) trait Peers: Send + Sync {
    /// Has the leader commit an entry (`peer::v1::Entry`), and gives its outcome (`peer::v1::Outcome`).
    fn propose<'a>(
        &'a self,
        leader: RaftId,
        member: &'a Member,
        entry: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>>;

    /// Asks the leader up to where the log must be applied for a read that is as new as this question.
    fn read_index<'a>(
        &'a self,
        leader: RaftId,
        member: &'a Member,
    ) -> BoxFuture<'a, Result<u64, PeerError>>;
}

/// Why a leader gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerError {
    /// It does not lead (any more), so it did nothing.
    #[error("that node does not lead the cluster")]
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<RaftId>,
    },
    /// It was not reached, so it did nothing.
    #[error("that node cannot be reached: {0}")]
    Unreachable(String),
    /// Whether it did anything is not known.
    #[error("that node did not answer: {0}")]
    Unknown(String),
    /// It will not do that, now or later.
    #[error("that node refuses: {0}")]
    Refused(String),
}
