//! Files that a crash cut off, and files that were damaged later: what was acknowledged is there, or the node refuses
//! to start. It never starts with less.

use std::fs;
use std::path::{Path, PathBuf};

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

/// Makes a store with this many keys, copies it, lets `damage` at the copy's sled file, and opens the copy.
async fn damaged(
    n_keys: u8,
    damage: impl FnOnce(&mut Vec<u8>),
) -> (Result<usize, String>, PathBuf) {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = open(dir.path());
    for n in 0..n_keys {
        cluster.propose(key(&format!("k{n}"), n)).await.unwrap();
    }
    copy(dir.path(), crashed.path());
    let db = crashed.path().join("cluster/log/db");
    let mut bytes = fs::read(&db).unwrap();
    damage(&mut bytes);
    fs::write(&db, bytes).unwrap();
    (keys_in(crashed.path()).await, db)
}

#[tokio::test]
async fn a_copy_taken_while_running_has_all_that_was_answered() {
    let (keys, _) = damaged(40, |_| {}).await;
    assert_eq!(keys, Ok(40));
}

#[tokio::test]
async fn a_store_that_lost_its_end_never_opens_with_less() {
    for kept_percent in [0, 1, 10, 50, 90, 99] {
        let (keys, _) = damaged(40, |bytes| bytes.truncate(bytes.len() * kept_percent / 100)).await;
        // sled grows its file in steps, so that an end without entries may be missing without loss.
        match keys {
            Ok(keys) => assert_eq!((keys, kept_percent > 1), (40, true), "{kept_percent} %"),
            Err(error) => assert!(
                error.contains("cluster/log") || error.contains("damaged"),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn a_damaged_byte_never_opens_with_less() {
    for at_percent in (0..100).step_by(7) {
        let (keys, _) = damaged(40, |bytes| {
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            bytes[used * at_percent / 100] ^= 0x55;
        })
        .await;
        match keys {
            Ok(keys) => assert_eq!(keys, 40, "{at_percent} %"),
            Err(error) => assert!(error.contains("cluster/log"), "{error}"),
        }
    }
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
    fs::remove_dir_all(dir.path().join("cluster/log")).unwrap();
    let error = keys_in(dir.path()).await.unwrap_err();
    assert!(
        error.contains("is damaged at entry 0: its end is missing"),
        "{error}"
    );
}
