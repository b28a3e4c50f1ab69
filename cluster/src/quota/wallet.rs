//! The wallet: all purses of this node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::BootClock;
use super::counts::{Counts, Standing};
use super::meter::Meter;
use super::purse::Purse;
use crate::machine::quota::{Key, Limit};

/// Purses that are kept. A call for a further key is refused: to let it through would be to have no limit.
const N_PURSES_MAX: usize = 65_536;
/// A limit of fewer spends than this for each node is not divided: its primary decides each of them.
const SPENDS_PER_NODE_MIN: u64 = 4;

/// Asks the primary of a key that is too small to be divided.
///
/// It is asked per call, so a limit this small is slow by a round trip, but never commits more often than others: the
/// primary spends from a purse of its own, as for its own calls.
pub trait Decider: std::fmt::Debug + Send + Sync + 'static {
    /// Spends `tokens` of `key` at its primary. `Ok(None)` when they are spent, otherwise how many microseconds it
    /// will take until it is worth asking again.
    fn spend(&self, key: &Key, tokens: u64) -> DeciderFuture<'_>;
}

/// What a [`Decider`] returns.
pub type DeciderFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Option<u64>, Unreachable>> + Send + 'a>>;

/// The primary of a key could not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node that decides this quota cannot be reached")]
pub struct Unreachable;

/// A key that is looked for. Hashes as [`Key`] does.
#[derive(Hash)]
struct KeyRef<'a> {
    rule: &'a str,
    subject: &'a str,
}

impl papaya::Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.subject == *key.subject && *self.rule == *key.rule
    }
}

/// All purses of this node.
#[derive(Debug)]
pub struct Wallet {
    purses: papaya::HashMap<Key, Arc<Purse>, foldhash::fast::RandomState>,
    /// Purses that the batcher looks at. One that was dropped from `purses` while a call held it still gets here.
    active: Mutex<Vec<Arc<Purse>>>,
    meter: Meter,
    counts: Counts,
    wake: Notify,
    clock: BootClock,
    /// Nodes that share a limit.
    n_nodes: AtomicUsize,
    /// Whether this node decides for keys that are too small to be divided.
    is_primary: AtomicBool,
    /// Whether batches get no answer.
    cut_off: AtomicBool,
    decider: Option<Arc<dyn Decider>>,
}

impl Wallet {
    /// An empty wallet. `decider` is asked where a limit is too small to be divided; without one this node is alone.
    pub fn new(clock: BootClock, decider: Option<Arc<dyn Decider>>) -> Self {
        Self {
            purses: papaya::HashMap::with_hasher(foldhash::fast::RandomState::default()),
            active: Mutex::default(),
            meter: Meter::default(),
            counts: Counts::default(),
            wake: Notify::new(),
            clock,
            n_nodes: AtomicUsize::new(1),
            is_primary: AtomicBool::new(true),
            cut_off: AtomicBool::new(false),
            decider,
        }
    }

    /// The purse for `subject` under `rule`. `None` when there are too many.
    pub fn purse(
        &self,
        rule: &Arc<str>,
        subject: &str,
        limit: Limit,
        safe_rate: u64,
    ) -> Option<Arc<Purse>> {
        let purses = self.purses.pin();
        if let Some(purse) = purses.get(&KeyRef { rule, subject }) {
            purse.set_limit(limit, safe_rate);
            return Some(Arc::clone(purse));
        }
        if purses.len() >= N_PURSES_MAX {
            return None;
        }
        let key = Key::new(Arc::clone(rule), subject);
        let purse = Arc::new(Purse::new(key.clone(), limit, safe_rate, self.now_us()));
        let purse = purses.get_or_insert(key, purse);
        Some(Arc::clone(purse))
    }

    /// Counts who has used what.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// How the quotas of this node stand, for its metrics.
    pub fn standing(&self) -> Standing {
        self.counts.read(self.purses.len(), self.is_cut_off())
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn now_us(&self) -> u64 {
        (self.clock)()
    }

    /// Makes the batcher look at `purse`, soon.
    pub(super) fn ask(&self, purse: &Arc<Purse>) {
        if !purse.active.swap(true, Ordering::AcqRel) {
            self.active.lock().push(Arc::clone(purse));
        }
        self.wake.notify_one();
    }

    /// Completes when a purse has run low, or dry.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(super) fn active(&self) -> Vec<Arc<Purse>> {
        self.active.lock().clone()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active.lock().is_empty() && self.meter.is_empty()
    }

    /// Puts purses away that nobody uses. What a call still holds comes back by itself when it is needed.
    pub(super) fn put_away(&self, idle: &[Arc<Purse>]) {
        if idle.is_empty() {
            return;
        }
        self.active.lock().retain(|purse| {
            let keep = !idle.iter().any(|gone| Arc::ptr_eq(gone, purse));
            if !keep {
                purse.active.store(false, Ordering::Release);
            }
            keep
        });
        let purses = self.purses.pin();
        for purse in idle {
            purses.remove(purse.key());
        }
    }

    /// Says how many nodes share the limits, and whether this one decides for small keys.
    pub(super) fn set_place(&self, n_nodes: usize, is_primary: bool) {
        self.n_nodes.store(n_nodes.max(1), Ordering::Relaxed);
        self.is_primary.store(is_primary, Ordering::Relaxed);
    }

    pub(super) fn set_cut_off(&self, cut_off: bool) {
        if self.cut_off.swap(cut_off, Ordering::AcqRel) != cut_off && cut_off {
            for purse in self.active() {
                purse.wake();
            }
        }
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    /// Whom to ask to spend `tokens` of `purse` if not this node.
    pub(super) fn decider(&self, purse: &Purse, tokens: u64) -> Option<&Arc<dyn Decider>> {
        let n_nodes = self.n_nodes.load(Ordering::Relaxed) as u64;
        let tokens_min = SPENDS_PER_NODE_MIN
            .saturating_mul(n_nodes)
            .saturating_mul(tokens);
        let is_small = n_nodes > 1 && purse.limit().capacity() < tokens_min;
        if !is_small || self.is_primary.load(Ordering::Relaxed) {
            return None;
        }
        self.decider.as_ref()
    }
}

#[cfg(test)]
impl Wallet {
    /// Spends as a call does that never waits.
    pub(super) fn try_spend(&self, purse: &Arc<Purse>, tokens: u64) -> bool {
        let now_us = self.now_us();
        if purse.spend(tokens, now_us) {
            return true;
        }
        purse.miss(tokens);
        self.ask(purse);
        false
    }
}
