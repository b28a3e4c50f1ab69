//! The engine of this node, as the handle and the other nodes use it. Only here it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{Raft, ReadPolicy};
use tokio::sync::watch;

use super::audit_files::AuditFiles;
use super::log_clock::LogClock;
use super::machine_store::MachineStore;
use super::metrics::{LogMetrics, MachineMetrics};
use super::network::PeerError;
use super::publish::Applied;
use super::rounds::{Pass, Rounds};
use super::snapshot::Snapshots;
use super::types::{Payload, RaftId, TypeConfig};
use crate::audit::AuditCommand;
use crate::command::{Command, Entry, wire};
use crate::guarding;

/// The engine of one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    raft: Raft<TypeConfig, MachineStore>,
    parts: Arc<EngineParts>,
}

/// What an engine is made of beside the engine itself.
pub(super) struct EngineParts {
    pub(super) id: RaftId,
    pub(super) clock: LogClock,
    pub(super) applied: watch::Receiver<Arc<Applied>>,
    pub(super) snapshots: Snapshots,
    pub(super) audit: AuditFiles,
    pub(super) rounds: Rounds,
    pub(super) log_metrics: Arc<LogMetrics>,
    pub(super) machine_metrics: Arc<MachineMetrics>,
    /// When a leader last sent something, by [`boot_time_us`]; 0 when none did in this life.
    pub(super) heard_us: AtomicU64,
}

impl Engine {
    pub(super) fn new(raft: Raft<TypeConfig, MachineStore>, parts: EngineParts) -> Self {
        let parts = Arc::new(parts);
        Self { raft, parts }
    }

    /// The engine itself, for the requests of other engines.
    pub(crate) fn raft(&self) -> &Raft<TypeConfig, MachineStore> {
        &self.raft
    }

    /// Number of this node.
    pub(crate) fn id(&self) -> RaftId {
        self.parts.id
    }

    /// A leader has sent something.
    pub(crate) fn hear_leader(&self) {
        self.parts.heard_us.store(boot_time_us(), Ordering::Relaxed);
    }

    /// Whether a leader has sent something within this time.
    pub(super) fn has_heard_leader(&self, within: Duration) -> bool {
        let heard_us = self.parts.heard_us.load(Ordering::Relaxed);
        let silent = Duration::from_micros(boot_time_us().saturating_sub(heard_us));
        heard_us > 0 && silent <= within
    }

    /// Where a received snapshot is written to.
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.parts.snapshots
    }

    /// Follows what this node has applied.
    pub(crate) fn applied(&self) -> watch::Receiver<Arc<Applied>> {
        self.parts.applied.clone()
    }

    /// Where the audit records of this node are.
    pub(crate) fn audit(&self) -> &AuditFiles {
        &self.parts.audit
    }

    pub(super) fn log_metrics(&self) -> &LogMetrics {
        &self.parts.log_metrics
    }

    pub(super) fn machine_metrics(&self) -> &MachineMetrics {
        &self.parts.machine_metrics
    }

    /// Commits an entry, when this node leads, and gives its outcome. The clocks of this node are stamped into it.
    pub(crate) async fn propose_here(&self, entry: Bytes) -> Result<Bytes, PeerError> {
        // Read here, so that nothing gets into the log that no node can read.
        let mut entry =
            wire::decode_entry(entry).map_err(|cause| PeerError::Refused(cause.to_string()))?;
        // What is read below of clocks and members is that of the moment when it is written.
        let _pass = self.await_round(&entry).await;
        self.check_format(&entry)?;
        entry.at_ms = self.parts.clock.stamp_ms(self.latest_ms());
        // The term before the clock, so that a stamp under a term is never older than its election.
        entry.leader_term = self.term_led();
        entry.leader_us = boot_time_us();
        let payload = Payload(wire::encode_entry(entry));
        match self.raft.client_write(payload).await {
            Ok(response) => Ok(response.data.0),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Latest stamp that this node has applied, in milliseconds since 1970.
    fn latest_ms(&self) -> u64 {
        self.parts.applied.borrow().parts.latest_ms()
    }

    /// How far the log's time is ahead of this node's clock.
    pub(super) fn clock_behind(&self) -> Duration {
        self.parts.clock.behind(self.latest_ms())
    }

    /// Audit records come from every node all the time, and calls wait for them, so they go together. Anything else is
    /// rare, and goes at once.
    async fn await_round(&self, entry: &Entry) -> Option<Pass> {
        match (&entry.command, entry.origin) {
            (Command::Audit(AuditCommand::Append { .. }), Some(origin)) => {
                self.parts.rounds.join(origin.node.0).await
            }
            _ => None,
        }
    }

    /// A node that can't read an entry of the log has to stop, so nothing gets there before the last voter can.
    fn check_format(&self, entry: &Entry) -> Result<(), PeerError> {
        let state = self.parts.applied.borrow();
        if let Command::Audit(AuditCommand::SetGuard { guard, .. }) = &entry.command
            && let Some(member) = guarding::without(&state.parts, guard)
        {
            return Err(PeerError::Refused(format!(
                "node `{}` was not given this secret of the audit log",
                member.name
            )));
        }
        match state.parts.nodes().behind(entry.command.format()) {
            None => Ok(()),
            Some(member) => Err(PeerError::Refused(format!(
                "node `{}` runs version {}, which does not know this change; upgrade it first",
                member.name, member.speaks.version
            ))),
        }
    }

    /// Term in which this node leads; 0 when it does not.
    pub(super) fn term_led(&self) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.current_leader == Some(self.parts.id) {
            metrics.current_term
        } else {
            0
        }
    }

    /// Up to where the log must be applied for a read that is as new as this question, when this node leads: a quorum
    /// has said so since it was asked.
    pub(crate) async fn read_index_here(&self) -> Result<u64, PeerError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                let leader = to.leader_id.filter(|leader| *leader != self.parts.id);
                Err(PeerError::NotLeader { leader })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(PeerError::NotLeader { leader: None })
            }
            Err(RaftError::Fatal(fatal)) => Err(PeerError::Unknown(fatal.to_string())),
        }
    }
}

/// Time since the machine was started, in microseconds; it goes on while the machine sleeps.
pub fn boot_time_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000_000 + nanos / 1_000
}
