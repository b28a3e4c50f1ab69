//! Whether a failed call is tried again, and when. Pure, but for the counter of the budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::UpstreamError;

/// First wait; the n-th is four times the one before, so that three attempts span a server's restart (2 s).
const BACKOFF_MIN: Duration = Duration::from_millis(400);
/// Longest time that all waits of one call may add up to.
const BACKOFF_TOTAL: Duration = Duration::from_secs(2);

/// What a second execution of a call would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallClass {
    /// Nothing that the first has not: a reading method, or a tool that says so.
    Repeatable,
    /// Perhaps something.
    Effect,
}

impl CallClass {
    /// Class of a request; `tool_safe` is [`super::catalog::Item::retry_safe`] of the tool that it calls.
    pub fn of(method: &str, tool_safe: bool) -> Self {
        let repeatable = match method {
            method::TOOLS_CALL => tool_safe,
            method::TOOLS_LIST
            | method::PROMPTS_LIST
            | method::PROMPTS_GET
            | method::RESOURCES_LIST
            | method::TEMPLATES_LIST
            | method::RESOURCES_READ
            | method::SKILLS_LIST
            | method::SKILLS_GET
            | method::DIRECTORY_READ
            | method::COMPLETE
            | method::DISCOVER
            | method::PING => true,
            _ => false,
        };
        if repeatable {
            Self::Repeatable
        } else {
            Self::Effect
        }
    }
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Hand the error on.
    GiveUp,
    /// Nobody was reached: try elsewhere at once, or here when somebody is back, at the latest after this time.
    /// No budget is needed, because nothing was sent.
    Elsewhere(Duration),
    /// Send it a second time after this time, if the budget allows.
    Again(Duration),
}

/// Decides after attempt number `attempt` (the first is 1) failed with `error`. `jitter` is in 0..1.
pub fn decide(
    policy: &config::Retry,
    class: CallClass,
    error: &UpstreamError,
    attempt: u32,
    jitter: f64,
) -> Verdict {
    if attempt >= policy.max_attempts {
        return Verdict::GiveUp;
    }
    let wait = backoff(attempt, jitter);
    match error {
        UpstreamError::Unreachable { .. } => Verdict::Elsewhere(wait),
        UpstreamError::Broken { .. }
        | UpstreamError::Status {
            status: 502..=504, ..
        } if class == CallClass::Repeatable => Verdict::Again(wait),
        // A timeout has cost the caller its patience already. The others say what they would say again.
        _ => Verdict::GiveUp,
    }
}

/// Wait after attempt number `attempt`, up to a fifth shorter by `jitter`.
fn backoff(attempt: u32, jitter: f64) -> Duration {
    let step = |n: u32| BACKOFF_MIN.saturating_mul(4_u32.saturating_pow(n - 1));
    let before: Duration = (1..attempt).fold(Duration::ZERO, |sum, n| sum.saturating_add(step(n)));
    step(attempt)
        .min(BACKOFF_TOTAL.saturating_sub(before))
        .mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

/// Second sends under way, of one server.
#[derive(Debug, Default)]
pub struct Budget {
    under_way: AtomicU32,
}

impl Budget {
    /// Claims one, if fewer than `policy.budget` of `in_flight` calls, or than `policy.concurrent_min`, are under way.
    pub fn claim(
        self: &Arc<Self>,
        policy: &config::Retry,
        in_flight: usize,
    ) -> Option<BudgetPermit> {
        let share = (in_flight as f64 * policy.budget) as u32;
        let limit = share.max(policy.concurrent_min);
        self.under_way
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < limit).then_some(n + 1)
            })
            .ok()
            .map(|_| BudgetPermit(Arc::clone(self)))
    }
}

