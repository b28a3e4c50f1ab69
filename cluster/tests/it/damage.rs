//! Files that a crash cut off, and files that were damaged later: what was acknowledged is there, or the node refuses
//! to start. It never starts with less.

use std::fs;
use std::path::Path;

use lockgate_cluster::Cluster;

use crate::{key, noon, open};

/// Copies a data directory, as a crash or a backup would leave it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Number of keys in the directory, or the refusal.
async fn keys_in(dir: &Path) -> Result<usize, String> {
    match Cluster::open(dir, noon) {
        Ok(cluster) => {
            let n_keys = cluster.view().keys().len();
            cluster.close().await;
            Ok(n_keys)
        }
        Err(error) => Err(error.to_string()),
    }
}

const SLED: &str = "cluster/log/db";
const JOURNAL: &str = "cluster/journal-0";

/// Makes a store with this many keys, copies it, lets `damage` at this file of the copy, and opens the copy.
async fn damaged(
    n_keys: u8,
    file: &str,
    damage: impl FnOnce(&mut Vec<u8>),
) -> Result<usize, String> {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = open(dir.path());
    for n in 0..n_keys {
        cluster.propose(key(&format!("k{n}"), n)).await.unwrap();
    }
    copy(dir.path(), crashed.path());
    let file = crashed.path().join(file);
    let mut bytes = fs::read(&file).unwrap();
    damage(&mut bytes);
    fs::write(&file, bytes).unwrap();
    keys_in(crashed.path()).await
}

/// Either nothing is missing, or the refusal names what it is about.
#[track_caller]
fn check_whole(keys: Result<usize, String>, file: &str, how: &str) {
    match keys {
        Ok(keys) => assert_eq!(keys, 40, "{file}, {how}"),
        Err(error) => assert!(
            error.contains("cluster/log`") || error.contains(file),
            "{file}, {how}: {error}"
        ),
    }
}

#[tokio::test]
async fn a_copy_taken_while_running_has_all_that_was_answered() {
    assert_eq!(damaged(40, SLED, |_| {}).await, Ok(40));
}

#[tokio::test]
async fn a_store_that_lost_its_end_never_opens_with_less() {
    for kept_percent in [0, 1, 10, 50, 90, 99] {
        for file in [SLED, JOURNAL] {
            let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() * kept_percent / 100);
            let keys = damaged(40, file, cut).await;
            check_whole(keys, file, &format!("{kept_percent} %"));
        }
    }
}

#[tokio::test]
async fn a_damaged_byte_never_opens_with_less() {
    for at_percent in (0..100).step_by(7) {
        for file in [SLED, JOURNAL] {
            let flip = |bytes: &mut Vec<u8>| {
                let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                bytes[used * at_percent / 100] ^= 0x55;
            };
            let keys = damaged(40, file, flip).await;
            check_whole(keys, file, &format!("{at_percent} %"));
        }
    }
}

#[tokio::test]
async fn a_journal_without_its_end_is_refused() {
    // Nothing of it is in sled's file yet, as it is so little.
    let error = damaged(40, JOURNAL, |bytes| bytes.truncate(4096)).await;
    let error = error.unwrap_err();
    assert!(error.contains("its end is missing"), "{error}");
}

#[tokio::test]
async fn a_write_that_was_cut_off_takes_nothing_else_along() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    let mut copies = Vec::new();
    for n in 0..20_u8 {
        cluster.propose(key(&format!("k{n}"), n)).await.unwrap();
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());
        copies.push((usize::from(n) + 1, crashed));
    }
    cluster.close().await;
    for (answered, crashed) in copies {
        assert_eq!(keys_in(crashed.path()).await, Ok(answered));
    }
}

#[tokio::test]
async fn a_store_that_is_gone_is_not_replaced_by_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    for file in ["journal-0", "journal-1"] {
        fs::remove_file(dir.path().join("cluster").join(file)).unwrap();
    }
    fs::remove_dir_all(dir.path().join("cluster/log")).unwrap();
    let error = keys_in(dir.path()).await.unwrap_err();
    assert!(
        error.contains("is damaged at entry 0: its end is missing"),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_is_gone_is_not_replaced_by_what_the_journal_has() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    // Begins the journal anew, so that the first writes are in the store alone.
    open(dir.path()).close().await;
    fs::remove_dir_all(dir.path().join("cluster/log")).unwrap();
    let error = keys_in(dir.path()).await.unwrap_err();
    assert!(
        error.contains("cluster/journal-0` is damaged at byte"),
        "{error}"
    );
    assert!(error.contains("write 1 is missing"), "{error}");
}
