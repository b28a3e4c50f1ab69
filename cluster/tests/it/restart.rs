//! What holds across restarts and between handles.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use lockgate_cluster::{
    ApiKey, Cluster, Command, KeyMac, OpenError, ProposeError, ReadError, Refusal, RegistryCommand,
    Reply, SecretsCommand, View,
};
use proptest::prelude::*;

use crate::{key, noon, open};

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    assert_eq!(cluster.propose(key("ci", 1)).await.unwrap(), Reply::Done);
    let add = RegistryCommand::AddServer {
        name: "github".into(),
        settings: r#"{"url":"http://h/mcp"}"#.to_owned(),
    };
    cluster.propose(add.into()).await.unwrap();
    let before = cluster.view();
    cluster.close().await;

    let after = open(dir.path()).view();
    assert_eq!(after.keys(), before.keys());
    assert_eq!(after.keys()["ci"].created_at_ms, 1_709_210_096_007);
    assert_eq!(after.servers(), before.servers());
    assert_eq!(after.keyring(), before.keyring());
    assert!(after.index() > before.index(), "the start is an entry, too");
}

#[tokio::test]
async fn a_long_log_is_replaced_by_a_snapshot_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    cluster.propose(key("ci", 0)).await.unwrap();
    let mut rotations = tokio::task::JoinSet::new();
    for n in 1..=10_500_u32 {
        let cluster = cluster.clone();
        let mut mac = [7; 32];
        mac[..4].copy_from_slice(&n.to_le_bytes());
        rotations.spawn(async move {
            let rotate = RegistryCommand::RotateKey {
                id: "ci".to_owned(),
                mac: KeyMac(mac),
            };
            cluster.propose(rotate.into()).await.map(|_| ())
        });
    }
    while let Some(rotated) = rotations.join_next().await {
        rotated.unwrap().unwrap();
    }
    let before = cluster.view();
    cluster.close().await;
    let after = open(dir.path()).view();
    assert_eq!(after.keys(), before.keys());
    assert!(after.index() > before.index());
}

#[tokio::test]
async fn each_start_has_a_number_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for boot in 1..=3 {
        let cluster = open(dir.path());
        assert_eq!((cluster.view().node(), cluster.view().boot()), ("n1", boot));
        cluster.close().await;
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _cluster = open(dir.path());
    let error = Cluster::open(dir.path(), noon).unwrap_err();
    let want = format!(
        "data directory `{}` is in use by process {}; stop that process or choose another data_dir",
        dir.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), want);
}

#[tokio::test]
async fn a_closed_cluster_takes_nothing_and_keeps_its_last_view() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    let mut watch = cluster.watch();
    cluster.close().await;
    assert!(matches!(
        cluster.propose(key("ci", 1)).await,
        Err(ProposeError::Closed)
    ));
    assert_eq!(cluster.read().await.unwrap_err(), ReadError::Closed);
    assert!(watch.changed().await.is_err());
    assert_eq!(cluster.view().boot(), 1);
    cluster.close().await;
}

fn server(name: &str) -> Command {
    RegistryCommand::AddServer {
        name: name.into(),
        settings: "{}".to_owned(),
    }
    .into()
}

/// What is refused while `ci` is a key with value 1, `old` a revoked one with value 2, and `github` a server.
fn refused() -> Vec<(Command, Refusal)> {
    let id = |id: &str| id.to_owned();
    vec![
        (key("ci", 9), Refusal::KeyExists { id: id("ci") }),
        (key("old", 9), Refusal::KeyExists { id: id("old") }),
        (key("new", 1), Refusal::KeyValueTaken { id: id("ci") }),
        (key("new", 2), Refusal::KeyValueTaken { id: id("old") }),
        (
            key("", 9),
            Refusal::BadLength {
                what: "key id",
                limit: 128,
            },
        ),
        (
            RegistryCommand::RotateKey {
                id: id("no"),
                mac: KeyMac([9; 32]),
            }
            .into(),
            Refusal::UnknownKey { id: id("no") },
        ),
        (
            RegistryCommand::RotateKey {
                id: id("old"),
                mac: KeyMac([9; 32]),
            }
            .into(),
            Refusal::KeyRevoked { id: id("old") },
        ),
        (
            RegistryCommand::RevokeKey { id: id("no") }.into(),
            Refusal::UnknownKey { id: id("no") },
        ),
        (
            server("github"),
            Refusal::ServerExists {
                name: "github".into(),
            },
        ),
        (
            RegistryCommand::RemoveServer { name: "no".into() }.into(),
            Refusal::UnknownServer { name: "no".into() },
        ),
        (
            SecretsCommand::InstallKeyring {
                envelope: Vec::new(),
            }
            .into(),
            Refusal::KeyringInstalled,
        ),
    ]
}

