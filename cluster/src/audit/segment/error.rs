//! Failures of the files.

use std::io;
use std::path::{Path, PathBuf};

/// Why the files of the log can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
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
        "`{}` is damaged at byte {offset}: {what}; fetch the audit segments from another node or restore them",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// First byte that can't be trusted.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Whole, but not as far as it should be.
    #[error("the audit segments end before record {have}, though {need} records were applied")]
    Short {
        /// Number of records that are there.
        have: u64,
        /// Number of records that should be.
        need: u64,
    },
    /// A record that does not follow the last one.
    #[error("audit record {got} does not follow; {want} is next")]
    OutOfOrder {
        /// Which came.
        got: u64,
        /// Which is next.
        want: u64,
    },
    /// The key that should guard a record is not there.
    #[error("audit MAC key {key_id} is not configured on this node")]
    NoKey {
        /// Its id.
        key_id: u32,
    },
    /// Another log, or none.
    #[error("`{}` holds the audit records of another log", path.display())]
    OtherLog {
        /// Directory.
        path: PathBuf,
    },
    /// The record was taken away after its export.
    #[error("audit records before {first} were pruned")]
    Pruned {
        /// First that is there.
        first: u64,
    },
}

impl SegmentError {
    pub(super) fn io<'a>(
        what: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }
}
