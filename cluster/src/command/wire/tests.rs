//! What is written is read again, and what can't be read is refused.

use bytes::Bytes;
use lockgate_proto::id::{NodeId, ShardId};
use lockgate_proto::peer::v1;
use proptest::prelude::*;
use prost::Message;

use super::{WireError, decode_entry, decode_outcome, encode_entry, encode_outcome};
use crate::command::{Entry, NodesCommand, Outcome, Reply, arbitrary};
use crate::machine::Refusal;

proptest! {
    #[test]
    fn every_entry_comes_back_as_it_was(entry in arbitrary::entry()) {
        prop_assert_eq!(decode_entry(encode_entry(entry.clone())), Ok(entry));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _entry = decode_entry(bytes.clone().into());
        let _outcome = decode_outcome(bytes.into());
    }

    #[test]
    fn a_changed_byte_never_makes_a_reader_panic(
        entry in arbitrary::entry(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = encode_entry(entry).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _entry = decode_entry(bytes.into());
    }
}

#[test]
fn every_reply_comes_back_as_it_was() {
    let replies = [
        Reply::Done,
        Reply::Boot(3),
        Reply::Joined(NodeId(17)),
        Reply::Configured {
            version: 4,
            changed: true,
            keys_pruned: 2,
            servers_pruned: 1,
            index: 99,
        },
        Reply::Revoked { index: 7 },
        Reply::Written { revision: 8 },
        Reply::Changed {
            changed: 3,
            refused: ShardId::all().take(2).collect(),
        },
    ];
    for reply in replies {
        let outcome = Outcome {
            index: 5,
            result: Ok(reply),
        };
        assert_eq!(decode_outcome(encode_outcome(&outcome)), Ok(outcome));
    }
}

/// One of each.
fn refusals() -> Vec<Refusal> {
    use Refusal as R;
    let id = || "a".to_owned();
    let node = NodeId(4);
    vec![
        R::KeyExists { id: id() },
        R::KeyValueTaken { id: id() },
        R::UnknownKey { id: id() },
        R::KeyRevoked { id: id() },
        R::ServerExists { name: "s".into() },
        R::UnknownServer { name: "s".into() },
        R::KeyringInstalled,
        R::StaleKeyring { revision: 3 },
        R::BadLength {
            what: "key id",
            limit: 128,
        },
        R::TooMany { limit: 9 },
        R::StaleConfig { version: 2 },
        R::UnknownVersion { version: 1 },
        R::StaleRegister {
            key: id(),
            revision: 6,
        },
        R::Founded,
        R::NotFounded,
        R::UnknownNode { node },
        R::UnknownNodeName { name: "n".into() },
        R::NodeExists { name: "n".into() },
        R::LastVoter,
        R::TokenExists { id: id() },
        R::UnknownToken { id: id() },
        R::StaleBoot { boot: 2 },
        R::Settled { serial: 2 },
        R::ApprovalExists { id: id() },
        R::UnknownApproval { id: id() },
        R::ApprovalEnded { id: id() },
        R::HoldsShards { node },
        R::Newer { code: 4711 },
    ]
}

#[test]
fn every_refusal_comes_back_as_it_was_and_has_a_code_of_its_own() {
    let mut codes = std::collections::BTreeSet::new();
    for refusal in refusals() {
        assert!(codes.insert(super::refusal::to(&refusal).code), "{refusal}");
        let outcome = Outcome {
            index: 1,
            result: Err(refusal),
        };
        assert_eq!(decode_outcome(encode_outcome(&outcome)), Ok(outcome));
    }
}

fn entry() -> v1::Entry {
    let drain = NodesCommand::Drain {
        node: NodeId(1),
        on: true,
    };
    let entry = Entry {
        at_ms: 1,
        leader_us: 2,
        leader_term: 3,
        origin: None,
        command: drain.into(),
    };
    v1::Entry::decode(encode_entry(entry)).unwrap()
}

#[test]
fn an_entry_of_a_newer_format_stops_the_reader() {
    let newer = v1::Entry {
        format: 99,
        ..entry()
    };
    let error = decode_entry(newer.encode_to_vec().into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "entry of the log has format 99, and this version reads up to 1; upgrade this node to a version that the \
         others run"
    );
}

#[test]
fn an_entry_without_a_command_that_is_known_stops_the_reader() {
    let mut bytes = v1::Entry {
        command: None,
        ..entry()
    }
    .encode_to_vec();
    // Field 1000, of a command that is yet to be invented.
    bytes.extend_from_slice(&[0xc2, 0x3e, 0x00]);
    let error = decode_entry(Bytes::from(bytes)).unwrap_err();
    assert_eq!(error, WireError::Field { field: "command" });
}
