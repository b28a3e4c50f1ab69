//! A node between the start of its engine and its place in the cluster.

use std::sync::mpsc as sync_mpsc;

use tokio::sync::mpsc;

use super::engine::Engine;
use super::start::Running;
use crate::error::OpenError;

/// A node whose engine runs, and whose start the cluster has not counted yet. Dropping it ends the node.
pub(crate) struct Starting {
    engine: Engine,
    stages: sync_mpsc::Receiver<Stage>,
    /// Hears of the last stage, for those who must not block.
    told: mpsc::Receiver<()>,
}

/// How far a start has come.
enum Stage {
    /// The engine runs.
    Engine(Engine),
    /// The node takes part, or never will.
    End(Result<Running, OpenError>),
}

/// The node's end of [`Starting`].
pub(super) struct Progress {
    stages: sync_mpsc::SyncSender<Stage>,
    tell: mpsc::Sender<()>,
}

impl Starting {
    /// Has `begin` start a node on a thread of its own, and waits until its engine runs.
    pub(super) fn begin(
        begin: impl FnOnce(Progress) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        // Each stage comes once.
        let (sender, stages) = sync_mpsc::sync_channel(2);
        let (tell, told) = mpsc::channel(1);
        begin(Progress {
            stages: sender,
            tell,
        })?;
        match stages.recv() {
            Ok(Stage::Engine(engine)) => Ok(Self {
                engine,
                stages,
                told,
            }),
            Ok(Stage::End(Err(failure))) => Err(failure),
            Ok(Stage::End(Ok(_))) | Err(_) => Err(panicked()),
        }
    }

    /// The engine, which knows how it stands also while nobody leads.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Waits until the node takes part.
    pub(crate) async fn joined(mut self) -> Result<Running, OpenError> {
        // `None` after a panic, which the other channel shows, too.
        let _told = self.told.recv().await;
        self.wait()
    }

    /// As [`Self::joined`], but blocks.
    pub(crate) fn wait(self) -> Result<Running, OpenError> {
        match self.stages.recv() {
            Ok(Stage::End(outcome)) => outcome,
            Ok(Stage::Engine(_)) | Err(_) => Err(panicked()),
        }
    }
}

impl Progress {
    /// The engine runs.
    pub(super) fn has_engine(&self, engine: Engine) {
        // Whoever waited may have gone: `given_up` says so.
        let _gone = self.stages.send(Stage::Engine(engine));
    }

    /// The node takes part, or never will. `false` when nobody waits for it.
    pub(super) fn end(&self, outcome: Result<Running, OpenError>) -> bool {
        let is_heard = self.stages.send(Stage::End(outcome)).is_ok();
        let _full_or_gone = self.tell.try_send(());
        is_heard
    }

    /// Resolves when nobody waits for the node any more.
    pub(super) async fn given_up(&self) {
        self.tell.closed().await;
    }
}

fn panicked() -> OpenError {
    OpenError::engine("the cluster's thread has panicked")
}
