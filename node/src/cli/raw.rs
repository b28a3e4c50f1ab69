//! JSON of servers as they wrote it: a number of any size and a text of any escapes are shown, not read.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{decode_lossy, elements, find_path};
use serde_json::value::RawValue;

/// `text` without the blanks around it. `None` when it is not JSON.
pub(super) fn checked(text: &[u8]) -> Result<String, serde_json::Error> {
    serde_json::from_slice::<Box<RawValue>>(text).map(|raw| raw.get().to_owned())
}

/// Value at `path` in the object `raw`.
pub(super) fn member<'a>(raw: &'a str, path: &[&str]) -> Option<&'a str> {
    find_path(raw, path).map(|span| span.of(raw))
}

/// The string at `path`, with U+FFFD for what is no character.
pub(super) fn string<'a>(raw: &'a str, path: &[&str]) -> Option<Cow<'a, str>> {
    decode_lossy(member(raw, path)?)
}

/// Elements of the array at `path`.
pub(super) fn items<'a>(raw: &'a str, path: &[&str]) -> Vec<&'a str> {
    let list = member(raw, path).unwrap_or_default();
    elements(list).map(|span| span.of(list)).collect()
}

/// Each member and element on a line of its own, its text untouched.
pub(super) fn pretty(raw: &str) -> String {
    let (mut shown, mut depth) = (String::with_capacity(raw.len() * 2), 0_usize);
    let mut rest = raw.trim_start();
    let line = |shown: &mut String, depth: usize| {
        shown.push('\n');
        shown.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(first) = rest.chars().next() {
        let (token, after) = rest.split_at(token(rest).max(first.len_utf8()));
        rest = after.trim_start();
        match token {
            "{" | "[" => {
                shown.push_str(token);
                depth += 1;
                if rest.starts_with(['}', ']']) {
                    continue;
                }
                line(&mut shown, depth);
            }
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                if !shown.ends_with(['{', '[']) {
                    line(&mut shown, depth);
                }
                shown.push_str(token);
            }
            "," => {
                shown.push(',');
                line(&mut shown, depth);
            }
            ":" => shown.push_str(": "),
            scalar => shown.push_str(scalar),
        }
    }
    shown
}

/// Length of the string, number or word that `text` begins with; 0 for a sign of its own.
fn token(text: &str) -> usize {
    if !text.starts_with('"') {
        return text
            .find(|c: char| c.is_ascii_whitespace() || "{}[]:,\"".contains(c))
            .unwrap_or(text.len());
    }
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(raw: &str) {
        let value: serde_json::Value = serde_json::from_str(raw).unwrap();
        assert_eq!(pretty(raw), format!("{value:#}"));
    }

    #[test]
    fn it_is_set_out_as_by_those_who_read_it() {
        check(r#" {"a" : [1 ,2,{ }],"b":{"c":[ ],"d":"}\",{\\"} , "e":null} "#);
        check("[]");
        check("\"x\"");
        check("[[[true]],-1.5]");
    }

    #[test]
    fn what_stands_at_a_path_is_found() {
        let raw = r#"{"a":{"b":"x\ud800"},"l":[1e400, {"c":1}]}"#;
        assert_eq!(string(raw, &["a", "b"]).as_deref(), Some("x\u{fffd}"));
        assert_eq!(items(raw, &["l"]), ["1e400", r#"{"c":1}"#]);
        assert!(items(raw, &["a"]).is_empty() && items(raw, &["x"]).is_empty());
        assert_eq!(checked(b" 1e400 ").unwrap(), "1e400");
        assert!(checked(b"{").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_set_out_without_a_panic(text in "\\PC{0,40}|[\\{\\}\\[\\]\",:\\\\ a1]{0,40}") {
            let _shown = pretty(&text);
        }
    }
}
