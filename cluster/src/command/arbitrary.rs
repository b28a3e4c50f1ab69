//! Commands drawn at random, for tests. Names come from small sets, so that commands meet each other.

mod quota;

use bytes::Bytes;
use lockgate_proto::id::{Epoch, NodeId, ShardId};
use lockgate_proto::peer::compat::OURS;
use proptest::prelude::*;

use super::{
    ApprovalRequest, ApprovalsCommand, ChangeNote, Command, ConfigChange, Entry, Expected, Fence,
    JoinProof, JoinRequest, JoinRole, NewKey, NodesCommand, Origin, RegisterWrite, RegistryCommand,
    SecretsCommand, ShardChange, ShardStep, ShardsCommand, Speaks, Verdict,
};
use crate::machine::KeyMac;

/// Any entry.
pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    (
        0..5000_u64,
        any::<u32>(),
        0..3_u64,
        prop::option::of(origin()),
        command(),
    )
        .prop_map(|(at_ms, leader_us, leader_term, origin, command)| Entry {
            at_ms: 1_000_000 + at_ms,
            leader_us: u64::from(leader_us),
            leader_term,
            origin,
            command,
        })
}

fn origin() -> impl Strategy<Value = Origin> {
    (1..4_u64, 0..3_u64, 1..12_u64, 0..4_u64).prop_map(|(node, boot, serial, settled)| Origin {
        node: NodeId(node),
        boot,
        serial,
        settled,
    })
}

/// Any command.
pub(crate) fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        registry().prop_map(Command::from),
        register().prop_map(Command::from),
        secrets().prop_map(Command::from),
        nodes().prop_map(Command::from),
        shards().prop_map(Command::from),
        approvals().prop_map(Command::from),
        quota::command().prop_map(Command::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-c]", 1 => "[a-c]{129}", 1 => Just(String::new())]
}

fn note() -> impl Strategy<Value = ChangeNote> {
    (name(), ".{0,8}").prop_map(|(who, why)| ChangeNote { who, why })
}

fn change() -> impl Strategy<Value = ConfigChange> {
    (0..4_u64, note()).prop_map(|(expected_version, note)| ConfigChange {
        expected_version,
        note,
    })
}

fn registry() -> impl Strategy<Value = RegistryCommand> {
    use RegistryCommand as C;
    let mac = || (0..9_u8).prop_map(|value| KeyMac([value; 32]));
    let tenant = prop::option::of("[ab]".prop_map(|name| name.as_str().into()));
    let roles = prop::collection::vec("[ab]".prop_map(|name| name.as_str().into()), 0..3);
    let key = (name(), mac(), "[ab]", tenant, roles);
    prop_oneof![
        key.prop_map(|(id, mac, principal, tenant, roles)| C::CreateKey(NewKey {
            id,
            mac,
            principal: principal.as_str().into(),
            tenant,
            roles,
        })),
        (name(), mac()).prop_map(|(id, mac)| C::RotateKey { id, mac }),
        name().prop_map(|id| C::RevokeKey { id }),
        (name(), ".{0,4}").prop_map(|(name, settings)| C::AddServer {
            name: name.as_str().into(),
            settings,
        }),
        name().prop_map(|name| C::RemoveServer {
            name: name.as_str().into()
        }),
        (change(), "[ab]{0,2}", any::<bool>()).prop_map(|(change, document, prune)| {
            C::ApplyConfig {
                change,
                document: document.into_bytes().into(),
                prune,
            }
        }),
        (change(), 0..4_u64).prop_map(|(change, to)| C::RollBackConfig { change, to }),
    ]
}

fn register() -> impl Strategy<Value = RegisterWrite> {
    let value = || "[xy]{0,2}".prop_map(|text| Bytes::from(text.into_bytes()));
    let expected = prop_oneof![
        Just(Expected::Any),
        Just(Expected::Absent),
        value().prop_map(Expected::Value),
        (0..30_u64).prop_map(Expected::Revision),
    ];
    (name(), expected, prop::option::of(value())).prop_map(|(key, expected, value)| RegisterWrite {
        key,
        expected,
        value,
    })
}

fn secrets() -> impl Strategy<Value = SecretsCommand> {
    let envelope = || prop::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        envelope().prop_map(|envelope| SecretsCommand::InstallKeyring { envelope }),
        (0..30_u64, envelope()).prop_map(|(expected_revision, envelope)| {
            SecretsCommand::ReplaceKeyring {
                expected_revision,
                envelope,
            }
        }),
    ]
}

