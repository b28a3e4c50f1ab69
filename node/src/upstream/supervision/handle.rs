//! Typed handle of the supervisor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorCell, ActorRef, SpawnErr};
use tokio::sync::oneshot;

use super::actor::{Message, Start, SupervisorActor};

/// Cheap to clone.
#[derive(Clone)]
pub struct SupervisorHandle {
    node: Arc<str>,
    actor: ActorRef<Message>,
    n_named: Arc<AtomicU64>,
}

impl SupervisorHandle {
    /// Starts the supervisor of the node named `node`.
    ///
    /// # Errors
    ///
    /// Fails when a supervisor of that name runs already in this process.
    pub async fn spawn(node: &str) -> Result<Self, SpawnErr> {
        let name = format!("{node}/upstreams");
        let (actor, _join) = Actor::spawn(Some(name), SupervisorActor, ()).await?;
        Ok(Self {
            node: node.into(),
            actor,
            n_named: Arc::default(),
        })
    }

    /// A name for an actor that serves `purpose`: unique in this process, because ractor's registry is global, several
    /// nodes can live in one process, and a changed server starts before its predecessor has ended.
    pub fn name_for(&self, purpose: &str) -> String {
        let n = self.n_named.fetch_add(1, Ordering::Relaxed);
        format!("{}/{purpose}/{n}", self.node)
    }

    /// Starts an actor and starts it again with the same arguments whenever it fails.
    ///
    /// # Errors
    ///
    /// Fails when the first start fails.
    pub async fn adopt<A, F>(
        &self,
        name: String,
        make: F,
        arguments: A::Arguments,
    ) -> Result<(), SpawnErr>
    where
        A: Actor,
        A::Arguments: Clone + Sync,
        F: Fn() -> A + Send + Sync + 'static,
    {
        let start: Start = Box::new(move |supervisor: ActorCell| {
            let (name, actor, arguments) = (name.clone(), make(), arguments.clone());
            Box::pin(async move {
                let (child, _join) =
                    Actor::spawn_linked(Some(name), actor, arguments, supervisor).await?;
                Ok(child.get_cell())
            })
        });
        let (reply, started) = oneshot::channel();
        let stopped = || SpawnErr::StartupFailed("the supervisor has stopped".into());
        self.actor
            .cast(Message::Adopt { start, reply })
            .map_err(|_| stopped())?;
        started.await.map_err(|_| stopped())?
    }

    /// Ends the supervisor and every actor that it owns.
    pub fn stop(&self) {
        self.actor.stop(None);
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorHandle")
            .field("actor", &self.actor.get_name())
            .finish()
    }
}
