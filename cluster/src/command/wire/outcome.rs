//! What the machine answered.

use bytes::Bytes;
use lockgate_proto::id::{NodeId, ShardId};
use lockgate_proto::peer::v1;
use prost::Message;

use super::shards::shard_from;
use super::{WireError, need, refusal};
use crate::command::{Outcome, QuotaReply, Reply};

const WHAT: &str = "answer of the machine";

/// Bytes of an outcome.
pub(crate) fn encode_outcome(outcome: &Outcome) -> Bytes {
    outcome_to(outcome).encode_to_vec().into()
}

/// Reads an outcome, which may come from a leader of another version.
pub(crate) fn decode_outcome(bytes: Bytes) -> Result<Outcome, WireError> {
    let message =
        v1::Outcome::decode(bytes).map_err(|source| WireError::Malformed { what: WHAT, source })?;
    outcome_from(message)
}

pub(crate) fn outcome_to(outcome: &Outcome) -> v1::Outcome {
    use v1::outcome::Result as Wire;
    v1::Outcome {
        index: outcome.index,
        result: Some(match &outcome.result {
            Ok(reply) => Wire::Reply(v1::Reply {
                reply: Some(reply_to(reply)),
            }),
            Err(why) => Wire::Refusal(refusal::to(why)),
        }),
    }
}

pub(crate) fn outcome_from(message: v1::Outcome) -> Result<Outcome, WireError> {
    use v1::outcome::Result as Wire;
    let result = match need("result", message.result)? {
        Wire::Reply(reply) => Ok(reply_from(need("reply", reply.reply)?)?),
        Wire::Refusal(why) => Err(refusal::from(why)),
    };
    Ok(Outcome {
        index: message.index,
        result,
    })
}

fn reply_to(reply: &Reply) -> v1::reply::Reply {
    use v1::reply::{Booted, Changed, Configured, Done, Joined, Reply as Wire, Revoked, Written};
    match reply {
        Reply::Done => Wire::Done(Done {}),
        Reply::Boot(boot) => Wire::Booted(Booted { boot: *boot }),
        Reply::Joined(node) => Wire::Joined(Joined { node: node.0 }),
        Reply::Configured {
            version,
            changed,
            keys_pruned,
            servers_pruned,
            index,
        } => Wire::Configured(Configured {
            version: *version,
            changed: *changed,
            keys_pruned: *keys_pruned,
            servers_pruned: *servers_pruned,
            index: *index,
        }),
        Reply::Revoked { index } => Wire::Revoked(Revoked { index: *index }),
        Reply::Written { revision } => Wire::Written(Written {
            revision: *revision,
        }),
        Reply::Changed { changed, refused } => Wire::Changed(Changed {
            changed: *changed,
            refused: refused.iter().map(|id| u32::from(id.number())).collect(),
        }),
        Reply::Quota(reply) => Wire::Quota(reply.to_wire()),
        Reply::Audit(reply) => Wire::Audit(reply.into()),
    }
}

fn reply_from(reply: v1::reply::Reply) -> Result<Reply, WireError> {
    use v1::reply::Reply as Wire;
    Ok(match reply {
        Wire::Done(_) => Reply::Done,
        Wire::Booted(one) => Reply::Boot(one.boot),
        Wire::Joined(one) => Reply::Joined(NodeId(one.node)),
        Wire::Configured(one) => Reply::Configured {
            version: one.version,
            changed: one.changed,
            keys_pruned: one.keys_pruned,
            servers_pruned: one.servers_pruned,
            index: one.index,
        },
        Wire::Revoked(one) => Reply::Revoked { index: one.index },
        Wire::Written(one) => Reply::Written {
            revision: one.revision,
        },
        Wire::Changed(one) => Reply::Changed {
            changed: one.changed,
            refused: one
                .refused
                .into_iter()
                .map(shard_from)
                .collect::<Result<Vec<ShardId>, _>>()?,
        },
        Wire::Quota(reply) => Reply::Quota(need("quota", QuotaReply::from_wire(reply))?),
        Wire::Audit(reply) => Reply::Audit(reply.into()),
    })
}