fn node() -> impl Strategy<Value = NodeId> {
    (1..12_u64).prop_map(NodeId)
}

fn node_name() -> impl Strategy<Value = lockgate_proto::id::NodeName> {
    "n[1-4]".prop_map(|name| name.as_str().into())
}

fn nodes() -> impl Strategy<Value = NodesCommand> {
    use NodesCommand as C;
    let nonce = || (1..9_u8).prop_map(|nonce| [nonce; 16]);
    let digest = || (1..3_u8).prop_map(|digest| [digest; 32]);
    let role = prop_oneof![Just(JoinRole::Learner), Just(JoinRole::Voter)];
    let speaks = || {
        "0.[12].0".prop_map(|version| Speaks {
            version,
            formats: OURS,
        })
    };
    let proof = prop_oneof![
        Just(JoinProof::Peer),
        (name(), digest()).prop_map(|(id, digest)| JoinProof::Token { id, digest }),
    ];
    let some = || prop::collection::vec(node(), 0..3);
    let join = (node_name(), "h[12]", nonce(), speaks(), proof);
    prop_oneof![
        (node_name(), nonce(), speaks()).prop_map(|(name, cluster, speaks)| C::Found {
            cluster,
            name,
            address: String::new(),
            speaks,
        }),
        (node_name(), "h[12]", nonce(), speaks()).prop_map(|(name, address, nonce, speaks)| {
            C::Boot {
                name,
                address,
                nonce,
                speaks,
            }
        }),
        (name(), digest(), role, 0..9000_u64).prop_map(|(id, digest, role, lifetime_ms)| {
            C::CreateToken {
                id,
                digest,
                role,
                lifetime_ms,
            }
        }),
        name().prop_map(|id| C::RevokeToken { id }),
        (join, any::<bool>()).prop_map(|((name, address, nonce, speaks, proof), learner)| {
            C::Join(JoinRequest {
                name,
                address,
                nonce,
                speaks,
                proof,
                learner,
            })
        }),
        (some(), some()).prop_map(|(voters, learners)| C::Seat { voters, learners }),
        (node(), any::<bool>()).prop_map(|(node, on)| C::Drain { node, on }),
        (node(), any::<bool>()).prop_map(|(node, lost)| C::Remove { node, lost }),
        node().prop_map(|node| C::Promote { node }),
    ]
}

fn shards() -> impl Strategy<Value = ShardsCommand> {
    use ShardStep as S;
    let backup = || prop::option::of(node());
    let step = prop_oneof![
        (node(), backup()).prop_map(|(primary, backup)| S::Assign { primary, backup }),
        backup().prop_map(|backup| S::SetBackup { backup }),
        Just(S::InSync),
        Just(S::OutOfSync),
        backup().prop_map(|backup| S::HandOver { backup }),
        Just(S::Resume),
        (node(), backup()).prop_map(|(primary, backup)| S::Lose { primary, backup }),
    ];
    let fence = (0..3_u64, 0..20_u64).prop_map(|(epoch, revision)| Fence {
        epoch: Epoch(epoch),
        revision,
    });
    let shard = (0..3_u16).prop_filter_map("a shard", ShardId::new);
    let change =
        (shard, fence, step).prop_map(|(shard, fence, step)| ShardChange { shard, fence, step });
    prop_oneof![
        3 => prop::collection::vec(change, 0..4).prop_map(ShardsCommand::Batch),
        1 => (node(), 0..3_u64).prop_map(|(node, boot)| ShardsCommand::TakeOver { node, boot }),
    ]
}

fn approvals() -> impl Strategy<Value = ApprovalsCommand> {
    let request =
        (name(), "[ab]", "[st]", ".{0,9}").prop_map(|(id, who, tool, arguments)| ApprovalRequest {
            id,
            principal: who.as_str().into(),
            tenant: None,
            server: "github".into(),
            tool,
            arguments_digest: [5; 32],
            arguments,
            reason: "it costs".to_owned(),
        });
    let verdict = prop_oneof![Just(Verdict::Allow), Just(Verdict::Deny)];
    prop_oneof![
        (request, 0..9000_u64).prop_map(|(request, lifetime_ms)| ApprovalsCommand::Request {
            request,
            lifetime_ms,
        }),
        (name(), verdict, note()).prop_map(|(id, verdict, note)| ApprovalsCommand::Decide {
            id,
            verdict,
            note,
        }),
        Just(ApprovalsCommand::ExpireDue),
    ]
}
