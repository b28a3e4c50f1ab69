//! Commands and state as protobuf (`audit.proto`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use lockgate_proto::peer::v1;
use lockgate_proto::peer::v1::audit_command::Command as Wire;

use super::AuditLog;
use super::checkpoints::parse_signers;
use super::command::{Appended, AuditCommand, AuditReply};
use super::state::{Begun, NodeTail};
use crate::audit::chain::Genesis;
use crate::audit::checkpoint::{Checkpoint, Signers};
use crate::audit::guard::Mark;
use crate::audit::hash::Hash;
use crate::audit::mac::KeyRanges;
use crate::audit::note::Note;
use crate::audit::tree::Frontier;

/// A message that says nothing this program can act on: newer than it, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` of an audit message is missing or malformed")]
pub struct WireError {
    /// Which field.
    pub field: &'static str,
}

fn missing<T>(field: &'static str) -> impl FnOnce(Option<T>) -> Result<T, WireError> {
    move |value| value.ok_or(WireError { field })
}

impl From<AuditCommand> for v1::AuditCommand {
    fn from(command: AuditCommand) -> Self {
        let command = match command {
            AuditCommand::Begin(genesis) => Wire::Begin(genesis.into()),
            AuditCommand::Append {
                node,
                boot,
                first_local_seq,
                lines,
            } => Wire::Append(v1::AuditAppend {
                node,
                boot,
                first_local_seq,
                lines,
            }),
            AuditCommand::SetSigners { log, cosigners } => {
                Wire::SetSigners(v1::AuditSetSigners { log, cosigners })
            }
            AuditCommand::Checkpoint { note } => {
                let note = note.into();
                Wire::Checkpoint(v1::AuditCheckpoint { note })
            }
            AuditCommand::Cosign { size, signature } => {
                Wire::Cosign(v1::AuditCosign { size, signature })
            }
            AuditCommand::RotateKey { key_id } => Wire::RotateKey(v1::AuditRotateKey { key_id }),
            AuditCommand::SetGuard { key_id, guard } => Wire::SetGuard(v1::AuditSetGuard {
                key_id,
                guard: Bytes::copy_from_slice(&guard.0),
            }),
            AuditCommand::NodeLost { node, boot } => {
                Wire::NodeLost(v1::AuditNodeLost { node, boot })
            }
        };
        Self {
            command: Some(command),
        }
    }
}

impl TryFrom<v1::AuditCommand> for AuditCommand {
    type Error = WireError;

    fn try_from(message: v1::AuditCommand) -> Result<Self, WireError> {
        Ok(match missing("command")(message.command)? {
            Wire::Begin(begin) => Self::Begin(begin.into()),
            Wire::Append(append) => Self::Append {
                node: append.node,
                boot: append.boot,
                first_local_seq: append.first_local_seq,
                lines: append.lines,
            },
            Wire::SetSigners(set) => Self::SetSigners {
                log: set.log,
                cosigners: set.cosigners,
            },
            Wire::Checkpoint(checkpoint) => Self::Checkpoint {
                note: checkpoint.note.into(),
            },
            Wire::Cosign(cosign) => Self::Cosign {
                size: cosign.size,
                signature: cosign.signature,
            },
            Wire::RotateKey(rotate) => Self::RotateKey {
                key_id: rotate.key_id,
            },
            Wire::SetGuard(set) => Self::SetGuard {
                key_id: set.key_id,
                guard: missing("guard")(mark_from(&set.guard))?,
            },
            Wire::NodeLost(lost) => Self::NodeLost {
                node: lost.node,
                boot: lost.boot,
            },
        })
    }
}

impl From<&AuditReply> for v1::AuditReply {
    fn from(reply: &AuditReply) -> Self {
        use v1::audit_reply::Reply;
        let reply = match reply {
            AuditReply::Done => None,
            AuditReply::Appended(at) => Some(Reply::Appended(v1::AuditAppended {
                first_seq: at.seqs.start,
                count: at.seqs.end - at.seqs.start,
                duplicates: at.n_duplicates,
                gap: at.gap.as_ref().map(|gap| v1::AuditGap {
                    first: gap.start,
                    end: gap.end,
                }),
            })),
            AuditReply::CheckpointGood => Some(Reply::CheckpointGood(v1::AuditCheckpointGood {})),
        };
        Self { reply }
    }
}

impl From<v1::AuditReply> for AuditReply {
    fn from(message: v1::AuditReply) -> Self {
        use v1::audit_reply::Reply;
        match message.reply {
            None => Self::Done,
            Some(Reply::Appended(at)) => Self::Appended(Appended {
                seqs: at.first_seq..at.first_seq.saturating_add(at.count),
                n_duplicates: at.duplicates,
                gap: at.gap.map(|gap| gap.first..gap.end),
            }),
            Some(Reply::CheckpointGood(_)) => Self::CheckpointGood,
        }
    }
}

impl From<Genesis> for v1::AuditBegin {
    fn from(genesis: Genesis) -> Self {
        Self {
            log: genesis.log,
            first_key_id: genesis.first_key_id,
            previous: genesis.previous.map(Bytes::from),
        }
    }
}

