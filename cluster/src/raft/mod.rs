//! Raft: what makes several nodes agree on one log. Nothing of the engine leaves this room.

mod admin;
mod alone;
mod config;
mod engine;
mod log_store;
mod machine_store;
mod metrics;
mod network;
mod proposer;
mod publish;
mod snapshot;
mod start;
#[cfg(test)]
mod tests;
mod types;

pub use self::admin::{AdminError, RaftRole, RaftStatus, Seat};
pub(crate) use self::alone::Alone;
pub(crate) use self::config::Timing;
pub use self::metrics::{LATENCY_BOUNDS_US, Latency};
pub(crate) use self::start::{Role, Running, StartOptions, start};
