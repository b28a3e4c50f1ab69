//! Makes a snapshot of what one stopped node has on its disk, for a cluster that has lost its quorum for good.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use openraft::entry::RaftEntry;
use openraft::storage::RaftLogStorage;
use openraft::{EntryPayload, RaftLogReader};

use super::inspect::{SnapshotError, load};
use crate::audit::segment::SegmentReader;
use crate::command::wire::{self, WireError};
use crate::error::OpenError;
use crate::machine::{Machine, Position, snapshot};
use crate::raft::{Entry, LogStore, SnapshotMeta, Snapshots, StoredMembership, write_snapshot};
use crate::store::{self, Lock};

/// What a stopped node had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salvaged {
    /// Index of the last entry of its log.
    pub index: u64,
    /// Term of that entry. Of two nodes the one with the higher term has the newer state, then the one with the higher index.
    pub term: u64,
    /// How many entries at its end it did not know to be on a majority. Some may have been answered, and some not.
    pub unconfirmed: u64,
    /// How many records of the audit log are nowhere on that node but in the entries of its log: it had not applied them, or
    /// a power loss took them from its segments. A start of the node brings back those that it knew to be on a majority.
    /// `None` when the segments cannot be read.
    pub records_missing: Option<u64>,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// There is no node's state in it.
    #[error("`{}` is not the data directory of a node", dir.display())]
    NoNode {
        /// Which directory.
        dir: PathBuf,
    },
    /// Somebody has it, or what is in it can't be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The snapshot in it is no good.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log does not go on where the snapshot ends.
    #[error("entry {index} of the log is missing")]
    Missing {
        /// Which.
        index: u64,
    },
    /// The log holds something that this program doesn't know.
    #[error("entry {index} of the log is not for this version")]
    Foreign {
        /// Which.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A file could not be read or written.
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
}

/// Writes a snapshot of all that the stopped node of `data_dir` has to `file`, which must not exist: its last snapshot, and
/// every entry of its log behind that. Also those that it does not know to be on a majority, as what was answered may be
/// among them. Reads and writes files.
///
/// # Errors
///
/// [`SalvageError`]; there is no file then.
pub fn salvage_snapshot(data_dir: &Path, file: &Path) -> Result<Salvaged, SalvageError> {
    let state = data_dir.join("cluster");
    let no_node = || SalvageError::NoNode {
        dir: data_dir.to_owned(),
    };
    if !state.join("log").exists() {
        return Err(no_node());
    }
    let _lock = Lock::take(data_dir)?;
    let snapshots = Snapshots::open(&state.join("snapshots"))?;
    let mut replay = match snapshots.current() {
        Some((_, current)) => {
            let (meta, machine, _) = load(current.path())?;
            Replay { meta, machine }
        }
        None => Replay::default(),
    };
    let (log, thread) = LogStore::reopen(&state)?.ok_or_else(no_node)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(OpenError::engine)?;
    let replayed = runtime.block_on(replay.log(log));
    let ended = thread.join();
    let unconfirmed = replayed?;
    ended.map_err(|_panic| OpenError::engine("the log's thread has panicked"))?;
    if replay.machine.parts().nodes().cluster().is_none() {
        return Err(no_node());
    }
    let bytes = replay.write(file)?;
    let last = replay.meta.last_log_id.as_ref();
    let recorded = replay.machine.parts().audit().size();
    let segments = SegmentReader::open(&state.join("audit")).ok();
    Ok(Salvaged {
        index: last.map_or(0, |at| at.index),
        term: last.map_or(0, |at| at.committed_leader_id().term),
        unconfirmed,
        records_missing: segments.map(|segments| recorded.saturating_sub(segments.size())),
        bytes,
    })
}

/// A state that entries are applied to without an engine.
#[derive(Default)]
struct Replay {
    meta: SnapshotMeta,
    machine: Machine,
}

impl Replay {
    /// Index of the entry that comes next.
    fn next(&self) -> u64 {
        self.meta.last_log_id.as_ref().map_or(0, |at| at.index + 1)
    }

    /// Applies the rest of a log. Returns how many entries at its end are not known to be committed.
    async fn log(&mut self, mut log: LogStore) -> Result<u64, SalvageError> {
        let state = log.get_log_state().await.map_err(OpenError::engine)?;
        let committed = log.read_committed().await.map_err(OpenError::engine)?;
        let end = state.last_log_id.map_or(0, |last| last.index + 1);
        while self.next() < end {
            let entries = log.limited_get_log_entries(self.next(), end).await;
            let entries = entries.map_err(OpenError::engine)?;
            let index = self.next();
            if entries.first().is_none_or(|first| first.index() != index) {
                return Err(SalvageError::Missing { index });
            }
            for entry in entries {
                self.apply(entry)?;
            }
        }
        let known = committed.map_or(0, |at| at.index + 1).min(end);
        Ok(end - known)
    }

    fn apply(&mut self, entry: Entry) -> Result<(), SalvageError> {
        let at = entry.log_id;
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.meta.last_membership = StoredMembership::new(Some(at), membership);
            }
            EntryPayload::Normal(payload) => {
                let position = Position {
                    term: at.committed_leader_id().term,
                    index: at.index,
                };
                let command = wire::decode_entry(payload.0).map_err(|source| {
                    let index = at.index;
                    SalvageError::Foreign { index, source }
                })?;
                // The records of what the node had applied are in its own files.
                let _outcome = self.machine.apply(position, command, &mut Vec::new());
            }
        }
        self.meta.last_log_id = Some(at);
        Ok(())
    }

    /// Writes the state to `file`. Returns its bytes.
    fn write(&self, file: &Path) -> Result<u64, SalvageError> {
        let mut draft = file.as_os_str().to_owned();
        draft.push(".salvage");
        let draft = PathBuf::from(draft);
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| SalvageError::Io { what, path, source }
        };
        // What is there already is somebody's.
        fs::create_dir(&draft).map_err(failed("create", &draft))?;
        let written = || {
            let drafts = Snapshots::open(&draft)?;
            let records = snapshot::records(&self.machine);
            let written = write_snapshot(&drafts, &self.meta, records);
            // A link, unlike a renaming, takes nobody's place.
            let placed = written.and_then(|written| {
                fs::hard_link(written.path(), file)?;
                let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
                store::sync_dir(dir.unwrap_or_else(|| Path::new(".")))?;
                Ok(written.size())
            });
            placed.map_err(failed("write", file))
        };
        let written = written();
        let _removed = fs::remove_dir_all(&draft);
        written
    }
}
