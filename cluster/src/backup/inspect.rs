//! Says what is in a snapshot file, after a look at all of it.

use std::io;
use std::path::{Path, PathBuf};

use crate::command::wire::WireError;
use crate::machine::{Machine, snapshot};
use crate::raft::{Contents, SnapshotFile, SnapshotMeta, read_snapshot};

/// What a snapshot file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Id of the cluster that it is from.
    pub cluster: [u8; 16],
    /// Index of its last entry.
    pub index: u64,
    /// Term of that.
    pub term: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Names of the members at that time.
    pub members: Vec<String>,
    /// Version of the configuration in force; 0 when there was none.
    pub config_version: u64,
    /// API keys, revoked ones too.
    pub keys: usize,
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It can't be read, is cut off, or is not what was written.
    #[error("snapshot `{}` cannot be used: {what}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Checks a snapshot file to its last byte, and says what is in it. Reads all of it; call it where that may take its
/// time.
///
/// # Errors
///
/// [`SnapshotError`] when it is damaged, or is from a newer version.
pub fn inspect_snapshot(path: &Path) -> Result<SnapshotSummary, SnapshotError> {
    let (meta, machine, bytes) = load(path)?;
    let parts = machine.parts();
    let live = parts.nodes().members().values();
    let live = live.filter(|member| member.is_live());
    let config = parts.registry().config.current();
    let last = meta.last_log_id;
    Ok(SnapshotSummary {
        cluster: parts.nodes().cluster().unwrap_or_default(),
        index: last.as_ref().map_or(0, |at| at.index),
        term: last.map_or(0, |at| at.committed_leader_id().term),
        bytes,
        members: live.map(|member| member.name.to_string()).collect(),
        config_version: config.map_or(0, |(version, _)| version.version),
        keys: parts.registry().keys.by_id().len(),
    })
}

/// Reads a whole file.
pub(super) fn load(path: &Path) -> Result<(SnapshotMeta, Machine, u64), SnapshotError> {
    let unusable = |what: String| SnapshotError::Unusable {
        path: path.to_owned(),
        what,
    };
    let read = || -> io::Result<(Contents, u64)> {
        let file = SnapshotFile::open(path)?;
        let contents = read_snapshot(&file)?;
        Ok((contents, file.size()))
    };
    let (contents, bytes) = read().map_err(|error| unusable(error.to_string()))?;
    let records = contents.records.into_iter().map(Ok::<_, WireError>);
    let machine = snapshot::restore(records).map_err(|error| unusable(error.to_string()))?;
    if machine.parts().nodes().cluster().is_none() {
        return Err(unusable("it is of no cluster".to_owned()));
    }
    Ok((contents.meta, machine, bytes))
}
