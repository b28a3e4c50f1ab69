//! What operators ask of the engine: how it stands, and who its members are.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::metrics::WaitError;
use openraft::{Instant as _, ServerState};

use super::engine::Engine;
use super::metrics::Latency;
use super::network::PeerError;
use super::types::{RaftId, TypeConfig};

/// A hand-over takes milliseconds; the other node may have to fetch what it lacks first.
const TRANSFER_MAX: Duration = Duration::from_secs(5);

/// A leader and a member that runs hear of each other many times in a second.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What a node is for the engine right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaftRole {
    /// Follows the log without a vote.
    Learner,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Decides what comes into the log.
    Leader,
    /// Is ending.
    Stopped,
}

/// A seat in the membership of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Number of the member.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where other nodes reach it.
    pub address: String,
    /// Whether it votes.
    pub votes: bool,
    /// Last entry that it holds, as far as this node knows; only a leader does.
    pub matched: Option<u64>,
    /// Whether it has not answered this node for some seconds; only a leader knows.
    pub is_silent: bool,
}

/// How the engine of a node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    /// Number of this node.
    pub id: u64,
    /// What it is.
    pub role: RaftRole,
    /// Its term.
    pub term: u64,
    /// Number of the leader, when it knows one. A node that has lost its quorum is none.
    pub leader: Option<u64>,
    /// Index of the last entry of its log.
    pub last_log: u64,
    /// Index up to which it knows the log to be committed.
    pub committed: u64,
    /// Index up to which it has applied the log.
    pub applied: u64,
    /// Index of its last snapshot; 0 before there is one.
    pub snapshot: u64,
    /// Bytes of that snapshot.
    pub snapshot_bytes: u64,
    /// Index up to which its log was cut behind snapshots.
    pub purged: u64,
    /// Members.
    pub seats: Vec<Seat>,
    /// From handing entries to the log until they are on the disk.
    pub append: Latency,
    /// Writes with their sync.
    pub sync: Latency,
    /// Entries written since the start.
    pub entries_written: u64,
    /// How far the latest time in the log is ahead of this node's clock.
    pub clock_behind: Duration,
}

/// Why the engine did not do what an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Another node leads, which alone can do it.
    #[error(
        "this node does not lead the cluster; ask {}",
        leader.map_or_else(|| "again when there is a leader".to_owned(), |id| format!("node number {id}"))
    )]
    NotLeader {
        /// Number of the one that does, when it is known.
        leader: Option<u64>,
    },
    /// Only a voter can lead.
    #[error("node number {id} has no vote, so it cannot lead")]
    NoVoter {
        /// Which.
        id: u64,
    },
    /// The other node did not take the lead in time. One of them, or a third, leads.
    #[error("node number {id} did not take the lead in time")]
    NotTaken {
        /// Which.
        id: u64,
    },
    /// The leader does not do it, or did not answer.
    #[error("{why}")]
    Refused {
        /// What it says.
        why: String,
    },
    /// This node is ending, or its store has failed.
    #[error("the cluster's engine has stopped on this node")]
    Stopped,
}

impl Engine {
    /// How this node stands.
    pub(crate) fn status(&self) -> RaftStatus {
        let metrics = self.raft().metrics().borrow_watched().clone();
        let index = |at: Option<super::types::LogId>| at.map_or(0, |at| at.index());
        let membership = &metrics.membership_config;
        let voters: BTreeSet<RaftId> = membership.voter_ids().collect();
        let matched = |id: &RaftId| {
            let of_others = metrics.replication.as_ref()?.get(id)?;
            of_others.map(|at| at.index())
        };
        let is_silent = |id: &RaftId| {
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(id));
            let is_late = heard.map(|at| at.is_none_or(|at| at.elapsed() > SILENT_AFTER));
            *id != self.id() && is_late == Some(true)
        };
        let seats = membership.nodes().map(|(id, member)| Seat {
            id: *id,
            name: member.name.clone(),
            address: member.address.clone(),
            votes: voters.contains(id),
            matched: matched(id),
            is_silent: is_silent(id),
        });
        // The engine keeps the one that it last voted for, also one that is gone or that led before it was started.
        let leader = metrics.current_leader;
        let leader = leader.filter(|id| *id == self.id() || self.has_heard_leader(SILENT_AFTER));
        let (log, machine) = (self.log_metrics(), self.machine_metrics());
        RaftStatus {
            id: self.id(),
            role: role(metrics.state),
            term: metrics.current_term,
            leader,
            last_log: metrics.last_log_index.unwrap_or_default(),
            committed: index(metrics.local_committed),
            applied: index(metrics.last_applied),
            snapshot: index(metrics.snapshot),
            snapshot_bytes: machine.snapshot_bytes(),
            purged: index(metrics.purged),
            seats: seats.collect(),
            append: log.append.read(),
            sync: log.sync.read(),
            entries_written: log.n_entries(),
            clock_behind: self.clock_behind(),
        }
    }

    /// Hands the leadership over, when this node has it, and waits until another one leads.
    pub(crate) async fn transfer_leader(&self, to: RaftId) -> Result<(), AdminError> {
        let raft = self.raft();
        let (leader, is_voter) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let mut voters = metrics.membership_config.voter_ids();
            (metrics.current_leader, voters.any(|id| id == to))
        };
        if leader == Some(to) {
            return Ok(());
        }
        if leader != Some(self.id()) {
            return Err(AdminError::NotLeader { leader });
        }
        if !is_voter {
            return Err(AdminError::NoVoter { id: to });
        }
        let begun = raft.trigger().transfer_leader(to).await;
        begun.map_err(|_fatal| AdminError::Stopped)?;
        let wait = raft.wait(Some(TRANSFER_MAX));
        match wait.current_leader(to, "transfer").await {
            Ok(_) => Ok(()),
            Err(WaitError::Timeout(..)) => Err(AdminError::NotTaken { id: to }),
            Err(WaitError::ShuttingDown) => Err(AdminError::Stopped),
        }
    }

    /// Has a snapshot written, beside everything else. That it is there shows in the status.
    pub(crate) async fn write_snapshot(&self) -> Result<(), AdminError> {
        let begun = self.raft().trigger().snapshot().await;
        begun.map_err(|_fatal| AdminError::Stopped)
    }

    /// Why the engine wrote nothing.
    pub(super) fn refused(
        &self,
        error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
    ) -> PeerError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                let leader = to.leader_id.filter(|leader| *leader != self.id());
                PeerError::NotLeader { leader }
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                let text = "it lost the leadership while the entry was on its way";
                PeerError::Unknown(text.to_owned())
            }
            RaftError::APIError(other) => PeerError::Refused(other.to_string()),
            RaftError::Fatal(fatal) => PeerError::Unknown(fatal.to_string()),
        }
    }
}

fn role(state: ServerState) -> RaftRole {
    match state {
        ServerState::Learner => RaftRole::Learner,
        ServerState::Follower => RaftRole::Follower,
        ServerState::Candidate => RaftRole::Candidate,
        ServerState::Leader => RaftRole::Leader,
        ServerState::Shutdown => RaftRole::Stopped,
    }
}
