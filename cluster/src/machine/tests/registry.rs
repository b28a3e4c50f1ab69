use bytes::Bytes;

use crate::command::{
    ChangeNote, ConfigChange, Expected, NewKey, RegisterWrite, RegistryCommand, Reply,
    SecretsCommand,
};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{KeyMac, Refusal};

fn change(expected_version: u64) -> ConfigChange {
    ConfigChange {
        expected_version,
        note: ChangeNote {
            who: "ops".to_owned(),
            why: String::new(),
        },
    }
}

fn apply(expected_version: u64, document: impl Into<Bytes>) -> RegistryCommand {
    RegistryCommand::ApplyConfig {
        change: change(expected_version),
        document: document.into(),
        prune: false,
    }
}

fn roll_back(expected_version: u64, to: u64) -> RegistryCommand {
    RegistryCommand::RollBackConfig {
        change: change(expected_version),
        to,
    }
}

fn key(id: &str, value: u8) -> RegistryCommand {
    RegistryCommand::CreateKey(NewKey {
        id: id.to_owned(),
        mac: KeyMac([value; 32]),
        principal: "ci-bot".into(),
        tenant: None,
        roles: Vec::new(),
    })
}

fn server(name: &str) -> RegistryCommand {
    RegistryCommand::AddServer {
        name: name.into(),
        settings: "{}".to_owned(),
    }
}

