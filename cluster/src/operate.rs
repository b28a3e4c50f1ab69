//! What operators ask of a cluster, at any node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::NodeId;
use tokio::time::{Instant, sleep, timeout_at};

use crate::agreement::Agreement;
use crate::command::{NodesCommand, SecretsCommand};
use crate::error::{ProposeError, ReadError};
use crate::handle::Cluster;
use crate::keyring::{Keyring, RotationError};
use crate::machine::{MemberState, Refusal};
use crate::net::Sighting;
use crate::raft::AdminError;
use crate::view::View;

/// How long the shards of a node may take to move away. A map with all shards moves within a few seconds.
const SHARDS_LEAVE_MAX: Duration = Duration::from_secs(40);
/// How long the calls of a node may take to end, and their records to come into the log.
const CALLS_END_MAX: Duration = Duration::from_secs(30);
/// A node that was asked so often how much is left and did not answer is gone.
const SILENT_MAX: u32 = 3;
/// Pause before a removal is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the keyring was not rotated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// It is not known what the newest state is, or whether every node has the present keyring.
    #[error(transparent)]
    State(#[from] ReadError),
    /// It has no successor.
    #[error(transparent)]
    Keyring(#[from] RotationError),
    /// The successor did not come into the state.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

impl Cluster {
    /// How the other members say that they stand, by number; who does not answer within a second is left out.
    pub async fn survey(&self) -> BTreeMap<u64, Sighting> {
        let Some(others) = self.others.clone() else {
            return BTreeMap::new();
        };
        match self.on_runtime(async move { others.survey().await }) {
            Some(answer) => answer.await.unwrap_or_default(),
            None => BTreeMap::new(),
        }
    }

    /// How the state of this node compares to that of the others, when they were last compared. Never waits.
    pub fn agreement(&self) -> Agreement {
        self.agreed.newest()
    }

    /// Hands the leadership over to the voter of this number, whichever node has it, and waits until it leads.
    ///
    /// # Errors
    ///
    /// [`AdminError`] when nobody leads, or when the other one does not take over.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), AdminError> {
        let (proposer, others) = (Arc::clone(&self.running.proposer), self.others.clone());
        let handing_over = async move {
            match others {
                Some(others) => others.hand_over(to).await,
                None => proposer.engine().transfer_leader(to).await,
            }
        };
        match self.on_runtime(handing_over) {
            Some(answer) => answer.await.unwrap_or(Err(AdminError::Stopped)),
            None => Err(AdminError::Stopped),
        }
    }

    /// Has this node write a snapshot of its state now, after which the log before it can go. Returns when that has
    /// begun; [`Cluster::raft_status`] shows when it is there.
    ///
    /// # Errors
    ///
    /// [`AdminError::Stopped`] after the end of this node.
    pub async fn write_snapshot(&self) -> Result<(), AdminError> {
        let proposer = Arc::clone(&self.running.proposer);
        let writing = async move { proposer.engine().write_snapshot().await };
        match self.on_runtime(writing) {
            Some(answer) => answer.await.unwrap_or(Err(AdminError::Stopped)),
            None => Err(AdminError::Stopped),
        }
    }

    /// Ends the membership of a node, whether it lives or not: its shards move to others first, its calls end, and the
    /// log gets their records. `lost`: its disk is gone as well.
    ///
    /// # Errors
    ///
    /// [`ProposeError`]; with [`Refusal::HoldsShards`] when its shards did not move in time. The node drains then: the
    /// removal may be tried again, or called off with [`Cluster::keep_member`].
    pub async fn remove_member(&self, node: NodeId, lost: bool) -> Result<(), ProposeError> {
        let votes = |view: &View| {
            let mut others = view.members().values().filter(|member| member.id != node);
            others.any(|member| member.state == MemberState::Voter)
        };
        if !votes(&self.view()) {
            // Before anything moves.
            return Err(ProposeError::Refused(Refusal::LastVoter));
        }
        self.propose(NodesCommand::Drain { node, on: true }.into())
            .await?;
        if !lost {
            self.wait_until_finished(node).await;
        }
        let deadline = Instant::now() + SHARDS_LEAVE_MAX;
        let mut views = self.watch();
        loop {
            let gone = views.wait_for(|view| !view.holds_shards(node));
            let left = timeout_at(deadline, gone).await.is_ok();
            let may_retry = left && Instant::now() < deadline;
            match self
                .propose(NodesCommand::Remove { node, lost }.into())
                .await
            {
                // This node was not up to date.
                Err(ProposeError::Refused(Refusal::HoldsShards { .. })) if may_retry => {}
                done => return done.map(drop),
            }
            sleep(PAUSE).await;
        }
    }

    /// Calls off a removal that was not completed: the node begins calls again. One that is just being completed goes on.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn keep_member(&self, node: NodeId) -> Result<(), ProposeError> {
        let command = NodesCommand::Drain { node, on: false };
        self.propose(command.into()).await.map(drop)
    }

    /// Waits until a node that was told to begin nothing new has nothing left that the log lacks. Not for one that does
    /// not answer, nor for calls that take very long.
    async fn wait_until_finished(&self, node: NodeId) {
        // The node has to know that it drains before what it says counts.
        let told = self.view().index();
        let me = NodeId(self.running.proposer.engine().id());
        let deadline = Instant::now() + CALLS_END_MAX;
        let (mut n_silent, mut was_finished) = (0, false);
        while Instant::now() < deadline {
            let unfinished = match self.survey().await.get(&node.0) {
                Some(sighting) if sighting.applied < told => Some(1),
                Some(sighting) => sighting.unfinished,
                None if node == me => {
                    self.serving().drain(true);
                    self.serving().unfinished()
                }
                None => {
                    n_silent += 1;
                    if n_silent == SILENT_MAX {
                        return;
                    }
                    Some(1)
                }
            };
            match unfinished {
                // It cannot say.
                None => return,
                // Twice: a call may have been let in just before.
                Some(0) if was_finished => return,
                unfinished => was_finished = unfinished == Some(0),
            }
            sleep(PAUSE).await;
        }
        tracing::warn!(%node, "a node leaves before all its calls have ended");
    }

    /// Has another key seal, on every node, at `now_ms`. What older keys have sealed opens for `kept` more.
    ///
    /// # Errors
    ///
    /// [`RotateError`].
    pub async fn rotate_keyring(
        &self,
        now_ms: u64,
        kept: Duration,
    ) -> Result<Arc<Keyring>, RotateError> {
        let view = self.read().await?;
        let revision = view.keyring_revision();
        // The key that seals from now on is in the present keyring, so every node that serves must have that.
        self.settled(revision).await?;
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let next = view.keyring().rotated(now_ms, kept_ms)?;
        let envelope = next.to_envelope(&self.key);
        let command = SecretsCommand::ReplaceKeyring {
            expected_revision: revision,
            envelope: envelope.ok_or(RotationError::NoRandomness)?,
        };
        self.propose(command.into()).await?;
        Ok(Arc::clone(self.view().keyring()))
    }
}
