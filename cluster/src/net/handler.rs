//! `EngineHandler`: what this node does for others, by its engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::id::NodeId;
use lockgate_proto::peer::v1 as pb;
use openraft::async_runtime::WatchReceiver;
use tokio::time::{Instant, sleep};

use super::leases::Leases;
use super::spends::Spends;
use crate::Clock;
use crate::command::{Entry, NodesCommand, Outcome, Reply, wire};
use crate::grpc::{Handler, LeaseRenewal, Peers, membership_to_wire};
use crate::join::{Admission, Known};
use crate::machine::Refusal;
use crate::machine::quota::Key;
use crate::machine::snapshot::hashes_to_wire;
use crate::raft::{AdminError, Engine, Member, PeerError, Peers as _, RaftId};
use crate::serving::Serving;
use crate::tls::Identity;

/// How long an admission may take to get into the log.
const ADMIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers other nodes.
#[derive(Clone)]
pub(super) struct EngineHandler {
    pub(super) engine: Engine,
    pub(super) peers: Peers,
    pub(super) admission: Admission,
    pub(super) leases: Leases,
    pub(super) spends: Spends,
    pub(super) serving: Serving,
    pub(super) clock: Clock,
}

impl EngineHandler {
    /// Commits a join, here or at the leader. It names the joining life by its nonce, so it may be sent as often as it
    /// takes.
    async fn commit(&self, command: NodesCommand) -> Result<Result<NodeId, Refusal>, PeerError> {
        let entry = wire::encode_entry(Entry {
            at_ms: 0,
            leader_us: 0,
            leader_term: 0,
            origin: None,
            command: command.into(),
        });
        let deadline = Instant::now() + ADMIT_MAX;
        loop {
            let tried = match self.leader() {
                Some((leader, member)) if leader != self.engine.id() => {
                    self.peers.propose(leader, &member, entry.clone()).await
                }
                _ => self.engine.propose_here(entry.clone()).await,
            };
            match tried {
                Ok(outcome) => return joined(outcome),
                Err(refused @ PeerError::Refused(_)) => return Err(refused),
                Err(error) if Instant::now() + PAUSE > deadline => return Err(error),
                Err(_again) => sleep(PAUSE).await,
            }
        }
    }

    fn leader(&self) -> Option<(RaftId, Member)> {
        let metrics = self.engine.raft().metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let member = metrics.membership_config.get_node(&leader)?;
        Some((leader, member.clone()))
    }

    fn known(&self) -> Known {
        let state = Arc::clone(&self.engine.applied().borrow());
        let me = NodeId(self.engine.id());
        if let Some(me) = state.parts.nodes().members().get(&me) {
            // Whoever hears of this state is to know that nothing new begins.
            self.serving.drain(me.draining_since_ms.is_some());
        }
        let (membership_log_id, membership) = membership_to_wire(&state.membership);
        let cluster = state.parts.nodes().cluster();
        Known {
            cluster: cluster.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id)),
            membership_log_id,
            membership,
        }
    }
}

fn joined(outcome: Bytes) -> Result<Result<NodeId, Refusal>, PeerError> {
    let outcome: Outcome =
        wire::decode_outcome(outcome).map_err(|cause| PeerError::Refused(cause.to_string()))?;
    match outcome.result {
        Ok(Reply::Joined(number)) => Ok(Ok(number)),
        Ok(other) => Err(PeerError::Refused(format!(
            "a join was answered with {other:?}"
        ))),
        Err(refusal) => Ok(Err(refusal)),
    }
}

impl Handler for EngineHandler {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, PeerError> {
        self.engine.propose_here(entry).await
    }

    async fn read_index(&self) -> Result<u64, PeerError> {
        self.engine.read_index_here().await
    }

    async fn renew_lease(
        &self,
        node: RaftId,
        renewal: LeaseRenewal,
    ) -> Result<Duration, PeerError> {
        self.leases.grant(node, renewal)
    }

    async fn is_past(&self, index: u64) -> Result<bool, PeerError> {
        self.leases.is_past(index)
    }

    async fn spend(&self, key: Key, tokens: u64) -> Result<Option<u64>, PeerError> {
        self.spends.decide(&key, tokens).await
    }

    async fn hand_over(&self, to: RaftId) -> Result<RaftId, PeerError> {
        let handed_over = self.engine.transfer_leader(to).await;
        handed_over.map(|()| to).map_err(|error| match error {
            AdminError::NotLeader { leader } => PeerError::NotLeader { leader },
            other => PeerError::Refused(other.to_string()),
        })
    }

    async fn join(
        &self,
        identity: Option<Identity>,
        request: pb::JoinRequest,
    ) -> Result<pb::join_response::Result, PeerError> {
        let state = Arc::clone(&self.engine.applied().borrow());
        if let Err(refused) = self.admission.check_guard(&state.parts, &request) {
            return Ok(pb::join_response::Result::Refused(refused));
        }
        let commit = |command| self.commit(command);
        let known = || self.known();
        let now = (self.clock)();
        let answer = self
            .admission
            .answer(identity.as_ref(), request, now, commit, known);
        answer.await
    }

    fn status(&self) -> pb::StatusResponse {
        let state = Arc::clone(&self.engine.applied().borrow());
        let (membership_log_id, membership) = membership_to_wire(&state.membership);
        let metrics = self.engine.raft().metrics();
        let metrics = metrics.borrow_watched();
        pb::StatusResponse {
            raft_id: self.engine.id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log: metrics.last_log_index.unwrap_or_default(),
            committed: metrics.local_committed.map_or(0, |at| at.index),
            applied: state.index,
            membership_log_id,
            membership: Some(membership),
            hashes: hashes_to_wire(state.parts.hashes()).hashes,
            unfinished: self.serving.unfinished(),
        }
    }
}
