use lockgate_proto::id::{NodeId, ShardId};
use lockgate_proto::peer::compat::{Formats, OURS};

use crate::command::{
    JoinProof, JoinRequest, JoinRole, NodesCommand, Reply, ShardChange, ShardStep, Speaks,
};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{MemberState, Refusal};

const MINUTE_MS: u64 = 60 * 1000;

fn join(name: &str, nonce: u8, proof: JoinProof) -> NodesCommand {
    NodesCommand::Join(JoinRequest {
        name: name.into(),
        address: "h:7800".to_owned(),
        nonce: [nonce; 16],
        speaks: Speaks::ours(),
        proof,
        learner: false,
    })
}

fn token(id: &str) -> JoinProof {
    JoinProof::Token {
        id: id.to_owned(),
        digest: [9; 32],
    }
}

fn create_token(id: &str) -> NodesCommand {
    NodesCommand::CreateToken {
        id: id.to_owned(),
        digest: [9; 32],
        role: JoinRole::Learner,
        lifetime_ms: 10 * MINUTE_MS,
    }
}

fn unknown(id: &str) -> Result<Reply, Refusal> {
    Err(Refusal::UnknownToken { id: id.to_owned() })
}

fn remove(node: u64) -> NodesCommand {
    let node = NodeId(node);
    NodesCommand::Remove { node, lost: true }
}

#[test]
fn a_cluster_is_founded_once_and_nobody_joins_before() {
    let mut cluster = TestCluster::default();
    let early = cluster.propose(join("n1", 1, JoinProof::Peer));
    assert_eq!(early, Err(Refusal::NotFounded));
    let mut cluster = TestCluster::of(1);
    let again = cluster.propose(NodesCommand::Found {
        cluster: [8; 16],
        name: "n9".into(),
        address: String::new(),
        speaks: Speaks::ours(),
    });
    assert_eq!(again, Err(Refusal::Founded));
    assert_eq!(cluster.parts().nodes().cluster(), Some([7; 16]));
}

#[test]
fn a_number_is_the_place_of_the_entry_that_gave_it() {
    let mut cluster = TestCluster::of(1);
    let reply = cluster.done(join("n2", 1, JoinProof::Peer));
    let index = cluster.machine.position().index;
    assert_eq!(reply, Reply::Joined(NodeId(index)));
}

#[test]
fn whoever_asks_again_gets_the_same_number_and_another_of_that_name_none() {
    let mut cluster = TestCluster::of(1);
    cluster.done(create_token("t"));
    let first = cluster.done(join("n2", 1, token("t")));
    assert_eq!(cluster.done(join("n2", 1, token("t"))), first);
    let exists = Refusal::NodeExists { name: "n2".into() };
    let other = cluster.propose(join("n2", 2, JoinProof::Peer));
    assert_eq!(other, Err(exists));
}

#[test]
fn a_token_admits_one_node_in_its_time_with_its_secret() {
    let mut cluster = TestCluster::of(1);
    cluster.done(create_token("t"));
    let wrong = JoinProof::Token {
        id: "t".to_owned(),
        digest: [1; 32],
    };
    assert_eq!(cluster.propose(join("n2", 1, wrong)), unknown("t"));
    assert_eq!(cluster.propose(join("n2", 1, token("u"))), unknown("u"));
    cluster.done(join("n2", 1, token("t")));
    let name = "n2".into();
    let member = cluster.parts().nodes().named(&name).unwrap();
    assert_eq!(
        (member.wanted, member.state),
        (JoinRole::Learner, MemberState::Joining)
    );
    assert_eq!(cluster.propose(join("n3", 1, token("t"))), unknown("t"));

    cluster.done(create_token("late"));
    cluster.now_ms += 10 * MINUTE_MS;
    assert_eq!(
        cluster.propose(join("n3", 1, token("late"))),
        unknown("late")
    );
    cluster.done(create_token("taken back"));
    let id = "taken back".to_owned();
    cluster.done(NodesCommand::RevokeToken { id });
    let refused = cluster.propose(join("n3", 1, token("taken back")));
    assert_eq!(refused, unknown("taken back"));
}

#[test]
fn a_refused_join_does_not_use_up_its_token() {
    let mut cluster = TestCluster::of(2);
    cluster.done(create_token("t"));
    assert!(cluster.propose(join("n2", 77, token("t"))).is_err());
    cluster.done(join("n3", 1, token("t")));
}

#[test]
fn tokens_are_bounded_and_those_over_their_time_make_room() {
    let mut cluster = TestCluster::of(1);
    for n in 0..256 {
        cluster.done(create_token(&n.to_string()));
    }
    let refused = cluster.propose(create_token("more"));
    assert_eq!(refused, Err(Refusal::TooMany { limit: 256 }));
    cluster.now_ms += 10 * MINUTE_MS;
    cluster.done(create_token("more"));
}

