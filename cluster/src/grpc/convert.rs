//! The engine's types as protobuf messages, and back. A message that lacks what the engine needs is `Malformed`.

use std::collections::{BTreeMap, BTreeSet};

use lockgate_proto::peer::v1 as pb;
use openraft::alias::CommittedLeaderIdOf;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership};

use super::guard::Members;
use crate::raft::{
    Entry, LogId, Member, Payload, RaftId, SnapshotMeta, StoredMembership, TypeConfig, Vote,
};

/// A message without something that it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message between nodes lacks its {0}")]
pub(crate) struct Malformed(pub(super) &'static str);

pub(super) fn vote_to(vote: &Vote) -> pb::RaftVote {
    pb::RaftVote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(super) fn vote_from(vote: Option<pb::RaftVote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("vote"))?;
    Ok(if vote.committed {
        Vote::new_committed(vote.term, vote.node)
    } else {
        Vote::new(vote.term, vote.node)
    })
}

pub(super) fn log_id_to(log_id: &LogId) -> pb::RaftLogId {
    pb::RaftLogId {
        term: log_id.leader_id.term,
        leader: log_id.leader_id.node_id,
        index: log_id.index,
    }
}

pub(super) fn log_id_from(log_id: &pb::RaftLogId) -> LogId {
    LogId::new(
        CommittedLeaderIdOf::<TypeConfig>::new(log_id.term, log_id.leader),
        log_id.index,
    )
}

fn member_to(raft_id: RaftId, member: &Member) -> pb::RaftMember {
    pb::RaftMember {
        raft_id,
        name: member.name.clone(),
        address: member.address.clone(),
    }
}

fn member_from(member: pb::RaftMember) -> (RaftId, Member) {
    let pb::RaftMember {
        raft_id,
        name,
        address,
    } = member;
    (raft_id, Member { name, address })
}

/// The members that another node names, whether they vote or not.
pub(crate) fn members_from(
    log_id: Option<&pb::RaftLogId>,
    membership: Option<pb::RaftMembership>,
) -> Members {
    let members = membership.into_iter().flat_map(|it| it.members);
    Members {
        upto: log_id.map_or(0, |log_id| log_id.index.saturating_add(1)),
        by_id: members.map(member_from).collect(),
    }
}

/// The members of the log.
pub(crate) fn members_of(stored: &StoredMembership) -> Members {
    let nodes = stored.nodes();
    Members {
        upto: stored
            .log_id()
            .as_ref()
            .map_or(0, |log_id| log_id.index.saturating_add(1)),
        by_id: nodes
            .map(|(raft_id, member)| (*raft_id, member.clone()))
            .collect(),
    }
}

/// The members of the log, and which entry says so.
pub(crate) fn membership_to_wire(
    stored: &StoredMembership,
) -> (Option<pb::RaftLogId>, pb::RaftMembership) {
    let log_id = stored.log_id().as_ref().map(log_id_to);
    (log_id, membership_to(stored.membership()))
}

pub(super) fn membership_to(membership: &Membership<RaftId, Member>) -> pb::RaftMembership {
    let voters = |set: &BTreeSet<RaftId>| pb::RaftVoters {
        raft_ids: set.iter().copied().collect(),
    };
    pb::RaftMembership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        members: membership
            .nodes()
            .map(|(raft_id, member)| member_to(*raft_id, member))
            .collect(),
    }
}

pub(super) fn membership_from(
    membership: pb::RaftMembership,
) -> Result<Membership<RaftId, Member>, Malformed> {
    let configs: Vec<BTreeSet<RaftId>> = membership
        .configs
        .into_iter()
        .map(|voters| voters.raft_ids.into_iter().collect())
        .collect();
    let members = membership.members.into_iter().map(member_from);
    Membership::new(configs, members.collect::<BTreeMap<_, _>>())
        .map_err(|_| Malformed("member for each voter"))
}

fn entry_to(entry: Entry) -> pb::RaftEntry {
    let payload = match entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(Payload(bytes)) => Some(pb::raft_entry::Payload::Normal(bytes)),
        EntryPayload::Membership(membership) => Some(pb::raft_entry::Payload::Membership(
            membership_to(&membership),
        )),
    };
    pb::RaftEntry {
        log_id: Some(log_id_to(&entry.log_id)),
        payload,
    }
}

fn entry_from(entry: pb::RaftEntry) -> Result<Entry, Malformed> {
    let log_id = entry.log_id.ok_or(Malformed("log id"))?;
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(pb::raft_entry::Payload::Normal(bytes)) => EntryPayload::Normal(Payload(bytes)),
        Some(pb::raft_entry::Payload::Membership(membership)) => {
            EntryPayload::Membership(membership_from(membership)?)
        }
    };
    Ok(Entry {
        log_id: log_id_from(&log_id),
        payload,
    })
}

