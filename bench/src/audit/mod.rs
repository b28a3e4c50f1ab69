//! What the safety of audit records costs: calls through three gateways that form a cluster, once for each mode of the
//! audit log, in interleaved rounds.

mod modes;
mod nodes;

pub(crate) use self::modes::{LOCAL, MEMORY, QUORUM, measure, run};
