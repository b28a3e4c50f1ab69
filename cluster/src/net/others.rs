//! `Others`: asks the other nodes for the handle.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use lockgate_proto::peer::v1 as pb;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep};

use super::leases::{Leases, leader};
use crate::error::ReadError;
use crate::grpc::Peers;
use crate::raft::{AdminError, Engine, Member, PeerError, RaftId};

/// How often the leader is asked whether an entry binds everybody, and how long: several leases and an election.
const SETTLE_EVERY: Duration = Duration::from_millis(10);
const SETTLED_MAX: Duration = Duration::from_secs(10);
/// A member that does not say how it stands in this time does not stand well.
const SURVEY_MAX: Duration = Duration::from_secs(1);
/// How long to look for a leader that hands over, and the pause between two looks.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// This node hears of a new leader with its next heartbeat.
const HEARD_MAX: Duration = Duration::from_secs(2);

/// How a member says that it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Version of its program.
    pub version: String,
    /// Its term.
    pub term: u64,
    /// Number of the leader, when it knows one.
    pub leader: Option<u64>,
    /// Index of the last entry of its log.
    pub last_log: u64,
    /// Index up to which it knows the log to be committed.
    pub committed: u64,
    /// Index up to which it has applied the log.
    pub applied: u64,
    /// Calls that have not ended and audit records that the log does not have; `None` when it does not say.
    pub unfinished: Option<u64>,
}

impl From<pb::StatusResponse> for Sighting {
    fn from(status: pb::StatusResponse) -> Self {
        Self {
            version: status.version,
            term: status.term,
            leader: status.leader,
            last_log: status.last_log,
            committed: status.committed,
            applied: status.applied,
            unfinished: status.unfinished,
        }
    }
}

/// Asks the other nodes. Works once the network serves. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Others {
    parts: Arc<OnceLock<(Engine, Leases, Peers)>>,
}

impl Others {
    pub(super) fn serve(&self, engine: Engine, leases: Leases, peers: Peers) {
        // The network begins to serve once.
        let _first = self.parts.set((engine, leases, peers));
    }

    /// Waits until every node has applied the entry at `index`, or may not serve before it has.
    pub(crate) async fn settled(&self, index: u64) -> Result<(), ReadError> {
        let (engine, leases, peers) = self.parts.get().ok_or(ReadError::Closed)?;
        let deadline = Instant::now() + SETTLED_MAX;
        loop {
            let asked = match leader(engine) {
                Some((id, _)) if id == engine.id() => leases.is_past(index),
                Some((id, member)) => peers.is_past((id, &member), index).await,
                None => Err(PeerError::NotLeader { leader: None }),
            };
            match asked {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(cause) => tracing::debug!(%cause, "not told who is past an entry"),
            }
            if Instant::now() + SETTLE_EVERY > deadline {
                return Err(ReadError::NoLeader);
            }
            sleep(SETTLE_EVERY).await;
        }
    }

    /// How every other member that answers says that it stands, by its number.
    pub(crate) async fn survey(&self) -> BTreeMap<RaftId, Sighting> {
        let Some((engine, _, peers)) = self.parts.get() else {
            return BTreeMap::new();
        };
        let seen = statuses(engine, peers).await.into_iter();
        seen.map(|status| (status.raft_id, status.into())).collect()
    }

    /// Has the leader, wherever it is, hand over to the voter `to`, and waits until that one leads.
    pub(crate) async fn hand_over(&self, to: RaftId) -> Result<(), AdminError> {
        let (engine, _, peers) = self.parts.get().ok_or(AdminError::Stopped)?;
        let deadline = Instant::now() + HAND_OVER_MAX;
        let told = loop {
            let told = match leader(engine) {
                Some((id, _)) if id == to => return Ok(()),
                Some((id, _)) if id == engine.id() => return engine.transfer_leader(to).await,
                Some((id, member)) => peers.hand_over((id, &member), to).await,
                None => Err(PeerError::NotLeader { leader: None }),
            };
            match told {
                // Somebody else leads by now; this node hears of it.
                Err(PeerError::NotLeader { .. } | PeerError::Unreachable(_))
                    if Instant::now() + PAUSE < deadline => {}
                told => break told,
            }
            sleep(PAUSE).await;
        };
        match told {
            Ok(_leader) => {}
            Err(PeerError::NotLeader { leader }) => return Err(AdminError::NotLeader { leader }),
            Err(PeerError::Refused(why)) => return Err(AdminError::Refused { why }),
            Err(other) => {
                let why = other.to_string();
                return Err(AdminError::Refused { why });
            }
        }
        // So that whoever asks this node next hears the same.
        let wait = engine.raft().wait(Some(HEARD_MAX));
        let _late = wait.current_leader(to, "leadership was handed over").await;
        Ok(())
    }
}

/// What the other members say of themselves, those that answer.
pub(super) async fn statuses(engine: &Engine, peers: &Peers) -> Vec<pb::StatusResponse> {
    let others: Vec<(RaftId, Member)> = {
        let metrics = engine.raft().metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        let others = nodes.filter(|(id, _)| **id != engine.id());
        others.map(|(id, member)| (*id, member.clone())).collect()
    };
    let asked = others
        .iter()
        .map(|(id, member)| peers.status((*id, member), SURVEY_MAX));
    let answers = join_all(asked).await.into_iter();
    answers.filter_map(Result::ok).collect()
}