#[track_caller]
fn check(reply: &Reply, want_version: u64, want_changed: bool) {
    match reply {
        Reply::Configured {
            version, changed, ..
        } => assert_eq!((*version, *changed), (want_version, want_changed)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_of_the_configuration_names_the_version_that_it_saw() {
    let mut cluster = TestCluster::of(1);
    check(&cluster.done(apply(0, "{}")), 1, true);
    let stale = Refusal::StaleConfig { version: 1 };
    assert_eq!(cluster.propose(apply(0, "[]")), Err(stale.clone()));
    assert_eq!(cluster.propose(apply(2, "[]")), Err(stale.clone()));
    assert_eq!(cluster.propose(roll_back(0, 1)), Err(stale));
    check(&cluster.done(apply(1, "[]")), 2, true);
    let config = &cluster.parts().registry().config;
    assert_eq!(config.current().unwrap().1, "[]");
    assert_eq!(config.document(1).unwrap(), "{}");
}

#[test]
fn the_document_in_force_again_is_no_new_version() {
    let mut cluster = TestCluster::of(1);
    cluster.done(apply(0, "{}"));
    check(&cluster.done(apply(1, "{}")), 1, false);
    check(&cluster.done(roll_back(1, 1)), 1, false);
}

#[test]
fn a_rollback_is_a_new_version_with_an_old_document() {
    let mut cluster = TestCluster::of(1);
    cluster.done(apply(0, "{}"));
    cluster.done(apply(1, "[]"));
    check(&cluster.done(roll_back(2, 1)), 3, true);
    let config = &cluster.parts().registry().config;
    let (version, document) = config.current().unwrap();
    assert_eq!(
        (version.rolled_back_to, &document[..]),
        (Some(1), &b"{}"[..])
    );
    let unknown = Refusal::UnknownVersion { version: 9 };
    assert_eq!(cluster.propose(roll_back(3, 9)), Err(unknown));
}

#[test]
fn a_hundred_versions_are_kept() {
    let mut cluster = TestCluster::of(1);
    for version in 0..150 {
        cluster.done(apply(version, format!("{}", version % 120)));
    }
    let config = &cluster.parts().registry().config;
    let kept: Vec<u64> = config.versions().map(|one| one.version).collect();
    assert_eq!(kept, (51..=150).collect::<Vec<_>>());
    assert!(config.document(50).is_none());
    assert_eq!(config.document(51).unwrap(), "50");
    assert_eq!(config.documents.len(), 100);
}

#[test]
fn large_documents_leave_the_history_earlier() {
    let mut cluster = TestCluster::of(1);
    for version in 0..12_u8 {
        cluster.done(apply(u64::from(version), vec![version; 1 << 20]));
    }
    let config = &cluster.parts().registry().config;
    assert_eq!(config.versions().len(), 8);
    assert!(config.current().is_some());
    let too_long = cluster.propose(apply(12, vec![0; (1 << 20) + 1]));
    assert!(matches!(too_long, Err(Refusal::BadLength { .. })));
}

#[test]
fn what_was_added_beside_the_document_survives_it_unless_it_prunes() {
    let mut cluster = TestCluster::of(1);
    cluster.done(key("ci", 1));
    cluster.done(key("old", 2));
    let id = "old".to_owned();
    cluster.done(RegistryCommand::RevokeKey { id });
    cluster.done(server("github"));
    cluster.done(apply(0, "{}"));
    let registry = cluster.parts().registry();
    assert_eq!(registry.servers.in_order().len(), 1);
    assert!(registry.keys.by_id()["ci"].revoked_at_ms.is_none());

    let reply = cluster.done(RegistryCommand::ApplyConfig {
        change: change(1),
        document: "{}".into(),
        prune: true,
    });
    let Reply::Configured {
        keys_pruned,
        servers_pruned,
        index,
        ..
    } = reply
    else {
        panic!("{reply:?}");
    };
    assert_eq!((keys_pruned, servers_pruned), (1, 1));
    let registry = cluster.parts().registry();
    assert!(registry.servers.in_order().is_empty());
    let ci = &registry.keys.by_id()["ci"];
    assert_eq!(ci.revoked_index, Some(index));
}

#[test]
fn a_revocation_names_the_entry_that_first_did_it() {
    let mut cluster = TestCluster::of(1);
    cluster.done(key("ci", 1));
    let revoke = || RegistryCommand::RevokeKey {
        id: "ci".to_owned(),
    };
    let first = cluster.done(revoke());
    let index = cluster.machine.position().index;
    assert_eq!(first, Reply::Revoked { index });
    assert_eq!(cluster.done(revoke()), first);
}

#[test]
fn a_register_is_written_only_as_expected() {
    let mut cluster = TestCluster::of(1);
    let mut write = |expected, value: Option<&str>| {
        let key = "k".to_owned();
        let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let reply = cluster.propose(RegisterWrite {
            key,
            expected,
            value,
        });
        reply.map(|reply| match reply {
            Reply::Written { revision } => revision,
            other => panic!("{other:?}"),
        })
    };
    let stale = |revision| {
        let key = "k".to_owned();
        Err(Refusal::StaleRegister { key, revision })
    };
    assert_eq!(write(Expected::Value("a".into()), Some("b")), stale(0));
    assert_eq!(write(Expected::Revision(0), Some("b")), stale(0));
    let first = write(Expected::Absent, Some("a")).unwrap();
    assert_eq!(write(Expected::Absent, Some("b")), stale(first));
    assert_eq!(write(Expected::Value("b".into()), None), stale(first));
    let second = write(Expected::Value("a".into()), Some("b")).unwrap();
    assert!(second > first);
    assert_eq!(write(Expected::Revision(first), None), stale(second));
    write(Expected::Revision(second), None).unwrap();
    write(Expected::Absent, Some("c")).unwrap();
    write(Expected::Any, None).unwrap();
    write(Expected::Any, None).unwrap();
}

#[test]
fn registers_are_bounded() {
    let mut cluster = TestCluster::of(1);
    let write = |key: &str, bytes| RegisterWrite {
        key: key.to_owned(),
        expected: Expected::Any,
        value: Some(vec![0; bytes].into()),
    };
    let refused = cluster.propose(write("k", 4097));
    assert!(matches!(refused, Err(Refusal::BadLength { .. })));
    for n in 0..4096 {
        cluster.done(write(&n.to_string(), 0));
    }
    let refused = cluster.propose(write("one too many", 0));
    assert_eq!(refused, Err(Refusal::TooMany { limit: 4096 }));
    cluster.done(write("7", 4096));
}

#[test]
fn a_keyring_is_replaced_by_the_successor_of_itself_only() {
    let mut cluster = TestCluster::of(1);
    let replace = |expected_revision| SecretsCommand::ReplaceKeyring {
        expected_revision,
        envelope: vec![2],
    };
    let stale = |revision| Err(Refusal::StaleKeyring { revision });
    assert_eq!(cluster.propose(replace(0)), stale(0));
    let envelope = vec![1];
    cluster.done(SecretsCommand::InstallKeyring { envelope });
    let revision = cluster.machine.position().index;
    assert_eq!(cluster.propose(replace(revision + 1)), stale(revision));
    cluster.done(replace(revision));
    assert_eq!(cluster.parts().secrets().keyring(), Some(&[2][..]));
}
