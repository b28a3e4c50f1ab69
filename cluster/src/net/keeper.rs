//! Takes the steps of `join::next_step` while this node leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::NodeId;
use openraft::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, ServerState};
use tokio::time::sleep;

use super::leases::Leases;
use crate::command::{Entry, NodesCommand, wire};
use crate::grpc::Acknowledged;
use crate::join::{Seats, Step, next_step};
use crate::raft::{Applied, Engine, Member, RaftId};

/// How often a leader compares, and how often another node looks whether it leads.
const LEADER_EVERY: Duration = Duration::from_millis(50);
const FOLLOWER_EVERY: Duration = Duration::from_millis(500);
/// A learner that lacks no more entries has caught up, if no audit records are missing there.
const LAG_MAX: u64 = 100;

/// Keeps the membership of the log as the machine says, until the engine ends.
pub(super) async fn keep(engine: Engine, leases: Leases, acknowledged: Acknowledged) {
    let applied = engine.applied();
    loop {
        let state = Arc::clone(&applied.borrow());
        match seats(&engine, &leases, &acknowledged, &state) {
            Some(seats) => {
                if let Some(step) = next_step(state.parts.nodes().members(), &seats) {
                    tracing::info!(?step, "membership changes");
                    take(&engine, step).await;
                }
                sleep(LEADER_EVERY).await;
            }
            None => sleep(FOLLOWER_EVERY).await,
        }
        if applied.has_changed().is_err() {
            return;
        }
    }
}

/// The membership, if this node leads.
fn seats(
    engine: &Engine,
    leases: &Leases,
    acknowledged: &Acknowledged,
    state: &Applied,
) -> Option<Seats> {
    let metrics = engine.raft().metrics();
    let metrics = metrics.borrow_watched();
    if metrics.state != ServerState::Leader {
        return None;
    }
    let membership = &metrics.membership_config;
    let last = metrics.last_log_index.unwrap_or_default();
    let matched = metrics.replication.iter().flatten();
    let caught_up = matched.filter_map(|(raft_id, matched)| {
        let index = matched.as_ref()?.index;
        let is_near = index.saturating_add(LAG_MAX) >= last;
        (is_near && !leases.lacks_audit(*raft_id)).then_some(*raft_id)
    });
    // Refused for as long as it holds shards, which go elsewhere first.
    let mut reverted = acknowledged.reverted();
    reverted.retain(|raft_id| !state.parts.shards().names(NodeId(*raft_id)));
    let log_index = membership.log_id().as_ref().map_or(0, |at| at.index);
    Some(Seats {
        voters: membership.voter_ids().collect(),
        members: membership
            .nodes()
            .map(|(id, node)| (*id, node.clone()))
            .collect(),
        caught_up: caught_up.collect(),
        reverted,
        is_changing: membership.membership().get_joint_config().len() > 1
            || log_index > state.index,
    })
}

/// Takes one step. What fails is found again at the next comparison, by this leader or another.
async fn take(engine: &Engine, step: Step) {
    let result = match step {
        Step::Tell { voters, learners } => {
            propose(engine, NodesCommand::Seat { voters, learners }).await
        }
        Step::Expel(node) => propose(engine, NodesCommand::Remove { node, lost: true }).await,
        Step::AddLearner(raft_id, member) => {
            change(engine, ChangeMembers::AddNodes(one(raft_id, member))).await
        }
        Step::Readdress(raft_id, member) => {
            change(engine, ChangeMembers::SetNodes(one(raft_id, member))).await
        }
        Step::Promote(raft_id) => {
            change(
                engine,
                ChangeMembers::AddVoterIds(BTreeSet::from([raft_id])),
            )
            .await
        }
        // It keeps its seat until the next step, so that it learns of this one.
        Step::Retire(raft_id) => {
            change(
                engine,
                ChangeMembers::RemoveVoters(BTreeSet::from([raft_id])),
            )
            .await
        }
        Step::Forget(raft_id) => {
            change(
                engine,
                ChangeMembers::RemoveNodes(BTreeSet::from([raft_id])),
            )
            .await
        }
    };
    if let Err(error) = result {
        tracing::info!(error, "membership did not change yet");
    }
}

async fn propose(engine: &Engine, command: NodesCommand) -> Result<(), String> {
    let entry = Entry {
        at_ms: 0,
        leader_us: 0,
        leader_term: 0,
        origin: None,
        command: command.into(),
    };
    let proposed = engine.propose_here(wire::encode_entry(entry)).await;
    proposed.map(drop).map_err(|error| error.to_string())
}

fn one(raft_id: RaftId, member: Member) -> BTreeMap<RaftId, Member> {
    BTreeMap::from([(raft_id, member)])
}

async fn change(engine: &Engine, change: ChangeMembers<RaftId, Member>) -> Result<(), String> {
    let changed = engine.raft().change_membership(change, true).await;
    changed.map(drop).map_err(|error| error.to_string())
}
