//! Keeps the roster of members up to date.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::removal::removed_in;
use crate::grpc::{Guard, Links, Peers, Roster, members_from, members_of};
use crate::raft::{Engine, RaftId};

/// How long a member may take to say who the members are.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Pause between two questions about newcomers.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows what the engine applies, until it ends.
pub(super) async fn follow(engine: Engine, roster: watch::Sender<Arc<Roster>>, links: Links) {
    let mut applied = engine.applied();
    loop {
        let state = Arc::clone(&applied.borrow_and_update());
        let members = members_of(&state.membership);
        let cluster = state.parts.nodes().cluster();
        let changed = roster.send_if_modified(|roster| {
            let is_news = roster.applied.upto != members.upto
                || cluster.is_some_and(|cluster| roster.cluster.as_ref() != cluster);
            if is_news {
                let next = Arc::make_mut(roster);
                if let Some(cluster) = cluster {
                    next.cluster = Bytes::copy_from_slice(&cluster);
                }
                next.applied = members;
                // A seat ends behind the membership, so those without one are known here.
                next.removed = removed_in(state.parts.nodes().members());
            }
            is_news
        });
        if changed {
            let roster = Arc::clone(&roster.borrow());
            links.retain(|raft_id| roster.get(raft_id).is_some());
        }
        if applied.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the members that this node knows about those that it does not: while it was down others may have come, and one
/// of them may lead now.
pub(super) async fn ask_about_newcomers(
    guard: Arc<Guard>,
    roster: watch::Sender<Arc<Roster>>,
    peers: Peers,
    me: RaftId,
) {
    loop {
        guard.newcomer().await;
        let known = roster.borrow().newest().clone();
        for (raft_id, member) in known.by_id.iter().filter(|(raft_id, _)| **raft_id != me) {
            let answer = peers.status((*raft_id, member), ANSWER_MAX).await;
            let Ok(status) = answer else { continue };
            let vouched = members_from(status.membership_log_id.as_ref(), status.membership);
            if vouched.upto <= known.upto {
                continue;
            }
            tracing::info!(upto = vouched.upto, by = %member, "members learned from another node");
            roster.send_modify(|roster| Arc::make_mut(roster).vouched = vouched);
            break;
        }
        sleep(PAUSE).await;
    }
}
