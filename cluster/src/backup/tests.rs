use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockgate_proto::id::NodeName;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::*;
use crate::Cluster;
use crate::command::{Expected, RegisterWrite};
use crate::machine::MemberState;

fn clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000)
}

async fn write(cluster: &Cluster, key: &str, value: &'static str) {
    let write = RegisterWrite {
        key: key.to_owned(),
        expected: Expected::Any,
        value: Some(Bytes::from_static(value.as_bytes())),
    };
    cluster.propose(write.into()).await.unwrap();
}

fn register(cluster: &Cluster, key: &str) -> Option<Bytes> {
    let view = cluster.view();
    view.registers().get(key).map(|one| one.value.clone())
}

/// A snapshot of a cluster of one that has written `before`, in a file; the cluster goes on.
async fn saved(dir: &TempDir) -> (Cluster, PathBuf) {
    let cluster = Cluster::open(&dir.path().join("old"), clock).unwrap();
    write(&cluster, "before", "x").await;
    let saved = cluster.save_snapshot().await.unwrap();
    write(&cluster, "after", "x").await;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < saved.bytes {
        let piece = cluster.read_snapshot(&saved.id, bytes.len() as u64, 100);
        bytes.extend_from_slice(&piece.unwrap());
    }
    let file = dir.path().join("snapshot");
    fs::write(&file, bytes).unwrap();
    (cluster, file)
}

fn options(dir: &TempDir, file: &Path, to: &str) -> RestoreOptions {
    RestoreOptions {
        file: file.to_owned(),
        key: dir.path().join("old/cluster/key"),
        data_dir: dir.path().join(to),
        clock,
        node: NodeName::from("n1"),
        address: None,
    }
}

#[tokio::test]
async fn a_new_cluster_begins_with_what_the_snapshot_holds() {
    let dir = TempDir::new().unwrap();
    let (old, file) = saved(&dir).await;
    let summary = inspect_snapshot(&file).unwrap();
    assert_eq!(Some(summary.cluster), old.view().cluster_id());
    assert_eq!(summary.members, ["n1"]);

    let restoring = options(&dir, &file, "new");
    let restored = spawn_blocking(move || restore_snapshot(&restoring, &mut |_| {}));
    let restored = restored.await.unwrap().unwrap();
    assert_eq!(
        (restored.former, restored.index),
        (summary.cluster, summary.index)
    );
    let new = Cluster::open(&dir.path().join("new"), clock).unwrap();
    let view = new.view();
    assert_eq!(view.cluster_id(), Some(restored.cluster));
    assert_ne!(restored.cluster, restored.former);
    assert_eq!(register(&new, "before").as_deref(), Some(&b"x"[..]));
    assert_eq!(register(&new, "after"), None);
    // What was sealed opens, and the node's starts go on counting.
    assert_eq!(view.keyring(), old.view().keyring());
    assert_eq!(view.boot(), 2);
    let live = view.members().values().filter(|one| one.is_live());
    let live: Vec<_> = live.map(|one| (one.id.0, one.state)).collect();
    assert_eq!(live, [(summary.index + 1, MemberState::Voter)]);

    // It works, and comes back.
    write(&new, "new", "y").await;
    new.save_snapshot().await.unwrap();
    write(&new, "newer", "y").await;
    new.close().await;
    let new = Cluster::open(&dir.path().join("new"), clock).unwrap();
    assert_eq!(new.view().boot(), 3);
    for key in ["before", "new", "newer"] {
        assert!(register(&new, key).is_some(), "{key}");
    }
    new.close().await;
    old.close().await;
}

#[tokio::test]
async fn nothing_is_restored_over_something_or_under_another_key() {
    let dir = TempDir::new().unwrap();
    let (old, file) = saved(&dir).await;
    old.close().await;
    let full = restore_snapshot(&options(&dir, &file, "old"), &mut |_| {}).unwrap_err();
    assert!(matches!(full, RestoreError::NotEmpty { .. }), "{full}");

    let other = dir.path().join("other");
    fs::write(&other, [7; 32]).unwrap();
    let other = RestoreOptions {
        key: other,
        ..options(&dir, &file, "new")
    };
    let refused = restore_snapshot(&other, &mut |_| {}).unwrap_err();
    assert!(
        matches!(refused, RestoreError::OtherKey { .. }),
        "{refused}"
    );
    assert!(!dir.path().join("new").exists());
}

