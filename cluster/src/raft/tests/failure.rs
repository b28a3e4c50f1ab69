//! A log whose disk fails.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use crate::raft::log_store::{Identity, LogStore};
use crate::raft::types::{Entry, TypeConfig, Vote, log_id};
use crate::store::{Change, DurableLog, Note, Store, StoreError};

/// Holds nothing, and fails from some moment on.
struct Failing {
    fails: Arc<AtomicBool>,
}

impl Store for Failing {
    fn note(&self, _note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }

    fn records(
        &self,
        _range: Range<u64>,
        _bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        Ok(Vec::new())
    }

    fn write(&self, _number: u64, _changes: Vec<Change>) -> Result<(), StoreError> {
        if !self.fails.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(StoreError::Io {
            what: "sync",
            path: PathBuf::from("log"),
            source: std::io::Error::from_raw_os_error(5),
        })
    }

    fn apply(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acknowledged_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let store = Failing {
        fails: Arc::clone(&fails),
    };
    let log = DurableLog::over(dir.path(), Arc::new(store)).unwrap();
    let identity = Identity {
        id: 1,
        name: "n1".to_owned(),
    };
    let (mut log, thread) = LogStore::start(log, &identity, dir.path()).unwrap();
    log.save_vote(&Vote::new(1, 1)).await.unwrap();

    fails.store(true, Ordering::SeqCst);
    let (done, flushed) = TypeConfig::oneshot();
    let entry = Entry {
        log_id: log_id(1, 1, 0),
        payload: openraft::EntryPayload::Blank,
    };
    log.append([entry], IOFlushed::signal(done)).await.unwrap();
    let read = log.try_get_log_entries(0..1).await.unwrap();
    assert_eq!(read.len(), 1, "it can be read before it is durable");
    assert!(flushed.await.unwrap().is_err());

    // The disk may say again that all is well: what it lost it lost.
    fails.store(false, Ordering::SeqCst);
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    thread.join().unwrap();
}