/// One second send; given back when dropped.
#[derive(Debug)]
pub struct BudgetPermit(Arc<Budget>);

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;

    const POLICY: config::Retry = config::Retry {
        max_attempts: 3,
        budget: 0.2,
        concurrent_min: 3,
    };

    fn failure(kind: &str) -> UpstreamError {
        let server = "jira".into();
        match kind {
            "unreachable" => UpstreamError::Unreachable {
                server,
                source: io::ErrorKind::ConnectionRefused.into(),
            },
            "timeout" => UpstreamError::Timeout {
                server,
                limit: Duration::from_secs(1),
            },
            "broken" => UpstreamError::Broken {
                server,
                what: String::new(),
            },
            "garbage" => UpstreamError::Garbage {
                server,
                what: String::new(),
            },
            "503" => UpstreamError::Status {
                server,
                status: 503,
                retry_after: None,
                location: None,
            },
            "500" => UpstreamError::Status {
                server,
                status: 500,
                retry_after: None,
                location: None,
            },
            "404" => UpstreamError::Status {
                server,
                status: 404,
                retry_after: None,
                location: None,
            },
            "limit" => UpstreamError::AtLimit {
                server,
                limit: 1,
                what: "calls in flight",
            },
            "lost" => UpstreamError::SessionLost { server, and: "" },
            other => panic!("unknown failure {other:?}"),
        }
    }

    #[track_caller]
    fn check(kind: &str, class: CallClass, attempt: u32, want: Verdict) {
        let got = decide(&POLICY, class, &failure(kind), attempt, 0.0);
        assert_eq!(got, want, "{kind}, {class:?}, attempt {attempt}");
    }

    const MS_400: Duration = Duration::from_millis(400);
    const MS_1600: Duration = Duration::from_millis(1_600);

    #[test]
    fn a_call_that_reached_nobody_goes_elsewhere_whatever_it_does() {
        check(
            "unreachable",
            CallClass::Effect,
            1,
            Verdict::Elsewhere(MS_400),
        );
        check(
            "unreachable",
            CallClass::Effect,
            2,
            Verdict::Elsewhere(MS_1600),
        );
        check("unreachable", CallClass::Effect, 3, Verdict::GiveUp);
    }

    #[test]
    fn a_call_that_may_have_run_is_repeated_only_if_repeatable() {
        check("broken", CallClass::Repeatable, 1, Verdict::Again(MS_400));
        check("broken", CallClass::Effect, 1, Verdict::GiveUp);
        check("503", CallClass::Repeatable, 2, Verdict::Again(MS_1600));
        check("503", CallClass::Effect, 1, Verdict::GiveUp);
    }

    #[test]
    fn what_would_be_said_again_is_not_asked_again() {
        for kind in ["timeout", "garbage", "500", "404", "limit", "lost"] {
            check(kind, CallClass::Repeatable, 1, Verdict::GiveUp);
        }
    }

    #[test]
    fn reading_methods_are_repeatable_and_tools_only_when_they_say_so() {
        assert_eq!(
            CallClass::of("resources/read", false),
            CallClass::Repeatable
        );
        assert_eq!(CallClass::of("tools/call", true), CallClass::Repeatable);
        assert_eq!(CallClass::of("tools/call", false), CallClass::Effect);
        assert_eq!(CallClass::of("tasks/cancel", true), CallClass::Effect);
        assert_eq!(CallClass::of("vendor/method", false), CallClass::Effect);
    }

    #[test]
    fn the_budget_is_a_share_with_a_floor() {
        let budget = Arc::new(Budget::default());
        let held = [(); 3].map(|()| budget.claim(&POLICY, 1).unwrap());
        assert!(budget.claim(&POLICY, 1).is_none());
        let fourth = budget.claim(&POLICY, 20).unwrap();
        assert!(budget.claim(&POLICY, 20).is_none());
        drop((held, fourth));
        assert!(budget.claim(&POLICY, 1).is_some());
    }

    proptest! {
        #[test]
        fn waits_stay_within_the_restart_window(attempts in 1_u32..40, jitter in 0.0..1.0) {
            let total: Duration = (1..=attempts).map(|n| backoff(n, jitter)).sum();
            prop_assert!(total <= BACKOFF_TOTAL);
        }
    }
}
