//! Bytes that this version writes, as they were when they were written down: another version reads exactly these.
//!
//! A line that differs means that the format has changed: a node of the other version would read something else, or
//! nothing. A change that every version reads alike is new lines; any other is a new format, with a row in
//! `lockgate_proto::peer::compat::RELEASES` and a file of its own.

mod audit;
mod quota;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lockgate_proto::id::{Epoch, NodeId, ShardId};
use lockgate_proto::peer::compat::{Formats, OURS};
use lockgate_proto::peer::v1::SnapshotRecord;
use prost::Message;

use super::{decode_entry, decode_outcome, encode_entry, encode_outcome};
use crate::command::{
    ApprovalRequest, ApprovalsCommand, ChangeNote, Command, ConfigChange, Entry, Expected, Fence,
    JoinProof, JoinRequest, JoinRole, NewKey, NodesCommand, Origin, Outcome, RegisterWrite,
    RegistryCommand, Reply, SecretsCommand, ShardChange, ShardStep, ShardsCommand, Speaks, Verdict,
};
use crate::machine::snapshot::{records, restore};
use crate::machine::test_cluster::TestCluster;
use crate::machine::{KeyMac, Refusal};

const MAC: KeyMac = KeyMac([0xa1; 32]);

/// Every command, by what its line is called.
fn commands() -> Vec<(&'static str, Command)> {
    let mut all = registry();
    all.extend(nodes());
    all.extend(shards());
    all.extend(others());
    all.extend(quota::commands());
    all.extend(audit::commands());
    all
}

fn note() -> ChangeNote {
    ChangeNote {
        who: "ops".to_owned(),
        why: "because".to_owned(),
    }
}

fn registry() -> Vec<(&'static str, Command)> {
    use RegistryCommand as C;
    let id = || "ci".to_owned();
    let change = || ConfigChange {
        expected_version: 6,
        note: note(),
    };
    let key = NewKey {
        id: id(),
        mac: MAC,
        principal: "ci-bot".into(),
        tenant: Some("acme".into()),
        roles: vec!["engineer".into()],
    };
    let settings = r#"{"url":"http://h/mcp"}"#.to_owned();
    let name = || "github".into();
    let document = Bytes::from_static(b"{}");
    vec![
        ("create_key", C::CreateKey(key).into()),
        ("rotate_key", C::RotateKey { id: id(), mac: MAC }.into()),
        ("revoke_key", C::RevokeKey { id: id() }.into()),
        (
            "add_server",
            C::AddServer {
                name: name(),
                settings,
            }
            .into(),
        ),
        ("remove_server", C::RemoveServer { name: name() }.into()),
        (
            "apply_config",
            C::ApplyConfig {
                change: change(),
                document,
                prune: true,
            }
            .into(),
        ),
        (
            "roll_back_config",
            C::RollBackConfig {
                change: change(),
                to: 4,
            }
            .into(),
        ),
    ]
}

fn nodes() -> Vec<(&'static str, Command)> {
    use NodesCommand as C;
    // Not this build's: the line must not change with the version.
    let speaks = || Speaks {
        version: "0.1.0".to_owned(),
        formats: Formats {
            entry: 1,
            snapshot: 1,
            wire: 1,
        },
    };
    let address = || "h:7800".to_owned();
    let (id, digest, nonce) = (|| "t".to_owned(), [0xd1; 32], [0xb2; 16]);
    let join = |proof| {
        C::Join(JoinRequest {
            name: "n2".into(),
            address: address(),
            nonce,
            speaks: speaks(),
            proof,
            learner: false,
        })
    };
    let learner = C::Join(JoinRequest {
        name: "n3".into(),
        address: address(),
        nonce,
        speaks: speaks(),
        proof: JoinProof::Peer,
        learner: true,
    });
    let found = C::Found {
        cluster: [0xc1; 16],
        name: "n1".into(),
        address: address(),
        speaks: speaks(),
    };
    let boot = C::Boot {
        name: "n1".into(),
        address: address(),
        nonce,
        speaks: speaks(),
    };
    let create_token = C::CreateToken {
        id: id(),
        digest,
        role: JoinRole::Voter,
        lifetime_ms: 600_000,
    };
    let (voters, learners) = (vec![NodeId(1), NodeId(300)], vec![NodeId(7)]);
    let node = NodeId(300);
    vec![
        ("found", found.into()),
        ("boot", boot.into()),
        ("create_token", create_token.into()),
        ("revoke_token", C::RevokeToken { id: id() }.into()),
        (
            "join_by_token",
            join(JoinProof::Token { id: id(), digest }).into(),
        ),
        ("join_as_peer", join(JoinProof::Peer).into()),
        ("seat", C::Seat { voters, learners }.into()),
        ("drain", C::Drain { node, on: true }.into()),
        ("remove", C::Remove { node, lost: true }.into()),
        ("promote", C::Promote { node }.into()),
        ("join_as_learner", learner.into()),
    ]
}

