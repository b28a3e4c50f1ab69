//! The suite that the engine brings for its stores.

use std::sync::{Arc, OnceLock};

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::audit::Guards;
use crate::raft::audit_files::{AuditFiles, AuditWriter};
use crate::raft::log_store::{Identity, LogStore};
use crate::raft::machine_store::MachineStore;
use crate::raft::publish::Publisher;
use crate::raft::snapshot::Snapshots;
use crate::raft::types::TypeConfig;
use crate::secret::Secret;

struct Stores;

impl StoreBuilder<TypeConfig, LogStore, MachineStore, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, MachineStore), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity {
            id: 0,
            name: "n0".to_owned(),
        };
        let (log, _flusher) = LogStore::open(dir.path(), &identity).unwrap();
        let key = Secret::generate().unwrap();
        let (publisher, _applied) = Publisher::new(
            "n0".into(),
            (key, Guards::default()),
            Arc::new(OnceLock::new()),
        );
        let snapshots = Snapshots::open(&dir.path().join("snapshots")).unwrap();
        let files = AuditFiles::new(dir.path().join("audit"), false);
        let (audit, _keeper) = AuditWriter::start(files, Guards::default()).unwrap();
        let machine = MachineStore::new(publisher, snapshots, Arc::default(), audit);
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn the_stores_keep_what_the_engine_relies_on() {
    Suite::test_all(Stores).await.unwrap();
}
