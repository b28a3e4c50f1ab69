//! `PeerService`: answers what members ask beside Raft.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lockgate_proto::peer::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use super::answered::answered;
use super::guard::Guard;
use super::raft_service::identity;
use super::services::peer_server::Peer;
use crate::machine::quota::Key;
use crate::raft::{PeerError, RaftId};
use crate::tls::Identity;

/// Proposals of one stream under way at once; as many as a node has. While there are so many, no more are read.
const PROPOSALS_MAX: usize = 1024;

/// What this node does for others. Implemented by the handle of the cluster.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Commits an entry and returns the machine's answer to it.
    fn propose(&self, entry: Bytes) -> impl Future<Output = Result<Bytes, PeerError>> + Send;

    /// Up to where a node must have applied the log to answer a linearizable read.
    fn read_index(&self) -> impl Future<Output = Result<u64, PeerError>> + Send;

    /// Lets the member serve for so long from before it asked, as that life of it has come so far.
    fn renew_lease(
        &self,
        node: RaftId,
        renewal: LeaseRenewal,
    ) -> impl Future<Output = Result<Duration, PeerError>> + Send;

    /// Whether every node has applied the entry at `index`, or may not serve before it has.
    fn is_past(&self, index: u64) -> impl Future<Output = Result<bool, PeerError>> + Send;

    /// Spends of a quota that is too small to be divided. `None` when it has, otherwise how many microseconds it will
    /// take until it is worth asking again.
    fn spend(
        &self,
        key: Key,
        tokens: u64,
    ) -> impl Future<Output = Result<Option<u64>, PeerError>> + Send;

    /// Hands the leadership over to the voter `to`, and says who leads then.
    fn hand_over(&self, to: RaftId) -> impl Future<Output = Result<RaftId, PeerError>> + Send;

    /// Admits a node, or refuses it. `identity`: what its certificate proves, if it has one.
    fn join(
        &self,
        identity: Option<Identity>,
        request: pb::JoinRequest,
    ) -> impl Future<Output = Result<pb::join_response::Result, PeerError>> + Send;

    /// How this node sees itself and the cluster.
    fn status(&self) -> pb::StatusResponse;
}

/// How far a member says that it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseRenewal {
    /// Which life of it.
    pub(crate) boot: u64,
    /// Index of the last entry that it has applied.
    pub(crate) applied: u64,
    /// Whether audit records are missing on it that came with a snapshot.
    pub(crate) lacks_audit: bool,
}

/// Lets members, and nobody else, reach the handler.
#[derive(Debug)]
pub(super) struct PeerService<H> {
    handler: H,
    guard: Arc<Guard>,
}

impl<H: Handler> PeerService<H> {
    pub(super) fn new(handler: H, guard: Arc<Guard>) -> Self {
        Self { handler, guard }
    }

    fn member<T>(
        &self,
        request: &Request<T>,
        sender: impl FnOnce(&T) -> Option<&pb::Sender>,
    ) -> Result<RaftId, Status> {
        let peer = identity(request);
        Ok(self.guard.check(peer.as_ref(), sender(request.get_ref()))?)
    }
}

#[tonic::async_trait]
impl<H: Handler> Peer for PeerService<H> {
    type ProposalsStream = BoxStream<'static, Result<pb::ProposalAnswer, Status>>;

