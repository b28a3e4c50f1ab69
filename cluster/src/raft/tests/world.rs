//! Several nodes in one process, each on a directory of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate_proto::id::NodeId;
use openraft::ChangeMembers;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::net::Hub;
use crate::audit::Guards;
use crate::command::{
    Expected, JoinProof, JoinRequest, NodesCommand, RegisterWrite, Reply, Speaks,
};
use crate::raft::Timing;
use crate::raft::admin::RaftRole;
use crate::raft::publish::Applied;
use crate::raft::start::{Role, Running, StartOptions, start};
use crate::raft::types::{Member, RaftId};
use crate::removal::Removal;
use crate::store::{self, Lock};

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_709_210_096_007)
}

/// Nodes by number.
pub(super) struct World {
    hub: Hub,
    root: TempDir,
    nodes: BTreeMap<RaftId, Running>,
}

impl World {
    /// A cluster with one node.
    pub(super) async fn one() -> Self {
        let mut world = Self {
            hub: Hub::default(),
            root: tempfile::tempdir().unwrap(),
            nodes: BTreeMap::new(),
        };
        world.start(1, "n1", Role::Founder).await;
        world
    }

    /// A cluster with so many voters.
    pub(super) async fn of(n_nodes: usize) -> Self {
        let mut world = Self::one().await;
        for n in 2..=n_nodes {
            let id = world.join(&format!("n{n}")).await;
            world.promote(id).await;
        }
        world
    }

    /// Makes a new node a learner.
    pub(super) async fn join(&mut self, name: &str) -> RaftId {
        let join = NodesCommand::Join(JoinRequest {
            name: name.into(),
            address: String::new(),
            nonce: [7; 16],
            speaks: Speaks::ours(),
            proof: JoinProof::Peer,
            learner: false,
        });
        let any = self.any();
        let joined = any.proposer.propose(join.into()).await.unwrap();
        let Reply::Joined(NodeId(id)) = joined else {
            panic!("{joined:?}")
        };
        let member = Member {
            name: name.to_owned(),
            address: String::new(),
        };
        let nodes = BTreeMap::from([(id, member)]);
        self.change(ChangeMembers::AddNodes(nodes)).await;
        self.start(id, name, Role::Joined(id)).await;
        id
    }

    pub(super) async fn promote(&self, id: RaftId) {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])))
            .await;
    }

    /// Takes the votes and the seats of members away.
    pub(super) async fn unseat(&self, ids: impl IntoIterator<Item = RaftId>) {
        let ids: BTreeSet<RaftId> = ids.into_iter().collect();
        self.change(ChangeMembers::RemoveVoters(ids.clone())).await;
        self.change(ChangeMembers::RemoveNodes(ids)).await;
    }

    async fn change(&self, change: ChangeMembers<RaftId, Member>) {
        self.on_leader(async |leader| {
            let raft = leader.proposer.engine().raft();
            raft.change_membership(change.clone(), true).await.is_ok()
        })
        .await;
    }

    /// Does `work` on the leader, whoever that is then.
    pub(super) async fn on_leader(&self, work: impl AsyncFn(&Running) -> bool) {
        let done = async {
            loop {
                let leader = self.leader().await;
                if work(&self.nodes[&leader]).await {
                    return;
                }
                // The first entry of its term is not committed yet, or it leads no more.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, done).await.unwrap();
    }

    /// What a node is started with.
    pub(super) fn options(&self, id: RaftId, name: &str, role: Role) -> StartOptions {
        let dir = self.data_dir(id).join("cluster");
        store::create_private_dir(&dir).unwrap();
        if id != 1 {
            fs::copy(self.data_dir(1).join("cluster/key"), dir.join("key")).unwrap();
        }
        StartOptions {
            key: store::read_or_create_key(&dir).unwrap(),
            dir,
            clock: noon,
            name: name.into(),
            address: String::new(),
            role,
            timing: Timing::CLUSTER,
            wait_max: Some(SOON),
            removal: Removal::default(),
            guards: Guards::default(),
        }
    }

    /// Starts a node, or starts it again.
    pub(super) async fn start(&mut self, id: RaftId, name: &str, role: Role) {
        let options = self.options(id, name, role);
        let lock = Lock::take(&self.data_dir(id)).unwrap();
        let network = self.hub.end(id);
        let started = tokio::task::spawn_blocking(move || start(options, network, lock)?.wait());
        let running = started.await.unwrap().unwrap();
        self.nodes.insert(id, running);
    }

    /// Ends a node. Its files stay.
    pub(super) async fn stop(&mut self, id: RaftId) {
        self.hub.forget(id);
        let running = self.nodes.remove(&id).unwrap();
        let (done, stopped) = oneshot::channel();
        running.stop.send(done).await.unwrap();
        timeout(SOON, stopped).await.unwrap().unwrap();
    }

    pub(super) fn data_dir(&self, id: RaftId) -> PathBuf {
        self.root.path().join(id.to_string())
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn node(&self, id: RaftId) -> &Running {
        &self.nodes[&id]
    }

    pub(super) fn ids(&self) -> Vec<RaftId> {
        self.nodes.keys().copied().collect()
    }

    fn any(&self) -> &Running {
        self.nodes.values().next().unwrap()
    }

    /// The one that leads, as soon as there is one.
    pub(super) async fn leader(&self) -> RaftId {
        self.leader_among(&self.ids()).await
    }

    pub(super) async fn leader_among(&self, ids: &[RaftId]) -> RaftId {
        let found = async {
            loop {
                for id in ids {
                    let status = self.nodes[id].proposer.engine().status();
                    if status.role == RaftRole::Leader && status.leader == Some(*id) {
                        return *id;
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, found).await.unwrap()
    }

    /// Writes a register through a node.
    pub(super) async fn write(&self, through: RaftId, key: &str, value: &str) {
        let write = RegisterWrite {
            key: key.to_owned(),
            value: Some(value.to_owned().into()),
            expected: Expected::Any,
        };
        let proposer = &self.nodes[&through].proposer;
        proposer.propose(write.into()).await.unwrap();
    }

    /// Ends a membership in the machine, so that its name is free.
    pub(super) async fn remove(&self, id: RaftId) {
        let node = NodeId(id);
        let remove = NodesCommand::Remove { node, lost: true };
        self.any().proposer.propose(remove.into()).await.unwrap();
    }

    pub(super) fn name(&self, id: RaftId) -> String {
        let applied = self.any().proposer.engine().applied().borrow().clone();
        applied.parts.nodes().members()[&NodeId(id)]
            .name
            .to_string()
    }

    /// Linearizable read of a register through a node.
    pub(super) async fn read(&self, through: RaftId, key: &str) -> Option<String> {
        let applied = self.nodes[&through].proposer.read().await.unwrap();
        value(&applied, key)
    }

    /// Waits until all nodes have applied the same, and checks that they hold the same.
    pub(super) async fn check_equal(&self) {
        let leader = self.leader().await;
        let newest = self.nodes[&leader].proposer.read().await.unwrap();
        for (id, node) in &self.nodes {
            let mut applied = node.proposer.engine().applied();
            let reached = applied.wait_for(|applied| applied.index >= newest.index);
            let applied = Arc::clone(&timeout(SOON, reached).await.unwrap().unwrap());
            assert_eq!(applied.parts, newest.parts, "node {id}");
        }
    }
}

pub(super) fn value(applied: &Applied, key: &str) -> Option<String> {
    let register = applied.parts.registers().by_key().get(key)?;
    Some(String::from_utf8(register.value.to_vec()).unwrap())
}
