//! A node that holds another state than the others is found out.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lockgate_proto::peer::v1::SnapshotRecord;
use lockgate_proto::peer::v1::snapshot_record::Part;
use prost::Message;
use tokio::time::Instant;

use super::{PATIENCE, World};
use crate::agreement::Agreement;
use crate::command::{Expected, RegisterWrite};
use crate::net::Begin;
use crate::raft::{Snapshots, read_snapshot, write_snapshot};
use crate::{Cluster, Command};

/// Changes a register in the snapshot of a node that does not run, checksums and all.
fn plant(data_dir: &Path) {
    let snapshots = Snapshots::open(&data_dir.join("cluster/snapshots")).unwrap();
    let (meta, file) = snapshots.current().unwrap();
    let mut n_changed = 0;
    let mut change = |record: Bytes| {
        let mut record = SnapshotRecord::decode(record).unwrap();
        if let Some(Part::Registers(part)) = &mut record.part {
            for register in part.registers.iter_mut().filter(|one| one.key == "k") {
                register.value = Bytes::from_static(b"wrong");
                n_changed += 1;
            }
        }
        record.encode_to_vec().into()
    };
    let records = read_snapshot(&file).unwrap().records.into_iter();
    let records: Vec<Bytes> = records.map(&mut change).collect();
    write_snapshot(&snapshots, &meta, records).unwrap();
    assert_eq!(n_changed, 1);
}

/// So many entries that every node takes a hash of its state.
fn fill(world: &World, node: &Cluster) {
    world.runtime.block_on(async {
        for round in 0..20 {
            let writes = (0..60).map(|n| {
                let write = RegisterWrite {
                    key: format!("{round}-{n}"),
                    expected: Expected::Any,
                    value: Some(Bytes::from_static(b"x")),
                };
                node.propose(Command::Register(write))
            });
            for written in join_all(writes).await {
                written.unwrap();
            }
        }
    });
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_node_with_another_state_is_the_minority_and_the_others_know() {
    let (mut world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    world.write(&nodes[0], "k", "right");
    fill(&world, &nodes[0]);
    let agrees = Agreement::default();
    for node in &nodes {
        until("they agree", || {
            node.view().state_hashes().len() > 0 && node.agreement() == agrees
        });
    }

    let n3 = nodes.remove(2);
    world.until(&n3, |view| view.registers().contains_key("k"));
    world.runtime.block_on(n3.save_snapshot()).unwrap();
    world.close([n3]);
    plant(&world.data_dir("n3"));
    let again = Begin::Join {
        token: None,
        learner: false,
    };
    let n3 = world.start("n3", again).unwrap();
    fill(&world, &nodes[0]);
    until("n3 is found out", || n3.agreement().is_minority);
    assert_eq!(n3.agreement().differing, 2);
    for node in &nodes {
        until("the others know", || node.agreement().differing == 1);
        assert!(!node.agreement().is_minority);
    }
    nodes.push(n3);
    world.close(nodes);
}
