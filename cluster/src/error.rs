//! Failures at the handle.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::guarding::GuardMismatch;
use crate::machine::Refusal;
use crate::net::NetworkError;
use crate::removal::Removed;
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
    /// The directory holds the state of a node with another name.
    #[error(
        "data directory `{}` belongs to node `{name}`; give this node that name, or another data_dir",
        dir.display()
    )]
    OtherNode {
        /// Which directory.
        dir: PathBuf,
        /// Whose it is.
        name: String,
    },
    /// The engine did not start.
    #[error("the cluster's engine does not start: {what}")]
    Engine {
        /// Why.
        what: String,
    },
    /// Nobody waited for it any more.
    #[error("the start was given up")]
    GivenUp,
    /// The first commands of this node were not carried out.
    #[error("the start of this node cannot be counted")]
    NotCounted(#[from] ProposeError),
    /// It can't take its place among the other nodes.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It takes no part any more.
    #[error(transparent)]
    Removed(#[from] Removed),
    /// Other secrets guard the audit log than the ones that it was given.
    #[error(transparent)]
    Guard(#[from] GuardMismatch),
    /// The store is damaged or can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    pub(crate) fn engine(what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self::Engine { what }
    }
}

/// Why a proposal was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// The machine refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No leader said in time what became of it, or the store failed. It may have been carried out, or may still be.
    #[error(
        "no answer from the leader, so the change may or may not have been made; look before you repeat it"
    )]
    Unknown,
    /// The cluster has no leader: too many of its nodes can't be reached. Nothing was changed.
    #[error(
        "the cluster has no leader, as too many of its nodes cannot be reached; nothing was changed"
    )]
    NoLeader,
    /// The leader can't read it.
    #[error("the leader does not take this change: {0}")]
    Invalid(String),
    /// This node has stopped taking commands: it is closing, or its store failed earlier.
    #[error("the store of this node is closed; nothing was changed")]
    Closed,
}

/// Why there is no state to read that is certainly the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The cluster has no leader, so nobody can say what the newest state is.
    #[error("the cluster has no leader, as too many of its nodes cannot be reached")]
    NoLeader,
    /// This node is closing, or its store failed.
    #[error("the store of this node is closed")]
    Closed,
}
