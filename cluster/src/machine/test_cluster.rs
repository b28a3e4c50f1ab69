//! A machine with so many nodes that have started, for tests.

use lockgate_proto::id::NodeId;

use super::{Machine, Parts, Position, Refusal, Shard};
use crate::command::{
    Command, Entry, JoinProof, JoinRequest, NodesCommand, Origin, Outcome, Reply, ShardChange,
    ShardsCommand, Speaks,
};

/// A machine, and the log that it has applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestCluster {
    pub(crate) machine: Machine,
    pub(crate) log: Vec<(Position, Entry)>,
    /// What the leader's clock says.
    pub(crate) now_ms: u64,
}

impl TestCluster {
    /// A founded cluster with `nodes` voters, each of which has started once.
    pub(crate) fn of(nodes: usize) -> Self {
        let mut cluster = Self {
            now_ms: 1_000_000,
            ..Self::default()
        };
        for place in 1..=nodes {
            let name = format!("n{place}").as_str().into();
            let address = format!("h{place}:7800");
            let speaks = Speaks::ours();
            let command = if place == 1 {
                NodesCommand::Found {
                    cluster: [7; 16],
                    name,
                    address,
                    speaks,
                }
            } else {
                NodesCommand::Join(JoinRequest {
                    name,
                    address,
                    nonce: [100 + place as u8; 16],
                    speaks,
                    proof: JoinProof::Peer,
                    learner: false,
                })
            };
            cluster.done(command);
            cluster.boot(&format!("n{place}"), place as u8);
        }
        let voters = cluster.nodes().into_iter().map(NodeId).collect();
        let learners = Vec::new();
        cluster.done(NodesCommand::Seat { voters, learners });
        cluster
    }

    /// A start of `name`, whose life draws `nonce`.
    pub(crate) fn boot(&mut self, name: &str, nonce: u8) -> Reply {
        self.done(NodesCommand::Boot {
            name: name.into(),
            address: String::new(),
            nonce: [nonce; 16],
            speaks: Speaks::ours(),
        })
    }

    /// Applies `command` behind everything else.
    pub(crate) fn propose(&mut self, command: impl Into<Command>) -> Result<Reply, Refusal> {
        self.propose_as(None, command.into()).result
    }

    /// The same, by somebody.
    pub(crate) fn propose_as(&mut self, origin: Option<Origin>, command: Command) -> Outcome {
        let index = self.machine.position().index + 1;
        let position = Position { term: 1, index };
        let entry = Entry {
            at_ms: self.now_ms,
            leader_us: self.now_ms * 1000,
            leader_term: 1,
            origin,
            command,
        };
        self.log.push((position, entry.clone()));
        self.machine.apply(position, entry, &mut Vec::new())
    }

    /// Applies what can't be refused.
    #[track_caller]
    pub(crate) fn done(&mut self, command: impl Into<Command>) -> Reply {
        self.propose(command).unwrap()
    }

    pub(crate) fn parts(&self) -> &Parts {
        self.machine.parts()
    }

    pub(crate) fn nodes(&self) -> Vec<u64> {
        self.parts()
            .nodes()
            .members()
            .keys()
            .map(|node| node.0)
            .collect()
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        self.parts().shards().map()
    }

    /// Applies a batch of changes of shards.
    pub(crate) fn change(&mut self, changes: Vec<ShardChange>) {
        self.shards_command(ShardsCommand::Batch(changes));
    }

    pub(crate) fn shards_command(&mut self, command: ShardsCommand) -> Reply {
        self.done(command)
    }
}
