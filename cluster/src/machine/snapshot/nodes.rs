//! Members and tokens.

use lockgate_proto::id::{NodeId, NodeName};
use lockgate_proto::peer::v1;

use crate::command::wire::{WireError, array, bytes, role_from, role_to, speaks_from, speaks_to};
use crate::machine::nodes::{Member, MemberState, Nodes, Token};

pub(super) fn to(nodes: &Nodes) -> v1::NodesPart {
    let tokens = nodes.tokens.iter();
    v1::NodesPart {
        cluster: nodes.cluster.map(|id| bytes(&id)).unwrap_or_default(),
        members: nodes.members.values().map(member_to).collect(),
        tokens: tokens
            .map(|(id, token)| v1::StoredToken {
                id: id.clone(),
                digest: bytes(&token.digest),
                role: role_to(token.role),
                expires_at_ms: token.expires_at_ms,
            })
            .collect(),
    }
}

pub(super) fn from(part: v1::NodesPart) -> Result<Nodes, WireError> {
    let mut nodes = Nodes::default();
    if !part.cluster.is_empty() {
        nodes.cluster = Some(array("cluster", &part.cluster)?);
    }
    for member in part.members {
        let member = member_from(member)?;
        nodes.members.insert(member.id, member);
    }
    for token in part.tokens {
        let stored = Token {
            digest: array("digest", &token.digest)?,
            role: role_from(token.role)?,
            expires_at_ms: token.expires_at_ms,
        };
        nodes.tokens.insert(token.id, stored);
    }
    Ok(nodes)
}

fn member_to(member: &Member) -> v1::StoredMember {
    v1::StoredMember {
        id: member.id.0,
        name: member.name.as_str().to_owned(),
        address: member.address.clone(),
        boot: member.boot,
        nonce: bytes(&member.nonce),
        speaks: Some(speaks_to(&member.speaks)),
        state: state_to(member.state).into(),
        wanted: role_to(member.wanted),
        draining_since_ms: member.draining_since_ms,
        removed_at_ms: member.removed_at_ms,
        lost: member.lost,
        boot_index: member.boot_index,
    }
}

fn member_from(member: v1::StoredMember) -> Result<Member, WireError> {
    Ok(Member {
        id: NodeId(member.id),
        name: NodeName::new(member.name),
        address: member.address,
        boot: member.boot,
        boot_index: member.boot_index,
        speaks: speaks_from(member.speaks)?,
        state: state_from(member.state)?,
        wanted: role_from(member.wanted)?,
        draining_since_ms: member.draining_since_ms,
        removed_at_ms: member.removed_at_ms,
        lost: member.lost,
        nonce: array("nonce", &member.nonce)?,
    })
}

fn state_to(state: MemberState) -> v1::MemberState {
    match state {
        MemberState::Joining => v1::MemberState::Joining,
        MemberState::Learner => v1::MemberState::Learner,
        MemberState::Voter => v1::MemberState::Voter,
        MemberState::Removed => v1::MemberState::Removed,
    }
}

fn state_from(state: i32) -> Result<MemberState, WireError> {
    match v1::MemberState::try_from(state) {
        Ok(v1::MemberState::Joining) => Ok(MemberState::Joining),
        Ok(v1::MemberState::Learner) => Ok(MemberState::Learner),
        Ok(v1::MemberState::Voter) => Ok(MemberState::Voter),
        Ok(v1::MemberState::Removed) => Ok(MemberState::Removed),
        Ok(v1::MemberState::Unspecified) | Err(_) => Err(WireError::Field { field: "state" }),
    }
}
