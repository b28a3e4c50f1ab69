//! One node of the simulation: its clock, its lives, and the code that is shipped.

use std::cell::Cell;
use std::sync::Arc;

use super::random::Random;
use crate::machine::quota::{LEASE_US, Quota};
use crate::quota::batcher::Batcher;
use crate::quota::expiry::Expiry;
use crate::quota::purse::Purse;
use crate::quota::wallet::Wallet;

thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
}

/// Clock of whichever node is being simulated.
fn clock() -> u64 {
    NOW_US.get()
}

/// Sets the clock that the next node reads.
pub(super) fn set_clock(own_us: u64) {
    NOW_US.set(own_us);
}

/// One node.
pub(super) struct Node {
    pub(super) wallet: Wallet,
    pub(super) batcher: Batcher,
    pub(super) expiry: Expiry,
    pub(super) rate: Option<Arc<Purse>>,
    pub(super) budget: Option<Arc<Purse>>,
    pub(super) boot: u64,
    pub(super) is_up: bool,
    pub(super) is_cut_off: bool,
    /// Own clock: thousandths of true time, and where it began.
    pub(super) speed: u64,
    pub(super) offset_us: u64,
    pub(super) sent_us: u64,
    pub(super) waits_since_us: Option<u64>,
    pub(super) seq: u64,
    pub(super) calls_per_s: u64,
    pub(super) expired_us: u64,
    pub(super) limits_version: u64,
}

impl Node {
    pub(super) fn now_us(&self, true_us: u64) -> u64 {
        self.offset_us + true_us * self.speed / 1000
    }

    pub(super) fn new(node: u64, random: &mut Random) -> Self {
        Self {
            wallet: Wallet::new(clock, None),
            batcher: Batcher::new(node, 1),
            expiry: Expiry::default(),
            rate: None,
            budget: None,
            boot: 1,
            is_up: true,
            is_cut_off: false,
            speed: 950 + random.below(101),
            offset_us: random.below(3 * LEASE_US),
            sent_us: 0,
            waits_since_us: None,
            seq: 0,
            calls_per_s: random.of(&[0, 1, 5, 50]),
            expired_us: 0,
            limits_version: 0,
        }
    }

    /// A new life, which knows nothing of the old one.
    pub(super) fn restart(&mut self, node: u64) {
        self.boot += 1;
        self.is_up = true;
        self.wallet = Wallet::new(clock, None);
        self.batcher = Batcher::new(node, self.boot);
        self.expiry = Expiry::default();
        (self.rate, self.budget, self.limits_version) = (None, None, 0);
        self.waits_since_us = None;
    }

    /// Gives back everything, as at a drain.
    pub(super) fn close(&self) {
        for purse in self.wallet.active() {
            purse.close();
        }
    }

    pub(super) fn learn_limits(&mut self, machine: &Quota) {
        if self.limits_version == machine.version() {
            return;
        }
        self.limits_version = machine.version();
        let purse = |rule: &str| {
            let limit = *machine.limits().get(rule)?;
            self.wallet.purse(&rule.into(), "all", limit, 0)
        };
        (self.rate, self.budget) = (purse("rate"), purse("budget"));
    }
}
