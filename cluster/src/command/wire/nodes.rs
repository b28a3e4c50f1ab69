//! Commands on the members.

use lockgate_proto::id::{NodeId, NodeName};
use lockgate_proto::peer::compat::Formats;
use lockgate_proto::peer::v1;

use super::{WireError, array, bytes, need};
use crate::command::{JoinProof, JoinRequest, JoinRole, NodesCommand, Speaks};

pub(super) fn command_to(command: &NodesCommand) -> v1::NodesCommand {
    use v1::nodes_command::{
        Boot, Command as Wire, CreateToken, Drain, Found, Promote, Remove, RevokeToken, Seat,
    };
    let command = match command {
        NodesCommand::Found {
            cluster,
            name,
            address,
            speaks,
        } => Wire::Found(Found {
            cluster: bytes(cluster),
            name: name.as_str().to_owned(),
            address: address.clone(),
            speaks: Some(speaks_to(speaks)),
        }),
        NodesCommand::Boot {
            name,
            address,
            nonce,
            speaks,
        } => Wire::Boot(Boot {
            name: name.as_str().to_owned(),
            address: address.clone(),
            nonce: bytes(nonce),
            speaks: Some(speaks_to(speaks)),
        }),
        NodesCommand::CreateToken {
            id,
            digest,
            role,
            lifetime_ms,
        } => Wire::CreateToken(CreateToken {
            id: id.clone(),
            digest: bytes(digest),
            role: role_to(*role),
            lifetime_ms: *lifetime_ms,
        }),
        NodesCommand::RevokeToken { id } => Wire::RevokeToken(RevokeToken { id: id.clone() }),
        NodesCommand::Join(join) => Wire::Join(join_to(join)),
        NodesCommand::Seat { voters, learners } => Wire::Seat(Seat {
            voters: voters.iter().map(|node| node.0).collect(),
            learners: learners.iter().map(|node| node.0).collect(),
        }),
        NodesCommand::Drain { node, on } => Wire::Drain(Drain {
            node: node.0,
            on: *on,
        }),
        NodesCommand::Remove { node, lost } => Wire::Remove(Remove {
            node: node.0,
            lost: *lost,
        }),
        NodesCommand::Promote { node } => Wire::Promote(Promote { node: node.0 }),
    };
    v1::NodesCommand {
        command: Some(command),
    }
}

fn join_to(join: &JoinRequest) -> v1::nodes_command::Join {
    use v1::nodes_command::Join;
    use v1::nodes_command::join::{Peer, Proof, Token};
    Join {
        name: join.name.as_str().to_owned(),
        address: join.address.clone(),
        nonce: bytes(&join.nonce),
        speaks: Some(speaks_to(&join.speaks)),
        proof: Some(match &join.proof {
            JoinProof::Token { id, digest } => Proof::Token(Token {
                id: id.clone(),
                digest: bytes(digest),
            }),
            JoinProof::Peer => Proof::Peer(Peer {}),
        }),
        learner: join.learner,
    }
}

pub(super) fn command_from(message: v1::NodesCommand) -> Result<NodesCommand, WireError> {
    use v1::nodes_command::Command as Wire;
    Ok(match need("nodes command", message.command)? {
        Wire::Found(one) => NodesCommand::Found {
            cluster: array("cluster", &one.cluster)?,
            name: NodeName::new(one.name),
            address: one.address,
            speaks: speaks_from(one.speaks)?,
        },
        Wire::Boot(one) => NodesCommand::Boot {
            name: NodeName::new(one.name),
            address: one.address,
            nonce: array("nonce", &one.nonce)?,
            speaks: speaks_from(one.speaks)?,
        },
        Wire::CreateToken(one) => NodesCommand::CreateToken {
            digest: array("digest", &one.digest)?,
            role: role_from(one.role)?,
            id: one.id,
            lifetime_ms: one.lifetime_ms,
        },
        Wire::RevokeToken(one) => NodesCommand::RevokeToken { id: one.id },
        Wire::Join(one) => NodesCommand::Join(join_from(one)?),
        Wire::Seat(one) => NodesCommand::Seat {
            voters: one.voters.into_iter().map(NodeId).collect(),
            learners: one.learners.into_iter().map(NodeId).collect(),
        },
        Wire::Drain(one) => NodesCommand::Drain {
            node: NodeId(one.node),
            on: one.on,
        },
        Wire::Remove(one) => NodesCommand::Remove {
            node: NodeId(one.node),
            lost: one.lost,
        },
        Wire::Promote(one) => NodesCommand::Promote {
            node: NodeId(one.node),
        },
    })
}

fn join_from(join: v1::nodes_command::Join) -> Result<JoinRequest, WireError> {
    use v1::nodes_command::join::Proof;
    Ok(JoinRequest {
        name: NodeName::new(join.name),
        address: join.address,
        nonce: array("nonce", &join.nonce)?,
        speaks: speaks_from(join.speaks)?,
        proof: match need("proof", join.proof)? {
            Proof::Token(token) => JoinProof::Token {
                digest: array("digest", &token.digest)?,
                id: token.id,
            },
            Proof::Peer(_) => JoinProof::Peer,
        },
        learner: join.learner,
    })
}

pub(crate) fn speaks_to(speaks: &Speaks) -> v1::Speaks {
    v1::Speaks {
        version: speaks.version.clone(),
        entry: speaks.formats.entry,
        snapshot: speaks.formats.snapshot,
        wire: speaks.formats.wire,
    }
}

pub(crate) fn speaks_from(message: Option<v1::Speaks>) -> Result<Speaks, WireError> {
    let message = need("speaks", message)?;
    Ok(Speaks {
        version: message.version,
        formats: Formats {
            entry: message.entry,
            snapshot: message.snapshot,
            wire: message.wire,
        },
    })
}

pub(crate) fn role_to(role: JoinRole) -> i32 {
    let role = match role {
        JoinRole::Learner => v1::JoinRole::Learner,
        JoinRole::Voter => v1::JoinRole::Voter,
    };
    role.into()
}

pub(crate) fn role_from(role: i32) -> Result<JoinRole, WireError> {
    match v1::JoinRole::try_from(role) {
        Ok(v1::JoinRole::Learner) => Ok(JoinRole::Learner),
        Ok(v1::JoinRole::Voter) => Ok(JoinRole::Voter),
        Ok(v1::JoinRole::Unspecified) | Err(_) => Err(WireError::Field { field: "role" }),
    }
}
