//! Audit records that a node lacks, and those of nodes that are gone.

use std::thread;
use std::time::Duration;

use lockgate_proto::id::NodeName;

use super::World;
use crate::Cluster;
use crate::audit::verify::{Verdict, verify_segments};
use crate::audit::{AuditCommand, Kind, Origin, Record};
use crate::net::Begin;

/// Looks until it is so.
pub(super) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("not within a minute: {what}");
}

/// Appends so many records of a node that is none of the world's own lives.
pub(super) fn record(world: &World, node: &Cluster, first: u64, n: u64) {
    let line = |local_seq| {
        let origin = Origin {
            node: "writer",
            boot: 1,
            local_seq,
        };
        let mut line = Vec::new();
        Record::new(origin, 1_709_210_096_007, Kind::Call).write(&mut line);
        line.into()
    };
    let append = AuditCommand::Append {
        node: "writer".to_owned(),
        boot: 1,
        first_local_seq: first,
        lines: (first..first + n).map(line).collect(),
    };
    world.runtime.block_on(node.propose(append.into())).unwrap();
}

/// Waits until all records that were applied can be read on a node, and verifies them.
fn verify(node: &Cluster, n_records: u64) {
    let whole = || {
        let reader = node.audit_reader();
        reader.filter(|reader| reader.size() == n_records)
    };
    eventually("all records are there", || whole().is_some());
    let reader = whole().unwrap();
    let trust = node.view().audit_trust().unwrap();
    let report = verify_segments(&reader, &trust, Some(n_records), |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::Good);
    assert_eq!(Some(report.chain), node.view().audit().chain());
}

/// Three nodes with 100 records, of which the third has a snapshot and no life.
fn two_and_one_with_a_snapshot() -> (World, Vec<Cluster>) {
    let (world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    record(&world, &nodes[2], 1, 100);
    for node in &nodes {
        verify(node, 100);
    }
    // Before its snapshot a node has the records in its part of the replicated log.
    world.runtime.block_on(nodes[2].write_snapshot()).unwrap();
    eventually("a snapshot is written", || {
        nodes[2].raft_status().snapshot > 0
    });
    world.close([nodes.remove(2)]);
    (world, nodes)
}

/// Flips a bit in the midst of a node's records.
fn damage(world: &World, name: &str) {
    let dir = world.data_dir(name).join("cluster/audit");
    let segment = dir.join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
}

#[test]
fn records_that_a_node_lost_come_from_another_and_are_verified() {
    let (mut world, mut nodes) = two_and_one_with_a_snapshot();
    std::fs::remove_dir_all(world.data_dir("n3").join("cluster/audit")).unwrap();
    record(&world, &nodes[0], 101, 100);
    let n3 = world
        .start(
            "n3",
            Begin::Join {
                token: None,
                learner: false,
            },
        )
        .unwrap();
    record(&world, &n3, 201, 5);
    verify(&n3, 205);
    nodes.push(n3);
    world.close(nodes);
}

#[test]
fn records_that_a_disk_or_a_member_has_changed_are_fetched_elsewhere() {
    let (mut world, mut nodes) = two_and_one_with_a_snapshot();
    damage(&world, "n3");
    // The one that is asked first.
    let leader = nodes.iter().position(Cluster::leads).unwrap_or_default();
    damage(&world, nodes[leader].view().node());
    let n3 = world
        .start(
            "n3",
            Begin::Join {
                token: None,
                learner: false,
            },
        )
        .unwrap();
    verify(&n3, 100);
    assert!(world.data_dir("n3").join("cluster/audit.damaged").exists());
    nodes.push(n3);
    world.close(nodes);
}

// Without a snapshot the node has all records from its part of the replicated log, and writes them anew.
#[test]
fn records_that_are_written_anew_are_set_aside_where_they_were_changed() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    record(&world, &nodes[2], 1, 100);
    verify(&nodes[2], 100);
    world.close([nodes.remove(2)]);
    let aside = world.data_dir("n3").join("cluster/audit.damaged");
    let join = || Begin::Join {
        token: None,
        learner: false,
    };
    let n3 = world.start("n3", join()).unwrap();
    verify(&n3, 100);
    assert!(!aside.exists());
    world.close([n3]);

    damage(&world, "n3");
    let name = "00000000000000000000.seg";
    let segment = world.data_dir("n3").join("cluster/audit").join(name);
    let damaged = std::fs::read(segment).unwrap();
    let n3 = world.start("n3", join()).unwrap();
    verify(&n3, 100);
    assert_eq!(std::fs::read(aside.join(name)).unwrap(), damaged);
    nodes.push(n3);
    world.close(nodes);
}

#[test]
fn a_node_that_is_removed_leaves_a_record_of_how_far_the_log_has_it() {
    let (world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    let n3 = nodes.remove(2);
    let gone = n3.view().member(&NodeName::from("n3")).unwrap().id;
    world.close([n3]);
    let before = nodes[0].view().audit().size();
    let removed = nodes[0].remove_member(gone, true);
    world.runtime.block_on(removed).unwrap();
    verify(&nodes[0], before + 1);
    let reader = nodes[0].audit_reader().unwrap();
    let mut records = reader.records(before, before + 1).unwrap();
    let line = records.next().unwrap().unwrap().line;
    let line = std::str::from_utf8(line).unwrap();
    assert!(line.contains("audit/node_lost"), "{line}");
    assert!(
        line.contains(r#""node":"n3","boot":1,"last_local_seq":0"#),
        "{line}"
    );
    world.close(nodes);
}
