//! The head of a snapshot file: the engine's positions and members in protobuf.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use lockgate_proto::peer::v1;
use openraft::Membership;
use prost::Message;

use crate::raft::types::{LogId, Member, RaftId, SnapshotMeta, StoredMembership, log_id};

/// Format of the file.
const FORMAT: u32 = 1;

pub(super) fn encode(meta: &SnapshotMeta) -> Vec<u8> {
    let membership = meta.last_membership.membership();
    let voters = membership.get_joint_config().iter();
    let members = membership.nodes();
    let head = v1::SnapshotFileHead {
        format: FORMAT,
        last: meta.last_log_id.as_ref().map(to_wire),
        membership_log_id: meta.last_membership.log_id().as_ref().map(to_wire),
        membership: Some(v1::RaftMembership {
            configs: voters
                .map(|ids| v1::RaftVoters {
                    raft_ids: ids.iter().copied().collect(),
                })
                .collect(),
            members: members
                .map(|(id, member)| v1::RaftMember {
                    raft_id: *id,
                    name: member.name.clone(),
                    address: member.address.clone(),
                })
                .collect(),
        }),
    };
    head.encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> io::Result<SnapshotMeta> {
    let head = v1::SnapshotFileHead::decode(bytes).map_err(io::Error::other)?;
    if head.format != FORMAT {
        let text = format!("it has format {}, this program reads {FORMAT}", head.format);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let membership = head.membership.unwrap_or_default();
    let configs: Vec<BTreeSet<RaftId>> = membership
        .configs
        .into_iter()
        .map(|voters| voters.raft_ids.into_iter().collect())
        .collect();
    let members: BTreeMap<RaftId, Member> = membership
        .members
        .into_iter()
        .map(|member| {
            let (name, address) = (member.name, member.address);
            (member.raft_id, Member { name, address })
        })
        .collect();
    let membership = Membership::new(configs, members).map_err(io::Error::other)?;
    let at = head.membership_log_id.as_ref().map(from_wire);
    Ok(SnapshotMeta {
        last_log_id: head.last.as_ref().map(from_wire),
        last_membership: StoredMembership::new(at, membership),
    })
}

fn to_wire(log_id: &LogId) -> v1::RaftLogId {
    v1::RaftLogId {
        term: log_id.committed_leader_id().term,
        leader: log_id.committed_leader_id().node_id,
        index: log_id.index(),
    }
}

fn from_wire(at: &v1::RaftLogId) -> LogId {
    log_id(at.term, at.leader, at.index)
}
