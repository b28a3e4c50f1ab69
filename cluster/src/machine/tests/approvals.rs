use crate::command::{ApprovalRequest, ApprovalsCommand, ChangeNote, Verdict};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{Ending, Refusal};

fn request(id: &str) -> ApprovalsCommand {
    ApprovalsCommand::Request {
        request: ApprovalRequest {
            id: id.to_owned(),
            principal: "ci-bot".into(),
            tenant: Some("acme".into()),
            server: "market".into(),
            tool: "stock_thesis".to_owned(),
            arguments_digest: [3; 32],
            arguments: "{}".to_owned(),
            reason: "$0.05 a call".to_owned(),
        },
        lifetime_ms: 1000,
    }
}

fn decide(id: &str, verdict: Verdict) -> ApprovalsCommand {
    ApprovalsCommand::Decide {
        id: id.to_owned(),
        verdict,
        note: ChangeNote {
            who: "ops".to_owned(),
            why: String::new(),
        },
    }
}

fn ended(id: &str) -> Refusal {
    Refusal::ApprovalEnded { id: id.to_owned() }
}

#[test]
fn a_request_is_decided_once() {
    let mut cluster = TestCluster::of(1);
    cluster.done(request("a"));
    cluster.done(decide("a", Verdict::Allow));
    let again = cluster.propose(decide("a", Verdict::Deny));
    assert_eq!(again, Err(ended("a")));
    let mut all = cluster.parts().approvals().ended();
    let ending = all.next().and_then(|one| one.ending.clone());
    let Some(Ending::Decided { verdict, .. }) = ending else {
        panic!("{ending:?}");
    };
    assert_eq!(verdict, Verdict::Allow);
}

#[test]
fn nobody_decides_after_the_time_is_over() {
    let mut cluster = TestCluster::of(1);
    cluster.done(request("a"));
    cluster.now_ms += 999;
    cluster.done(ApprovalsCommand::ExpireDue);
    assert_eq!(cluster.parts().approvals().open().len(), 1);
    cluster.now_ms += 1;
    let late = cluster.propose(decide("a", Verdict::Allow));
    assert_eq!(late, Err(ended("a")));
    let mut all = cluster.parts().approvals().ended();
    let at_ms = cluster.now_ms;
    let ending = all.next().and_then(|one| one.ending.clone());
    assert_eq!(ending, Some(Ending::Expired { at_ms }));
}

#[test]
fn an_id_names_one_request() {
    let mut cluster = TestCluster::of(1);
    let exists = || Refusal::ApprovalExists { id: "a".to_owned() };
    cluster.done(request("a"));
    assert_eq!(cluster.propose(request("a")), Err(exists()));
    cluster.done(decide("a", Verdict::Deny));
    assert_eq!(cluster.propose(request("a")), Err(exists()));
    let unknown = Refusal::UnknownApproval { id: "b".to_owned() };
    let refused = cluster.propose(decide("b", Verdict::Allow));
    assert_eq!(refused, Err(unknown));
}

#[test]
fn requests_are_bounded_and_ended_ones_forgotten_in_their_order() {
    let mut cluster = TestCluster::of(1);
    for n in 0..1024 {
        cluster.done(request(&n.to_string()));
    }
    let more = cluster.propose(request("more"));
    assert_eq!(more, Err(Refusal::TooMany { limit: 1024 }));
    for n in 0..1024 {
        cluster.done(decide(&n.to_string(), Verdict::Allow));
    }
    cluster.done(request("more"));
    cluster.done(decide("more", Verdict::Deny));
    let mut ended = cluster.parts().approvals().ended();
    assert_eq!(ended.len(), 1024);
    assert_eq!(ended.next().unwrap().request.id, "1");
}
