//! What can be proposed to the audit log, and what it answers.

use std::ops::Range;

use bytes::Bytes;

use crate::audit::hash::Hash;
use crate::audit::leaf::LineFault;
use crate::audit::{Genesis, Mark};

/// One change of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditCommand {
    /// Begins the log. Fixed from then on.
    Begin(Genesis),
    /// Records of one life of one node, in its order. What is there already is passed over, so that a batch may be sent
    /// again; what is missing in front of it becomes a record of a gap. Answered with [`AuditReply::Appended`].
    Append {
        /// Name of the node.
        node: String,
        /// Which of its lives.
        boot: u64,
        /// Number of the first line in that life; the first of all is 1.
        first_local_seq: u64,
        /// Lines as [`crate::audit::Record::write`] makes them.
        lines: Vec<Bytes>,
    },
    /// Says who may sign and cosign checkpoints from now on. Itself a record.
    SetSigners {
        /// vkey of the log.
        log: String,
        /// vkeys of the voters.
        cosigners: Vec<String>,
    },
    /// A checkpoint with the log's signature on it: a C2SP signed note.
    Checkpoint {
        /// The note.
        note: Vec<u8>,
    },
    /// A voter's cosignature of a checkpoint.
    Cosign {
        /// Size of the checkpoint.
        size: u64,
        /// Signature line, without its newline.
        signature: String,
    },
    /// Lets another MAC key guard the records behind the record of this command. It follows from what the one before it
    /// follows from.
    RotateKey {
        /// Its id, larger than all before it.
        key_id: u32,
    },
    /// As [`Self::RotateKey`], with a key that follows from a secret of the operator. Every member must hold that one.
    SetGuard {
        /// Id of the key, larger than all before it.
        key_id: u32,
        /// Which secret.
        guard: Mark,
    },
    /// A node is gone with its disk: what it had not sent will never come.
    NodeLost {
        /// Name of the node.
        node: String,
        /// Its last life. None up to this one can append any more.
        boot: u64,
    },
}

/// What the log answers to a command that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditReply {
    /// Done.
    Done,
    /// Where the lines of [`AuditCommand::Append`] stand.
    Appended(Appended),
    /// The cosignature was the one that made the checkpoint good.
    CheckpointGood,
}

/// Where appended lines stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Numbers of the lines that are new. The last lines of the command, in their order.
    pub seqs: Range<u64>,
    /// How many lines were there already.
    pub n_duplicates: u64,
    /// Numbers, in the node's life, of what was missing in front of them.
    pub gap: Option<Range<u64>>,
}

/// What is to be done after a command: nothing here touches a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditEffect {
    /// Append this record to the segments.
    Record(Chained),
    /// Keep this checkpoint, which a majority has cosigned.
    Checkpoint {
        /// Number of records that it covers.
        size: u64,
        /// Signed note.
        note: Vec<u8>,
    },
}

/// One record in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chained {
    /// Number in the log, from 0.
    pub seq: u64,
    /// MAC key that guards it.
    pub key_id: u32,
    /// Hash of its line.
    pub leaf: Hash,
    /// Chain hash after it.
    pub chain: Hash,
    /// Nodes of the tree that are complete with it, from below: those of every eighth level above the leaves, which are
    /// kept ([`Frontier::TILE_LEVELS`](crate::audit::Frontier::TILE_LEVELS)).
    pub nodes: Vec<Hash>,
    /// The line: a part of the text that all records of one command share.
    pub line: Bytes,
}

/// Why a command had no effect on the audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditRefusal {
    /// [`AuditCommand::Begin`] has not come yet.
    #[error("the audit log has not begun")]
    NotBegun,
    /// It has come already.
    #[error("the audit log has begun already")]
    Begun,
    /// A name that can't stand in a record.
    #[error(
        "`{name}` can not stand in audit records; use letters, digits, `-`, `_` and `.`, at most 64"
    )]
    Name {
        /// Which.
        name: String,
    },
    /// No line, more than one command may have, or a number that is none.
    #[error("a batch of audit records must have 1 to {limit} lines, numbered from 1")]
    BadBatch {
        /// Most lines.
        limit: usize,
    },
    /// A line is no record.
    #[error("audit record {local_seq} of the node is refused: {fault}")]
    Line {
        /// Its number in the node's life.
        local_seq: u64,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// That life of the node can't append any more: it was declared lost, or later ones have followed.
    #[error("life {boot} of node `{node}` can not append to the audit log any more")]
    Closed {
        /// Which node.
        node: String,
        /// Which life.
        boot: u64,
    },
    /// Key ids only grow.
    #[error("audit key {key_id} can not follow key {current}; its id must be larger")]
    KeyId {
        /// Which was to come.
        key_id: u32,
        /// Which is in use.
        current: u32,
    },
    /// Keys that are none, or too many.
    #[error("the keys of checkpoints are malformed, or more than {limit}")]
    Signers {
        /// Most cosigners.
        limit: usize,
    },
    /// No [`AuditCommand::SetSigners`] yet.
    #[error("nobody may sign checkpoints yet")]
    NoSigners,
    /// Of a size that is not among the late ones, or not behind the last checkpoint: sign a newer one.
    #[error("there is no root of {size} records to compare the checkpoint with")]
    Stale {
        /// Which size.
        size: u64,
    },
    /// The signer's tree is not that of this log.
    #[error("the checkpoint of {size} records has another root")]
    WrongRoot {
        /// Which size.
        size: u64,
    },
    /// Malformed, of another log, or not signed by the right key.
    #[error("the checkpoint or its signature is malformed or wrong")]
    WrongNote,
}
