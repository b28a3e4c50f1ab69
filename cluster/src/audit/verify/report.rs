//! What verification has found.

use std::fmt;
use std::ops::Range;

use crate::audit::hash::Hash;
use crate::audit::note::NoteError;

/// Result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Records that were looked at.
    pub records: Range<u64>,
    /// Good, bad, or neither.
    pub verdict: Verdict,
    /// Chain hash after the last of them.
    pub chain: Hash,
    /// Root of the tree.
    pub root: Hash,
    /// Checkpoints whose signatures and root are right.
    pub n_checkpoints: u64,
    /// Records before this are in one of them.
    pub attested: u64,
    /// MACs that are right.
    pub n_macs: u64,
    /// Whether a secret guards records that was not given.
    pub lacks_secret: bool,
}

impl Report {
    pub(super) fn through(mut self, end: u64) -> Self {
        self.records.end = end;
        self
    }
}

/// Good, bad, or neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record is as it was written, by the word of a checkpoint or of a MAC.
    Good,
    /// Something was changed; this is the first of it.
    Bad(Finding),
    /// Nothing wrong was found, but not all could be checked, for these reasons.
    Unchecked(Vec<String>),
}

/// What is wrong, and where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// First record that is not as it was written.
    pub seq: u64,
    /// What is wrong.
    pub reason: Reason,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.seq, self.reason)
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The file can't be read there.
    #[error("{what}")]
    Damaged {
        /// What is wrong, with file and offset.
        what: String,
    },
    /// It is no record of the log.
    #[error("it is not a record")]
    NotALeaf,
    /// Another record stands in its place: it was deleted, another one inserted, or their order changed.
    #[error("record {found} stands in its place")]
    Place {
        /// Which.
        found: u64,
    },
    /// It names another log.
    #[error("it belongs to another log")]
    OtherLog,
    /// Chain hashes don't fit: it was changed.
    #[error("the hash chain breaks: it was changed")]
    Link,
    /// Its MAC isn't that of its content.
    #[error("its MAC is wrong: it was changed by somebody without the key")]
    Mac,
    /// Its MAC is of a key that may not guard it.
    #[error("it bears a MAC of key {found}, and only key {allowed} may guard it")]
    Key {
        /// Which key it names.
        found: u32,
        /// Which is allowed.
        allowed: u32,
    },
    /// Its time is before that of the record in front.
    #[error("its time is before that of the record in front of it")]
    Time,
    /// Its number in its node's life does not follow.
    #[error("it is record {found} of life {boot} of node `{node}`, and {want} is next")]
    LocalSeq {
        /// Name of the node.
        node: String,
        /// Which of its lives.
        boot: u64,
        /// Which it is.
        found: u64,
        /// Which is next.
        want: u64,
    },
    /// A record of the log's own that says what can't be.
    #[error("it is a record of the log's own, and does not fit those before it")]
    Own,
    /// A rotation that does not begin where the last one ended.
    #[error(
        "it rotates from key {old} to key {new}, which does not follow the rotations before it"
    )]
    Rotation {
        /// Which key it says was in use.
        old: u32,
        /// Which it says comes.
        new: u32,
    },
    /// Signed root and records differ: somewhere from this record on they were written anew, with the MAC key.
    #[error(
        "the tree is not that of the checkpoint of {size} records: they were written anew from here on or later"
    )]
    Root {
        /// Size of the checkpoint.
        size: u64,
    },
    /// It and what follows are not there.
    #[error("it and all up to {} are missing", end - 1)]
    Missing {
        /// Number of records that should be there.
        end: u64,
    },
    /// A checkpoint that isn't one.
    #[error("the checkpoint of {size} records can not be trusted: {error}")]
    Checkpoint {
        /// Its size; 0 when not even that can be read.
        size: u64,
        /// What is wrong with it.
        error: NoteError,
    },
    /// A checkpoint that can't be read. Records are held to the others.
    #[error("the first checkpoint over it is lost: {what}")]
    LostCheckpoint {
        /// What is wrong, with file and offset.
        what: String,
    },
}
