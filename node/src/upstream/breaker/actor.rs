//! Actor that owns one `Breaker`. Holds no rules: it feeds the core and publishes the gate.
//!
//! When it fails its supervisor starts it again: closed, in a new round, over the same cell.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config;
use crate::upstream::jitter;

use super::core::{Breaker, Outcome, State};
use super::handle::Shared;

/// Everything that can happen to a breaker.
#[derive(Debug)]
pub(super) enum Message {
    /// A call that was admitted in `round` ended.
    Ended { outcome: Outcome, round: u32 },
    /// The wait of an open breaker has passed.
    WaitOver,
    /// A health check passed.
    CheckPassed,
}

#[derive(Debug)]
pub(super) struct BreakerActor;

#[derive(Debug)]
pub(super) struct ActorState {
    breaker: Breaker,
    shared: Arc<Shared>,
}

impl Actor for BreakerActor {
    type Msg = Message;
    type State = ActorState;
    type Arguments = (config::Breaker, Arc<Shared>);

    async fn pre_start(
        &self,
        me: ActorRef<Message>,
        (config, shared): Self::Arguments,
    ) -> Result<ActorState, ActorProcessingErr> {
        let breaker = Breaker::new(config, shared.cell.round().wrapping_add(1));
        shared.cell.take_successes();
        shared
            .cell
            .publish(breaker.state(), breaker.round(), breaker.trials());
        shared.actor.store(Some(Arc::new(me)));
        Ok(ActorState { breaker, shared })
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        state: &mut ActorState,
    ) -> Result<(), ActorProcessingErr> {
        let round = state.breaker.round();
        let now = Instant::now();
        state
            .breaker
            .on_successes(state.shared.cell.take_successes());
        match message {
            Message::Ended { outcome, round } => {
                state
                    .breaker
                    .on_outcome(outcome, round, now, jitter::unit());
            }
            Message::WaitOver => state.breaker.on_tick(now),
            Message::CheckPassed => state.breaker.on_check_passed(),
        }
        if state.breaker.round() != round {
            state.publish(&me, now);
        }
        Ok(())
    }
}

impl ActorState {
    /// Publishes a new state, and asks to be woken when an open breaker's wait is over.
    fn publish(&self, me: &ActorRef<Message>, now: Instant) {
        let state = self.breaker.state();
        let label = &*self.shared.label;
        match state {
            State::Closed => info!(endpoint = label, "breaker closed, calls pass"),
            State::HalfOpen => info!(endpoint = label, "breaker half open, trial calls pass"),
            State::Open { retry_at, cause } => {
                let wait = retry_at.duration_since(now);
                warn!(
                    endpoint = label,
                    ?cause,
                    ?wait,
                    "breaker opened, calls are rejected"
                );
                // The task ends by itself; a timer that comes too early or too late changes nothing.
                let _timer = me.send_after(wait, || Message::WaitOver);
            }
        }
        self.shared
            .cell
            .publish(state, self.breaker.round(), self.breaker.trials());
        self.shared.news.send_modify(|n| *n = n.wrapping_add(1));
    }
}