pub(super) fn append_to(
    request: AppendEntriesRequest<TypeConfig>,
    sender: pb::Sender,
) -> pb::AppendRequest {
    pb::AppendRequest {
        sender: Some(sender),
        vote: Some(vote_to(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to),
        commit: request.leader_commit.as_ref().map(log_id_to),
        entries: request.entries.into_iter().map(entry_to).collect(),
    }
}

/// Also checks what the engine takes for granted: that entries follow each other without a gap.
pub(super) fn append_from(
    request: pb::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let entries: Vec<Entry> = request
        .entries
        .into_iter()
        .map(entry_from)
        .collect::<Result<_, _>>()?;
    let first = request
        .prev
        .as_ref()
        .map_or(0, |prev| prev.index.saturating_add(1));
    if !(first..)
        .zip(&entries)
        .all(|(next, entry)| entry.log_id.index == next)
    {
        return Err(Malformed("next entry"));
    }
    Ok(AppendEntriesRequest {
        vote: vote_from(request.vote)?,
        prev_log_id: request.prev.as_ref().map(log_id_from),
        leader_commit: request.commit.as_ref().map(log_id_from),
        entries,
    })
}

pub(super) fn append_result_to(result: &StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Result as Pb;

    let result = match result {
        Ok(last) => Pb::Stored(pb::Stored {
            last: last.as_ref().map(log_id_to),
        }),
        Err(StreamAppendError::Conflict(log_id)) => Pb::Conflict(log_id_to(log_id)),
        Err(StreamAppendError::HigherVote(vote)) => Pb::HigherVote(vote_to(vote)),
    };
    pb::AppendResponse {
        result: Some(result),
    }
}

pub(super) fn append_result_from(
    response: pb::AppendResponse,
) -> Result<StreamAppendResult<TypeConfig>, Malformed> {
    use pb::append_response::Result as Pb;

    Ok(match response.result.ok_or(Malformed("result"))? {
        Pb::Stored(stored) => Ok(stored.last.as_ref().map(log_id_from)),
        Pb::Conflict(log_id) => Err(StreamAppendError::Conflict(log_id_from(&log_id))),
        Pb::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from(Some(vote))?)),
    })
}

pub(super) fn vote_request_to(
    request: &VoteRequest<TypeConfig>,
    sender: pb::Sender,
) -> pb::VoteRequest {
    pb::VoteRequest {
        sender: Some(sender),
        vote: Some(vote_to(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_request_from(
    request: &pb::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Malformed> {
    Ok(VoteRequest {
        vote: vote_from(request.vote)?,
        last_log_id: request.last.as_ref().map(log_id_from),
        leadership_transfer: request.leadership_transfer,
    })
}

pub(super) fn vote_response_to(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(log_id_to),
    }
}

pub(super) fn vote_response_from(
    response: &pb::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, Malformed> {
    Ok(VoteResponse {
        vote: vote_from(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last.as_ref().map(log_id_from),
    })
}

pub(super) fn transfer_to(
    request: &TransferLeaderRequest<TypeConfig>,
    sender: pb::Sender,
) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        sender: Some(sender),
        from: Some(vote_to(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to),
    }
}

pub(super) fn transfer_from(
    request: &pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Malformed> {
    Ok(TransferLeaderRequest::new(
        vote_from(request.from)?,
        request.to,
        request.last.as_ref().map(log_id_from),
    ))
}

pub(super) fn transfer_response_to(
    response: &TransferLeaderResponse<TypeConfig>,
) -> pb::TransferLeaderResponse {
    use pb::transfer_leader_response::Refusal;

    let refusal = response.as_ref().err().map(|error| match error {
        TransferLeaderError::VoteChanged { actual, .. } => Refusal::VoteChanged(pb::VoteChanged {
            actual: Some(vote_to(actual)),
        }),
        TransferLeaderError::LogNotFlushed { actual, .. } => {
            Refusal::LogNotFlushed(pb::LogNotFlushed {
                actual: actual.as_ref().map(log_id_to),
            })
        }
    });
    pb::TransferLeaderResponse { refusal }
}

/// What was expected stands in `request`, so the answer does not repeat it.
pub(super) fn transfer_response_from(
    response: pb::TransferLeaderResponse,
    request: &TransferLeaderRequest<TypeConfig>,
) -> Result<TransferLeaderResponse<TypeConfig>, Malformed> {
    use pb::transfer_leader_response::Refusal;

    Ok(match response.refusal {
        None => Ok(()),
        Some(Refusal::VoteChanged(changed)) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote_from(changed.actual)?,
        }),
        Some(Refusal::LogNotFlushed(behind)) => Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: behind.actual.as_ref().map(log_id_from),
        }),
    })
}

pub(super) fn snapshot_head(
    vote: &Vote,
    meta: &SnapshotMeta,
    size: u64,
    sender: pb::Sender,
) -> pb::SnapshotHead {
    pb::SnapshotHead {
        sender: Some(sender),
        vote: Some(vote_to(vote)),
        last: meta.last_log_id.as_ref().map(log_id_to),
        membership_log_id: meta.last_membership.log_id().as_ref().map(log_id_to),
        membership: Some(membership_to(meta.last_membership.membership())),
        size,
    }
}

pub(super) fn snapshot_meta_from(
    head: pb::SnapshotHead,
) -> Result<(Vote, SnapshotMeta), Malformed> {
    let membership = membership_from(head.membership.ok_or(Malformed("membership"))?)?;
    let log_id = head.membership_log_id.as_ref().map(log_id_from);
    let meta = SnapshotMeta {
        last_log_id: head.last.as_ref().map(log_id_from),
        last_membership: StoredMembership::new(log_id, membership),
    };
    Ok((vote_from(head.vote)?, meta))
}
