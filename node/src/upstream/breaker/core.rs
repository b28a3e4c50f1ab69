//! Breaker rules. Pure: no clock, no channel, no actor; the caller passes `now` and the jitter.
//!
//! ```text
//! Closed   --[failures in a row, or failure rate]--> Open      wait = open_for x n, n = openings in a row
//! Open     --[now >= retry_at]---------------------> HalfOpen  half_open_calls trial calls pass
//! Open     --[health check passed, cause Silent]---> HalfOpen  the server was away and is back
//! HalfOpen --[every trial call succeeded]----------> Closed    n = 0
//! HalfOpen --[one trial call failed]---------------> Open      n + 1
//! ```
//!
//! Every change of state begins a new *round*. A call carries the round it was admitted in, and its outcome counts
//! in that round only: what was sent before the breaker opened says nothing about the trial calls.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;

use super::window::Window;

/// Longest addition to a wait, as a share of it. Keeps nodes from trying in step.
const JITTER_SHARE: f64 = 0.1;

/// How one call ended, as the breaker sees it. Errors of the client and of the tool are answers: `Success`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered, first sign of life after `waited`.
    Success {
        /// From sending to the first message from the server. A call that goes on for long while the server talks,
        /// or while a person is asked, is not slow.
        waited: Duration,
    },
    /// The server failed.
    Failure(Cause),
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection: nobody is there. A passed health check disproves it.
    Silent,
    /// Somebody is there and fails: timeout, 5xx, broken answer, slowness. Only calls can disprove it.
    Failing,
}

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected until `retry_at`.
    Open {
        /// When trial calls begin.
        retry_at: Instant,
        /// What opened it.
        cause: Cause,
    },
    /// Only trial calls pass.
    HalfOpen,
}

/// State machine of one breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    config: config::Breaker,
    state: State,
    round: u32,
    window: Window,
    /// Failures since the last success, while closed.
    failures: u32,
    /// Trial calls that succeeded, while half open.
    trials_passed: u32,
    /// Openings since it was last closed by trial calls.
    openings: u32,
}

impl Breaker {
    /// Starts closed, in `round`.
    pub(super) fn new(config: config::Breaker, round: u32) -> Self {
        Self {
            config,
            state: State::Closed,
            round,
            window: Window::new(config.sliding_window_size),
            failures: 0,
            trials_passed: 0,
            openings: 0,
        }
    }

    /// Current state.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Number of the current state; wraps.
    pub(super) fn round(&self) -> u32 {
        self.round
    }

    /// Trial calls that one half-open round admits. At least 1.
    pub(super) fn trials(&self) -> u32 {
        self.config.half_open_calls.max(1)
    }

    /// Records `n` calls of a closed round that succeeded in time.
    pub(super) fn on_successes(&mut self, n: u64) {
        if n > 0 && self.state == State::Closed {
            self.failures = 0;
            self.window.push_successes(n);
        }
    }

    /// Records how a call of `round` ended. `jitter` is in 0..1.
    pub(super) fn on_outcome(&mut self, outcome: Outcome, round: u32, now: Instant, jitter: f64) {
        if round != self.round {
            return;
        }
        let failure = match outcome {
            Outcome::Success { waited } if waited < self.config.slow_call_duration => None,
            Outcome::Success { .. } => Some(Cause::Failing),
            Outcome::Failure(cause) => Some(cause),
        };
        match (self.state, failure) {
            (State::Closed, None) => self.on_successes(1),
            (State::Closed, Some(cause)) => self.on_failure(cause, now, jitter),
            // Nothing is admitted while open, so no call carries this round.
            (State::Open { .. }, _) => {}
            (State::HalfOpen, None) => {
                self.trials_passed += 1;
                if self.trials_passed >= self.trials() {
                    self.openings = 0;
                    self.enter(State::Closed);
                }
            }
            (State::HalfOpen, Some(cause)) => self.open(cause, now, jitter),
        }
    }

    /// Begins trial calls once `retry_at` has passed.
    pub(super) fn on_tick(&mut self, now: Instant) {
        if let State::Open { retry_at, .. } = self.state
            && retry_at <= now
        {
            self.enter(State::HalfOpen);
        }
    }

    /// Begins trial calls at once when a health check has found somebody where nobody was.
    pub(super) fn on_check_passed(&mut self) {
        if let State::Open {
            cause: Cause::Silent,
            ..
        } = self.state
        {
            self.enter(State::HalfOpen);
        }
    }

    fn on_failure(&mut self, cause: Cause, now: Instant, jitter: f64) {
        self.failures += 1;
        self.window.push(true);
        // Only a failure can raise the rate, so this is the one place to look at it.
        let rate_reached = self
            .window
            .failure_rate(self.config.minimum_calls)
            .is_some_and(|rate| rate >= self.config.failure_rate_threshold);
        if self.failures >= self.config.failures || rate_reached {
            self.open(cause, now, jitter);
        }
    }

