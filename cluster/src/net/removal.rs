//! Whether this node is still a member. The others do not talk to one that was removed, so it has to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::{NodeId, NodeName};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::grpc::{Peers, Roster};
use crate::machine::Member;
use crate::raft::RaftId;
use crate::removal::{Removal, Removed};
use crate::serving::Serving;

/// Between two rounds of questions.
const EVERY: Duration = Duration::from_secs(1);
/// How long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Those whose membership has ended.
pub(super) fn removed_in(members: &BTreeMap<NodeId, Member>) -> BTreeSet<RaftId> {
    let gone = members.values().filter(|member| !member.is_live());
    gone.map(|member| member.id.0).collect()
}

/// Asks the other members while this node may not serve, until one says that it was removed.
pub(super) async fn ask(
    (name, me): (NodeName, RaftId),
    dir: Arc<Path>,
    roster: watch::Receiver<Arc<Roster>>,
    peers: Peers,
    serving: Serving,
    removal: Removal,
) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if serving.is_on() {
            continue;
        }
        let known = Arc::clone(&roster.borrow());
        let others = known.newest().by_id.iter().filter(|(id, _)| **id != me);
        for (id, member) in others {
            if !peers.has_removed_us((*id, member), ANSWER_MAX).await {
                continue;
            }
            let cluster = known.cluster.iter().map(|byte| format!("{byte:02x}"));
            let removed = Removed {
                node: name,
                cluster: cluster.collect(),
                // Of the cluster's files in it.
                data_dir: dir.parent().unwrap_or(&dir).to_owned(),
            };
            tracing::error!(by = %member, "{removed}");
            removal.tell(removed);
            return;
        }
    }
}
