//! The state machine: commands in, replies out. Pure and deterministic, so that every node that applies the same log
//! holds the same state. No clock (an entry carries its time), no randomness (a command carries what was drawn).
//! One part a file.

mod approvals;
pub(crate) mod audit;
pub(crate) mod hashes;
mod limits;
mod nodes;
mod once;
pub(crate) mod quota;
mod refound;
mod refusal;
mod registers;
mod registry;
mod secrets;
mod shards;
pub(crate) mod snapshot;
#[cfg(test)]
pub(crate) mod test_cluster;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::approvals::Approvals;
use self::audit::{AuditCommand, AuditEffect, AuditLog};
use self::hashes::Hashes;
use self::nodes::Nodes;
use self::once::{Once, Seen};
use self::quota::Quota;
use self::registers::Registers;
use self::registry::Registry;
use self::secrets::Secrets;
use self::shards::Shards;
use crate::command::{Command, Entry, NodesCommand, Outcome, Reply};

pub use self::approvals::{Approval, Ending};
pub use self::hashes::StateHash;
pub(crate) use self::limits::subject;
pub use self::nodes::{Member, MemberState, Token};
pub(crate) use self::refound::Refounder;
pub use self::refusal::Refusal;
pub use self::registers::Register;
pub use self::registry::{ApiKey, ConfigVersion, DynamicServer, KeyMac};
pub use self::shards::{Shard, ShardOwner};

/// Place of an entry in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Term of the leader that wrote it.
    pub(crate) term: u64,
    /// Index. Grows; not every index is an entry for the machine.
    pub(crate) index: u64,
}

/// When and where a command takes effect, as the parts see it.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    index: u64,
    at_ms: u64,
}

/// What readers see of the state. A clone shares all parts until one of them changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    position: Position,
    registry: Arc<Registry>,
    registers: Arc<Registers>,
    secrets: Arc<Secrets>,
    nodes: Arc<Nodes>,
    shards: Arc<Shards>,
    approvals: Arc<Approvals>,
    quota: Arc<Quota>,
    audit: Arc<AuditLog>,
    hashes: Arc<Hashes>,
}

/// All replicated state. To publish it, clone its parts only: the memory of what was answered changes with every
/// entry, and a clone of it that somebody holds makes the next entry copy it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    parts: Parts,
    once: Arc<Once>,
}

impl Machine {
    /// Applies the entry at `position`, which lies behind the last one. A refused command changes nothing but that.
    /// What is to be done outside of the state is added to `effects`; nothing is when a proposal comes again.
    pub(crate) fn apply(
        &mut self,
        position: Position,
        entry: Entry,
        effects: &mut Vec<AuditEffect>,
    ) -> Outcome {
        let last = self.parts.position.index;
        debug_assert!(position.index > last, "entries are applied in order");
        self.parts.position = position;
        let leaver = match &entry.command {
            Command::Nodes(NodesCommand::Remove { node, .. }) => Some(*node),
            _ => None,
        };
        let outcome = match entry.origin {
            None => self.parts.outcome(position.index, entry, effects),
            Some(origin) => {
                let life = self.parts.nodes.life(origin.node);
                match Arc::make_mut(&mut self.once).seen(origin, life) {
                    Seen::Never => {
                        let outcome = self.parts.outcome(position.index, entry, effects);
                        Arc::make_mut(&mut self.once).keep(origin, outcome.clone());
                        outcome
                    }
                    Seen::Answered(outcome) => outcome,
                    Seen::Refused(refusal) => Outcome {
                        index: position.index,
                        result: Err(refusal),
                    },
                }
            }
        };
        if let (Some(node), Ok(_)) = (leaver, &outcome.result) {
            Arc::make_mut(&mut self.once).forget(node);
            Arc::make_mut(&mut self.parts.quota).forget(node.0);
        }
        // Judged by the index, not by a count, so that every node hashes after the same entries.
        if hashes::is_due(last, position.index) {
            let hash = snapshot::hash(self);
            Arc::make_mut(&mut self.parts.hashes).push(position.index, hash);
        }
        outcome
    }

    /// Place of the last entry that was applied.
    pub(crate) fn position(&self) -> Position {
        self.parts.position
    }

    /// What readers see.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }
}

