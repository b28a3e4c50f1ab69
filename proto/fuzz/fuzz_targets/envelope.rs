//! Any bytes as a message: taken or refused as `serde_json` does, never a panic, and what is taken reads back.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use lockgate_proto::jsonrpc::{
    Batch, Frame, Limits, ParseError, Span, Splice, decode_str, elements, members,
};
use serde_json::Value;
use serde_json::value::RawValue;

const LIMITS: Limits = Limits {
    body_bytes_max: 1 << 20,
    depth_max: 1024,
    batch_max: 8,
};

fuzz_target!(|data: &[u8]| {
    let parsed = Frame::parse(Bytes::copy_from_slice(data), &LIMITS);
    // `RawValue` reads without building, so it has no opinion on depth, numbers too large or half surrogates.
    let is_json = serde_json::from_slice::<&RawValue>(data).is_ok();
    match &parsed {
        Ok(_) | Err(ParseError::Envelope { .. }) => assert!(is_json, "took what is no JSON"),
        Err(ParseError::Syntax { .. }) => assert!(!is_json, "refused JSON: {parsed:?}"),
        Err(_) => {}
    }
    if let Ok(frame) = &parsed {
        check_frame(frame);
    }
    if let Ok(Batch::Many(elements)) = Batch::parse(Bytes::copy_from_slice(data), &LIMITS) {
        elements.iter().flatten().for_each(check_frame);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        // Views promise to survive text that nobody validated.
        members(text).for_each(drop);
        elements(text).for_each(drop);
        let _ = decode_str(text);
    }
});

fn check_frame(frame: &Frame) {
    // Two readers, one meaning.
    if let Ok(value) = serde_json::from_str::<Value>(frame.text()) {
        let found: Vec<_> = members(frame.text())
            .map(|m| (m.key.into_owned(), m.value))
            .collect();
        let expected = value.as_object().expect("a message is an object");
        assert!(found.iter().map(|(key, _)| key).eq(expected.keys()));
        for ((_, raw), value) in found.iter().zip(expected.values()) {
            assert_eq!(&serde_json::from_str::<Value>(raw).expect("a value"), value);
        }
        assert_eq!(
            value.get("method").and_then(Value::as_str).unwrap_or(""),
            frame.method()
        );
    }
    let line = frame.line();
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    if let Some(id) = frame.id() {
        let other = frame.with_id("\"another id\"");
        assert_eq!(other.with_id(id).text(), frame.text());
        let reread = Frame::parse(other.bytes().clone(), &LIMITS).expect("still a message");
        assert_eq!(reread.params_span(), other.params_span());
        assert_eq!(reread.body_span(), other.body_span());
        assert_eq!(reread.method(), other.method());
    }
    if let Some(params) = frame.params_span() {
        check_edits(frame, params);
    }
}

fn check_edits(frame: &Frame, params: Span) {
    let mut splice = Splice::new(frame.text());
    for member in members(params.of(frame.text())).step_by(2) {
        splice.remove_member(params, &member.key);
    }
    splice
        .set_member(params, "a", "1")
        .set_member(params, "b", "2");
    let edited = Frame::edited(splice).expect("edits keep it a message");
    if edited.params().is_some_and(|p| p.starts_with('{')) {
        for (key, value) in [("a", "1"), ("b", "2")] {
            let found = edited.param(&[key]).expect("the member was set");
            assert_eq!(found.of(edited.text()), value);
        }
    }
}
