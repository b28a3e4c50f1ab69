//! Every metric name, with its unit and labels. Label values are closed sets or bounded by the configuration.

/// Calls by `server`, `method`, `tool`, `tenant`, `verdict`. Count.
pub const REQUESTS: &str = "mcp_gateway_requests_total";
/// Accepted request to last byte of the answer, by `server`, `method`. Seconds.
pub const REQUEST_DURATION: &str = "mcp_gateway_request_duration_seconds";
/// Size of request bodies by `server`, `method`. Bytes.
pub const REQUEST_SIZE: &str = "mcp_gateway_request_size_bytes";
/// Whether a server answers, by `server`. 0 or 1.
pub const SERVER_UP: &str = "mcp_server_up";
/// Items that a name collision hides from clients, by `server`. Gauge.
pub const HIDDEN_ITEMS: &str = "mcp_gateway_hidden_items";
/// Time a server took to answer or to fail, or to ask the client, by `server`, from when the call went out to it: without
/// calls that it was not sent, and without what the gateway waits for. Seconds.
pub const SERVER_LATENCY: &str = "mcp_server_latency_seconds";
/// What was refused by a limit, by `limit`: calls at `session`, `node` and `waiting`, and at quotas by what they count
/// apart (`tenant`, `principal`, `server`, `tool`); new `sessions`; `connections`. Count.
pub const RATE_LIMITED: &str = "mcp_gateway_rate_limited_total";
/// Accounts of quotas that are in use on this node. Gauge.
pub const QUOTA_ACCOUNTS: &str = "lockgate_quota_accounts";
/// Grants of quotas that nodes of the cluster hold, as this node knows it. Gauge.
pub const QUOTA_GRANTS: &str = "lockgate_quota_grants";
/// Whether this node gets no grants of quotas, so that it spends only what it holds. 0 or 1.
pub const QUOTA_CUT_OFF: &str = "lockgate_quota_cut_off";
/// What this node has proposed about quotas, by `command` (`batch`, `expire`): all nodes together, the entries that they
/// cost the log. Count.
pub const QUOTA_PROPOSALS: &str = "lockgate_quota_proposals_total";
/// Proposals about quotas whose answer never came. Count.
pub const QUOTA_UNANSWERED: &str = "lockgate_quota_unanswered_total";
/// Calls that had to wait for what their quota grants. Count.
pub const QUOTA_WAITS: &str = "lockgate_quota_waits_total";
/// Calls whose quota is too small to be divided, so that another node decided. Count.
pub const QUOTA_DECIDED_AFAR: &str = "lockgate_quota_decided_afar_total";
/// Requests without a valid credential. Count.
pub const AUTH_FAILURES: &str = "mcp_gateway_auth_failures_total";
/// Calls that wait for their clients to answer a server. Gauge.
pub const WAITING_CALLS: &str = "mcp_gateway_waiting_calls";
/// What the calls that wait for their clients keep. Bytes.
pub const WAITING_SIZE: &str = "mcp_gateway_waiting_size_bytes";
/// Live sessions by `state` (`active`, `passive`). Gauge.
pub const SESSIONS: &str = "mcp_gateway_sessions";
/// State of each breaker by `server`, `endpoint`: 0 closed, 1 open, 2 half open. Gauge.
pub const BREAKER_STATE: &str = "mcp_gateway_breaker_state";
/// Memory of this process that is in RAM. Bytes.
pub const PROCESS_RESIDENT_MEMORY: &str = "process_resident_memory_bytes";
/// File descriptors that this process holds. Gauge.
pub const PROCESS_OPEN_FDS: &str = "process_open_fds";
/// Start of this process. Seconds since 1970.
pub const PROCESS_START_TIME: &str = "process_start_time_seconds";
/// First second of the certificate of a data plane with TLS, since 1970. Seconds.
pub const TLS_CERTIFICATE_START: &str = "lockgate_tls_certificate_start_seconds";
/// Last second of the certificate of a data plane with TLS, since 1970. Seconds.
pub const TLS_CERTIFICATE_END: &str = "lockgate_tls_certificate_end_seconds";
/// Whether the node's file says something else than the registry that the nodes share. 0 or 1.
pub const CONFIG_FILE_DIFFERS: &str = "lockgate_config_file_differs";
/// Term of the cluster. Gauge.
pub const RAFT_TERM: &str = "lockgate_raft_term";
/// Whether this node leads, and a quorum follows it. Gauge.
pub const RAFT_IS_LEADER: &str = "lockgate_raft_is_leader";
/// Whether this node knows a leader. Gauge.
pub const RAFT_HAS_LEADER: &str = "lockgate_raft_has_leader";
/// Whether this node may serve. Gauge.
pub const RAFT_LEASE: &str = "lockgate_raft_lease";
/// Members with a vote. Gauge.
pub const RAFT_VOTERS: &str = "lockgate_raft_voters";
/// Members without a vote. Gauge.
pub const RAFT_LEARNERS: &str = "lockgate_raft_learners";
/// Members that do not answer this node, if it leads. Gauge.
pub const RAFT_SILENT: &str = "lockgate_raft_silent_members";
/// Last entry of the log. Gauge.
pub const RAFT_LAST_LOG: &str = "lockgate_raft_last_log_index";
/// Up to where the log is committed. Gauge.
pub const RAFT_COMMIT: &str = "lockgate_raft_commit_index";
/// Up to where the log is applied. Gauge.
pub const RAFT_APPLY: &str = "lockgate_raft_apply_index";
/// Members whose state is another than this node's; anything but 0 is an alarm. Gauge.
pub const RAFT_DIVERGENCE: &str = "lockgate_raft_state_divergence";
/// Last entry in the newest snapshot. Gauge.
pub const RAFT_SNAPSHOT: &str = "lockgate_raft_snapshot_index";
/// Size of the newest snapshot. Bytes.
pub const RAFT_SNAPSHOT_BYTES: &str = "lockgate_raft_snapshot_bytes";
/// How far the latest time in the log is ahead of this node's clock. Seconds.
pub const RAFT_CLOCK_BEHIND: &str = "lockgate_raft_clock_behind_seconds";
/// Records in the audit log of the cluster. Gauge.
pub const AUDIT_RECORDS: &str = "lockgate_audit_records";
/// Records of this node that the log does not have yet. Gauge.
pub const AUDIT_QUEUE: &str = "lockgate_audit_queue_records";
/// Size of those. Bytes.
pub const AUDIT_QUEUE_BYTES: &str = "lockgate_audit_queue_bytes";
/// Age of the oldest of those; 0 when there is none. Seconds.
pub const AUDIT_LAG: &str = "lockgate_audit_lag_seconds";
/// Calls with a record of their beginning and none of their end. Gauge.
pub const AUDIT_OPEN_CALLS: &str = "lockgate_audit_open_calls";
/// Records of this node that found no room. Count.
pub const AUDIT_LOST: &str = "lockgate_audit_lost_total";
/// Records that no checkpoint covers yet. Gauge.
pub const AUDIT_UNSIGNED: &str = "lockgate_audit_unsigned_records";
/// Age of the last checkpoint while records wait for the next one; 0 when it covers all. Seconds.
pub const AUDIT_CHECKPOINT_AGE: &str = "lockgate_audit_checkpoint_age_seconds";
/// Files in which this node has records. Gauge.
pub const AUDIT_SEGMENTS: &str = "lockgate_audit_segments";
/// Size of those. Bytes.
pub const AUDIT_SEGMENT_BYTES: &str = "lockgate_audit_segment_bytes";
/// Whether this node has all records. 0 or 1.
pub const AUDIT_COMPLETE: &str = "lockgate_audit_complete";
/// Whether records are taken; otherwise no call is. 0 or 1.
pub const AUDIT_HEALTHY: &str = "lockgate_audit_healthy";
/// Whether records wait for the log in memory only, as `audit.mode: memory` has it. 0 or 1.
pub const AUDIT_DEGRADED: &str = "lockgate_audit_degraded";
/// From handing entries to the log until they are on the disk. Seconds.
pub const RAFT_APPEND: &str = "lockgate_raft_append_seconds";
/// One write of the log with its sync. Seconds.
pub const RAFT_FSYNC: &str = "lockgate_raft_fsync_seconds";
