//! A state as the beginning of another cluster: what was known stays, who took part does not.

use std::sync::Arc;

use lockgate_proto::id::{NodeId, NodeName};

use super::audit::{AuditCommand, AuditLog};
use super::nodes::{Member, MemberState};
use super::{Machine, Position};
use crate::audit::chain::Genesis;
use crate::command::{JoinRole, Speaks};

/// The only member of a cluster that begins with the state of another one.
#[derive(Clone, Debug)]
pub(crate) struct Refounder {
    /// Names the new cluster for ever; drawn at random.
    pub(crate) cluster: [u8; 16],
    /// Name of the member.
    pub(crate) name: NodeName,
    /// Where other nodes will reach it. Empty when it listens for none.
    pub(crate) address: String,
    /// When the old members ceased to be ones, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

impl Machine {
    /// Makes this the state of a new cluster right after the entry at `position`, which lies behind all of this.
    /// Returns the number of its only member.
    ///
    /// Configuration, keys, servers, registers, secrets, approvals and quotas go on. Members leave, and with them what
    /// they had been answered; join tokens are worthless; shards have no owner, and what lived in them is lost. A new
    /// audit log begins.
    pub(crate) fn refound(&mut self, by: Refounder, position: Position) -> NodeId {
        self.parts.position = position;
        self.once = Arc::default();
        self.parts.hashes = Arc::default();
        self.begin_audit(&by);
        // The number that an entry there would give, which is of no node: the old cluster never had that entry.
        let id = NodeId(position.index);
        let nodes = Arc::make_mut(&mut self.parts.nodes);
        nodes.cluster = Some(by.cluster);
        nodes.tokens.clear();
        for member in nodes.members.values_mut().filter(|one| one.is_live()) {
            member.state = MemberState::Removed;
            member.removed_at_ms = Some(by.at_ms);
        }
        let quota = Arc::make_mut(&mut self.parts.quota);
        for node in nodes.members.keys() {
            quota.forget(node.0);
        }
        // Its starts go on counting: a node's name and the number of its start name one life for ever.
        let former = nodes.members.values().find(|one| one.name == by.name);
        let former = former.map(|former| (former.id, former.boot));
        if let Some((former, _)) = former {
            nodes.members.remove(&former);
        }
        let member = Member {
            id,
            name: by.name,
            address: by.address,
            boot: former.map_or(0, |(_, boot)| boot),
            boot_index: 0,
            speaks: Speaks::ours(),
            state: MemberState::Voter,
            wanted: JoinRole::Voter,
            draining_since_ms: None,
            removed_at_ms: None,
            lost: false,
            nonce: [0; 16],
        };
        nodes.members.insert(id, member);
        for shard in &mut Arc::make_mut(&mut self.parts.shards).map {
            if shard.primary.take().is_some() {
                shard.lost_at_ms = Some(by.at_ms);
            }
            (shard.backup, shard.in_sync) = (None, false);
            shard.revision = position.index;
        }
        id
    }

    /// The old log is complete in itself; the new one names the last checkpoint of it.
    fn begin_audit(&mut self, by: &Refounder) {
        let last = self.parts.audit.checkpoint();
        let last = last.map(|(_, note)| note.to_text().into_bytes());
        let genesis = Genesis::of_cluster(by.cluster, last);
        let mut audit = AuditLog::default();
        // Nothing is in it, so it can begin, and that alone gives nothing to write.
        let _begun = audit.apply(AuditCommand::Begin(genesis), by.at_ms, &mut Vec::new());
        self.parts.audit = Arc::new(audit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{JoinProof, JoinRequest, NodesCommand, Reply};
    use crate::machine::snapshot;
    use crate::machine::test_cluster::TestCluster;

    fn refounded() -> (TestCluster, NodeId, NodeId) {
        let mut cluster = TestCluster::of(3);
        let last = *cluster.nodes().iter().max().unwrap();
        let index = cluster.machine.position().index + 1;
        let by = Refounder {
            cluster: [9; 16],
            name: "n2".into(),
            address: "h:1".to_owned(),
            at_ms: 7,
        };
        let id = cluster.machine.refound(by, Position { term: 2, index });
        (cluster, id, NodeId(last))
    }

    #[test]
    fn the_new_cluster_has_one_member_under_a_number_that_nobody_had() {
        let (mut cluster, id, last) = refounded();
        assert!(id > last);
        let nodes = cluster.parts().nodes();
        assert_eq!(nodes.cluster(), Some([9; 16]));
        let log = cluster.parts().audit().genesis().unwrap();
        assert_eq!(log.log, "09".repeat(16));
        let live = nodes.members().values().filter(|one| one.is_live());
        let live: Vec<_> = live.map(|one| (one.id, one.state)).collect();
        assert_eq!(live, [(id, MemberState::Voter)]);
        // It has started before, under its old number.
        assert_eq!(cluster.boot("n2", 50), Reply::Boot(2));
        let join = |name: &str, nonce| {
            NodesCommand::Join(JoinRequest {
                name: name.into(),
                address: "h:1".to_owned(),
                nonce: [nonce; 16],
                speaks: Speaks::ours(),
                proof: JoinProof::Peer,
                learner: false,
            })
        };
        let Reply::Joined(third) = cluster.done(join("n3", 60)) else {
            panic!("it joins")
        };
        assert!(third > id);
        assert_eq!(cluster.boot("n3", 61), Reply::Boot(2));
    }

    #[test]
    fn nobody_owns_a_shard_and_the_state_can_be_stored() {
        let (cluster, _, _) = refounded();
        assert!(cluster.shards().iter().all(|shard| shard.primary.is_none()));
        let records = snapshot::records(&cluster.machine).map(Ok::<_, crate::WireError>);
        let restored = snapshot::restore(records).unwrap();
        assert_eq!(restored, cluster.machine);
    }
}