#[test]
fn a_start_counts_once_however_often_it_is_told() {
    let mut cluster = TestCluster::of(1);
    assert_eq!(cluster.boot("n1", 50), Reply::Boot(2));
    assert_eq!(cluster.boot("n1", 50), Reply::Boot(2));
    assert_eq!(cluster.boot("n1", 51), Reply::Boot(3));
}

#[test]
fn a_name_returns_under_a_new_number_and_goes_on_counting_its_starts() {
    let mut cluster = TestCluster::of(2);
    let old = cluster.nodes()[1];
    cluster.done(remove(old));
    let member = &cluster.parts().nodes().members()[&NodeId(old)];
    assert_eq!((member.state, member.lost), (MemberState::Removed, true));
    let gone = Refusal::UnknownNodeName { name: "n2".into() };
    let boot = NodesCommand::Boot {
        name: "n2".into(),
        address: String::new(),
        nonce: [88; 16],
        speaks: Speaks::ours(),
    };
    assert_eq!(cluster.propose(boot), Err(gone));
    let Reply::Joined(new) = cluster.done(join("n2", 66, JoinProof::Peer)) else {
        panic!("no number");
    };
    assert!(new.0 > old);
    assert_eq!(cluster.boot("n2", 88), Reply::Boot(2));
}

#[test]
fn the_last_voter_stays() {
    let mut cluster = TestCluster::of(2);
    let [first, second] = cluster.nodes()[..] else {
        panic!("two nodes");
    };
    cluster.done(remove(first));
    assert_eq!(cluster.propose(remove(second)), Err(Refusal::LastVoter));
    let seat = NodesCommand::Seat {
        voters: Vec::new(),
        learners: vec![NodeId(second)],
    };
    assert_eq!(cluster.propose(seat), Err(Refusal::LastVoter));
}

#[test]
fn whoever_holds_a_shard_stays() {
    let mut cluster = TestCluster::of(2);
    let [first, second] = cluster.nodes()[..] else {
        panic!("two nodes");
    };
    let shard = ShardId::all().next().unwrap();
    let fence = cluster.shards()[0].fence();
    let (primary, backup) = (NodeId(first), Some(NodeId(second)));
    let step = ShardStep::Assign { primary, backup };
    cluster.change(vec![ShardChange { shard, fence, step }]);
    for node in [first, second] {
        let refused = cluster.propose(remove(node));
        let node = NodeId(node);
        assert_eq!(refused, Err(Refusal::HoldsShards { node }));
    }
}

#[test]
fn the_membership_of_the_log_says_who_votes() {
    let mut cluster = TestCluster::of(3);
    let [first, second, third] = cluster.nodes()[..] else {
        panic!("three nodes");
    };
    let seat = |voters: &[u64], learners: &[u64]| NodesCommand::Seat {
        voters: voters.iter().copied().map(NodeId).collect(),
        learners: learners.iter().copied().map(NodeId).collect(),
    };
    cluster.done(seat(&[first], &[second]));
    let members = cluster.parts().nodes().members();
    let state = |node| members[&NodeId(node)].state;
    assert_eq!(state(first), MemberState::Voter);
    assert_eq!(state(second), MemberState::Learner);
    assert_eq!(state(third), MemberState::Joining);
    let node = NodeId(99);
    let refused = cluster.propose(seat(&[first, 99], &[]));
    assert_eq!(refused, Err(Refusal::UnknownNode { node }));
}

#[test]
fn a_drain_is_called_off_and_keeps_its_beginning() {
    let mut cluster = TestCluster::of(1);
    let node = NodesCommand::FIRST;
    let since = |cluster: &TestCluster| cluster.parts().nodes().members()[&node].draining_since_ms;
    cluster.done(NodesCommand::Drain { node, on: true });
    let begun = since(&cluster);
    assert_eq!(begun, Some(cluster.now_ms));
    cluster.now_ms += MINUTE_MS;
    cluster.done(NodesCommand::Drain { node, on: true });
    assert_eq!(since(&cluster), begun);
    cluster.done(NodesCommand::Drain { node, on: false });
    assert_eq!(since(&cluster), None);
}

#[test]
fn the_oldest_voter_decides_what_may_be_proposed() {
    let mut cluster = TestCluster::of(2);
    let old = Speaks {
        version: "0.0.9".to_owned(),
        formats: Formats { entry: 0, ..OURS },
    };
    cluster.done(NodesCommand::Boot {
        name: "n2".into(),
        address: String::new(),
        nonce: [70; 16],
        speaks: old,
    });
    assert_eq!(cluster.parts().nodes().formats().entry, 0);
    let second = cluster.nodes()[1];
    let behind = |cluster: &TestCluster, format| {
        let member = cluster.parts().nodes().behind(format);
        member.map(|member| member.id.0)
    };
    assert_eq!(behind(&cluster, 1), Some(second));
    assert_eq!(behind(&cluster, 0), None);
    cluster.done(remove(second));
    assert_eq!(cluster.parts().nodes().formats(), OURS);
    assert_eq!(behind(&cluster, OURS.entry), None);
}
