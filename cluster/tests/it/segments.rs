//! Records that a node proposes end in its segments, once, whatever ends the node.

use std::path::Path;

use bytes::Bytes;
use lockgate_cluster::audit::verify::{Verdict, verify_segments};
use lockgate_cluster::audit::{Appended, AuditCommand, AuditReply, Kind, Origin, Record};
use lockgate_cluster::{Cluster, Reply};

use super::open;

fn lines(boot: u64, seqs: std::ops::RangeInclusive<u64>) -> Vec<Bytes> {
    let line = |local_seq| {
        let origin = Origin {
            node: "n1",
            boot,
            local_seq,
        };
        let mut line = Vec::new();
        Record::new(origin, 1_709_210_096_007, Kind::Call).write(&mut line);
        line.into()
    };
    seqs.map(line).collect()
}

async fn append(cluster: &Cluster, boot: u64, seqs: std::ops::RangeInclusive<u64>) -> Appended {
    let command = AuditCommand::Append {
        node: "n1".to_owned(),
        boot,
        first_local_seq: *seqs.start(),
        lines: lines(boot, seqs),
    };
    match cluster.propose(command.into()).await.unwrap() {
        Reply::Audit(AuditReply::Appended(appended)) => appended,
        other => panic!("{other:?}"),
    }
}

/// Opens the node, which writes what it has applied, and verifies that there are so many records.
async fn check(dir: &Path, records: u64) {
    let cluster = open(dir);
    // Closing waits for the segments, too.
    let trust = cluster.view().audit_trust().unwrap();
    assert_eq!(cluster.view().audit().size(), records);
    cluster.close().await;
    let reader = lockgate_cluster::audit::segment::SegmentReader::open(&dir.join("cluster/audit"));
    let report = verify_segments(&reader.unwrap(), &trust, Some(records), |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::Good);
    assert_eq!(report.records, 0..records);
}

#[tokio::test]
async fn appended_records_are_in_the_segments_once() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    assert_eq!(append(&cluster, 1, 1..=5).await.seqs, 0..5);
    let again = append(&cluster, 1, 3..=7).await;
    assert_eq!((again.seqs, again.n_duplicates), (5..7, 3));
    cluster.close().await;
    check(dir.path(), 7).await;
}

#[tokio::test]
async fn a_restart_makes_the_segments_of_what_was_applied() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    append(&cluster, 1, 1..=50).await;
    cluster.close().await;
    std::fs::remove_dir_all(dir.path().join("cluster/audit")).unwrap();
    check(dir.path(), 50).await;
}

#[tokio::test]
async fn followers_are_told_of_records_when_a_checkpoint_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    let mut views = cluster.watch();
    append(&cluster, 1, 1..=1).await;
    views.borrow_and_update();
    append(&cluster, 1, 2..=5).await;
    assert!(!views.has_changed().unwrap());
    assert_eq!(views.borrow().audit().size(), 5, "who looks sees them");
    append(&cluster, 1, 6..=1024).await;
    assert!(views.has_changed().unwrap());
    assert_eq!(views.borrow_and_update().audit().size(), 1024);
}
