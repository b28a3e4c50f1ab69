//! A purse: what this node holds of one account, and what it has learned about the demand for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::slip::Slip;
use crate::machine::quota::{Answer, Key, Limit, Report, Want};

/// What is fetched ahead: the demand of so long. As long as a slip may be spent, so that a node without a leader goes
/// on for about that time.
const PREFETCH_US: u64 = 4_000_000;
/// A slip is given back so long before its deadline, so that what is left of it is not lost to the account.
const RETURN_AHEAD_US: u64 = 750_000;
/// After an answer that gave less than was wanted, nothing is asked for so long: at least until the next batch, at
/// most a second, since others may give back.
const REFUSED_US: (u64, u64) = (225_000, 1_000_000);
/// A purse that nobody touched for so long is put away.
const IDLE_US: u64 = 10_000_000;
/// The demand is averaged over about this time.
const DEMAND_OVER_US: f64 = 2_000_000.0;

/// What this node holds of one account.
#[derive(Debug)]
pub struct Purse {
    key: Key,
    limit: ArcSwap<Limit>,
    /// Tokens that a node without a leader may spend per second beyond what it was granted.
    safe_rate: AtomicU64,
    /// Slips that may be spent. Changed under the lock of `book` only.
    slips: ArcSwap<Vec<Arc<Slip>>>,
    /// Tokens that calls have asked for, paid or not.
    demand: AtomicU64,
    /// Smallest number of tokens that was asked for in vain since the last batch; 0 when there was none.
    missed: AtomicU64,
    /// Until when the answer is known to be no.
    refused_until_us: AtomicU64,
    /// When there may be tokens again.
    available_us: AtomicU64,
    /// Whether the batcher knows of it.
    pub(super) active: AtomicBool,
    /// Whether the batcher was told since the last batch that it runs low.
    low: AtomicBool,
    book: Mutex<Book>,
    answered: Notify,
}

/// What the batcher keeps in a purse.
#[derive(Debug, Default)]
struct Book {
    held: Vec<Held>,
    /// Slips that were given up and whose last report has not been answered yet.
    closed: Vec<Arc<Slip>>,
    /// Tokens per microsecond that are asked for.
    rate: f64,
    demand_seen: u64,
    counted_us: u64,
    touched_us: u64,
    safe_tokens: f64,
    safe_us: u64,
}

#[derive(Debug)]
struct Held {
    slip: Arc<Slip>,
    /// What the machine knows to be spent.
    reported: u64,
}

/// What the batcher takes out of a purse.
#[derive(Debug, Default)]
pub(super) struct Extract {
    pub(super) reports: Vec<Report>,
    pub(super) want: Option<Want>,
    /// Whether there is nothing in it and nobody asks.
    pub(super) idle: bool,
}

impl Purse {
    pub(super) fn new(key: Key, limit: Limit, safe_rate: u64, now_us: u64) -> Self {
        Self {
            key,
            limit: ArcSwap::from_pointee(limit),
            safe_rate: AtomicU64::new(safe_rate),
            slips: ArcSwap::default(),
            demand: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            refused_until_us: AtomicU64::new(0),
            available_us: AtomicU64::new(0),
            active: AtomicBool::new(false),
            low: AtomicBool::new(false),
            book: Mutex::new(Book {
                counted_us: now_us,
                touched_us: now_us,
                ..Book::default()
            }),
            answered: Notify::new(),
        }
    }

    /// Which account.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The limit of the account.
    pub fn limit(&self) -> Limit {
        **self.limit.load()
    }

    pub(super) fn set_limit(&self, limit: Limit, safe_rate: u64) {
        if self.limit() != limit {
            self.limit.store(Arc::new(limit));
        }
        self.safe_rate.store(safe_rate, Ordering::Relaxed);
    }

    /// Whether `n` tokens are there.
    pub(super) fn has(&self, n: u64, now_us: u64) -> bool {
        let mut left = 0_u64;
        self.slips.load().iter().any(|slip| {
            left += slip.left(now_us);
            left >= n
        })
    }

