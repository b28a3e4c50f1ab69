//! The node's side of quotas: it spends what the machine has granted it, without a wait and without a commit, and
//! settles in batches.
//!
//! [`Wallet`] is what a call meets. It holds a [`Purse`] for each account in use, with the slips that were granted:
//! tokens with a deadline. The `Batcher` says every 250 ms what was spent, asks for about four seconds' worth more,
//! and gives back what is not needed; [`Agent`] carries its batches to the cluster. [`Meter`] counts who has used
//! what, in the same batches. `Expiry` tells when grants are so old that no node can spend them any more.
//!
//! A slip may be spent until `(1 - rho)` of its life after its batch was *sent*, on a clock that goes on while the
//! machine sleeps, looked at before each spend. Without a leader a node spends what it holds and then refuses.

mod agent;
mod batcher;
mod charge;
mod counts;
mod expiry;
mod meter;
mod primary;
mod purse;
mod seat;
mod slip;
#[cfg(test)]
mod tests;
mod wallet;

pub use self::agent::{Agent, Place, Propose, Unanswered};
pub use self::charge::{Charge, Denial};
pub use self::counts::Standing;
pub use self::meter::{Caller, Meter};
pub use self::purse::Purse;
pub use crate::machine::quota::{
    Answer, Batch, Command, Dimension, Key, Limit, Quota, Reply, Report, Stamp, Usage, UsageDelta,
    Want,
};
pub use crate::raft::boot_time_us;

pub use self::seat::Seat;
pub use self::wallet::{Decider, DeciderFuture, Unreachable, Wallet};

/// Microseconds since the machine was started, the time in which it slept included.
pub type BootClock = fn() -> u64;
