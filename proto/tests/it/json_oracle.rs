use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Limits, ParseError};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::value::RawValue;

use crate::tree::{Tree, any_blanks};

/// Whether we take `json` as a result; agrees with `serde_json`, which reads it without building it.
fn check(json: &[u8]) -> Option<Frame> {
    let mut text = br#"{"jsonrpc":"2.0","id":1,"result":"#.to_vec();
    text.extend_from_slice(json);
    text.push(b'}');
    let limits = Limits {
        depth_max: 1024,
        ..Limits::default()
    };
    let ours = Frame::parse(Bytes::from(text.clone()), &limits);
    let theirs = serde_json::from_slice::<&RawValue>(&text);
    match ours {
        // An injected comma or brace may end the result and go on in the envelope.
        Err(ParseError::Envelope { .. }) => {
            assert!(theirs.is_ok());
            None
        }
        ours => {
            assert_eq!(
                ours.is_ok(),
                theirs.is_ok(),
                "{ours:?} {theirs:?} {}",
                String::from_utf8_lossy(&text)
            );
            ours.ok()
        }
    }
}

/// Bytes that matter to the grammar, and some that don't.
fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => proptest::sample::select(b"{}[]:,\"\\ \n\t-+.eE0123456789truefalsn/u\x00\x1f\x7f\xc3\xa9\xff".as_slice()),
        1 => any::<u8>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn every_tree_is_taken_and_read_back(tree in Tree::any(), blanks in any_blanks()) {
        let json = tree.write(&blanks);
        let frame = check(json.as_bytes()).unwrap();
        prop_assert_eq!(Tree::read(frame.body().unwrap()), tree);
    }

    #[test]
    fn a_damaged_tree_is_judged_as_by_serde_json(
        tree in Tree::any(),
        blanks in any_blanks(),
        damage in proptest::collection::vec((any::<Index>(), any_byte(), 0..3_u8), 1..4),
    ) {
        let mut json = tree.write(&blanks).into_bytes();
        for (at, byte, how) in damage {
            let at = at.index(json.len());
            match how {
                0 => json[at] = byte,
                1 if json.len() > 1 => {
                    json.remove(at);
                }
                _ => json.insert(at, byte),
            }
        }
        check(&json);
    }

    #[test]
    fn soup_is_judged_as_by_serde_json(json in proptest::collection::vec(any_byte(), 0..24)) {
        check(&json);
    }
}

#[test]
fn nesting_is_refused_and_never_overflows_the_stack() {
    for bracket in ["[", "{\"a\":"] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{}"#,
            bracket.repeat(500_000)
        );
        let refused = Frame::parse(Bytes::from(text), &Limits::default()).unwrap_err();
        assert!(matches!(refused, ParseError::TooDeep { max: 128, .. }));
    }
}
