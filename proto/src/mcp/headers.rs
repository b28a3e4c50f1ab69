//! HTTP header names and the value encoding of `Mcp-Name` and `Mcp-Param-*` (2026-07-28, "Streamable HTTP").

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::jsonrpc::decode_str;

/// `mcp-session-id`
pub const SESSION_ID: &str = "mcp-session-id";
/// `mcp-protocol-version`
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// `mcp-method`
pub const METHOD: &str = "mcp-method";
/// `mcp-name`
pub const NAME: &str = "mcp-name";
/// Prefix of `mcp-param-*`.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// `last-event-id`
pub const LAST_EVENT_ID: &str = "last-event-id";

/// Markers around an encoded value; exactly these letters.
const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// Encodes a value: verbatim where the rules allow it, `=?base64?...?=` otherwise.
pub fn encode_value(text: &str) -> Cow<'_, str> {
    let padded = text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']);
    if is_plain(text) && !padded && !is_marked(text) {
        return Cow::Borrowed(text);
    }
    let mut value = String::from(OPEN);
    STANDARD.encode_string(text, &mut value);
    value.push_str(CLOSE);
    Cow::Owned(value)
}

/// Decodes a header value (surrounding blanks already trimmed). `None` for bad padding, alphabet or UTF-8,
/// and for bytes that may not stand in a plain value.
pub fn decode_value(raw: &str) -> Option<Cow<'_, str>> {
    if !is_marked(raw) {
        return is_plain(raw).then_some(Cow::Borrowed(raw));
    }
    let encoded = raw.strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Value of an `Mcp-Param-*` header for an argument (raw JSON), encoded and ready to send. `None` for null and
/// for what has no header form: then the header is left out.
pub fn param_value(raw_json: &str) -> Option<String> {
    match raw_json {
        "true" | "false" => Some(raw_json.to_owned()),
        _ if raw_json.starts_with('"') => {
            decode_str(raw_json).map(|text| encode_value(&text).into_owned())
        }
        _ => integer(raw_json).map(Cow::into_owned),
    }
}

/// Whether a decoded `Mcp-Param-*` header says the same as the argument (raw JSON): integers as numbers (`42.0`
/// is 42), booleans and strings to the letter. Nothing matches null or what has no header form.
pub fn matches_param(header_decoded: &str, raw_json: &str) -> bool {
    match raw_json {
        "true" | "false" => header_decoded == raw_json,
        _ if raw_json.starts_with('"') => {
            decode_str(raw_json).is_some_and(|text| text == header_decoded)
        }
        _ => integer(raw_json).is_some_and(|n| integer(header_decoded) == Some(n)),
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t'))
}

fn is_marked(text: &str) -> bool {
    text.starts_with(OPEN) && text.ends_with(CLOSE)
}

/// Decimal form of a JSON number that is an integer, whatever its spelling; `None` for everything else.
fn integer(raw: &str) -> Option<Cow<'_, str>> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let significant = digits.trim_start_matches('0');
        return Some(match (significant, raw.len() > digits.len()) {
            ("", _) => Cow::Borrowed("0"),
            (_, true) => Cow::Owned(format!("-{significant}")),
            (_, false) => Cow::Borrowed(significant),
        });
    }
    // A fraction or an exponent. A header's integer lies within +-(2^53 - 1), where a double is exact.
    let value: f64 = raw.parse().ok()?;
    let is_exact = value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0;
    is_exact.then(|| Cow::Owned(format!("{}", value + 0.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encodes(text: &str, value: &str) {
        assert_eq!(encode_value(text), value);
        assert_eq!(decode_value(value).as_deref(), Some(text));
    }

    #[test]
    fn plain_values_stay_and_others_are_encoded() {
        encodes("", "");
        encodes("get_weather", "get_weather");
        encodes("a b\tc~", "a b\tc~");
        encodes("Grüße", "=?base64?R3LDvMOfZQ==?=");
        encodes(" a", "=?base64?IGE=?=");
        encodes("a\t", "=?base64?YQk=?=");
        encodes("a\r\nb: c", "=?base64?YQ0KYjogYw==?=");
        encodes("\u{7f}", "=?base64?fw==?=");
        // What looks encoded is encoded once more.
        encodes("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?=");
        encodes("=?BASE64?YQ==?=", "=?BASE64?YQ==?=");
        encodes("=?base64?", "=?base64?");
    }

    #[test]
    fn malformed_values_are_refused() {
        for raw in [
            "=?base64?YQ=?=",
            "=?base64?YQ?=",
            "=?base64?YR==?=",
            "=?base64?Y Q=?=",
            "=?base64?_-8=?=",
            "=?base64?/w==?=",
            "=?base64?=",
            "é",
            "a\u{1}",
        ] {
            assert_eq!(decode_value(raw), None, "{raw}");
        }
    }

    #[test]
    fn arguments_have_a_header_form() {
        let check = |raw: &str, expected: Option<&str>| {
            assert_eq!(param_value(raw).as_deref(), expected, "{raw}");
        };
        check(r#""us-west1""#, Some("us-west1"));
        check(r#""\u00e9""#, Some("=?base64?w6k=?="));
        check("\"\"", Some(""));
        check("true", Some("true"));
        check("false", Some("false"));
        check("42", Some("42"));
        check("-0", Some("0"));
        check("-7.0", Some("-7"));
        check("1e2", Some("100"));
        check("-0.0", Some("0"));
        check(
            "123456789012345678901234567890",
            Some("123456789012345678901234567890"),
        );
        for raw in [
            "null",
            "1.5",
            "1e400",
            "9007199254740992.0",
            "{}",
            "[]",
            "",
            r#""\ud800""#,
        ] {
            check(raw, None);
        }
    }

    #[test]
    fn headers_are_compared_by_the_type_of_the_argument() {
        for (header, raw) in [
            ("42", "42"),
            ("42.0", "42"),
            ("42", "42.0"),
            ("007", "7"),
            ("4.2e1", "42"),
            ("true", "true"),
            ("42", "\"42\""),
            ("é", r#""\u00e9""#),
        ] {
            assert!(matches_param(header, raw), "{header} {raw}");
        }
        for (header, raw) in [
            ("42", "43"),
            ("42.5", "42"),
            (" 42", "42"),
            ("+42", "42"),
            ("0x2a", "42"),
            ("inf", "1e400"),
            ("NaN", "null"),
            ("", "0"),
            ("9007199254740993", "9007199254740992"),
            ("1", "true"),
            ("True", "true"),
            ("null", "null"),
            ("42.0", "\"42\""),
            ("A", "\"a\""),
            ("{}", "{}"),
        ] {
            assert!(!matches_param(header, raw), "{header} {raw}");
        }
    }

    proptest! {
        #[test]
        fn values_survive_the_header(text: String) {
            let value = encode_value(&text);
            prop_assert!(is_plain(&value));
            prop_assert_eq!(value.trim_matches([' ', '\t']), &*value);
            let decoded = decode_value(&value);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn what_is_sent_matches(text: String, n: i64) {
            for raw in [crate::jsonrpc::encode_str(&text), n.to_string()] {
                let value = param_value(&raw).unwrap();
                prop_assert!(matches_param(&decode_value(&value).unwrap(), &raw));
            }
        }
    }
}