fn shards() -> Vec<(&'static str, Command)> {
    use ShardStep as S;
    let (primary, backup) = (NodeId(3), Some(NodeId(300)));
    let steps = [
        S::Assign { primary, backup },
        S::SetBackup { backup },
        S::InSync,
        S::OutOfSync,
        S::HandOver { backup },
        S::Resume,
        S::Lose { primary, backup },
    ];
    let changes = ShardId::all().skip(200).zip(steps);
    let changes = changes.map(|(shard, step)| ShardChange {
        shard,
        fence: Fence {
            epoch: Epoch(4),
            revision: 999,
        },
        step,
    });
    let take_over = ShardsCommand::TakeOver {
        node: primary,
        boot: 12,
    };
    vec![
        ("shards", ShardsCommand::Batch(changes.collect()).into()),
        ("take_over", take_over.into()),
    ]
}

fn others() -> Vec<(&'static str, Command)> {
    let write = |expected, value| {
        let key = "breaker/github".to_owned();
        Command::Register(RegisterWrite {
            key,
            expected,
            value,
        })
    };
    let (open, shut) = (Bytes::from_static(b"open"), Bytes::from_static(b"shut"));
    let request = ApprovalRequest {
        id: "r".to_owned(),
        principal: "ci-bot".into(),
        tenant: Some("acme".into()),
        server: "market".into(),
        tool: "stock_thesis".to_owned(),
        arguments_digest: [0xe1; 32],
        arguments: "{}".to_owned(),
        reason: "$0.05 a call".to_owned(),
    };
    let request = ApprovalsCommand::Request {
        request,
        lifetime_ms: 60_000,
    };
    let decide = ApprovalsCommand::Decide {
        id: "r".to_owned(),
        verdict: Verdict::Allow,
        note: note(),
    };
    let envelope = || vec![0xf1; 4];
    let replace = SecretsCommand::ReplaceKeyring {
        expected_revision: 2,
        envelope: envelope(),
    };
    let install = SecretsCommand::InstallKeyring {
        envelope: envelope(),
    };
    vec![
        ("register_any", write(Expected::Any, None)),
        (
            "register_absent",
            write(Expected::Absent, Some(open.clone())),
        ),
        (
            "register_value",
            write(Expected::Value(open), Some(shut.clone())),
        ),
        (
            "register_revision",
            write(Expected::Revision(300), Some(shut)),
        ),
        ("install_keyring", install.into()),
        ("replace_keyring", replace.into()),
        ("request_approval", request.into()),
        ("decide_approval", decide.into()),
        ("expire_approvals", ApprovalsCommand::ExpireDue.into()),
    ]
}

fn entry(command: Command) -> Entry {
    Entry {
        at_ms: 1_700_000_000_000,
        leader_us: 5_000_000,
        leader_term: 0,
        origin: Some(Origin {
            node: NodeId(1),
            boot: 2,
            serial: 300,
            settled: 299,
        }),
        command,
    }
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    let outcome = |result| Outcome { index: 300, result };
    let refused = Refusal::StaleRegister {
        key: "k".to_owned(),
        revision: 12,
    };
    let configured = Reply::Configured {
        version: 7,
        changed: true,
        keys_pruned: 2,
        servers_pruned: 3,
        index: 300,
    };
    let changed = Reply::Changed {
        changed: 5,
        refused: ShardId::all().skip(1000).take(2).collect(),
    };
    let mut all = vec![
        ("done", outcome(Ok(Reply::Done))),
        ("booted", outcome(Ok(Reply::Boot(3)))),
        ("joined", outcome(Ok(Reply::Joined(NodeId(300))))),
        ("configured", outcome(Ok(configured))),
        ("revoked", outcome(Ok(Reply::Revoked { index: 300 }))),
        ("written", outcome(Ok(Reply::Written { revision: 300 }))),
        ("changed", outcome(Ok(changed))),
        ("refused", outcome(Err(refused))),
    ];
    let quota = |(name, reply)| (name, outcome(Ok(Reply::Quota(reply))));
    all.extend(quota::replies().into_iter().map(quota));
    all
}

