//! What the breaker's actor publishes: one atomic word that a call reads, and from which it claims its permit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::core::{Cause, State};

/// Where the breaker stands, for whoever chooses an endpoint or shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Calls pass.
    Closed,
    /// Trial calls pass.
    HalfOpen {
        /// How many are still to be had.
        trials_left: u32,
    },
    /// Calls are rejected.
    Open {
        /// Time until trial calls begin.
        retry_after: Duration,
        /// What opened it.
        cause: Cause,
    },
}

/// Why no permit was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Time until trial calls begin; zero when they run already.
    pub retry_after: Duration,
    /// Whether the verdict can change soon: trial calls run, or a health check may find the server back.
    pub may_recover: bool,
}

const CLOSED: u64 = 0;
const HALF_OPEN: u64 = 1;
const OPEN_FAILING: u64 = 2;
const OPEN_SILENT: u64 = 3;

/// Layout of the word: state in bits 0 and 1, trial calls left in bits 2 to 31, round in bits 32 to 63.
/// One word, so that a claim and a change of round cannot pass each other.
#[derive(Debug)]
pub(super) struct Cell {
    word: AtomicU64,
    /// Milliseconds from `base` to the end of the wait, while open.
    retry_at_ms: AtomicU64,
    base: Instant,
    /// Successes of closed rounds that the actor has not yet counted: a message for each would be the
    /// most expensive part of a healthy call.
    successes: AtomicU64,
}

impl Cell {
    /// Closed.
    pub(super) fn new(base: Instant) -> Self {
        Self {
            word: AtomicU64::new(CLOSED),
            retry_at_ms: AtomicU64::new(0),
            base,
            successes: AtomicU64::new(0),
        }
    }

    /// Publishes `state` as `round`. Only the actor calls this.
    pub(super) fn publish(&self, state: State, round: u32, trials: u32) {
        let (tag, trials) = match state {
            State::Closed => (CLOSED, 0),
            State::HalfOpen => (HALF_OPEN, trials.min(u32::MAX >> 2)),
            State::Open { retry_at, cause } => {
                let wait = retry_at.saturating_duration_since(self.base);
                let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.retry_at_ms.store(ms, Ordering::Relaxed);
                (
                    match cause {
                        Cause::Failing => OPEN_FAILING,
                        Cause::Silent => OPEN_SILENT,
                    },
                    0,
                )
            }
        };
        let word = tag | u64::from(trials) << 2 | u64::from(round) << 32;
        self.word.store(word, Ordering::Release);
    }

    /// Claims the right to make one call; returns the round and whether it is a trial.
    pub(super) fn claim(&self) -> Result<(u32, bool), Rejected> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            match word & 3 {
                CLOSED => return Ok((round_of(word), false)),
                HALF_OPEN if trials_of(word) > 0 => {
                    match self.word.compare_exchange_weak(
                        word,
                        word - (1 << 2),
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    ) {
                        Ok(_) => return Ok((round_of(word), true)),
                        Err(changed) => word = changed,
                    }
                }
                tag => {
                    return Err(Rejected {
                        retry_after: if tag == HALF_OPEN {
                            Duration::ZERO
                        } else {
                            self.retry_after()
                        },
                        may_recover: tag != OPEN_FAILING,
                    });
                }
            }
        }
    }

    /// Gives a trial of `round` back that ended without a verdict.
    pub(super) fn give_back(&self, round: u32) {
        let _new_round = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (word & 3 == HALF_OPEN && round_of(word) == round).then_some(word + (1 << 2))
            });
    }

    /// Where the breaker stands.
    pub(super) fn gate(&self) -> Gate {
        let word = self.word.load(Ordering::Acquire);
        match word & 3 {
            CLOSED => Gate::Closed,
            HALF_OPEN => Gate::HalfOpen {
                trials_left: trials_of(word),
            },
            tag => Gate::Open {
                retry_after: self.retry_after(),
                cause: if tag == OPEN_SILENT {
                    Cause::Silent
                } else {
                    Cause::Failing
                },
            },
        }
    }

    /// Number of the current state.
    pub(super) fn round(&self) -> u32 {
        round_of(self.word.load(Ordering::Acquire))
    }

    /// Counts a success of a closed round.
    pub(super) fn add_success(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    /// Successes since the last call of this.
    pub(super) fn take_successes(&self) -> u64 {
        self.successes.swap(0, Ordering::Relaxed)
    }

    /// Reads the clock, which a passing call is spared.
    fn retry_after(&self) -> Duration {
        let end = Duration::from_millis(self.retry_at_ms.load(Ordering::Relaxed));
        end.saturating_sub(self.base.elapsed())
    }
}

fn round_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn trials_of(word: u64) -> u32 {
    (word as u32) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_claimed_once_each_and_can_be_given_back() {
        let now = Instant::now();
        let cell = Cell::new(now);
        cell.publish(State::HalfOpen, u32::MAX, 2);
        assert_eq!(cell.claim(), Ok((u32::MAX, true)));
        assert_eq!(cell.claim(), Ok((u32::MAX, true)));
        let rejected = cell.claim().unwrap_err();
        assert_eq!(rejected.retry_after, Duration::ZERO);
        assert!(rejected.may_recover);

        cell.give_back(u32::MAX);
        assert_eq!(cell.gate(), Gate::HalfOpen { trials_left: 1 });
        cell.give_back(7);
        assert_eq!(cell.gate(), Gate::HalfOpen { trials_left: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_cell_says_when() {
        let now = Instant::now();
        let cell = Cell::new(now);
        let retry_at = now + Duration::from_secs(3);
        cell.publish(
            State::Open {
                retry_at,
                cause: Cause::Failing,
            },
            1,
            2,
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        let want = Rejected {
            retry_after: Duration::from_secs(2),
            may_recover: false,
        };
        assert_eq!(cell.claim(), Err(want));
        cell.give_back(1);
        assert_eq!(cell.claim(), Err(want));
    }
}