    /// Spends `n` tokens if they are there.
    pub(super) fn spend(&self, n: u64, now_us: u64) -> bool {
        for slip in self.slips.load().iter() {
            if slip.spend(n, false, now_us) == n {
                self.demand.fetch_add(n, Ordering::Relaxed);
                return true;
            }
        }
        n > 1 && self.spend_over_several(n, now_us)
    }

    /// Takes a larger sum from more than one slip. What was taken when it turns out to be too little stays spent: to
    /// put it back could make a report that is on its way say too much, and the bound would be gone.
    fn spend_over_several(&self, n: u64, now_us: u64) -> bool {
        let _book = self.book.lock();
        if !self.has(n, now_us) {
            return false;
        }
        let mut missing = n;
        for slip in self.slips.load().iter() {
            missing -= slip.spend(missing, true, now_us);
            if missing == 0 {
                self.demand.fetch_add(n, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    /// Whether less than half is left of what it held, said once a batch.
    pub(super) fn runs_low(&self, now_us: u64) -> bool {
        if self.low.load(Ordering::Relaxed) {
            return false;
        }
        let (mut left, mut tokens) = (0, 0);
        for slip in self.slips.load().iter() {
            left += slip.left(now_us);
            tokens += slip.tokens();
        }
        left * 2 < tokens && !self.low.swap(true, Ordering::Relaxed)
    }

    /// Notes that `n` tokens were wanted and not there.
    pub(super) fn miss(&self, n: u64) {
        self.demand.fetch_add(n, Ordering::Relaxed);
        let smaller = |missed| (missed == 0 || n < missed).then_some(n);
        // An error means that a smaller one was missed already.
        let _smaller = self
            .missed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller);
    }

    /// Whether the machine has just said that there is no more. Then: microseconds until it is worth trying again.
    pub(super) fn refused_for_us(&self, now_us: u64) -> Option<u64> {
        if now_us >= self.refused_until_us.load(Ordering::Acquire) {
            return None;
        }
        let available_us = self.available_us.load(Ordering::Acquire);
        Some(available_us.saturating_sub(now_us).max(1))
    }

    /// Spends from what the configuration allows a node that is cut off.
    pub(super) fn spend_safely(&self, n: u64, now_us: u64) -> bool {
        let rate = self.safe_rate.load(Ordering::Relaxed);
        if rate == 0 {
            return false;
        }
        let mut book = self.book.lock();
        #[allow(
            clippy::cast_precision_loss,
            reason = "a rate for people, not an account"
        )]
        let (rate, n, dt) = (
            rate as f64,
            n as f64,
            now_us.saturating_sub(book.safe_us) as f64 / 1e6,
        );
        // At most one second's worth at once.
        book.safe_tokens = (book.safe_tokens + rate * dt).min(rate);
        book.safe_us = now_us;
        let paid = book.safe_tokens >= n;
        if paid {
            book.safe_tokens -= n;
        }
        paid
    }

    /// Waits for the next answer about this account. Create it, then look, then await it.
    pub(super) fn answered(&self) -> tokio::sync::futures::Notified<'_> {
        self.answered.notified()
    }

    /// Tells the batcher what to report and what to ask for. `hurry` gives slips back ahead of their deadline, which
    /// is right only while batches get through.
    pub(super) fn extract(&self, now_us: u64, hurry: bool) -> Extract {
        let mut book = self.book.lock();
        self.low.store(false, Ordering::Relaxed);
        let end_us = if hurry {
            now_us + RETURN_AHEAD_US
        } else {
            now_us
        };
        let mut reports = Vec::new();
        let Book { held, closed, .. } = &mut *book;
        held.retain(|held| {
            let slip = &held.slip;
            if slip.used() < slip.tokens() && end_us < slip.deadline_us() {
                return true;
            }
            slip.close();
            closed.push(Arc::clone(slip));
            false
        });
        if held.len() != self.slips.load().len() {
            let left = held.iter().map(|held| Arc::clone(&held.slip)).collect();
            self.slips.store(Arc::new(left));
        }
        reports.extend(closed.iter().map(|slip| Report {
            lease: slip.lease(),
            used: slip.used(),
            done: true,
        }));
        for held in held.iter() {
            let used = held.slip.used();
            if used != held.reported {
                reports.push(Report {
                    lease: held.slip.lease(),
                    used,
                    done: false,
                });
            }
        }
        book.count(self.demand.load(Ordering::Relaxed), now_us);
        let want = self.want(&book, now_us);
        let idle = book.held.is_empty()
            && book.closed.is_empty()
            && want.is_none()
            && now_us.saturating_sub(book.touched_us) > IDLE_US;
        Extract {
            reports,
            want,
            idle,
        }
    }

