//! Raft: what makes several nodes agree on one log. Nothing of the engine leaves this room.

mod admin;
mod alone;
mod audit_aside;
mod audit_files;
mod config;
mod engine;
mod log_clock;
mod log_store;
mod machine_store;
mod metrics;
mod network;
mod proposer;
mod publish;
mod rounds;
mod snapshot;
mod start;
mod starting;
#[cfg(test)]
mod tests;
mod types;

pub use self::admin::{AdminError, RaftRole, RaftStatus, Seat};
pub(crate) use self::alone::Alone;
pub(crate) use self::config::Timing;
pub(crate) use self::engine::Engine;
pub use self::engine::boot_time_us;
pub(crate) use self::log_store::{Identity, LogStore};
pub use self::metrics::{LATENCY_BOUNDS_US, Latency};
pub(crate) use self::network::{BoxFuture, Network, PeerError, Peers};
pub(crate) use self::publish::Applied;
pub(crate) use self::snapshot::{
    Contents, Draft, SnapshotFile, Snapshots, read as read_snapshot, write as write_snapshot,
};
pub(crate) use self::start::{Role, Running, StartOptions, start};
pub(crate) use self::starting::Starting;
pub(crate) use self::types::{
    Entry, LogId, Member, Payload, RaftId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
    Vote, log_id,
};