    async fn propose(
        &self,
        request: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeResponse>, Status> {
        use pb::propose_response::Result as Answer;

        self.member(&request, |it| it.sender.as_ref())?;
        let answer = match self.handler.propose(request.into_inner().entry).await {
            Ok(outcome) => Answer::Outcome(outcome),
            Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
            Err(PeerError::Refused(why)) => Answer::Refused(why),
            Err(unknown) => return Err(Status::aborted(unknown.to_string())),
        };
        Ok(Response::new(pb::ProposeResponse {
            result: Some(answer),
        }))
    }

    async fn proposals(
        &self,
        request: Request<Streaming<pb::Proposal>>,
    ) -> Result<Response<Self::ProposalsStream>, Status> {
        let peer = identity(&request);
        let guard = Arc::clone(&self.guard);
        let read = move |proposal: pb::Proposal| {
            guard.check(peer.as_ref(), proposal.sender.as_ref())?;
            Ok(proposal)
        };
        let handler = Arc::new(self.handler.clone());
        let answers = answered(request.into_inner(), read, |proposals| {
            let answers = proposals.map(move |proposal| {
                let handler = Arc::clone(&handler);
                async move {
                    let result = handler.propose(proposal.entry).await;
                    Ok(proposal_answer(proposal.serial, result))
                }
            });
            answers.buffer_unordered(PROPOSALS_MAX)
        });
        Ok(Response::new(answers))
    }

    async fn read_index(
        &self,
        request: Request<pb::ReadIndexRequest>,
    ) -> Result<Response<pb::ReadIndexResponse>, Status> {
        use pb::read_index_response::Result as Answer;

        self.member(&request, |it| it.sender.as_ref())?;
        let answer = match self.handler.read_index().await {
            Ok(index) => Answer::Index(index),
            Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
            Err(unknown) => return Err(Status::aborted(unknown.to_string())),
        };
        Ok(Response::new(pb::ReadIndexResponse {
            result: Some(answer),
        }))
    }

    async fn renew_lease(
        &self,
        request: Request<pb::RenewLeaseRequest>,
    ) -> Result<Response<pb::RenewLeaseResponse>, Status> {
        use pb::renew_lease_response::Result as Answer;

        let node = self.member(&request, |it| it.sender.as_ref())?;
        let request = request.into_inner();
        let renewal = LeaseRenewal {
            boot: request.boot,
            applied: request.applied,
            lacks_audit: request.lacks_audit,
        };
        let answer = match self.handler.renew_lease(node, renewal).await {
            Ok(lasting) => {
                Answer::LastingUs(u64::try_from(lasting.as_micros()).unwrap_or(u64::MAX))
            }
            Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
            Err(PeerError::Refused(why)) => Answer::Denied(why),
            Err(unknown) => return Err(Status::aborted(unknown.to_string())),
        };
        Ok(Response::new(pb::RenewLeaseResponse {
            result: Some(answer),
        }))
    }

    async fn is_past(
        &self,
        request: Request<pb::IsPastRequest>,
    ) -> Result<Response<pb::IsPastResponse>, Status> {
        use pb::is_past_response::Result as Answer;

        self.member(&request, |it| it.sender.as_ref())?;
        let answer = match self.handler.is_past(request.into_inner().index).await {
            Ok(past) => Answer::Past(past),
            Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
            Err(unknown) => return Err(Status::aborted(unknown.to_string())),
        };
        Ok(Response::new(pb::IsPastResponse {
            result: Some(answer),
        }))
    }

    async fn spend(
        &self,
        request: Request<pb::SpendRequest>,
    ) -> Result<Response<pb::SpendResponse>, Status> {
        use pb::spend_response::Result as Answer;

        self.member(&request, |it| it.sender.as_ref())?;
        let spend = request.into_inner().spend.unwrap_or_default();
        let key = spend
            .key
            .ok_or_else(|| Status::invalid_argument("no key"))?;
        let key = Key::new(key.rule, key.subject);
        let answer = match self.handler.spend(key, spend.tokens).await {
            Ok(wait_us) => Answer::Spent(pb::QuotaSpent {
                paid: wait_us.is_none(),
                wait_us: wait_us.filter(|wait_us| *wait_us != u64::MAX),
            }),
            Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
            Err(PeerError::Refused(why)) => Answer::Refused(why),
            Err(unknown) => return Err(Status::aborted(unknown.to_string())),
        };
        Ok(Response::new(pb::SpendResponse {
            result: Some(answer),
        }))
    }

    async fn hand_over(
        &self,
        request: Request<pb::HandOverRequest>,
    ) -> Result<Response<pb::HandOverResponse>, Status> {
        use pb::hand_over_response::Result as Answer;

        self.member(&request, |it| it.sender.as_ref())?;
        let answer = match self.handler.hand_over(request.into_inner().to).await {
            Ok(leader) => Answer::Leader(leader),
            Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
            Err(PeerError::Refused(why)) => Answer::Refused(why),
            Err(unknown) => return Err(Status::aborted(unknown.to_string())),
        };
        Ok(Response::new(pb::HandOverResponse {
            result: Some(answer),
        }))
    }

    /// The one call that is open to one who is no member: the handler decides by certificate and token.
    async fn join(
        &self,
        request: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinResponse>, Status> {
        let peer = identity(&request);
        let answer = self.handler.join(peer, request.into_inner()).await;
        let answer = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(pb::JoinResponse {
            result: Some(answer),
        }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.member(&request, |it| it.sender.as_ref())?;
        Ok(Response::new(self.handler.status()))
    }
}

fn proposal_answer(serial: u64, result: Result<Bytes, PeerError>) -> pb::ProposalAnswer {
    use pb::proposal_answer::Result as Answer;

    let answer = match result {
        Ok(outcome) => Answer::Outcome(outcome),
        Err(PeerError::NotLeader { leader }) => Answer::NotLeader(pb::NotLeader { leader }),
        Err(PeerError::Refused(why)) => Answer::Refused(why),
        Err(unknown @ (PeerError::Unreachable(_) | PeerError::Unknown(_))) => {
            Answer::Unknown(unknown.to_string())
        }
    };
    pb::ProposalAnswer {
        serial,
        result: Some(answer),
    }
}
