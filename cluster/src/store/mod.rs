//! Storage of one node: a log of records and a few notes beside it, kept through a crash and a power loss.
//!
//! ```text
//! <data_dir>/lock                held exclusively while the node runs; its process number
//! <data_dir>/cluster/key         key-encryption key, 0600
//! <data_dir>/cluster/head        number of the last write that is certainly on the disk, in two slots
//! <data_dir>/cluster/log/        sled: entries, vote, and how far they were committed and purged
//! <data_dir>/cluster/journal-0   writes that `log/` may lack, in turn with
//! <data_dir>/cluster/journal-1
//! <data_dir>/cluster/snapshots/  states of the machine
//! ```
//!
//! `log/`, `head` and the journal belong together: whoever moves one moves all. A directory without a journal is one of
//! a program that had none, and gets one. Such a program opens this directory after a node that was ended in order, which
//! leaves nothing in the journal alone; after any other end it refuses, because `log/` holds less than `head` says.
//!
//! It knows nothing of Raft, nor of what a record means.

mod durable;
mod head;
mod journal;
mod journaled;
mod key_file;
mod lock;
mod record;
mod sled_store;
mod syncer;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use self::durable::{Cold, DurableLog};
pub(crate) use self::key_file::{install as install_key, read_or_create as read_or_create_key};
pub(crate) use self::lock::Lock;

use crate::error::OpenError;

/// Keeps records by index and notes by name. Another embedded store would take sled's place behind this.
pub(crate) trait Store: Send + Sync {
    /// A note as it was last put.
    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError>;
    /// Records of `range` in order, up to about this many bytes and at least one, as far as there are any.
    fn records(
        &self,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;
    /// Makes all changes or none, in their order, and returns when they are on the disk. Readers see them after
    /// [`Self::apply`]. Each write has the number after that of the write before it.
    fn write(&self, number: u64, changes: Vec<Change>) -> Result<(), StoreError>;
    /// Shows readers what was written.
    fn apply(&self) -> Result<(), StoreError>;
    /// Leaves nothing for the next start to do.
    fn settle(&self) -> Result<(), StoreError>;
}

/// What is kept beside the records. The number is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Note {
    /// Number of the write. For [`DurableLog`] alone.
    Sequence = 0,
    /// Which member this node is.
    Identity = 1,
    /// Whom it votes for.
    Vote = 2,
    /// Up to where the log was committed when this was last noted.
    Committed = 3,
    /// Last entry that was taken away behind a snapshot.
    Purged = 4,
}

impl Note {
    /// The one of this number.
    fn named(number: u8) -> Option<Self> {
        let all = [
            Self::Sequence,
            Self::Identity,
            Self::Vote,
            Self::Committed,
            Self::Purged,
        ];
        all.into_iter().find(|note| *note as u8 == number)
    }
}

/// One change of a store.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Puts a record in its place.
    Put(u64, Vec<u8>),
    /// Takes records away.
    Remove(Range<u64>),
    /// Puts a note in its place.
    Note(Note, Vec<u8>),
}

/// Why stored state can't be used. The node must not start empty instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk or the file system refused.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// What is stored is not what was written.
    #[error(
        "`{}` is damaged at entry {index}: {what}; restore the data directory from a backup, or move it away and \
         let the node join again under a new number",
        path.display()
    )]
    Damaged {
        /// Which file or directory.
        path: PathBuf,
        /// First entry that can't be trusted.
        index: u64,
        /// What is wrong there.
        what: String,
    },
    /// What is in a file of the journal is not what was written.
    #[error(
        "`{}` is damaged at byte {at}: {what}; restore the data directory from a backup, or move it away and let the \
         node join again under a new number",
        path.display()
    )]
    DamagedFile {
        /// Which file.
        path: PathBuf,
        /// First byte that can't be trusted.
        at: u64,
        /// What is wrong there.
        what: String,
    },
}

/// Creates a directory that only its owner may enter.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| OpenError::Io {
            what: "create directory",
            path: path.to_owned(),
            source,
        })
}

/// Makes a new directory entry durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
