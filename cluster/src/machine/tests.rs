//! What the machine does, part by part, without a log, a store or a clock.

mod approvals;
mod nodes;
mod once;
mod registry;
mod shards;
mod snapshot;
