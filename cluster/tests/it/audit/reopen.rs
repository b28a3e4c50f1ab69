//! Segments across restarts: cut back to what was applied, refused when that is not there.

use lockgate_cluster::audit::filter::{Filter, tail};
use lockgate_cluster::audit::segment::{Manifest, SegmentError, SegmentReader};
use lockgate_cluster::audit::verify::Verdict;
use lockgate_cluster::audit::{AuditEffect, AuditLog, Chained};

use super::{Fixture, open, start, verify};

fn records(log: &Fixture) -> Vec<&Chained> {
    let records = log.effects.iter().filter_map(|effect| match effect {
        AuditEffect::Record(record) => Some(record),
        AuditEffect::Checkpoint { .. } => None,
    });
    records.collect()
}

/// Position after `size` records.
fn position(log: &Fixture, size: usize) -> lockgate_cluster::audit::segment::Position {
    let mut position = start();
    for record in &records(log)[..size] {
        position.frontier.append(record.leaf);
        position.chain = record.chain;
    }
    position
}

/// What a node does that comes back with an older state: it applies the rest of the log again.
fn append_from(
    store: &mut lockgate_cluster::audit::segment::SegmentStore,
    log: &Fixture,
    size: u64,
) {
    let behind = log.effects.iter().filter(|effect| match effect {
        AuditEffect::Record(record) => record.seq >= size,
        AuditEffect::Checkpoint { size: of, .. } => *of > size,
    });
    let behind: Vec<_> = behind.cloned().collect();
    store.append(&behind).unwrap();
    store.sync().unwrap();
}

#[test]
fn segments_are_cut_back_and_grow_again() {
    let log = Fixture::eventful();
    let size = usize::try_from(log.log.size()).unwrap();
    for cut in [0, 1, 39, 40, 41, 80, size - 1, size] {
        let dir = tempfile::tempdir().unwrap();
        drop(log.store(dir.path()));
        let mut store = open(dir.path(), &position(&log, cut)).unwrap();
        assert_eq!(store.size(), cut as u64);
        append_from(&mut store, &log, cut as u64);
        assert_eq!(store.size(), log.log.size());
        drop(store);
        let report = verify(dir.path(), &log.trust(&[1, 2]));
        assert_eq!(report.verdict, Verdict::Good, "{cut}");
        assert_eq!(
            (report.records.end, report.n_checkpoints),
            (size as u64, 3),
            "{cut}"
        );
        assert_eq!(report.root, log.log.frontier().unwrap().root());
    }
}

#[test]
fn a_torn_end_behind_what_was_applied_is_cut() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    let last = log.log.size() / 40 * 40;
    let path = dir.path().join(format!("{last:020}.seg"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[1, 2, 3]);
    std::fs::write(&path, &bytes).unwrap();
    drop(open(dir.path(), &log.position()).unwrap());
    assert_eq!(std::fs::read(&path).unwrap().len(), bytes.len() - 3);
}

#[test]
fn records_that_were_applied_and_are_gone_are_refused() {
    let log = Fixture::eventful();
    let size = log.log.size();
    let last = size / 40 * 40;
    let refused = |damage: &dyn Fn(&std::path::Path)| {
        let dir = tempfile::tempdir().unwrap();
        drop(log.store(dir.path()));
        damage(dir.path());
        open(dir.path(), &log.position()).unwrap_err()
    };
    let name = format!("{last:020}.seg");
    let gone = refused(&|dir| std::fs::remove_file(dir.join(&name)).unwrap());
    assert!(matches!(gone, SegmentError::Short { have, need } if (have, need) == (last, size)));
    let cut = refused(&|dir| {
        let bytes = std::fs::read(dir.join(&name)).unwrap();
        std::fs::write(dir.join(&name), &bytes[..bytes.len() - 1]).unwrap();
    });
    assert!(cut.to_string().contains("cut off"), "{cut}");
    let flipped = refused(&|dir| {
        let mut bytes = std::fs::read(dir.join(&name)).unwrap();
        bytes[60] ^= 1;
        std::fs::write(dir.join(&name), &bytes).unwrap();
    });
    assert!(
        flipped.to_string().contains("damaged at byte 52"),
        "{flipped}"
    );
    let shorter = refused(&|dir| {
        let path = dir.join(format!("{:020}.seg", 40));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    });
    assert!(shorter.to_string().contains("was sealed with"), "{shorter}");
}