    fn want(&self, book: &Book, now_us: u64) -> Option<Want> {
        if now_us < self.refused_until_us.load(Ordering::Acquire) {
            return None;
        }
        let missed = self.missed.load(Ordering::Relaxed);
        let held: u64 = book.held.iter().map(|held| held.slip.left(now_us)).sum();
        #[allow(clippy::cast_precision_loss, reason = "a forecast")]
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and a rate is not negative"
        )]
        let ahead = (book.rate * PREFETCH_US as f64) as u64;
        let target = ahead.max(missed).min(self.limit().capacity());
        if missed <= held && held >= target.div_ceil(2) {
            return None;
        }
        Some(Want {
            key: self.key.clone(),
            tokens: target.saturating_sub(held).max(1),
            need: missed.saturating_sub(held).max(1),
        })
    }

    /// The batch that said `reports` about this purse was applied.
    pub(super) fn acknowledge(&self, reports: &[Report]) {
        let mut book = self.book.lock();
        for report in reports {
            if report.done {
                book.closed.retain(|slip| slip.lease() != report.lease);
            } else if let Some(held) = book
                .held
                .iter_mut()
                .find(|held| held.slip.lease() == report.lease)
            {
                held.reported = report.used;
            }
        }
    }

    /// Takes in the answer to `want`. What was granted may be spent until `deadline_us`.
    pub(super) fn adopt(&self, want: &Want, answer: Answer, deadline_us: u64, now_us: u64) {
        let mut book = self.book.lock();
        if answer.tokens > 0 {
            let slip = Arc::new(Slip::new(answer.lease, answer.tokens, deadline_us));
            book.held.push(Held {
                slip: Arc::clone(&slip),
                reported: 0,
            });
            let mut slips = self.slips.load().to_vec();
            slips.push(slip);
            self.slips.store(Arc::new(slips));
        }
        self.missed.store(0, Ordering::Relaxed);
        if answer.tokens < want.tokens {
            let wait_us = answer.wait_us.unwrap_or(u64::MAX);
            let until_us = now_us + wait_us.clamp(REFUSED_US.0, REFUSED_US.1);
            // It counts what was granted with it as what may come back. What is left when that is spent the next answer
            // says.
            let told_us = match answer.tokens {
                0 => wait_us,
                _ => wait_us.min(REFUSED_US.1),
            };
            self.available_us
                .store(now_us.saturating_add(told_us), Ordering::Release);
            self.refused_until_us.store(until_us, Ordering::Release);
        }
        drop(book);
        self.answered.notify_waiters();
    }

    /// Ends all slips; the next batch gives back what is left.
    pub(super) fn close(&self) {
        let mut book = self.book.lock();
        let Book { held, closed, .. } = &mut *book;
        for held in held.drain(..) {
            held.slip.close();
            closed.push(held.slip);
        }
        self.slips.store(Arc::default());
    }

    /// Wakes those who wait, although there is no answer.
    pub(super) fn wake(&self) {
        self.answered.notify_waiters();
    }
}

impl Book {
    /// Brings the average demand up to date.
    #[allow(clippy::cast_precision_loss, reason = "an average")]
    fn count(&mut self, demand: u64, now_us: u64) {
        let dt = now_us.saturating_sub(self.counted_us) as f64;
        if dt < 1.0 {
            return;
        }
        let new = demand.saturating_sub(self.demand_seen);
        if new > 0 {
            self.touched_us = now_us;
        }
        let weight = 1.0 - (-dt / DEMAND_OVER_US).exp();
        self.rate += (new as f64 / dt - self.rate) * weight;
        self.demand_seen = demand;
        self.counted_us = now_us;
    }
}
