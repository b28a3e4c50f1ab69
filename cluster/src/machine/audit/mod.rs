//! Part of the machine: the audit log. It holds what the next record needs (head, edge of the tree, how far each node has
//! come, which key guards), never the records: those come out as effects.

mod checkpoints;
mod command;
mod leaves;
mod state;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::audit::chain::Genesis;
use crate::audit::guard::Mark;
use crate::audit::leaf::{check_prepared, is_node_name};
use crate::audit::record::{Kind, Origin, Record};
use crate::audit::text;

pub use self::command::{Appended, AuditCommand, AuditEffect, AuditRefusal, AuditReply, Chained};
use self::leaves::Leaves;
pub use self::state::AuditLog;
use self::state::{BOOTS_MAX, Begun};
pub use self::wire::WireError;

/// Name under which the log itself writes records. No node can bear it.
pub(crate) const LOG_ITSELF: &str = "@cluster";
/// `method` of the record of a gap; `args` has `node`, `boot`, `first` and `last`.
pub(crate) const METHOD_GAP: &str = "audit/gap";
/// `method` of the record of a lost node; `args` has `node`, `boot` and `last_local_seq`.
pub(crate) const METHOD_NODE_LOST: &str = "audit/node_lost";
/// `method` of the record of a rotation; `args` has the ids `old` and `new`, and as `guard` the mark of the secret from
/// which the new key follows, if it follows from one.
pub(crate) const METHOD_ROTATE_KEY: &str = "audit/rotate_key";
/// `method` of the record that says who signs; `args` has the vkeys `log` and `cosigners`.
pub(crate) const METHOD_SIGNERS: &str = "audit/signers";

/// Most lines of one command.
const LINES_MAX: usize = 4096;

impl AuditLog {
    /// Applies the command that follows the last one. `at_ms` is the leader's clock, in milliseconds since 1970. Adds
    /// what is to be done to `effects`. A refused command changes nothing.
    ///
    /// # Errors
    /// When the command has no effect; every node refuses it alike.
    pub fn apply(
        &mut self,
        command: AuditCommand,
        at_ms: u64,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        if let AuditCommand::Begin(genesis) = command {
            return self.begin(genesis);
        }
        let log = self.begun_mut().ok_or(AuditRefusal::NotBegun)?;
        let before = log.frontier.size();
        let reply = match command {
            AuditCommand::Begin(_) => Err(AuditRefusal::Begun),
            AuditCommand::Append {
                node,
                boot,
                first_local_seq,
                lines,
            } => {
                let batch = Batch {
                    node: &node,
                    boot,
                    first: first_local_seq,
                    lines: &lines,
                };
                log.append(&batch, at_ms, effects)
            }
            AuditCommand::SetSigners {
                log: key,
                cosigners,
            } => log.set_signers(&key, &cosigners, at_ms, effects),
            AuditCommand::Checkpoint { note } => log.checkpoint(&note, effects),
            AuditCommand::Cosign { size, signature } => log.cosign(size, &signature, effects),
            AuditCommand::RotateKey { key_id } => {
                let guard = log.ranges.guard(log.ranges.current()).copied();
                log.rotate_key(key_id, guard, at_ms, effects)
            }
            AuditCommand::SetGuard { key_id, guard } => {
                log.rotate_key(key_id, Some(guard), at_ms, effects)
            }
            AuditCommand::NodeLost { node, boot } => log.node_lost(&node, boot, at_ms, effects),
        };
        if log.frontier.size() > before {
            log.mark();
        }
        reply
    }

    fn begin(&mut self, genesis: Genesis) -> Result<AuditReply, AuditRefusal> {
        if self.begun().is_some() {
            return Err(AuditRefusal::Begun);
        }
        if !genesis.is_valid() {
            return Err(AuditRefusal::Name { name: genesis.log });
        }
        self.start(genesis);
        Ok(AuditReply::Done)
    }
}

/// [`AuditCommand::Append`], borrowed.
struct Batch<'a> {
    node: &'a str,
    boot: u64,
    first: u64,
    lines: &'a [Bytes],
}

impl Batch<'_> {
    /// Refuses the whole batch if one line can't stand in the log: a node that makes such lines must stop, not lose
    /// some of them.
    fn check(&self) -> Result<(), AuditRefusal> {
        if !is_node_name(self.node) {
            let name = self.node.to_owned();
            return Err(AuditRefusal::Name { name });
        }
        let numbered = self.first > 0 && self.first.checked_add(self.lines.len() as u64).is_some();
        if self.boot == 0 || !numbered || !(1..=LINES_MAX).contains(&self.lines.len()) {
            return Err(AuditRefusal::BadBatch { limit: LINES_MAX });
        }
        for (local_seq, line) in (self.first..).zip(self.lines) {
            let origin = Origin {
                node: self.node,
                boot: self.boot,
                local_seq,
            };
            check_prepared(line, &origin)
                .map_err(|fault| AuditRefusal::Line { local_seq, fault })?;
        }
        Ok(())
    }
}