#[tokio::test]
async fn refusals_are_typed_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    cluster.propose(key("ci", 1)).await.unwrap();
    cluster.propose(key("old", 2)).await.unwrap();
    cluster
        .propose(
            RegistryCommand::RevokeKey {
                id: "old".to_owned(),
            }
            .into(),
        )
        .await
        .unwrap();
    cluster.propose(server("github")).await.unwrap();
    let before = cluster.view();

    for (command, want) in refused() {
        match cluster.propose(command.clone()).await {
            Err(ProposeError::Refused(refusal)) => assert_eq!(refusal, want),
            other => panic!("{command:?}: {other:?}"),
        }
    }
    let after = cluster.view();
    assert_eq!(
        (after.keys(), after.servers()),
        (before.keys(), before.servers())
    );
}

#[tokio::test]
async fn a_read_sees_what_was_proposed_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    for n in 0..50_u8 {
        cluster.propose(key(&format!("k{n}"), n)).await.unwrap();
        assert!(
            cluster.view().keys().contains_key(&format!("k{n}")),
            "an answer comes after its view"
        );
    }
    assert_eq!(cluster.read().await.unwrap().keys().len(), 50);
}

#[tokio::test]
async fn a_watcher_hears_of_changes() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path());
    let mut watch = cluster.watch();
    let before: Arc<View> = watch.borrow_and_update().clone();
    cluster.propose(key("ci", 1)).await.unwrap();
    watch.changed().await.unwrap();
    assert!(before.keys().is_empty(), "a view never changes");
    assert!(watch.borrow().keys().contains_key("ci"));
}

#[tokio::test]
async fn secrets_are_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let cluster = open(&data);
    let pepper = *cluster.view().keyring().pepper().expose();
    cluster.close().await;
    let mode = |name: &str| {
        std::fs::metadata(data.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode("cluster"), mode("cluster/key"), mode("lock")),
        (0o700, 0o600, 0o600)
    );
    let log = std::fs::read(data.join("cluster/log/db")).unwrap();
    assert!(
        !log.windows(32).any(|window| window == pepper),
        "the store holds envelopes only"
    );
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().await;
    let path = dir.path().join("cluster/key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Cluster::open(dir.path(), noon).unwrap_err();
    assert!(
        matches!(error, OpenError::KeyFileExposed { mode: 0o640, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_file_of_another_cluster_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(dir.path()).close().await;
    open(other.path()).close().await;
    std::fs::copy(
        other.path().join("cluster/key"),
        dir.path().join("cluster/key"),
    )
    .unwrap();
    assert!(matches!(
        Cluster::open(dir.path(), noon),
        Err(OpenError::KeyFileForeign { .. })
    ));
    std::fs::write(dir.path().join("cluster/key"), b"short").unwrap();
    assert!(matches!(
        Cluster::open(dir.path(), noon),
        Err(OpenError::KeyFileBroken { .. })
    ));
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let id = || "[ab]".prop_map(String::from);
    let one = prop_oneof![
        (id(), 0..6_u8).prop_map(|(id, value)| key(&id, value)),
        (id(), 0..6_u8).prop_map(|(id, value)| {
            let mac = KeyMac([value; 32]);
            RegistryCommand::RotateKey { id, mac }.into()
        }),
        id().prop_map(|id| RegistryCommand::RevokeKey { id }.into()),
        id().prop_map(|id| server(&id)),
        id().prop_map(|id| RegistryCommand::RemoveServer {
            name: id.as_str().into()
        }
        .into()),
    ];
    prop::collection::vec(one, 0..20)
}

/// Keys without the places of their entries in the log, where every start of the node has an entry, too.
fn keys(view: &View) -> BTreeMap<String, ApiKey> {
    let mut keys = view.keys().clone();
    for key in keys.values_mut() {
        key.revoked_index = key.revoked_index.map(|_| 0);
    }
    keys
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_restart_at_any_point_changes_nothing(commands in commands(), at in any::<prop::sample::Index>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let restart_at = at.index(commands.len() + 1);
        let (straight, restarted) = runtime.block_on(async {
            let straight = open(one.path());
            let mut restarted = open(two.path());
            for (n, command) in commands.into_iter().enumerate() {
                if n == restart_at {
                    restarted.close().await;
                    restarted = open(two.path());
                }
                let answer = straight.propose(command.clone()).await.map(drop).map_err(|error| error.to_string());
                let same = restarted.propose(command).await.map(drop).map_err(|error| error.to_string());
                assert_eq!(answer, same);
            }
            restarted.close().await;
            (straight.view(), open(two.path()).view())
        });
        prop_assert_eq!(keys(&straight), keys(&restarted));
        prop_assert_eq!(straight.servers(), restarted.servers());
    }
}