#[tokio::test]
async fn a_snapshot_with_any_byte_changed_or_missing_is_refused() {
    let dir = TempDir::new().unwrap();
    let (old, file) = saved(&dir).await;
    old.close().await;
    let good = fs::read(&file).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&file, &bad).unwrap();
        assert!(inspect_snapshot(&file).is_err(), "byte {at}");
    }
    for length in [0, 1, 8, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        assert!(inspect_snapshot(&file).is_err(), "cut at {length}");
    }
    fs::write(&file, &good).unwrap();
    inspect_snapshot(&file).unwrap();
}

#[tokio::test]
async fn pieces_of_another_snapshot_are_not_mixed_in() {
    let dir = TempDir::new().unwrap();
    let (cluster, _file) = saved(&dir).await;
    let first = cluster.save_snapshot().await.unwrap();
    write(&cluster, "more", "x").await;
    let second = cluster.save_snapshot().await.unwrap();
    assert!(second.index > first.index);
    let gone = cluster.read_snapshot(&first.id, 0, 10).unwrap_err();
    assert!(matches!(gone, SaveError::Replaced { .. }), "{gone}");
    assert_eq!(cluster.read_snapshot(&second.id, 0, 10).unwrap().len(), 10);
    let end = cluster.read_snapshot(&second.id, second.bytes, 10);
    assert_eq!(end.unwrap().len(), 0);
    cluster.close().await;
}

#[tokio::test]
async fn a_stopped_node_has_all_that_it_was_told() {
    let dir = TempDir::new().unwrap();
    let (old, _file) = saved(&dir).await;
    let (data_dir, file) = (dir.path().join("old"), dir.path().join("salvaged"));
    let salvage = |to: &Path| {
        let (data_dir, to) = (data_dir.clone(), to.to_owned());
        spawn_blocking(move || salvage_snapshot(&data_dir, &to))
    };
    let in_use = salvage(&file).await.unwrap().unwrap_err();
    assert!(
        matches!(in_use, SalvageError::Open(crate::OpenError::Locked { .. })),
        "{in_use}"
    );
    let members = old.view().members().len();
    old.close().await;
    let salvaged = salvage(&file).await.unwrap().unwrap();
    let summary = inspect_snapshot(&file).unwrap();
    assert_eq!(
        (summary.index, summary.bytes),
        (salvaged.index, salvaged.bytes)
    );
    assert_eq!(
        (summary.term, summary.members.len()),
        (salvaged.term, members)
    );
    // It had applied all of it.
    assert_eq!(salvaged.records_missing, Some(0));
    // Nobody's file is replaced, and nothing else is left.
    let again = salvage(&file).await.unwrap().unwrap_err();
    assert!(matches!(again, SalvageError::Io { .. }), "{again}");
    assert!(!dir.path().join("salvaged.salvage").exists());

    // As often as it is asked, and the node can still start.
    let old = Cluster::open(&data_dir, clock).unwrap();
    write(&old, "later", "z").await;
    old.close().await;
    let later = dir.path().join("later");
    let second = salvage(&later).await.unwrap().unwrap();
    assert!(second.index > salvaged.index);
    let restoring = options(&dir, &later, "new");
    let restored = spawn_blocking(move || restore_snapshot(&restoring, &mut |_| {}));
    restored.await.unwrap().unwrap();
    let new = Cluster::open(&dir.path().join("new"), clock).unwrap();
    for key in ["before", "after", "later"] {
        assert!(register(&new, key).is_some(), "{key}");
    }
    new.close().await;
}

#[test]
fn only_a_node_has_something_to_salvage() {
    let dir = TempDir::new().unwrap();
    for data_dir in [dir.path(), &dir.path().join("missing")] {
        let refused = salvage_snapshot(data_dir, &dir.path().join("file")).unwrap_err();
        assert!(matches!(refused, SalvageError::NoNode { .. }), "{refused}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
