//! `RaftService`: answers the engines of other nodes.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lockgate_proto::peer::v1 as pb;
use lockgate_proto::peer::v1::snapshot_part::Part;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::answered::answered;
use super::convert::{
    Malformed, append_from, append_result_to, snapshot_meta_from, transfer_from,
    transfer_response_to, vote_request_from, vote_response_to, vote_to,
};
use super::engine::{Engine, EngineStopped};
use super::guard::{Guard, SenderRefusal};
use super::io::Peer;
use super::services::raft_server::Raft;
use super::snapshot_in;
use crate::tls::Identity;

/// Stands in the metadata of a refusal when the sender was removed from the cluster.
pub(super) const REMOVED: &str = "lockgate-removed";

/// Feeds what members send to the engine of this node.
#[derive(Debug)]
pub(super) struct RaftService<E> {
    engine: E,
    guard: Arc<Guard>,
    /// One snapshot at a time: each takes its size on the disk.
    receiving: Arc<Semaphore>,
}

impl<E: Engine> RaftService<E> {
    pub(super) fn new(engine: E, guard: Arc<Guard>) -> Self {
        Self {
            engine,
            guard,
            receiving: Arc::new(Semaphore::new(1)),
        }
    }

    fn check(&self, peer: Option<&Identity>, sender: Option<&pb::Sender>) -> Result<(), Status> {
        self.guard.check(peer, sender)?;
        Ok(())
    }
}

#[tonic::async_trait]
impl<E: Engine> Raft for RaftService<E> {
    type AppendStream = BoxStream<'static, Result<pb::AppendResponse, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let peer = identity(&request);
        let guard = Arc::clone(&self.guard);
        let read = move |message: pb::AppendRequest| {
            guard.check(peer.as_ref(), message.sender.as_ref())?;
            Ok(append_from(message)?)
        };
        let answers = answered(request.into_inner(), read, |requests| {
            self.engine.append(requests).map(|result| match result {
                Ok(result) => Ok(append_result_to(&result)),
                Err(stopped) => Err(Status::from(stopped)),
            })
        });
        Ok(Response::new(answers))
    }

    async fn vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let peer = identity(&request);
        let request = request.into_inner();
        self.check(peer.as_ref(), request.sender.as_ref())?;
        let answer = self.engine.vote(vote_request_from(&request)?).await?;
        Ok(Response::new(vote_response_to(&answer)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let peer = identity(&request);
        let request = request.into_inner();
        self.check(peer.as_ref(), request.sender.as_ref())?;
        let answer = self.engine.pre_vote(vote_request_from(&request)?).await?;
        Ok(Response::new(vote_response_to(&answer)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferLeaderRequest>,
    ) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let peer = identity(&request);
        let request = request.into_inner();
        self.check(peer.as_ref(), request.sender.as_ref())?;
        let answer = self
            .engine
            .transfer_leader(transfer_from(&request)?)
            .await?;
        Ok(Response::new(transfer_response_to(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let peer = identity(&request);
        let mut parts = request.into_inner();
        let Some(Part::Head(head)) = parts.message().await?.and_then(|first| first.part) else {
            return Err(Status::invalid_argument("a snapshot begins with its head"));
        };
        let sender = head.sender.clone();
        self.check(peer.as_ref(), sender.as_ref())?;
        let _one_at_a_time = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::unavailable("another snapshot is being received"))?;
        let size = head.size;
        let (vote, meta) = snapshot_meta_from(head)?;
        let still_welcome = || self.check(peer.as_ref(), sender.as_ref());
        let draft = self.engine.draft().map_err(|error| {
            Status::resource_exhausted(format!("cannot write a snapshot: {error}"))
        })?;
        let file = snapshot_in::receive(parts, size, draft, still_welcome).await?;
        let vote = self.engine.install_snapshot(vote, meta, file).await?;
        Ok(Response::new(pb::SnapshotResponse {
            vote: Some(vote_to(&vote)),
        }))
    }
}

/// Who is at the other end of the connection.
pub(super) fn identity<T>(request: &Request<T>) -> Option<Identity> {
    request.extensions().get::<Peer>()?.identity.clone()
}

impl From<SenderRefusal> for Status {
    fn from(refusal: SenderRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            SenderRefusal::Removed { .. } => {
                let mut status = Self::permission_denied(text);
                let yes = MetadataValue::from_static("1");
                status.metadata_mut().insert(REMOVED, yes);
                status
            }
            SenderRefusal::Anonymous => Self::unauthenticated(text),
            SenderRefusal::Unnamed => Self::invalid_argument(text),
            SenderRefusal::OtherName { .. } | SenderRefusal::NotAMember { .. } => {
                Self::permission_denied(text)
            }
            SenderRefusal::OtherCluster
            | SenderRefusal::OtherTarget { .. }
            | SenderRefusal::EarlierLife { .. } => Self::failed_precondition(text),
        }
    }
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

impl From<EngineStopped> for Status {
    fn from(stopped: EngineStopped) -> Self {
        Self::unavailable(stopped.to_string())
    }
}