impl From<v1::AuditBegin> for Genesis {
    fn from(begin: v1::AuditBegin) -> Self {
        Self {
            log: begin.log,
            first_key_id: begin.first_key_id,
            previous: begin.previous.map(Vec::from),
        }
    }
}

impl From<&AuditLog> for v1::AuditState {
    fn from(log: &AuditLog) -> Self {
        log.begun().map(state).unwrap_or_default()
    }
}

fn state(log: &Begun) -> v1::AuditState {
    let nodes = log.nodes.iter().map(|(name, tail)| v1::AuditNode {
        name: name.clone(),
        closed_through: tail.closed_through,
        boots: tail.boots.iter().map(boot).collect(),
    });
    let ranges = log.ranges.starts().iter();
    let ranges = ranges.map(|(first_seq, key_id)| v1::AuditKeyRange {
        first_seq: *first_seq,
        key_id: *key_id,
        guard: log
            .ranges
            .guard(*key_id)
            .map_or_else(Bytes::new, |mark| Bytes::copy_from_slice(&mark.0)),
    });
    let marks = log.marks.iter().map(|(size, root)| v1::AuditMark {
        size: *size,
        root: bytes(root),
    });
    v1::AuditState {
        genesis: Some(log.genesis.clone().into()),
        chain: bytes(&log.chain),
        ts_ms: log.ts_ms,
        size: log.frontier.size(),
        subtrees: log.frontier.subtrees().iter().map(bytes).collect(),
        nodes: nodes.collect(),
        own_seq: log.own_seq,
        key_ranges: ranges.collect(),
        marks: marks.collect(),
        signers: log.signers.as_ref().map(signers),
        pending: log
            .pending
            .iter()
            .map(|(_, note)| note_bytes(note))
            .collect(),
        checkpoint: log.good.as_ref().map(|(_, note)| note_bytes(note)),
    }
}

fn boot((boot, last): (&u64, &u64)) -> v1::AuditBoot {
    v1::AuditBoot {
        boot: *boot,
        last_local_seq: *last,
    }
}

fn signers(signers: &Signers) -> v1::AuditSetSigners {
    v1::AuditSetSigners {
        log: signers.log().to_string(),
        cosigners: signers
            .cosigners()
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

fn bytes(hash: &Hash) -> Bytes {
    Bytes::copy_from_slice(&hash.0)
}

fn note_bytes(note: &Note) -> Bytes {
    note.to_text().into()
}

impl TryFrom<v1::AuditState> for AuditLog {
    type Error = WireError;

    fn try_from(state: v1::AuditState) -> Result<Self, WireError> {
        let Some(genesis) = state.genesis else {
            return Ok(Self::default());
        };
        let subtrees: Option<Vec<_>> = state.subtrees.iter().map(|h| Hash::from_slice(h)).collect();
        let frontier = subtrees.and_then(|subtrees| Frontier::from_parts(state.size, subtrees));
        let ranges = missing("key_ranges")(ranges_from(&state.key_ranges))?;
        let marks: Option<VecDeque<_>> = state.marks.iter().map(mark).collect();
        let signers = state
            .signers
            .map(|set| missing("signers")(parse_signers(&set.log, &set.cosigners)));
        let pending: Result<_, _> = state
            .pending
            .iter()
            .map(|note| stored("pending", note))
            .collect();
        let good = state.checkpoint.map(|note| stored("checkpoint", &note));
        Ok(Self::resume(Begun {
            genesis: genesis.into(),
            chain: missing("chain")(Hash::from_slice(&state.chain))?,
            ts_ms: state.ts_ms,
            frontier: missing("subtrees")(frontier)?,
            nodes: state.nodes.into_iter().map(tail).collect(),
            own_seq: state.own_seq,
            ranges,
            marks: missing("marks")(marks)?,
            signers: signers.transpose()?,
            pending: pending?,
            good: good.transpose()?,
        }))
    }
}

fn ranges_from(ranges: &[v1::AuditKeyRange]) -> Option<KeyRanges> {
    let starts = ranges.iter().map(|range| (range.first_seq, range.key_id));
    let guarded = ranges.iter().filter(|range| !range.guard.is_empty());
    let guards = guarded.map(|range| Some((range.key_id, mark_from(&range.guard)?)));
    KeyRanges::from_parts(starts.collect(), guards.collect::<Option<_>>()?)
}

fn mark_from(bytes: &[u8]) -> Option<Mark> {
    bytes.try_into().ok().map(Mark)
}

fn mark(mark: &v1::AuditMark) -> Option<(u64, Hash)> {
    Some((mark.size, Hash::from_slice(&mark.root)?))
}

fn tail(node: v1::AuditNode) -> (String, NodeTail) {
    let boots = node
        .boots
        .iter()
        .map(|boot| (boot.boot, boot.last_local_seq));
    let boots: BTreeMap<_, _> = boots.collect();
    let tail = NodeTail {
        closed_through: node.closed_through,
        boots,
    };
    (node.name, tail)
}

fn stored(field: &'static str, note: &[u8]) -> Result<(Checkpoint, Note), WireError> {
    let note = Note::parse(note).map_err(|_| WireError { field })?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|_| WireError { field })?;
    Ok((checkpoint, note))
}
