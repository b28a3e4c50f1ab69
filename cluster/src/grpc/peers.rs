//! `Peers`: asks other members, the leader above all.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::peer::v1 as pb;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::MESSAGE_BYTES_MAX;
use super::connector::never_sent;
use super::convert::Malformed;
use super::doorbell::with_cause;
use super::links::{Lane, Links};
use super::peer_service::LeaseRenewal;
use super::raft_service::REMOVED;
use super::services::peer_client::PeerClient;
use crate::machine::quota::Key;
use crate::raft::{self, BoxFuture, Member, PeerError, RaftId};

/// How long the leader may take. Whoever asks tries again, and stops by a deadline of its own.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A leader that hands over waits for the other one; it gives up before this.
const HAND_OVER_MAX: Duration = Duration::from_secs(8);

/// Calls to other members. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    links: Links,
}

impl Peers {
    pub(crate) fn new(links: Links) -> Self {
        Self { links }
    }

    /// Asks member `raft_id` how it sees itself and the cluster.
    pub(crate) async fn status(
        &self,
        (raft_id, member): (RaftId, &Member),
        limit: Duration,
    ) -> Result<pb::StatusResponse, PeerError> {
        let sender = Some(self.links.sender(raft_id));
        let mut client = self.client(raft_id, member);
        call(limit, client.status(pb::StatusRequest { sender })).await
    }

    /// Asks a member whether it knows that this node was removed. `false` where it does not answer, and for one of a
    /// version that does not say so.
    pub(crate) async fn has_removed_us(
        &self,
        (raft_id, member): (RaftId, &Member),
        limit: Duration,
    ) -> bool {
        let sender = Some(self.links.sender(raft_id));
        let mut client = self.client(raft_id, member);
        let answer = timeout(limit, client.status(pb::StatusRequest { sender })).await;
        matches!(answer, Ok(Err(status)) if status.metadata().contains_key(REMOVED))
    }

    /// Asks the leader for the right to serve, and says how long it lasts from before it was asked.
    pub(crate) async fn renew_lease(
        &self,
        (leader, member): (RaftId, &Member),
        renewal: LeaseRenewal,
        limit: Duration,
    ) -> Result<Duration, PeerError> {
        use pb::renew_lease_response::Result as Answer;

        let sender = Some(self.links.sender(leader));
        let request = pb::RenewLeaseRequest {
            sender,
            boot: renewal.boot,
            applied: renewal.applied,
            lacks_audit: renewal.lacks_audit,
        };
        let mut client = self.client(leader, member);
        let answer = call(limit, client.renew_lease(request)).await?;
        match answer.result {
            Some(Answer::LastingUs(us)) => Ok(Duration::from_micros(us)),
            Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
            Some(Answer::Denied(why)) => Err(PeerError::Refused(why)),
            None => Err(malformed()),
        }
    }

    /// Asks the leader whether every node has applied the entry at `index`, or may not serve before it has.
    pub(crate) async fn is_past(
        &self,
        (leader, member): (RaftId, &Member),
        index: u64,
    ) -> Result<bool, PeerError> {
        use pb::is_past_response::Result as Answer;

        let sender = Some(self.links.sender(leader));
        let mut client = self.client(leader, member);
        let request = pb::IsPastRequest { sender, index };
        let answer = call(ANSWER_MAX, client.is_past(request)).await?;
        match answer.result {
            Some(Answer::Past(past)) => Ok(past),
            Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
            None => Err(malformed()),
        }
    }

    /// Asks the leader to spend of a quota that is too small to be divided. `None` when it has, otherwise how many
    /// microseconds it will take until it is worth asking again.
    pub(crate) async fn spend(
        &self,
        (leader, member): (RaftId, &Member),
        key: &Key,
        tokens: u64,
    ) -> Result<Option<u64>, PeerError> {
        use pb::spend_response::Result as Answer;

        let sender = Some(self.links.sender(leader));
        let spend = pb::QuotaSpend {
            key: Some(pb::QuotaKey {
                rule: key.rule.to_string(),
                subject: key.subject.to_string(),
            }),
            tokens,
        };
        let spend = Some(spend);
        let mut client = self.client(leader, member);
        let answer = call(ANSWER_MAX, client.spend(pb::SpendRequest { sender, spend })).await?;
        match answer.result {
            Some(Answer::Spent(pb::QuotaSpent { paid: true, .. })) => Ok(None),
            Some(Answer::Spent(spent)) => Ok(Some(spent.wait_us.unwrap_or(u64::MAX))),
            Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
            Some(Answer::Refused(why)) => Err(PeerError::Refused(why)),
            None => Err(malformed()),
        }
    }

    /// Has the leader hand the leadership over to the voter `to`, and says who leads then.
    pub(crate) async fn hand_over(
        &self,
        (leader, member): (RaftId, &Member),
        to: RaftId,
    ) -> Result<RaftId, PeerError> {
        use pb::hand_over_response::Result as Answer;

        let sender = Some(self.links.sender(leader));
        let mut client = self.client(leader, member);
        let request = pb::HandOverRequest { sender, to };
        let answer = call(HAND_OVER_MAX, client.hand_over(request)).await?;
        match answer.result {
            Some(Answer::Leader(leader)) => Ok(leader),
            Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
            Some(Answer::Refused(why)) => Err(PeerError::Refused(why)),
            None => Err(malformed()),
        }
    }

    fn client(&self, raft_id: RaftId, member: &Member) -> PeerClient<Channel> {
        let channel = self.links.channel(raft_id, member, Lane::Calls);
        PeerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl raft::Peers for Peers {
    fn propose<'a>(
        &'a self,
        leader: RaftId,
        member: &'a Member,
        entry: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(async move {
            let sender = self.links.sender(leader);
            let proposals = self.links.proposals(leader, member);
            proposals.propose(sender, entry, ANSWER_MAX).await
        })
    }

    fn read_index<'a>(
        &'a self,
        leader: RaftId,
        member: &'a Member,
    ) -> BoxFuture<'a, Result<u64, PeerError>> {
        use pb::read_index_response::Result as Answer;

        Box::pin(async move {
            let sender = Some(self.links.sender(leader));
            let mut client = self.client(leader, member);
            let request = pb::ReadIndexRequest { sender };
            let answer = call(ANSWER_MAX, client.read_index(request)).await?;
            match answer.result {
                Some(Answer::Index(index)) => Ok(index),
                Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
                None => Err(malformed()),
            }
        })
    }
}

pub(super) async fn call<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PeerError> {
    match timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(peer_error(&status)),
        Err(_elapsed) => Err(too_slow(limit)),
    }
}

/// What is known of a call that ended with `status`.
pub(super) fn peer_error(status: &Status) -> PeerError {
    match status.code() {
        // It does not know this node, or not yet; or the connection was never there. Nothing was done.
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::InvalidArgument => PeerError::Unreachable(status.message().to_owned()),
        _ if never_sent(status) => PeerError::Unreachable(with_cause(status)),
        _ => PeerError::Unknown(with_cause(status)),
    }
}

pub(super) fn too_slow(limit: Duration) -> PeerError {
    PeerError::Unknown(format!("nothing within {limit:?}"))
}

pub(super) fn malformed() -> PeerError {
    PeerError::Unknown(Malformed("result").to_string())
}
