use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use crate::command::wire::WireError;
use crate::command::{ChangeNote, ConfigChange, Entry, RegistryCommand, arbitrary};
use crate::machine::snapshot::{records, restore};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{Machine, Position};

fn restored(machine: &Machine) -> Machine {
    restore(records(machine).map(Ok::<_, WireError>)).unwrap()
}

fn apply(machine: &mut Machine, entries: &[Entry]) {
    for entry in entries {
        let last = machine.position();
        // A blank entry of the engine now and then: indices have gaps.
        let index = last.index + 1 + u64::from(last.index.is_multiple_of(7));
        let term = last.term + u64::from(last.index.is_multiple_of(11));
        machine.apply(Position { term, index }, entry.clone(), &mut Vec::new());
    }
}

proptest! {
    /// Whatever happened, a node that starts from a snapshot holds the same state, and goes on alike.
    #[test]
    fn a_snapshot_holds_everything(
        before in prop::collection::vec(arbitrary::entry(), 0..60),
        after in prop::collection::vec(arbitrary::entry(), 0..20),
    ) {
        let mut straight = TestCluster::of(2).machine;
        apply(&mut straight, &before);
        let mut other = restored(&straight);
        prop_assert_eq!(&straight, &other);
        prop_assert!(records(&straight).eq(records(&other)));
        apply(&mut straight, &after);
        apply(&mut other, &after);
        prop_assert_eq!(straight, other);
    }
}

#[test]
fn the_state_is_hashed_once_every_thousand_entries() {
    let entry = TestCluster::of(1).log[1].1.clone();
    let mut machine = TestCluster::of(1).machine;
    for _ in 0..12_000 {
        apply(&mut machine, std::slice::from_ref(&entry));
    }
    let hashes: Vec<u64> = machine
        .parts()
        .hashes()
        .kept()
        .map(|one| one.index)
        .collect();
    assert_eq!(hashes.len(), 8);
    for pair in hashes.windows(2) {
        assert_eq!(pair[0] / 1000 + 1, pair[1] / 1000, "{hashes:?}");
    }
    assert_eq!(restored(&machine), machine);
}

#[test]
fn states_that_differ_have_hashes_that_differ() {
    let config = |document: &'static str| RegistryCommand::ApplyConfig {
        change: ConfigChange {
            expected_version: 0,
            note: ChangeNote::default(),
        },
        document: Bytes::from_static(document.as_bytes()),
        prune: false,
    };
    let hash = |document| {
        let mut cluster = TestCluster::of(1);
        cluster.done(config(document));
        super::super::snapshot::hash(&cluster.machine)
    };
    assert_eq!(hash("{}"), hash("{}"));
    assert_ne!(hash("{}"), hash("[]"));
}

fn check_refused(records: Vec<Bytes>, want: &str) {
    let error = restore(records.into_iter().map(Ok::<_, WireError>)).unwrap_err();
    assert_eq!(error.to_string(), want);
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused() {
    let mut cluster = TestCluster::of(1);
    cluster.done(RegistryCommand::ApplyConfig {
        change: ConfigChange {
            expected_version: 0,
            note: ChangeNote::default(),
        },
        document: Bytes::from_static(b"{}"),
        prune: false,
    });
    let all: Vec<Bytes> = records(&cluster.machine).collect();
    let missing = " is missing or holds what this version does not know";
    check_refused(Vec::new(), &format!("header of the snapshot{missing}"));
    check_refused(
        all[1..].to_vec(),
        &format!("order of the snapshot{missing}"),
    );
    let twice = vec![all[0].clone(), all[0].clone()];
    check_refused(twice, &format!("order of the snapshot{missing}"));
    let document = lockgate_proto::peer::v1::SnapshotRecord::decode;
    let without = all.iter().filter(|record| {
        use lockgate_proto::peer::v1::snapshot_record::Part;
        let part = document((*record).clone()).unwrap().part;
        !matches!(part, Some(Part::Document(_)))
    });
    check_refused(
        without.cloned().collect(),
        &format!("document of a configuration version{missing}"),
    );
    let unknown = Bytes::from_static(&[0xc2, 0x3e, 0x00]);
    check_refused(
        vec![all[0].clone(), unknown],
        &format!("part of the snapshot{missing}"),
    );
}
