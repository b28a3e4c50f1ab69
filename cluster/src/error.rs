//! Failures at the handle.

use std::io;
use std::path::PathBuf;

use crate::machine::Refusal;
use crate::store::StoreError;

/// Why the data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "data directory `{}` is in use by {}; stop that process or choose another data_dir",
        dir.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// Which directory.
        dir: PathBuf,
        /// Who has it, as far as it left its number.
        holder: Option<u32>,
    },
    /// A file or directory could not be made or read.
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
    /// Others can read the key file.
    #[error("key file `{}` is open to others (mode {mode:03o}); run `chmod 600` on it", path.display())]
    KeyFileExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold a key.
    #[error("key file `{}` does not hold a key; restore it from a backup", path.display())]
    KeyFileBroken {
        /// Which file.
        path: PathBuf,
    },
    /// The key file is not the one that the stored keyring was encrypted under.
    #[error("key file `{}` does not open the stored keyring; restore the file that belongs to it", path.display())]
    KeyFileForeign {
        /// Which file.
        path: PathBuf,
    },
    /// The system's random generator has failed.
    #[error("the system's random generator has failed")]
    NoRandomness,
    /// The store is damaged or can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a proposal was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The machine refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed. Whether the command is in it is not known; the next start tells.
    #[error("the store failed, so the change may or may not last; restart this node")]
    Unknown,
    /// This node has stopped taking commands: it is closing, or its store failed earlier.
    #[error("the store of this node is closed; nothing was changed")]
    Closed,
}

/// Why there is no state to read that is certainly the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// This node is closing, or its store failed.
    #[error("the store of this node is closed")]
    Closed,
}
