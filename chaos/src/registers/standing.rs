//! How a node says that it stands in its cluster.

use serde::Deserialize;

/// `GET /api/v1/cluster/health`, as far as runs care.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Standing {
    /// Its number as a member.
    pub(super) number: u64,
    role: String,
    pub(super) term: u64,
    pub(super) voters: usize,
    /// A quorum answers it, and it has a lease.
    pub(super) healthy: bool,
    /// Last entry that it has applied.
    #[serde(rename = "apply_index")]
    pub(super) applied: u64,
    /// Entry of its last snapshot; 0 without one.
    #[serde(rename = "snapshot_index")]
    pub(super) snapshot: u64,
    /// What its state came to at a round number of entries.
    pub(super) state_hash: Option<StateHash>,
}

/// Hash of the state after an entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct StateHash {
    pub(super) index: u64,
    pub(super) sha256: String,
}

impl Standing {
    pub(super) fn leads(&self) -> bool {
        self.role == "leader"
    }

    #[cfg(test)]
    pub(super) fn of(role: &str, hash: &str) -> Self {
        Self {
            role: role.to_owned(),
            healthy: true,
            state_hash: Some(StateHash {
                index: 1000,
                sha256: hash.to_owned(),
            }),
            ..Self::default()
        }
    }
}
