//! Part of the machine: quotas. One account per key holds a level of tokens; nodes are granted tokens in batches and
//! spend them without asking anybody, so that no request costs a commit.
//!
//! The bound: in every interval T at most `B + r (1 + rho) T` tokens of a rate are spent over the whole cluster, under
//! crash, partition, duplication, reordering and leader change, while clock rates differ by at most rho from true
//! time. It rests on three rules, which hold for every command that touches an account:
//!
//! 1. The account is refilled first, by `min(r dt, B - level - outstanding)`, and only then do reports, returns,
//!    expiries and grants take effect. A report that came first would make room for a refill of time that had passed
//!    before the tokens were spent: the same time would count twice.
//! 2. `dt` is the difference between the stamps of two neighbours in the log by one leader's clock within one term, and
//!    nothing across terms. A neighbour without a comparable stamp ends the count: time before it is lost, not deferred.
//! 3. Granted tokens leave `outstanding` when their use is reported, when they are given back, or by a committed
//!    expiry, which is proposed only after every node has stopped to spend them.
//!
//! Why it holds: take the first entry that was stamped after the interval began. Behind its refill level and
//! outstanding are at most B. What is spent in the interval was outstanding then or was granted later: a report that
//! was applied earlier was sent earlier, so it names nothing spent in the interval. Later refills count time inside
//! the interval only.
//!
//! A budget (money per day) has no rate: it is debited when it is granted, whole again when the next window begins,
//! less what is still outstanding, and gets back only what a node returns.

mod account;
mod command;
mod grant;
mod key;
mod limit;
mod part;
mod parted;
mod share;
mod time;
mod usage;
mod wire;

pub use self::command::{Answer, Batch, Command, Reply, Report, UsageDelta, Want};
pub use self::key::Key;
pub use self::limit::Limit;
pub use self::part::Quota;
pub use self::time::Stamp;
pub(crate) use self::usage::OTHERS;
pub use self::usage::{Dimension, Usage};

/// Life of a grant, in microseconds. The holder stops at `(1 - RHO)` of it on its own clock, counted from before it
/// asked; the expiry is proposed at `(1 + RHO)` of it, counted from after the grant was applied. Part of the format:
/// all nodes of a cluster must agree on it.
pub(crate) const LEASE_US: u64 = 5_000_000;
/// How much the rate of a clock may differ from true time, in thousandths.
pub(crate) const RHO_PER_MILLE: u64 = 50;
