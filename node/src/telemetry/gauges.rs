//! What is read at the time of a scrape instead of being counted.

use std::time::{Duration, SystemTime};

/// State of the node at one moment. Whoever answers a scrape fills it from the handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauges {
    /// When this process started.
    pub started: SystemTime,
    /// Sessions with a live actor.
    pub sessions_active: usize,
    /// Sessions that sleep.
    pub sessions_passive: usize,
    /// Calls that wait for their clients.
    pub waiting_calls: usize,
    /// Bytes that those keep.
    pub waiting_bytes: usize,
    /// Calls so far that found no room to wait.
    pub waiting_refused: u64,
    /// Every configured server.
    pub servers: Vec<ServerGauge>,
    /// First and last second of the certificate of the data plane. `None` without TLS.
    pub certificate: Option<(SystemTime, SystemTime)>,
    /// Whether the node's file says something else than the registry that the nodes share.
    pub file_differs: bool,
    /// The engine that replicates the registry.
    pub raft: RaftGauges,
    /// Quotas of this node.
    pub quotas: QuotaGauges,
    /// The audit log.
    pub audit: AuditGauges,
}

/// State of the audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditGauges {
    /// Records in the log of the cluster.
    pub records: u64,
    /// Records of this node that the log does not have yet.
    pub queue: u64,
    /// Bytes of those.
    pub queue_bytes: u64,
    /// Age of the oldest of those.
    pub lag_ms: u64,
    /// Calls that have begun and not ended.
    pub open_calls: u64,
    /// Records of this node that found no room.
    pub lost: u64,
    /// Records that no checkpoint covers yet.
    pub unsigned: u64,
    /// Age of the last checkpoint, while there are such.
    pub checkpoint_age_ms: u64,
    /// Files with records on this node.
    pub segments: u64,
    /// Bytes of those.
    pub segment_bytes: u64,
    /// Whether this node has all records.
    pub is_complete: bool,
    /// Whether records are taken.
    pub is_healthy: bool,
    /// Whether they wait in memory only.
    pub is_degraded: bool,
}

/// State of the quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaGauges {
    /// Accounts in use on this node.
    pub accounts: usize,
    /// Grants that nodes hold.
    pub grants: usize,
    /// Whether this node gets none.
    pub cut_off: bool,
    /// Batches that it has proposed.
    pub batches: u64,
    /// Expiries that it has proposed.
    pub expiries: u64,
    /// Proposals whose answer never came.
    pub unanswered: u64,
    /// Calls that had to wait.
    pub waits: u64,
    /// Calls that another node decided.
    pub afar: u64,
}

/// State of the engine that replicates the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftGauges {
    /// Its term.
    pub term: u64,
    /// Whether this node leads.
    pub leads: bool,
    /// Whether it knows a leader.
    pub has_leader: bool,
    /// Whether it may serve.
    pub lease: bool,
    /// Members with a vote, and without one.
    pub voters: usize,
    /// See above.
    pub learners: usize,
    /// Members that do not answer this node, if it leads.
    pub silent: usize,
    /// Last entry of its log.
    pub last_log: u64,
    /// Up to where that is committed, as far as it knows.
    pub committed: u64,
    /// Up to where it has applied it.
    pub applied: u64,
    /// Members that hold another state.
    pub divergence: usize,
    /// Last entry in its newest snapshot.
    pub snapshot: u64,
    /// Bytes of that.
    pub snapshot_bytes: u64,
    /// How far the log's time is ahead of this node's clock.
    pub clock_behind: Duration,
    /// Upper bounds of the buckets of the two below, in microseconds.
    pub bounds_us: &'static [u64],
    /// From handing entries to the log until they are on the disk.
    pub append: LatencyGauge,
    /// Writes of the log with their sync.
    pub sync: LatencyGauge,
}

/// Durations that were counted elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyGauge {
    /// How many fell into each bucket, and behind them those beyond the last bound.
    pub counts: Vec<u64>,
    /// All together, in microseconds.
    pub sum_us: u64,
}

/// State of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGauge {
    /// Name.
    pub name: String,
    /// Whether it answered when last asked.
    pub up: bool,
    /// Items that clients don't see, because another server has the name.
    pub hidden: usize,
    /// Its addresses.
    pub endpoints: Vec<EndpointGauge>,
}

/// State of one address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointGauge {
    /// Address without credentials, or the command.
    pub address: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
}

impl EndpointGauge {
    /// 0 closed, 1 open, 2 half open.
    pub(super) fn breaker_value(&self) -> u8 {
        match self.breaker {
            "closed" => 0,
            "half_open" => 2,
            _ => 1,
        }
    }
}