impl Parts {
    /// Whether members and shards are the same in both. A cheap look, which may say no for equal ones.
    pub(crate) fn shares_map(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.nodes, &other.nodes) && Arc::ptr_eq(&self.shards, &other.shards)
    }

    pub(crate) fn shares_registry(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.registry, &other.registry)
    }

    /// Whether nothing has come to `earlier` but audit records, and none that completes a thousand of them. A cheap look,
    /// which may say no for equal ones.
    pub(crate) fn adds_only_records(&self, earlier: &Self) -> bool {
        self.shares_map(earlier)
            && self.shares_registry(earlier)
            && Arc::ptr_eq(&self.registers, &earlier.registers)
            && Arc::ptr_eq(&self.secrets, &earlier.secrets)
            && Arc::ptr_eq(&self.approvals, &earlier.approvals)
            && Arc::ptr_eq(&self.quota, &earlier.quota)
            && Arc::ptr_eq(&self.hashes, &earlier.hashes)
            && self.audit.adds_only_records(&earlier.audit)
    }

    /// Place of the last entry in them.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Keys, servers, configuration.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Registers.
    pub(crate) fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Encrypted secrets.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Members and tokens.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The shard map.
    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// Calls that wait for a person.
    pub(crate) fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// Quotas: limits, what is granted, and who has used what.
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.quota
    }

    /// Latest time that stands in the log, as far as time matters to a part, in milliseconds since 1970.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.quota
            .wall_ms()
            .max(self.audit.ts_ms().unwrap_or_default())
    }

    /// The audit log: what its next record needs.
    pub(crate) fn audit(&self) -> &Arc<AuditLog> {
        &self.audit
    }

    /// The last hashes of the state.
    pub(crate) fn hashes(&self) -> &Hashes {
        &self.hashes
    }
}

impl Parts {
    fn outcome(&mut self, index: u64, entry: Entry, effects: &mut Vec<AuditEffect>) -> Outcome {
        let stamp = Stamp {
            index,
            at_ms: entry.at_ms,
        };
        let clock = quota::Stamp {
            term: if entry.leader_term == self.position.term {
                entry.leader_term
            } else {
                0
            },
            leader_us: entry.leader_us,
            at_ms: entry.at_ms,
        };
        let result = match entry.command {
            Command::Registry(command) => Arc::make_mut(&mut self.registry).apply(command, stamp),
            Command::Register(write) => Arc::make_mut(&mut self.registers).write(write, index),
            Command::Secrets(command) => Arc::make_mut(&mut self.secrets).apply(command, index),
            Command::Nodes(command) => self.nodes_command(command, stamp, effects),
            Command::Shards(command) => {
                Ok(Arc::make_mut(&mut self.shards).apply(command, stamp, &self.nodes))
            }
            Command::Approvals(command) => Arc::make_mut(&mut self.approvals)
                .apply(command, stamp)
                .map(|()| Reply::Done),
            Command::Quota(command) => Ok(Reply::Quota(
                Arc::make_mut(&mut self.quota).apply(command, clock),
            )),
            Command::Audit(command) => Arc::make_mut(&mut self.audit)
                .apply(command, entry.at_ms, effects)
                .map(Reply::Audit)
                .map_err(Refusal::Audit),
        };
        Outcome { index, result }
    }

    fn nodes_command(
        &mut self,
        command: NodesCommand,
        stamp: Stamp,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<Reply, Refusal> {
        let nodes = Arc::make_mut(&mut self.nodes);
        match command {
            NodesCommand::Boot {
                name,
                address,
                nonce,
                speaks,
            } => {
                let before = nodes.named(&name).map(|member| member.boot);
                let member = nodes.boot(&name, address, nonce, speaks, stamp.index)?;
                if before != Some(member.boot) {
                    // What the former life had as a backup was partly in its memory, so it is one in sync no more.
                    Arc::make_mut(&mut self.shards).forget_backup(member.id, stamp.index);
                }
                Ok(Reply::Boot(member.boot))
            }
            // A node that still owns something leaves only after that has gone elsewhere.
            NodesCommand::Remove { node, .. } if self.shards.names(node) => {
                Err(Refusal::HoldsShards { node })
            }
            NodesCommand::Remove { node, lost } => {
                nodes.remove(node, lost, stamp.at_ms)?;
                if let Some(member) = nodes.members().get(&node) {
                    let gone = AuditCommand::NodeLost {
                        node: member.name.to_string(),
                        boot: member.boot,
                    };
                    // Refused only where nothing was ever recorded: before the log began, or by one that never ran.
                    let _nothing_lost =
                        Arc::make_mut(&mut self.audit).apply(gone, stamp.at_ms, effects);
                }
                Ok(Reply::Done)
            }
            other => nodes.apply(other, stamp),
        }
    }
}