/// A state in which every part holds something, but for the audit log.
fn state() -> TestCluster {
    let mut cluster = TestCluster::default();
    let left_out = [
        "revoke_key",
        "remove_server",
        "roll_back_config",
        "remove",
        "revoke_token",
        "quota_expire",
        "promote",
        "join_as_learner",
        "audit_rotate_key",
        "audit_set_guard",
    ];
    let all = commands().into_iter();
    for (name, command) in all.filter(|(name, _)| !left_out.contains(name)) {
        let command = match command {
            Command::Registry(RegistryCommand::ApplyConfig {
                mut change,
                document,
                ..
            }) => {
                change.expected_version = 0;
                let prune = false;
                RegistryCommand::ApplyConfig {
                    change,
                    document,
                    prune,
                }
                .into()
            }
            other => other,
        };
        // Some are refused: their answers are a part of the state as well.
        let origin = (name == "register_absent").then_some(Origin {
            node: NodeId(1),
            boot: 1,
            serial: 1,
            settled: 0,
        });
        cluster.propose_as(origin, command);
    }
    cluster
}

/// What a record of a snapshot is called: the name of its field.
fn part_of(record: &Bytes) -> String {
    let part = SnapshotRecord::decode(record.clone()).unwrap().part;
    let shown = format!("{:?}", part.unwrap());
    let (name, _) = shown.split_once('(').unwrap();
    name.to_lowercase()
}

fn golden(kind: &str, format: u32) -> PathBuf {
    let name = format!("tests/golden/{kind}.v{format}.txt");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let (name, hex) = line.split_once(' ').unwrap();
        (name.to_owned(), hex.to_owned())
    };
    text.lines().map(line).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Bytes {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Compares with the file of the present format; `LOCKGATE_GOLDEN=write` adds lines that are new.
fn check(kind: &str, format: u32, now: impl IntoIterator<Item = (String, Bytes)>) {
    let path = golden(kind, format);
    let mut golden = read(&path);
    let mut new = Vec::new();
    for (name, bytes) in now {
        match golden.get(&name) {
            Some(want) => assert_eq!(*want, hex(&bytes), "{kind} `{name}` changed its bytes"),
            None => {
                golden.insert(name.clone(), hex(&bytes));
                new.push(name);
            }
        }
    }
    if new.is_empty() {
        return;
    }
    let write = std::env::var_os("LOCKGATE_GOLDEN").is_some();
    assert!(
        write,
        "to be written down with LOCKGATE_GOLDEN=write: {new:?}"
    );
    let mut text = String::new();
    for (name, hex) in golden {
        writeln!(text, "{name} {hex}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn entries_keep_their_bytes() {
    let entries = commands().into_iter();
    let entries = entries.map(|(name, command)| (name.to_owned(), encode_entry(entry(command))));
    check("entry", OURS.entry, entries);
}

#[test]
fn answers_keep_their_bytes() {
    let outcomes = outcomes().into_iter();
    let outcomes = outcomes.map(|(name, outcome)| (name.to_owned(), encode_outcome(&outcome)));
    check("outcome", OURS.wire, outcomes);
}

#[test]
fn snapshots_keep_their_bytes() {
    let mut cluster = state();
    let named = |record| (part_of(&record), record);
    check("snapshot", 1, records(&cluster.machine).map(named));
    for command in audit::guarded() {
        cluster.done(command);
    }
    let records = records(&cluster.machine).map(named);
    check("snapshot", OURS.snapshot, records);
}

#[test]
fn bytes_of_every_format_are_read() {
    for format in 1..=OURS.entry {
        for (name, hex) in read(&golden("entry", format)) {
            let found = decode_entry(unhex(&hex));
            let found = found.unwrap_or_else(|error| panic!("{name} of format {format}: {error}"));
            let want = commands().into_iter().find(|(command, _)| *command == name);
            assert_eq!(Some(found), want.map(|(_, command)| entry(command)));
        }
    }
    for format in 1..=OURS.wire {
        for (name, hex) in read(&golden("outcome", format)) {
            assert!(
                decode_outcome(unhex(&hex)).is_ok(),
                "{name} of format {format}"
            );
        }
    }
    for format in 1..=OURS.snapshot {
        let mut records: Vec<_> = read(&golden("snapshot", format)).into_iter().collect();
        // The header comes first, and documents after the versions that name them.
        records.sort_by_key(|(part, _)| (part != "header", part == "document"));
        let records = records.iter();
        let records = records.map(|(_, hex)| Ok::<_, super::WireError>(unhex(hex)));
        let machine = restore(records).unwrap();
        assert_eq!(machine.parts().registry().keys.by_id().len(), 1);
    }
}