impl Begun {
    fn append(
        &mut self,
        batch: &Batch<'_>,
        at_ms: u64,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        batch.check()?;
        let tail = self.nodes.get(batch.node);
        if tail.is_some_and(|tail| batch.boot <= tail.closed_through) {
            return Err(AuditRefusal::Closed {
                node: batch.node.to_owned(),
                boot: batch.boot,
            });
        }
        let last = tail.map_or(0, |tail| tail.last(batch.boot));
        let gap = (batch.first > last + 1).then(|| last + 1..batch.first);
        if let Some(gap) = &gap {
            let mut args = subject(batch.node, batch.boot);
            text::number(&mut args, "first", gap.start);
            text::number(&mut args, "last", gap.end - 1);
            self.write_own(METHOD_GAP, args, at_ms, effects);
        }
        let known = usize::try_from((last + 1).saturating_sub(batch.first)).unwrap_or(usize::MAX);
        let known = known.min(batch.lines.len());
        let start = self.frontier.size();
        let new = &batch.lines[known..];
        let mut leaves = Leaves::new(self, at_ms, new);
        for line in new {
            leaves.place(self, line);
        }
        leaves.give_out(effects);
        let through = batch.first + batch.lines.len() as u64 - 1;
        let tail = self.nodes.entry(batch.node.to_owned()).or_default();
        tail.advance(batch.boot, through);
        // A node drains what its earlier lives have left before it goes on, so that few are open at a time.
        while tail.boots.len() > BOOTS_MAX {
            if let Some((boot, _)) = tail.boots.pop_first() {
                tail.closed_through = tail.closed_through.max(boot);
            }
        }
        Ok(AuditReply::Appended(Appended {
            seqs: start..self.frontier.size(),
            n_duplicates: known as u64,
            gap,
        }))
    }

    fn rotate_key(
        &mut self,
        key_id: u32,
        guard: Option<Mark>,
        at_ms: u64,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        let current = self.ranges.current();
        // The record of the rotation is the last one that the old key guards: the old key vouches for the new.
        if !self.ranges.rotate(self.frontier.size() + 1, key_id, guard) {
            return Err(AuditRefusal::KeyId { key_id, current });
        }
        let mut args = b"{\"old\":".to_vec();
        text::digits(&mut args, current.into());
        text::number(&mut args, "new", key_id.into());
        if let Some(guard) = guard {
            text::string(&mut args, "guard", &guard.to_string(), usize::MAX);
        }
        self.write_own(METHOD_ROTATE_KEY, args, at_ms, effects);
        Ok(AuditReply::Done)
    }

    fn node_lost(
        &mut self,
        node: &str,
        boot: u64,
        at_ms: u64,
        effects: &mut Vec<AuditEffect>,
    ) -> Result<AuditReply, AuditRefusal> {
        if !is_node_name(node) || boot == 0 {
            let name = node.to_owned();
            return Err(AuditRefusal::Name { name });
        }
        let tail = self.nodes.entry(node.to_owned()).or_default();
        if boot <= tail.closed_through {
            // Said twice; the first record stands.
            return Ok(AuditReply::Done);
        }
        tail.advance(boot, 0);
        let open = std::mem::take(&mut tail.boots);
        let (lost, later) = open.into_iter().partition(|(open, _)| *open <= boot);
        tail.boots = later;
        tail.closed_through = boot;
        let lost: BTreeMap<u64, u64> = lost;
        for (boot, last) in lost {
            let mut args = subject(node, boot);
            text::number(&mut args, "last_local_seq", last);
            self.write_own(METHOD_NODE_LOST, args, at_ms, effects);
        }
        Ok(AuditReply::Done)
    }

    /// Writes a record of the log's own; `args` lacks its closing brace.
    fn write_own(
        &mut self,
        method: &str,
        mut args: Vec<u8>,
        at_ms: u64,
        effects: &mut Vec<AuditEffect>,
    ) {
        args.push(b'}');
        self.own_seq += 1;
        let origin = Origin {
            node: LOG_ITSELF,
            boot: 0,
            local_seq: self.own_seq,
        };
        let kind = match method {
            METHOD_ROTATE_KEY | METHOD_SIGNERS => Kind::Key,
            _ => Kind::Node,
        };
        let mut record = Record::new(origin, at_ms, kind);
        record.method = Some(method);
        let mut line = Vec::new();
        // Made of names, numbers and keys, all of them checked.
        record.write_with(&mut line, std::str::from_utf8(&args).ok());
        let mut leaves = Leaves::new(self, at_ms, std::slice::from_ref(&line));
        leaves.place(self, &line);
        leaves.give_out(effects);
    }
}

/// First members of the arguments of a record about a life of a node, without the closing brace.
fn subject(node: &str, boot: u64) -> Vec<u8> {
    let mut args = b"{\"node\":".to_vec();
    text::quoted(&mut args, node, usize::MAX);
    text::number(&mut args, "boot", boot);
    args
}
