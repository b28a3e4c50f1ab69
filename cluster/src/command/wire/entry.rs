//! Entries of the log.

use bytes::Bytes;
use lockgate_proto::id::NodeId;
use lockgate_proto::peer::compat::OURS;
use lockgate_proto::peer::v1;
use prost::Message;

use super::{WireError, approvals, need, nodes, registry, shards};
use crate::command::{Command, Entry, Origin, QuotaCommand};

const WHAT: &str = "entry of the log";

/// Bytes that the log keeps for `entry`. It is taken, not copied: a batch of audit records is large.
pub(crate) fn encode_entry(entry: Entry) -> Bytes {
    let message = v1::Entry {
        format: entry.command.format(),
        at_ms: entry.at_ms,
        leader_us: entry.leader_us,
        leader_term: entry.leader_term,
        origin: entry.origin.map(|origin| v1::Origin {
            node: origin.node.0,
            boot: origin.boot,
            serial: origin.serial,
            settled: origin.settled,
        }),
        command: Some(command_to(entry.command)),
    };
    message.encode_to_vec().into()
}

/// Reads an entry of the log.
///
/// # Errors
///
/// [`WireError`] when it can't be read whole. The node must stop then: to leave an entry out is to hold another state
/// than those that applied it.
pub(crate) fn decode_entry(bytes: Bytes) -> Result<Entry, WireError> {
    let message =
        v1::Entry::decode(bytes).map_err(|source| WireError::Malformed { what: WHAT, source })?;
    if message.format > OURS.entry {
        return Err(WireError::Newer {
            what: WHAT,
            format: message.format,
            known: OURS.entry,
        });
    }
    Ok(Entry {
        at_ms: message.at_ms,
        leader_us: message.leader_us,
        leader_term: message.leader_term,
        origin: message.origin.map(|origin| Origin {
            node: NodeId(origin.node),
            boot: origin.boot,
            serial: origin.serial,
            settled: origin.settled,
        }),
        command: command_from(need("command", message.command)?)?,
    })
}

fn command_to(command: Command) -> v1::entry::Command {
    use v1::entry::Command as Wire;
    match command {
        Command::Registry(command) => Wire::Registry(registry::command_to(&command)),
        Command::Register(write) => Wire::Register(registry::register_to(&write)),
        Command::Secrets(command) => Wire::Secrets(registry::secrets_to(&command)),
        Command::Nodes(command) => Wire::Nodes(nodes::command_to(&command)),
        Command::Shards(command) => Wire::Shards(shards::command_to(&command)),
        Command::Approvals(command) => Wire::Approvals(approvals::command_to(&command)),
        Command::Quota(command) => Wire::Quota(command.to_wire()),
        Command::Audit(command) => Wire::Audit(command.into()),
    }
}

fn command_from(command: v1::entry::Command) -> Result<Command, WireError> {
    use v1::entry::Command as Wire;
    Ok(match command {
        Wire::Registry(command) => Command::Registry(registry::command_from(command)?),
        Wire::Register(write) => Command::Register(registry::register_from(write)),
        Wire::Secrets(command) => Command::Secrets(registry::secrets_from(command)?),
        Wire::Nodes(command) => Command::Nodes(nodes::command_from(command)?),
        Wire::Shards(command) => Command::Shards(shards::command_from(command)?),
        Wire::Approvals(command) => Command::Approvals(approvals::command_from(command)?),
        Wire::Quota(command) => Command::Quota(need("quota", QuotaCommand::from_wire(command))?),
        Wire::Audit(command) => Command::Audit(command.try_into()?),
    })
}
