//! Has a node write a snapshot for an operator, and gives it out piece by piece.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::error::ReadError;
use crate::handle::Cluster;
use crate::raft::{AdminError, Engine, SnapshotMeta};

/// How long the writing may take.
const WRITTEN_MAX: Duration = Duration::from_secs(60);
/// How often to look whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A snapshot that a node has on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSnapshot {
    /// Names it on that node.
    pub id: String,
    /// Index of its last entry.
    pub index: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// This node does not know what the newest state is.
    #[error("the node cannot tell what the newest state is")]
    State(#[from] ReadError),
    /// The engine has stopped.
    #[error(transparent)]
    Engine(#[from] AdminError),
    /// It was not written in time.
    #[error("no snapshot was written within {limit:?}")]
    Late {
        /// How long it was waited for.
        limit: Duration,
    },
    /// A newer one has taken its place.
    #[error("snapshot `{id}` is not on this node any more")]
    Replaced {
        /// Which was asked for.
        id: String,
    },
    /// It can't be read.
    #[error("the snapshot cannot be read")]
    Io(#[source] io::Error),
}

impl Cluster {
    /// Writes a snapshot that holds everything that was answered before, on any node.
    ///
    /// # Errors
    ///
    /// [`SaveError`].
    pub async fn save_snapshot(&self) -> Result<SavedSnapshot, SaveError> {
        let wanted = self.read().await?.index();
        let proposer = Arc::clone(&self.running.proposer);
        let saving = async move { save(proposer.engine(), wanted).await };
        match self.on_runtime(saving) {
            Some(answer) => answer
                .await
                .unwrap_or_else(|_| Err(AdminError::Stopped.into())),
            None => Err(AdminError::Stopped.into()),
        }
    }

    /// Reads so many bytes of a snapshot from `offset` on; fewer at its end. Reads a file, so call it where that may
    /// take its time.
    ///
    /// # Errors
    ///
    /// [`SaveError::Replaced`] when the node has written another one since.
    pub fn read_snapshot(&self, id: &str, offset: u64, bytes: usize) -> Result<Bytes, SaveError> {
        let replaced = || SaveError::Replaced { id: id.to_owned() };
        let engine = self.running.proposer.engine();
        let current = engine.snapshots().current();
        let (_, file) = current
            .filter(|(meta, _)| id_of(meta) == id)
            .ok_or_else(replaced)?;
        let left = usize::try_from(file.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; bytes.min(left)];
        file.file()
            .read_exact_at(&mut piece, offset)
            .map_err(SaveError::Io)?;
        Ok(piece.into())
    }
}

async fn save(engine: &Engine, wanted: u64) -> Result<SavedSnapshot, SaveError> {
    let deadline = Instant::now() + WRITTEN_MAX;
    loop {
        if let Some((meta, file)) = engine.snapshots().current()
            && index_of(&meta) >= wanted
        {
            return Ok(SavedSnapshot {
                id: id_of(&meta),
                index: index_of(&meta),
                bytes: file.size(),
            });
        }
        // One that was under way when this was asked may lack the newest entries, so this asks as often as it takes.
        engine.write_snapshot().await?;
        if Instant::now() + LOOK_EVERY > deadline {
            let limit = WRITTEN_MAX;
            return Err(SaveError::Late { limit });
        }
        sleep(LOOK_EVERY).await;
    }
}

fn index_of(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.as_ref().map_or(0, |at| at.index)
}

fn id_of(meta: &SnapshotMeta) -> String {
    let term = meta.last_log_id.as_ref();
    let term = term.map_or(0, |at| at.committed_leader_id().term);
    format!("{term}-{}", index_of(meta))
}
