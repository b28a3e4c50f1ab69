//! The engine's state machine: applies what was committed, publishes what came of it, makes snapshots.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use tracing::{error, info};

use super::audit_files::{AuditSyncer, AuditWriter};
use super::metrics::MachineMetrics;
use super::publish::Publisher;
use super::snapshot::{self, SnapshotFile, Snapshots};
use super::types::{
    Entry, LogId, Outcome, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::audit::AuditEffect;
use crate::command::wire::{self, WireError};
use crate::machine::{Machine, Position, snapshot as machine_snapshot};

/// Entries that are applied before other tasks of the runtime get their turn: heartbeats must not wait for a node that
/// catches up.
const TURN: usize = 256;

/// State of the machine, in memory. On the disk are its last snapshot and the log behind it.
pub(crate) struct MachineStore {
    machine: Machine,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    publisher: Publisher,
    snapshots: Snapshots,
    metrics: Arc<MachineMetrics>,
    audit: AuditWriter,
    /// What applied entries demand of the audit segments, until the end of their batch.
    effects: Vec<AuditEffect>,
}

/// Writes one snapshot of the state as it was when the engine asked.
pub(crate) struct Builder {
    machine: Machine,
    meta: SnapshotMeta,
    snapshots: Snapshots,
    metrics: Arc<MachineMetrics>,
    audit: AuditSyncer,
}

impl MachineStore {
    /// An empty machine. The engine brings it up to date: from the current snapshot, then from the log.
    pub(crate) fn new(
        publisher: Publisher,
        snapshots: Snapshots,
        metrics: Arc<MachineMetrics>,
        audit: AuditWriter,
    ) -> Self {
        Self {
            machine: Machine::default(),
            last_applied: None,
            membership: StoredMembership::default(),
            publisher,
            snapshots,
            metrics,
            audit,
            effects: Vec::new(),
        }
    }

    /// Applies one entry. The answer is encoded only for one who waits for it.
    fn apply_one(&mut self, entry: &Entry, is_awaited: bool) -> io::Result<Outcome> {
        let mut answer = Outcome(Bytes::new());
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                let at = Some(entry.log_id);
                self.membership = StoredMembership::new(at, membership.clone());
            }
            EntryPayload::Normal(payload) => {
                let outcome = self.command(entry.log_id, payload)?;
                if is_awaited {
                    answer = Outcome(wire::encode_outcome(&outcome));
                }
            }
        }
        self.last_applied = Some(entry.log_id);
        Ok(answer)
    }

    fn command(&mut self, at: LogId, payload: &Payload) -> io::Result<crate::command::Outcome> {
        let position = Position {
            term: at.committed_leader_id().term,
            index: at.index(),
        };
        match wire::decode_entry(payload.0.clone()) {
            Ok(entry) => Ok(self.machine.apply(position, entry, &mut self.effects)),
            Err(cause) => {
                // To leave it out would be to hold another state than the other nodes from here on.
                let index = at.index();
                error!(index, %cause, "an entry of the log is not for this version, upgrade this node");
                Err(io::Error::other(format!("entry {index}: {cause}")))
            }
        }
    }

    fn publish(&mut self) {
        let index = self.last_applied.map_or(0, |at| at.index());
        self.publisher
            .publish(index, &self.machine, &self.membership);
    }

    /// Hands what was applied to the audit segments.
    async fn write_audit(&mut self) -> io::Result<()> {
        let effects = std::mem::take(&mut self.effects);
        let parts = self.machine.parts();
        let keyring = self.publisher.keyring(parts);
        self.audit
            .append(parts.audit(), keyring.as_deref(), effects)
            .await
    }

    fn builder(&self) -> Builder {
        Builder {
            machine: self.machine.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
            },
            snapshots: self.snapshots.clone(),
            metrics: Arc::clone(&self.metrics),
            audit: self.audit.syncer(),
        }
    }
}

impl RaftStateMachine<TypeConfig> for MachineStore {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut answers = Vec::new();
        let mut n_applied = 0;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let outcome = self.apply_one(&entry, responder.is_some())?;
            if let Some(responder) = responder {
                answers.push((responder, outcome));
            }
            n_applied += 1;
            if n_applied % TURN == 0 {
                self.write_audit().await?;
                tokio::task::yield_now().await;
            }
        }
        self.write_audit().await?;
        // An answer comes after the view in which it shows.
        self.publish();
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        file: SnapshotFile,
    ) -> Result<(), io::Error> {
        let reading = file.clone();
        let read = move || {
            let found = snapshot::read(&reading).and_then(|contents| {
                let records = contents.records.into_iter().map(Ok::<_, WireError>);
                let machine = machine_snapshot::restore(records).map_err(io::Error::other)?;
                Ok((contents.meta, machine))
            });
            found.map_err(|error| {
                let text = format!(
                    "snapshot `{}` is damaged: {error}",
                    reading.path().display()
                );
                io::Error::new(error.kind(), text)
            })
        };
        let (found, machine) = blocking(read).await?;
        // Not every entry is one for the machine, so it may stand before the last one.
        if found != *meta || machine.position().index > meta_index(meta) {
            let text = format!("a snapshot of {found} came as one of {meta}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let is_current = self.snapshots.current();
        let is_current = is_current.is_some_and(|(_, current)| current.path() == file.path());
        if !is_current {
            let (snapshots, meta) = (self.snapshots.clone(), meta.clone());
            let installed = blocking(move || snapshots.install(&meta, &file)).await?;
            self.metrics.snapshot_is(installed.size());
        }
        let keyring = self.publisher.keyring(machine.parts());
        self.effects.clear();
        self.audit
            .resume(machine.parts().audit(), keyring.as_deref())
            .await?;
        self.machine = machine;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        info!(index = meta_index(meta), "snapshot installed");
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.snapshots.current();
        Ok(current.map(|(meta, file)| Snapshot {
            meta,
            snapshot: file,
        }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        // The log goes behind the snapshot, and with it the only other place of these records.
        self.audit.sync().await?;
        let (machine, meta) = (std::mem::take(&mut self.machine), self.meta.clone());
        let snapshots = self.snapshots.clone();
        let build = move || snapshot::write(&snapshots, &meta, machine_snapshot::records(&machine));
        let file = blocking(build).await?;
        let meta = self.meta.clone();
        let (index, bytes) = (meta_index(&meta), file.size());
        self.metrics.snapshot_is(bytes);
        info!(index, bytes, "snapshot written");
        Ok(Snapshot {
            meta,
            snapshot: file,
        })
    }
}

fn meta_index(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.map_or(0, |at| at.index())
}

/// Files are read and written away from the tasks that keep the cluster together.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => Err(io::Error::other(failed)),
    }
}