#[test]
fn a_manifest_describes_its_segment_and_no_other() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    let manifests = log.store(dir.path()).reader().manifests().unwrap();
    assert!(manifests.len() > 1);
    for manifest in &manifests {
        let path = dir.path().join(format!("{:020}.seg", manifest.first));
        assert!(manifest.describes(dir.path()).unwrap());
        let whole = std::fs::read(&path).unwrap();
        // Header, frame, the end of the last line, and a frame that is cut off.
        for at in [0, 9, 20, 50, 52, 56, 60, 64, 100, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(!manifest.describes(dir.path()).unwrap(), "{at}");
        }
        let end = whole.len() - 1;
        std::fs::write(&path, &whole[..end]).unwrap();
        assert!(!manifest.describes(dir.path()).unwrap());
        let shorter = Manifest {
            count: manifest.count - 1,
            ..manifest.clone()
        };
        std::fs::write(&path, &whole).unwrap();
        assert!(!shorter.describes(dir.path()).unwrap());
    }
}

#[test]
fn segments_of_another_log_are_refused() {
    let log = Fixture::eventful();
    let mut other = Fixture::new();
    other.append(1, log.log.size() - 1);
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    assert!(other.log.size() == log.log.size());
    let refused = open(dir.path(), &other.position()).unwrap_err();
    assert!(
        refused.to_string().contains("not the one that was applied"),
        "{refused}"
    );
}

#[test]
fn the_tree_is_made_anew_from_the_records() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    std::fs::remove_dir_all(dir.path().join("tree")).unwrap();
    std::fs::remove_file(dir.path().join("offsets")).unwrap();
    let store = open(dir.path(), &log.position()).unwrap();
    let root = store
        .reader()
        .tiles()
        .unwrap()
        .frontier(log.log.size())
        .unwrap()
        .root();
    assert_eq!(root, log.log.frontier().unwrap().root());
    let mut records = store.reader().records(57, 59).unwrap();
    assert_eq!(records.next().unwrap().unwrap().seq, 57);
}

#[test]
fn what_is_pruned_leaves_its_nodes() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    let mut store = log.store(dir.path());
    assert_eq!(store.prune(90).unwrap(), 80);
    let reader = store.reader();
    assert!(matches!(
        reader.records(79, 90),
        Err(SegmentError::Pruned { first: 80 })
    ));
    drop(store);
    let store = open(dir.path(), &log.position()).unwrap();
    assert!(lockgate_cluster::audit::prove::prove(&store.reader(), 90).is_ok());
    let report = verify(dir.path(), &log.trust(&[1, 2]));
    assert_eq!(report.verdict, Verdict::Good);
    assert_eq!(report.records, 80..log.log.size());
}

#[test]
fn a_record_that_does_not_follow_or_has_no_key_is_refused() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    let mut store = log.store(dir.path());
    let again = store.append(&log.effects[..1]);
    assert!(matches!(
        again,
        Err(SegmentError::OutOfOrder { got: 0, .. })
    ));
    store.set_keys(super::mac_keys(&[1]));
    let mut more = Fixture::eventful();
    let n_before = more.effects.len();
    more.append(0, 1);
    let refused = store.append(&more.effects[n_before..]);
    assert!(matches!(refused, Err(SegmentError::NoKey { key_id: 2 })));
}

#[test]
fn the_last_records_are_found_by_their_fields() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    let store = log.store(dir.path());
    let reader: SegmentReader = store.reader();
    let size = log.log.size();
    let all = tail(&reader, &Filter::default(), 3, 0..u64::MAX).unwrap();
    assert_eq!((all.lines.len(), all.start), (3, size - 3));
    let filter = Filter {
        equal: vec![("node".to_owned(), "n2".to_owned())],
        ..Filter::default()
    };
    let mut whole = tail(&reader, &filter, usize::MAX, 0..size).unwrap();
    let is_wanted = |line: &String| line.contains("\"node\":\"n2\"");
    assert!(whole.lines.len() > 2 && whole.lines.iter().all(is_wanted));
    assert_eq!(whole.start, 0);
    // Going back from where the last piece began finds each of them once.
    let mut end = size;
    while end > 0 {
        let found = tail(&reader, &filter, 2, 0..end).unwrap();
        let rest = whole.lines.len() - found.lines.len();
        assert_eq!(whole.lines.split_off(rest), found.lines);
        assert!(found.lines.len() == 2 || found.start == 0);
        end = found.start;
    }
    assert!(whole.lines.is_empty());
    let none = tail(&reader, &filter, 2, size..u64::MAX).unwrap();
    assert_eq!((none.start, none.lines.len()), (size, 0));
    assert_eq!(tail(&reader, &filter, 0, 0..size).unwrap().start, size);
}

#[test]
fn all_nodes_write_the_same_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        drop(Fixture::eventful().store(dir.path()));
    }
    let name = format!("{:020}.seg", 40);
    let [one, two] = dirs.map(|dir| std::fs::read(dir.path().join(&name)).unwrap());
    assert_eq!(one, two);
    assert_ne!(AuditLog::default(), Fixture::eventful().log);
}
