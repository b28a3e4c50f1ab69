//! The admin plane of a node that starts. It may wait for its cluster for long, and operators want to see why.

use std::sync::{Arc, OnceLock};

use http::StatusCode;
use lockgate_cluster::{RaftStatus, StatusReader};
use serde_json::json;

use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Readiness;
use super::route::Operation;
use super::{cluster, health};

/// What is known of a node before it is put together. Cheap to clone.
#[derive(Clone, Default)]
pub struct Early {
    raft: Arc<OnceLock<StatusReader>>,
}

impl Early {
    /// The engine of the node's cluster runs. The first one counts.
    pub fn has_engine(&self, status: StatusReader) {
        let _second = self.raft.set(status);
    }

    pub(super) fn answer(&self, operation: Operation) -> Result<Answer, ApiError> {
        match operation {
            Operation::Alive => Ok(health::alive()),
            Operation::Ready => Ok(self.ready(true)),
            Operation::OpenApi => Ok(answer::openapi()),
            Operation::ClusterHealth => match self.status() {
                Some(status) => Ok(cluster_health(&status)),
                None => Err(self.unavailable()),
            },
            _ => Err(self.unavailable()),
        }
    }

    /// As [`health::ready`].
    pub(super) fn ready(&self, with_details: bool) -> Answer {
        let mut body = json!({ "status": self.word() });
        if with_details {
            let status = self.status();
            let voters = status.iter().flat_map(|status| &status.seats);
            let voters = voters.filter(|seat| seat.votes);
            let voters: Vec<&str> = voters.map(|seat| seat.name.as_str()).collect();
            body["cluster"] = json!({ "lease": false, "voters": voters });
        }
        answer::json(StatusCode::SERVICE_UNAVAILABLE, &body)
    }

    fn status(&self) -> Option<RaftStatus> {
        self.raft.get().map(|status| status())
    }

    /// A leader is what a quorum of voters makes. A node that knows no voters is only new.
    fn word(&self) -> &'static str {
        match self.status() {
            Some(status) if status.leader.is_none() && !status.seats.is_empty() => "no_quorum",
            Some(_) | None => Readiness::Starting.as_str(),
        }
    }

    fn unavailable(&self) -> ApiError {
        let (message, remedy) = match self.word() {
            "no_quorum" => (
                "this node waits until more than half of its cluster's voters can be reached",
                "start the others; /readyz names the voters",
            ),
            _ => (
                "this node is starting, or waits for a cluster to admit it",
                "see /readyz and the node's log; `lockgate cluster init` makes a cluster where there is none",
            ),
        };
        ApiError::unavailable("starting", message, remedy)
    }
}

impl std::fmt::Debug for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Early").finish_non_exhaustive()
    }
}

/// As [`cluster::health`], by the seats in the log: nothing else is certain without a leader.
fn cluster_health(status: &RaftStatus) -> Answer {
    let name_of = |number: u64| {
        let seat = status.seats.iter().find(|seat| seat.id == number);
        seat.map(|seat| seat.name.as_str())
    };
    let voters = status.seats.iter().filter(|seat| seat.votes).count();
    answer::ok(&json!({
        "healthy": false,
        "cluster": null,
        "node": name_of(status.id),
        "number": status.id,
        "role": cluster::role(status.role),
        "leader": status.leader.and_then(name_of),
        "term": status.term,
        "quorum": status.leader.is_some(),
        "lease": false,
        "voters": voters,
        "members": status.seats.len(),
        "last_log_index": status.last_log,
        "commit_index": status.committed,
        "apply_index": status.applied,
        "snapshot_index": status.snapshot,
        "state_hash": null,
    }))
}
