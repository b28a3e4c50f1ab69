//! Typed handle: the only way other modules reach the breaker.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, SpawnErr};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config;
use crate::upstream::supervision::SupervisorHandle;

use super::actor::{BreakerActor, Message};
use super::cell::{Cell, Gate, Rejected};
use super::core::{Cause, Outcome};

/// What outlives a restart of the actor.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cell: Cell,
    pub(super) label: Box<str>,
    pub(super) slow_call_duration: Duration,
    pub(super) actor: ArcSwapOption<ActorRef<Message>>,
    pub(super) news: watch::Sender<u64>,
}

impl Shared {
    fn cast(&self, message: Message) {
        if let Some(actor) = &*self.actor.load() {
            // Fails only between a crash and the restart, which begins closed anyway.
            let _stopped = actor.cast(message);
        }
    }
}

/// Cheap to clone. Neither claiming nor reporting waits on the actor.
#[derive(Clone, Debug)]
pub struct BreakerHandle {
    shared: Arc<Shared>,
}

impl BreakerHandle {
    /// Starts the actor under `supervisor`. `name` is process-wide; `label` names the endpoint in logs. Every change of
    /// state is counted in `news`.
    ///
    /// # Errors
    ///
    /// Fails when the actor could not be started.
    pub async fn spawn(
        config: config::Breaker,
        name: String,
        label: &str,
        news: watch::Sender<u64>,
        supervisor: &SupervisorHandle,
    ) -> Result<Self, SpawnErr> {
        let shared = Arc::new(Shared {
            cell: Cell::new(Instant::now()),
            label: label.into(),
            slow_call_duration: config.slow_call_duration,
            actor: ArcSwapOption::empty(),
            news,
        });
        let arguments = (config, Arc::clone(&shared));
        supervisor.adopt(name, || BreakerActor, arguments).await?;
        Ok(Self { shared })
    }

    /// Claims the right to make one call. No message, no await.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while the breaker is open, and while all trial calls are taken.
    pub fn claim(&self) -> Result<Permit, Rejected> {
        let (round, trial) = self.shared.cell.claim()?;
        Ok(Permit {
            shared: Arc::clone(&self.shared),
            round,
            trial,
        })
    }

    /// A permit whatever the state; its outcome counts for nothing. For an endpoint that stays in service because
    /// no more may be ejected.
    pub fn bypass(&self) -> Permit {
        Permit {
            shared: Arc::clone(&self.shared),
            // Two behind: neither this round nor one that a late trial could belong to.
            round: self.shared.cell.round().wrapping_sub(2),
            trial: false,
        }
    }

    /// Where it stands.
    pub fn gate(&self) -> Gate {
        self.shared.cell.gate()
    }

    /// Reports a passed health check.
    pub fn check_passed(&self) {
        if !matches!(self.gate(), Gate::Closed) {
            self.shared.cast(Message::CheckPassed);
        }
    }

    /// Ends the actor, for good.
    pub fn stop(&self) {
        if let Some(actor) = self.shared.actor.swap(None) {
            actor.stop(None);
        }
    }
}

/// Right to make one call. A trial that is dropped without an outcome (the client went away) is given back.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    round: u32,
    trial: bool,
}

impl Permit {
    /// Whether the breaker waits for its outcome.
    pub fn is_trial(&self) -> bool {
        self.trial
    }

    /// Reports that the server answered, first sign of life after `waited`.
    pub fn succeeded(self, waited: Duration) {
        if self.trial || waited >= self.shared.slow_call_duration {
            self.report(Outcome::Success { waited });
        } else if self.round == self.shared.cell.round() {
            self.shared.cell.add_success();
        }
    }

    /// Reports that the server failed.
    pub fn failed(self, cause: Cause) {
        self.report(Outcome::Failure(cause));
    }

    fn report(mut self, outcome: Outcome) {
        self.trial = false;
        self.shared.cast(Message::Ended {
            outcome,
            round: self.round,
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.trial {
            self.shared.cell.give_back(self.round);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: config::Breaker = config::Breaker {
        failures: 2,
        failure_rate_threshold: 0.5,
        sliding_window_size: 10,
        minimum_calls: 10,
        slow_call_duration: Duration::from_secs(30),
        open_for: Duration::from_secs(30),
        open_for_max: Duration::from_secs(300),
        half_open_calls: 2,
        max_ejection_percent: 100,
    };

    async fn breaker(node: &str) -> (BreakerHandle, watch::Receiver<u64>) {
        let supervisor = SupervisorHandle::spawn(node).await.unwrap();
        let news = watch::Sender::new(0);
        let changes = news.subscribe();
        let name = supervisor.name_for("breaker");
        let breaker = BreakerHandle::spawn(CONFIG, name, "x", news, &supervisor)
            .await
            .unwrap();
        (breaker, changes)
    }

    async fn open(breaker: &BreakerHandle, changes: &mut watch::Receiver<u64>, cause: Cause) {
        for _ in 0..2 {
            breaker.claim().unwrap().failed(cause);
        }
        changes.changed().await.unwrap();
        assert!(matches!(breaker.gate(), Gate::Open { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn opens_waits_tries_and_closes() {
        let (breaker, mut changes) = breaker("opens_waits_tries").await;
        open(&breaker, &mut changes, Cause::Failing).await;
        let rejected = breaker.claim().unwrap_err();
        assert!(rejected.retry_after >= CONFIG.open_for && !rejected.may_recover);

        changes.changed().await.unwrap();
        let (first, second) = (breaker.claim().unwrap(), breaker.claim().unwrap());
        assert!(breaker.claim().unwrap_err().may_recover);
        // The client of the first went away: its trial is to be had again.
        drop(first);
        let third = breaker.claim().unwrap();
        second.succeeded(Duration::ZERO);
        third.succeeded(Duration::ZERO);
        changes.changed().await.unwrap();
        assert_eq!(breaker.gate(), Gate::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn successes_between_failures_count_though_they_send_no_message() {
        let (breaker, _changes) = breaker("successes_between").await;
        for _ in 0..4 {
            breaker.claim().unwrap().failed(Cause::Failing);
            tokio::task::yield_now().await;
            breaker.claim().unwrap().succeeded(Duration::ZERO);
        }
        assert_eq!(breaker.gate(), Gate::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_passed_check_begins_the_trial_at_once() {
        let (breaker, mut changes) = breaker("a_passed_check").await;
        open(&breaker, &mut changes, Cause::Silent).await;
        breaker.check_passed();
        changes.changed().await.unwrap();
        assert_eq!(breaker.gate(), Gate::HalfOpen { trials_left: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_bypassing_call_decides_nothing() {
        let (breaker, mut changes) = breaker("a_bypassing_call").await;
        open(&breaker, &mut changes, Cause::Failing).await;
        breaker.bypass().succeeded(Duration::ZERO);
        breaker.bypass().failed(Cause::Failing);
        tokio::task::yield_now().await;
        assert!(matches!(breaker.gate(), Gate::Open { .. }));
    }
}
