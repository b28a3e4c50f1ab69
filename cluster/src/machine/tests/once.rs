use lockgate_proto::id::NodeId;

use crate::command::{Command, Expected, Origin, Outcome, RegisterWrite, Reply};
use crate::machine::Refusal;
use crate::machine::once::ANSWERS_MAX;
use crate::machine::test_cluster::TestCluster;

fn write(key: &str) -> Command {
    RegisterWrite {
        key: key.to_owned(),
        expected: Expected::Absent,
        value: Some("v".into()),
    }
    .into()
}

fn origin(serial: u64) -> Option<Origin> {
    Some(Origin {
        node: NodeId(1),
        boot: 1,
        serial,
        settled: 0,
    })
}

#[test]
fn a_proposal_that_is_sent_again_takes_effect_once_and_gets_the_same_answer() {
    let mut cluster = TestCluster::of(1);
    let first = cluster.propose_as(origin(1), write("a"));
    assert!(first.result.is_ok());
    let refused = cluster.propose_as(origin(2), write("a"));
    assert!(refused.result.is_err());
    // Were it done again, the first would be refused and the second, now of another key, would not.
    assert_eq!(cluster.propose_as(origin(1), write("a")), first);
    assert_eq!(cluster.propose_as(origin(2), write("b")), refused);
    assert_eq!(cluster.parts().registers().by_key().len(), 1);
}

#[test]
fn without_an_origin_a_repetition_is_a_proposal_of_its_own() {
    let mut cluster = TestCluster::of(1);
    assert!(cluster.propose(write("a")).is_ok());
    assert!(cluster.propose(write("a")).is_err());
}

#[test]
fn a_life_that_is_over_proposes_nothing_more() {
    let mut cluster = TestCluster::of(1);
    cluster.boot("n1", 99);
    let refused = cluster.propose_as(origin(1), write("a"));
    assert_eq!(refused.result, Err(Refusal::StaleBoot { boot: 2 }));
    assert!(cluster.parts().registers().by_key().is_empty());
}

#[test]
fn a_stranger_proposes_nothing() {
    let mut cluster = TestCluster::of(1);
    let node = NodeId(77);
    let origin = origin(1).map(|origin| Origin { node, ..origin });
    let refused = cluster.propose_as(origin, write("a"));
    assert_eq!(refused.result, Err(Refusal::UnknownNode { node }));
}

#[test]
fn what_is_settled_is_forgotten_and_never_done_again() {
    let mut cluster = TestCluster::of(1);
    cluster.propose_as(origin(1), write("a"));
    let settling = origin(2).map(|origin| Origin {
        settled: 2,
        ..origin
    });
    cluster.propose_as(settling, write("b"));
    let again = cluster.propose_as(origin(1), write("c"));
    assert_eq!(again.result, Err(Refusal::Settled { serial: 1 }));
}

#[test]
fn a_node_that_settles_nothing_takes_no_more_room_than_its_share() {
    let mut cluster = TestCluster::of(1);
    let many = ANSWERS_MAX as u64 + 10;
    for serial in 1..=many {
        cluster.propose_as(origin(serial), write("a"));
    }
    let window = &cluster.machine.once.windows[&NodeId(1)];
    assert_eq!(window.answers.len(), ANSWERS_MAX);
    let oldest = cluster.propose_as(origin(10), write("z"));
    assert_eq!(oldest.result, Err(Refusal::Settled { serial: 10 }));
    let Outcome { result, .. } = cluster.propose_as(origin(11), write("z"));
    assert!(
        matches!(result, Err(Refusal::StaleRegister { .. })),
        "{result:?}"
    );
}

#[test]
fn a_new_life_starts_with_an_empty_memory() {
    let mut cluster = TestCluster::of(1);
    cluster.propose_as(origin(1), write("a"));
    cluster.boot("n1", 99);
    let origin = origin(1).map(|origin| Origin { boot: 2, ..origin });
    let outcome = cluster.propose_as(origin, write("b"));
    assert!(matches!(outcome.result, Ok(Reply::Written { .. })));
}
