//! The cluster as the agent of a node sees it.

use std::future::Future;
use std::sync::Arc;

use lockgate_proto::id::NodeName;

use super::agent::{Place, Propose, Unanswered};
use super::primary::Primary;
use super::wallet::{Decider, Wallet};
use crate::command::Reply as Answered;
use crate::handle::Cluster;
use crate::machine::MemberState;
use crate::machine::quota::{Command, Reply};
use crate::raft::boot_time_us;

/// One life of one node in the cluster.
#[derive(Clone, Debug)]
pub struct Seat {
    cluster: Cluster,
    node: u64,
    boot: u64,
}

impl Seat {
    /// The place of this node. `None` when it is no member (any more).
    pub fn of(cluster: &Cluster) -> Option<Self> {
        let view = cluster.view();
        let member = view.member(&NodeName::from(view.node()))?;
        Some(Self {
            node: member.id.0,
            boot: view.boot(),
            cluster: cluster.clone(),
        })
    }

    /// The wallet of this node. While the node leads it also pays for the others what is too small to be divided.
    pub fn wallet(&self) -> Arc<Wallet> {
        let decider = self.cluster.has_network().then(|| {
            let primary: Arc<dyn Decider> = Arc::new(Primary(self.cluster.clone()));
            primary
        });
        let wallet = Arc::new(Wallet::new(boot_time_us, decider));
        self.cluster.open_wallet(&wallet);
        wallet
    }

    /// Its Raft id.
    pub fn node(&self) -> u64 {
        self.node
    }

    /// How often it has started.
    pub fn boot(&self) -> u64 {
        self.boot
    }
}

impl Propose for Seat {
    fn propose(&self, command: Command) -> impl Future<Output = Result<Reply, Unanswered>> + Send {
        let cluster = self.cluster.clone();
        async move {
            match cluster.propose(command.into()).await {
                Ok(Answered::Quota(reply)) => Ok(reply),
                Ok(_) | Err(_) => Err(Unanswered),
            }
        }
    }

    fn place(&self) -> Place {
        let view = self.cluster.view();
        let serving = |state| matches!(state, MemberState::Learner | MemberState::Voter);
        let members = view.members().values();
        Place {
            n_nodes: members.filter(|member| serving(member.state)).count(),
            is_leader: self.cluster.leads(),
            last_lease: view.quota().last_lease(),
        }
    }

    fn has_grant_below(&self, lease: u64) -> bool {
        self.cluster.view().quota().has_grant_below(lease)
    }
}
