//! Durable log and snapshot. What `append` has returned for survives a crash and a power loss.
//!
//! ```text
//! <data_dir>/lock            held exclusively while the node runs; its process number
//! <data_dir>/cluster/key     key-encryption key, 0600
//! <data_dir>/cluster/head    index of the last durable entry, in two slots
//! <data_dir>/cluster/log/    sled: entries and the snapshot before them
//! ```

mod head;
mod key_file;
mod lock;
mod log;
mod record;
mod sled_log;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use self::key_file::read_or_create as read_or_create_key;
pub(crate) use self::lock::Lock;
pub(crate) use self::log::{DurableLog, Loaded};

use crate::error::OpenError;

/// Keeps records of a log and one snapshot. Knows nothing of durability beyond a flush, nor of what a record means.
pub(crate) trait Store: Send {
    /// Snapshot, then the log in order, as they were stored.
    fn load(&self) -> Result<Stored, StoreError>;
    /// Adds records and returns when they are on the disk.
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> Result<(), StoreError>;
    /// Takes every record from `index` on away, durably.
    fn cut(&mut self, index: u64) -> Result<(), StoreError>;
    /// Replaces the snapshot and drops the records up to `index`, in one step.
    fn compact(&mut self, index: u64, snapshot: &[u8]) -> Result<(), StoreError>;
}

/// What a store holds.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) snapshot: Option<(u64, Vec<u8>)>,
    pub(crate) records: Vec<(u64, Vec<u8>)>,
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
         start with a new one",
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
fn sync_dir(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}
