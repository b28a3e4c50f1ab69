//! Whether this node is still a member. The others do not talk to one that was removed, so it has to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::{NodeId, NodeName};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::network::NetParts;
use crate::grpc::{Peers, Roster};
use crate::machine::Member;
use crate::raft::{self, RaftId};
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
pub(super) struct Asker {
    name: NodeName,
    me: RaftId,
    /// Directory of the cluster's files.
    dir: PathBuf,
    roster: watch::Receiver<Arc<Roster>>,
    serving: Serving,
    removal: Removal,
}

impl Asker {
    pub(super) fn new(parts: &NetParts, roster: &watch::Sender<Arc<Roster>>, me: RaftId) -> Self {
        Self {
            name: parts.credentials.identity().name().into(),
            me,
            dir: parts.dir.clone(),
            roster: roster.subscribe(),
            serving: parts.serving.clone(),
            removal: parts.removal.clone(),
        }
    }

    /// Asks until it is told. Ends with the runtime of the cluster.
    pub(super) async fn run(self, peers: Peers) {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if self.serving.is_on() {
                continue;
            }
            let known = Arc::clone(&self.roster.borrow());
            let others = known.newest().by_id.iter();
            for (id, member) in others.filter(|(id, _)| **id != self.me) {
                if peers.has_removed_us((*id, member), ANSWER_MAX).await {
                    return self.tell(&known, member);
                }
            }
        }
    }

    fn tell(self, known: &Roster, by: &raft::Member) {
        let cluster = known.cluster.iter().map(|byte| format!("{byte:02x}"));
        let removed = Removed {
            node: self.name,
            cluster: cluster.collect(),
            // Of the cluster's files in it.
            data_dir: self.dir.parent().unwrap_or(&self.dir).to_owned(),
        };
        tracing::error!(%by, "{removed}");
        self.removal.tell(removed);
    }
}
