//! Whether the fields of a node's line are those of a record, each once and in its order.
//!
//! Every node asks that of every record, so what nodes write as a rule is told without a parser: strings that need no
//! escape, whole numbers, and flat objects. Whatever is written otherwise is left to the parser, which alone refuses.

use lockgate_proto::jsonrpc::members;
use memchr::memchr2;

use super::leaf::{FIELDS, PLACED};

/// Whether `line` is one JSON object with known fields only, in their order, and none of those that the log adds.
/// `head` is the length of its first fields, through `kind`, which were read already.
pub(super) fn are_in_order(line: &str, head: usize) -> bool {
    are_plainly(line, head) || are_by_parser(line)
}

/// Says yes only where [`are_by_parser`] does, too.
fn are_plainly(line: &str, head: usize) -> bool {
    let mut order = FIELDS.iter().skip_while(|field| **field != "kind").skip(1);
    let bytes = line.as_bytes();
    let mut at = head;
    while let Some([b',', b'"', rest @ ..]) = bytes.get(at..) {
        let Some(end) = rest.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        let (key, rest) = rest.split_at(end);
        let known = order.any(|field| field.as_bytes() == key);
        let is_placed = || PLACED.iter().any(|field| field.as_bytes() == key);
        let Some(value) = rest.strip_prefix(b"\":") else {
            return false;
        };
        let start = bytes.len() - value.len();
        let Some(length) = plain_value(&line[start..]) else {
            return false;
        };
        if !known || is_placed() {
            return false;
        }
        at = start + length;
    }
    bytes.get(at..) == Some(b"}")
}

/// Length of the value with which `text` begins. `None` when it takes a parser to tell.
fn plain_value(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'"' => {
            let end = 1 + memchr2(b'"', b'\\', &bytes[1..])?;
            (bytes[end] == b'"').then_some(end + 1)
        }
        b'0'..=b'9' => {
            let end = bytes.iter().position(|byte| !byte.is_ascii_digit())?;
            let is_canonical = end == 1 || bytes[0] != b'0';
            (is_canonical && matches!(bytes[end], b',' | b'}')).then_some(end)
        }
        // Nothing deeper, so that no limit of depth could tell the two apart.
        b'{' => {
            let mut end = 1;
            for member in members(text) {
                if member.value.starts_with(['{', '[']) {
                    return None;
                }
                end = member.value_span.range().end;
            }
            (bytes.get(end) == Some(&b'}')).then_some(end + 1)
        }
        _ => None,
    }
}

fn are_by_parser(line: &str) -> bool {
    let mut order = FIELDS.iter();
    let mut end = 0;
    for member in members(line) {
        let known = order.any(|field| *field == member.key);
        if !known || PLACED.contains(&member.key.as_ref()) {
            return false;
        }
        end = member.value_span.range().end;
    }
    // The walk ends at the first fault; a whole object has nothing behind its last value but the brace.
    line[end..] == *"}"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "{\"v\":1,\"kind\":\"call\"";

    #[track_caller]
    fn check(rest: &str, plainly: bool, by_parser: bool) {
        let line = format!("{HEAD}{rest}");
        assert_eq!(are_plainly(&line, HEAD.len()), plainly, "{line}");
        assert_eq!(are_by_parser(&line), by_parser, "{line}");
    }

    #[test]
    fn what_nodes_write_takes_no_parser() {
        check("}", true, true);
        check(
            ",\"intent\":7,\"tool\":\"ä b\",\"cost_micros\":0}",
            true,
            true,
        );
        check(
            ",\"decision\":{\"effect\":\"allow\",\"rule\":\"a\\\"b\",\"policy\":3},\"status\":\"ok\",\"args\":{}}",
            true,
            true,
        );
    }

    #[test]
    fn what_is_written_otherwise_is_left_to_the_parser() {
        for value in ["\"a\\n\"", "1.5", "-1", "[1]", "{\"a\":{}}", "null", " 1"] {
            check(&format!(",\"args\":{value}}}"), false, true);
        }
        check(",\"\\u0061rgs\":1}", false, true);
    }

    #[test]
    fn other_fields_and_orders_are_refused_by_both() {
        for rest in [
            "",
            " }",
            "}}",
            ",}",
            ",\"tool\"}",
            ",\"tool\":}",
            ",\"tool\":01}",
            ",\"tool\":1",
            ",\"tool\":\"x}",
            ",\"tool\":{}",
            ",\"tool\":{1}}",
            ",\"tool\":{\"a\":1,}}",
            ",\"other\":1}",
            ",\"prev\":1}",
            ",\"seq\":1}",
            ",\"tool\":1,\"tool\":1}",
            ",\"status\":1,\"tool\":1}",
        ] {
            check(rest, false, false);
        }
    }

    /// Pieces of lines, right ones and wrong ones.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just(",\"tool\":"),
            Just(",\"method\":"),
            Just(",\"decision\":"),
            Just(",\"args\":"),
            Just(",\"prev\":"),
            Just("\"x\""),
            Just("\"\\\""),
            Just("\\"),
            Just("10"),
            Just("0"),
            Just("{"),
            Just("}"),
            Just("\"a\":1"),
            Just(","),
            Just(":"),
            Just("["),
            Just("]"),
            Just("\""),
            Just(" "),
            Just("ä"),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_passes_plainly_that_the_parser_refuses(rest in pieces()) {
            let line = format!("{HEAD}{rest}}}");
            prop_assert!(!are_plainly(&line, HEAD.len()) || are_by_parser(&line), "{}", line);
        }
    }
}
