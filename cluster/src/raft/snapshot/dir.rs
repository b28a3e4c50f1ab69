//! The directory of the snapshots: the current one, and drafts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::file::{Draft, SnapshotFile};
use super::read;
use crate::error::OpenError;
use crate::raft::types::SnapshotMeta;
use crate::store::{self, StoreError};

const SUFFIX: &str = "snap";

/// The snapshots of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    dir: Arc<Path>,
    current: Arc<Mutex<Option<(SnapshotMeta, SnapshotFile)>>>,
    n_drafts: Arc<AtomicU64>,
}

impl Snapshots {
    /// Opens or creates the directory, finds the newest snapshot, and removes what a crash left behind.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        store::create_private_dir(dir)?;
        let io = |source| StoreError::Io {
            what: "read",
            path: dir.to_owned(),
            source,
        };
        let mut found: Vec<(u64, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            match place(&path) {
                Some((term, index)) => found.push((index, term, path)),
                // Best effort: what stays is tried again at the next start.
                None => drop(fs::remove_file(&path)),
            }
        }
        found.sort();
        let newest = found.pop();
        for (_, _, path) in found {
            drop(fs::remove_file(&path));
        }
        let current = match newest {
            Some((index, _, path)) => {
                let file = SnapshotFile::open(&path).map_err(io)?;
                let meta = read::meta(&file).map_err(|error| StoreError::Damaged {
                    path,
                    index,
                    what: error.to_string(),
                })?;
                Some((meta, file))
            }
            None => None,
        };
        Ok(Self {
            dir: dir.into(),
            current: Arc::new(Mutex::new(current)),
            n_drafts: Arc::default(),
        })
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new file to write a snapshot into.
    pub(crate) fn draft(&self) -> io::Result<Draft> {
        let number = self.n_drafts.fetch_add(1, Ordering::Relaxed);
        Draft::create(self.dir.join(format!("draft-{number}")))
    }

    /// Puts a finished and verified file in the place of the current snapshot, unless that one is newer.
    pub(crate) fn install(
        &self,
        meta: &SnapshotMeta,
        file: &SnapshotFile,
    ) -> io::Result<SnapshotFile> {
        // Held over the renaming, so that two which end at the same time come one after the other.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((newer, kept)) = current.as_ref()
            && newer.last_log_id > meta.last_log_id
        {
            fs::remove_file(file.path())?;
            return Ok(kept.clone());
        }
        let path = self.dir.join(file_name(meta));
        fs::rename(file.path(), &path)?;
        store::sync_dir(&self.dir)?;
        let installed = SnapshotFile::open(&path)?;
        let before = current.replace((meta.clone(), installed.clone()));
        if let Some((_, before)) = before
            && before.path() != path
        {
            fs::remove_file(before.path())?;
        }
        Ok(installed)
    }
}

fn file_name(meta: &SnapshotMeta) -> String {
    let (term, index) = match &meta.last_log_id {
        Some(log_id) => (log_id.committed_leader_id().term, log_id.index()),
        None => (0, 0),
    };
    format!("{term:020}-{index:020}.{SUFFIX}")
}

/// Term and index in a file's name.
fn place(path: &Path) -> Option<(u64, u64)> {
    if path.extension()? != SUFFIX {
        return None;
    }
    let (term, index) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((term.parse().ok()?, index.parse().ok()?))
}