    fn open(&mut self, cause: Cause, now: Instant, jitter: f64) {
        self.openings = self.openings.saturating_add(1);
        let wait = self
            .config
            .open_for
            .saturating_mul(self.openings)
            .min(self.config.open_for_max);
        let retry_at = now + wait.mul_f64(1.0 + JITTER_SHARE * jitter.clamp(0.0, 1.0));
        self.enter(State::Open { retry_at, cause });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.round = self.round.wrapping_add(1);
        self.failures = 0;
        self.trials_passed = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    fn config() -> config::Breaker {
        config::Breaker {
            failures: 3,
            failure_rate_threshold: 0.5,
            sliding_window_size: 10,
            minimum_calls: 6,
            slow_call_duration: 30 * SEC,
            open_for: 2 * SEC,
            open_for_max: 5 * SEC,
            half_open_calls: 2,
            max_ejection_percent: 100,
        }
    }

    /// Runs `script` and returns the state after each step: `s`uccess, s`l`ow success, `f`ailure, failure without a
    /// connection (`u`), straggler of the round before that succeeds (`S`) or fails (`F`), health `c`heck passed,
    /// `.` one second.
    fn run(script: &str) -> String {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(config(), u32::MAX - 1);
        let fast = Outcome::Success {
            waited: Duration::ZERO,
        };
        let failing = Outcome::Failure(Cause::Failing);
        script
            .chars()
            .map(|step| {
                let round = breaker.round();
                let before = round.wrapping_sub(1);
                match step {
                    's' => breaker.on_outcome(fast, round, now, 0.0),
                    'l' => {
                        breaker.on_outcome(Outcome::Success { waited: 31 * SEC }, round, now, 0.0)
                    }
                    'f' => breaker.on_outcome(failing, round, now, 0.0),
                    'u' => breaker.on_outcome(Outcome::Failure(Cause::Silent), round, now, 0.0),
                    'S' => breaker.on_outcome(fast, before, now, 0.0),
                    'F' => breaker.on_outcome(failing, before, now, 0.0),
                    'c' => breaker.on_check_passed(),
                    '.' => {
                        now += SEC;
                        breaker.on_tick(now);
                    }
                    other => panic!("unknown step {other:?}"),
                }
                match breaker.state() {
                    State::Closed => 'C',
                    State::Open { .. } => 'O',
                    State::HalfOpen => 'H',
                }
            })
            .collect()
    }

    #[track_caller]
    fn check(script: &str, want: &str) {
        assert_eq!(run(script), want, "after {script:?}");
    }

    #[test]
    fn opens_after_consecutive_failures() {
        check("fff", "CCO");
    }

    #[test]
    fn a_success_ends_the_run_of_failures() {
        check("ffsff", "CCCCC");
    }

    #[test]
    fn opens_at_the_failure_rate() {
        check("sfsfsf", "CCCCCO");
    }

    #[test]
    fn the_rate_needs_the_minimum_of_calls() {
        check("fsfsf", "CCCCC");
    }

    #[test]
    fn a_slow_answer_is_a_failure() {
        check("lll", "CCO");
    }

    #[test]
    fn closes_after_all_trial_calls_passed() {
        check("fff..ss", "CCOOHHC");
    }

    #[test]
    fn one_failed_trial_opens_again_for_longer() {
        check("fff..sf....", "CCOOHHOOOOH");
    }

    #[test]
    fn the_wait_has_a_cap() {
        check(
            "fff..f....f.....f.....",
            "CCOOHOOOOHOOOOOHOOOOOH".get(..22).unwrap(),
        );
    }

    #[test]
    fn closing_forgets_the_openings() {
        check("fff..ssfff..", "CCOOHHCCCOOH");
    }

    #[test]
    fn a_straggler_changes_nothing() {
        check("fffSF..SF", "CCOOOOHHH");
    }

    #[test]
    fn a_passed_check_ends_a_silence() {
        check("uuucss", "CCOHHC");
    }

    #[test]
    fn a_passed_check_does_not_excuse_failures() {
        check("fffc", "CCOO");
    }

    #[test]
    fn jitter_prolongs_the_wait_by_at_most_a_tenth() {
        let now = Instant::now();
        let wait = |jitter| {
            let mut breaker = Breaker::new(config(), 0);
            for _ in 0..3 {
                breaker.on_outcome(Outcome::Failure(Cause::Failing), 0, now, jitter);
            }
            match breaker.state() {
                State::Open { retry_at, .. } => retry_at - now,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wait(0.0), 2 * SEC);
        assert_eq!(wait(1.0), Duration::from_millis(2_200));
        assert_eq!(wait(7.0), Duration::from_millis(2_200));
    }

    proptest! {
        #[test]
        fn closes_only_through_half_open(script in "[slfuSFc.]{0,60}") {
            prop_assert!(!run(&script).contains("OC"));
        }

        #[test]
        fn never_stays_open_beyond_the_cap(script in "[slfuSFc.]{0,60}") {
            let after_cap = run(&format!("{script}....."));
            prop_assert!(!after_cap.ends_with('O'));
        }

        #[test]
        fn successes_alone_never_open(n in 0_usize..300) {
            prop_assert!(run(&"s".repeat(n)).chars().all(|state| state == 'C'));
        }
    }
}
