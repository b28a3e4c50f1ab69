//! Any text as a header value, an argument, a schema: round trips hold and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_proto::jsonrpc::{encode_str, find_path};
use lockgate_proto::mcp::headers::{decode_value, encode_value, matches_param, param_value};
use lockgate_proto::mcp::param_headers::annotations;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let value = encode_value(text);
    assert!(value.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')));
    assert_eq!(value.trim_matches([' ', '\t']), value);
    assert_eq!(decode_value(&value).as_deref(), Some(text));

    if let Some(decoded) = decode_value(text) {
        // An encoded value that needed no encoding is read all the same, so only the meaning returns.
        let again = encode_value(&decoded);
        assert_eq!(decode_value(&again).as_deref(), Some(&*decoded));
    }
    for raw in [text.to_owned(), encode_str(text)] {
        if let Some(value) = param_value(&raw) {
            let decoded = decode_value(&value).expect("we encoded it");
            assert!(matches_param(&decoded, &raw));
        }
    }
    for header in annotations(text).unwrap_or_default() {
        assert!(!header.name.is_empty() && !header.path.is_empty());
        let path = header
            .path
            .iter()
            .flat_map(|key| ["properties", key.as_str()]);
        let path: Vec<&str> = path.collect();
        assert!(find_path(text, &path).is_some());
    }
});
