//! The state machine of the bare engine: registers in memory.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use openraft::{
    EntryPayload, OptionalSend,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine},
};

use super::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// All registers, shared with snapshots until the next write.
pub(super) type Registers = Arc<BTreeMap<u64, Bytes>>;

/// Registers and where the log was when they were so.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    registers: Registers,
    last: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<(SnapshotMeta, Registers)>,
}

impl Machine {
    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
        }
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Registers;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Normal(write) => {
                    Arc::make_mut(&mut self.registers).insert(write.register, write.value);
                }
            }
            self.last = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(entry.log_id.index());
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Self> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.snapshot = Some((self.meta(), Arc::clone(&self.registers)));
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        registers: Registers,
    ) -> Result<(), io::Error> {
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.registers = Arc::clone(&registers);
        self.snapshot = Some((meta.clone(), registers));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.snapshot.clone();
        Ok(current.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Registers;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(Snapshot {
            meta: self.meta(),
            snapshot: Arc::clone(&self.registers),
        })
    }
}
