//! Leases of nodes: the right to serve, for a second and a half at a time. A node that hears nothing from the leader
//! stops before anybody takes its shards over, and before anybody is told that a key is revoked everywhere.
//!
//! `granter` is the leader's side and `holder` the node's; both are pure and take the time as an argument. Leases are
//! in the leader's memory, never in the log. Why at most one life ever believes that it owns a shard:
//!
//! 1. *A lease counts from the leader's quorum, not from its own word.* The leader knows when it sent the heartbeat
//!    that a quorum has answered, and grants what is left of the lease since then. Whoever is elected later had the
//!    vote of one of those nodes after its answer, so that every lease of an older leader ends within one lease of
//!    the election. A new leader therefore counts every lease as renewed at its election, and need not know how long
//!    an old one went on in a corner.
//! 2. *The holder stops first.* It counts from before it asked, and shorter by what two clocks may differ; the leader
//!    counts longer by as much.
//! 3. *Who had no lease must catch up first.* A grant demands that the node has applied what the grant before it
//!    named; the first one of a new leader, the leader's own first entry; one after a take-over, the take-over.

mod granter;
mod holder;
#[cfg(test)]
mod sim;

use std::time::Duration;

pub use self::granter::{Denial, Footing, Grant, Granter, Life, Renewal};
pub use self::holder::Holder;

/// What leader and holders agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a lease lasts.
    pub lease: Duration,
    /// By how many percent a clock may be fast or slow. Below 50.
    pub drift_percent: u32,
    /// The leader grants only while the heartbeat that a quorum has answered is not older: its election timeout.
    pub quorum_within: Duration,
}

impl Terms {
    /// Leases of 1.5 s, to be renewed every 250 ms; clocks that differ by 5 %; the shortest election timeout.
    pub const DEFAULT: Self = Self {
        lease: Duration::from_millis(1500),
        drift_percent: 5,
        quorum_within: Duration::from_millis(250),
    };
    /// How often a node renews.
    pub const RENEW_EVERY: Duration = Duration::from_millis(250);

    /// How much of a clock's time certainly passes before `time` does.
    fn shortened(self, time: Duration) -> Duration {
        time * (100 - self.drift_percent) / 100
    }

    /// How much of a clock's time passes only after `time` has.
    fn lengthened(self, time: Duration) -> Duration {
        time * (100 + self.drift_percent) / 100
    }

    /// What may have passed when a clock shows that `time` has.
    fn at_most(self, time: Duration) -> Duration {
        time * 100 / (100 - self.drift_percent)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::DEFAULT
    }
}
