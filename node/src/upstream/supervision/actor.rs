//! Actor that owns all upstream and breaker actors of the node.

use std::collections::HashMap;
use std::fmt;

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, warn};

use super::budget::RestartBudget;

/// Starts one actor, linked to the supervisor that is passed.
pub(super) type Start =
    Box<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, SpawnErr>> + Send + Sync>;

/// Everything that can happen to the supervisor, beside the exits of its children.
pub(super) enum Message {
    /// Start this actor and keep it alive.
    Adopt {
        start: Start,
        reply: oneshot::Sender<Result<(), SpawnErr>>,
    },
    /// The back-off of a crashed actor is over.
    Restart(Child),
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adopt { .. } => "Adopt",
            Self::Restart(_) => "Restart",
        })
    }
}

/// One owned actor.
pub(super) struct Child {
    start: Start,
    budget: RestartBudget,
}

#[derive(Debug)]
pub(super) struct SupervisorActor;

impl Actor for SupervisorActor {
    type Msg = Message;
    type State = HashMap<ActorId, Child>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _me: ActorRef<Message>,
        (): (),
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(HashMap::new())
    }

    async fn handle(
        &self,
        me: ActorRef<Message>,
        message: Message,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Adopt { start, reply } => {
                let started = start(me.get_cell()).await.map(|cell| {
                    let budget = RestartBudget::default();
                    children.insert(cell.get_id(), Child { start, budget });
                });
                // Whoever asked may have gone; the actor then ends with the supervisor.
                let _gone = reply.send(started);
            }
            Message::Restart(child) => match (child.start)(me.get_cell()).await {
                Ok(cell) => {
                    children.insert(cell.get_id(), child);
                }
                Err(error) => on_crash(&me, child, &error.to_string()),
            },
        }
        Ok(())
    }

    /// The default would end the supervisor with its first failed child.
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Message>,
        event: SupervisionEvent,
        children: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, ..) => {
                children.remove(&cell.get_id());
            }
            SupervisionEvent::ActorFailed(cell, cause) => {
                if let Some(child) = children.remove(&cell.get_id()) {
                    on_crash(&me, child, &cause.to_string());
                }
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

fn on_crash(me: &ActorRef<Message>, mut child: Child, cause: &str) {
    let verdict = child.budget.on_crash(Instant::now());
    let after = verdict.after;
    if verdict.exhausted {
        error!(cause, ?after, "actor keeps failing, next restart is late");
    } else {
        warn!(cause, ?after, "actor failed, restarting");
    }
    // The timer ends by itself; a supervisor that has stopped meanwhile does not take the message.
    let _timer = me.send_after(after, move || Message::Restart(child));
}
