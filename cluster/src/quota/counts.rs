//! What quotas cost this node, for its metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is proposed and who has to wait.
#[derive(Debug, Default)]
pub(super) struct Counts {
    batches: AtomicU64,
    expiries: AtomicU64,
    unanswered: AtomicU64,
    waits: AtomicU64,
    afar: AtomicU64,
}

/// How the quotas of this node stand. Counts are since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Accounts that are in use here.
    pub purses: usize,
    /// Whether batches get no answer, so that only what is held can be spent.
    pub cut_off: bool,
    /// Batches that were proposed. Each is one entry of the log at most.
    pub batches: u64,
    /// Expiries that were proposed, as the leader. Each is one entry of the log at most.
    pub expiries: u64,
    /// Batches and expiries whose answer never came.
    pub unanswered: u64,
    /// Calls that had to wait for tokens.
    pub waits: u64,
    /// Spends that another node decided, since the quota is too small to be divided.
    pub afar: u64,
}

impl Counts {
    pub(super) fn batch(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn expiry(&self) {
        self.expiries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn afar(&self) {
        self.afar.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, purses: usize, cut_off: bool) -> Standing {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Standing {
            purses,
            cut_off,
            batches: count(&self.batches),
            expiries: count(&self.expiries),
            unanswered: count(&self.unanswered),
            waits: count(&self.waits),
            afar: count(&self.afar),
        }
    }
}
