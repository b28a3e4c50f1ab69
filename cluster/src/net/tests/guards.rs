//! Nodes are given secrets that guard the audit log: the right one, another one, none.

use lockgate_proto::id::NodeName;

use super::audit::{eventually, record};
use super::{World, now};
use crate::audit::Guards;
use crate::audit::verify::{Verdict, verify_segments};
use crate::error::OpenError;
use crate::guarding::GuardMismatch;
use crate::net::Begin;
use crate::view::View;
use crate::{Cluster, Notary};

const A: &str = "a-secret-of-32-bytes-or-more-------";
const B: &str = "another-secret-of-32-bytes-or-more--";
const JOIN: Begin = Begin::Join {
    token: None,
    learner: false,
};

impl World {
    /// Nodes that start from now on are given these.
    fn give(&mut self, secrets: &str) {
        self.guards = match secrets {
            "" => Guards::default(),
            secrets => Guards::parse(secrets).unwrap(),
        };
    }

    /// Has each node tell what it was given, and the leader do what it owes.
    fn settle(&self, nodes: &[Cluster]) {
        for _ in 0..2 {
            for node in nodes {
                let data_dir = self.data_dir(node.view().node());
                let notary = Notary::open(node.clone(), &data_dir, now).unwrap();
                self.runtime.block_on(notary.settle());
            }
        }
    }

    /// Starts a node again, and waits until all others see it.
    fn restart(
        &mut self,
        nodes: &mut Vec<Cluster>,
        at: usize,
        secrets: &str,
    ) -> Result<(), OpenError> {
        let name = nodes[at].view().node().to_owned();
        self.close([nodes.remove(at)]);
        self.give(secrets);
        nodes.insert(at, self.start(&name, JOIN)?);
        Ok(())
    }
}

/// Id of the key in use, and whether it follows from that secret.
fn guarded_by(view: &View, secret: &str) -> (u32, bool) {
    let (log, ranges) = (
        view.audit().genesis().unwrap(),
        view.audit().key_ranges().unwrap(),
    );
    let guards = Guards::parse(secret).unwrap();
    let mark = ranges.guard(ranges.current());
    (ranges.current(), mark == guards.marks(&log.log).first())
}

fn not_admitted(started: Result<Cluster, OpenError>) -> String {
    match started {
        Err(OpenError::Network(error)) => error.to_string(),
        other => panic!("{:?}", other.map(|node| node.view().index())),
    }
}

#[test]
fn a_node_joins_with_the_secret_of_the_others_only() {
    let mut world = World::new(&["n1", "n2"]);
    world.give(A);
    let n1 = world.start("n1", Begin::Found).unwrap();
    for (is_in_force, other) in [(false, B), (true, ""), (true, B)] {
        if is_in_force {
            world.settle(std::slice::from_ref(&n1));
        }
        assert_eq!(guarded_by(&n1.view(), A).1, is_in_force);
        world.give(other);
        let told = not_admitted(world.start("n2", JOIN));
        assert!(told.contains("a secret guards the audit log"), "{told}");
        assert!(told.contains("audit.hmac_key_env"), "{told}");
    }
    assert!(n1.view().member(&NodeName::from("n2")).is_none());
    world.give(&format!("{B} {A}"));
    let n2 = world.start("n2", JOIN).unwrap();
    world.until(&n2, |view| guarded_by(view, A) == (2, true));
    world.close([n1, n2]);
}

#[test]
fn a_secret_is_changed_node_by_node_and_none_diverges() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2"]);
    world.settle(&nodes);
    world.restart(&mut nodes, 0, A).unwrap();
    world.settle(&nodes);
    assert!(!guarded_by(&nodes[0].view(), A).1, "not all have it");
    match world.restart(&mut nodes, 1, B) {
        Err(OpenError::Guard(GuardMismatch::Differs { node })) => assert_eq!(node, "n1"),
        other => panic!("{other:?}"),
    }
    world.give(A);
    nodes.push(world.start("n2", JOIN).unwrap());
    world.settle(&nodes);
    for node in &nodes {
        world.until(node, |view| guarded_by(view, A) == (2, true));
    }
    for secrets in ["", B] {
        let gone = nodes.pop().unwrap();
        world.close([gone]);
        world.give(secrets);
        match world.start("n2", JOIN) {
            Err(OpenError::Guard(GuardMismatch::Missing { .. })) => {}
            other => panic!("{:?}", other.map(|node| node.view().index())),
        }
        world.give(A);
        nodes.push(world.start("n2", JOIN).unwrap());
    }
    let both = format!("{B} {A}");
    world.restart(&mut nodes, 0, &both).unwrap();
    world.restart(&mut nodes, 1, &both).unwrap();
    world.settle(&nodes);
    for node in &nodes {
        world.until(node, |view| guarded_by(view, B) == (3, true));
    }
    // What was recorded before is in the replicated log still, and needs the former secret.
    for at in [0, 1] {
        world.restart(&mut nodes, at, &both).unwrap();
    }
    record(&world, &nodes[0], 1, 1);
    let size = nodes[0].view().audit().size();
    for node in &nodes {
        let trust = node.view().audit_trust().unwrap();
        let whole = || node.audit_reader().filter(|reader| reader.size() >= size);
        eventually("all records are there", || whole().is_some());
        let report = verify_segments(&whole().unwrap(), &trust, None, |_, _| {}).unwrap();
        assert_eq!(report.verdict, Verdict::Good);
    }
    world.close(nodes);
}
