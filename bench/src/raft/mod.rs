//! What a committed write costs: the replicated truth of three local processes, and beside it the bare engine of one
//! process and the disk, in interleaved rounds. Writes are proposed within the process that leads, so that no client
//! protocol is part of the figure.

mod bare;
mod disk;
mod driver;
mod member;
mod orders;
mod outcome;
mod rounds;
mod writers;

pub(crate) use self::{
    bare::{Log, run as run_bare},
    disk::fdatasync_us,
    driver::new_cluster,
    member::run as run_member,
    outcome::{CLUSTER, RaftLane, RaftOutcome},
    rounds::{RaftPlan, measure, run},
};
