//! JSON strings, decoded and encoded.

use std::borrow::Cow;

use super::plain_run::plain_run;

/// Stands for what is no character: half of a surrogate pair.
const REPLACEMENT: char = '\u{fffd}';

/// Decodes a raw JSON string (with its quotes). `None` when it is not a string, or when it holds half of a
/// surrogate pair: such a text has no UTF-8 form, and a replacement could make two names equal.
pub fn decode_str(raw: &str) -> Option<Cow<'_, str>> {
    decode(raw, None)
}

/// Like [`decode_str`], with U+FFFD for halves of surrogate pairs. For keys, which are only compared with ours, and
/// for what people read.
pub fn decode_lossy(raw: &str) -> Option<Cow<'_, str>> {
    decode(raw, Some(REPLACEMENT))
}

fn decode(raw: &str, lone: Option<char>) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    let run = plain_run(inner.as_bytes(), 0);
    if run == inner.len() {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    let (plain, mut rest) = inner.split_at_checked(run)?;
    text.push_str(plain);
    while let Some(escape) = rest.strip_prefix('\\') {
        let (decoded, after) = unescape(escape)?;
        text.push(decoded.or(lone)?);
        let (plain, next) = after.split_at_checked(plain_run(after.as_bytes(), 0))?;
        text.push_str(plain);
        rest = next;
    }
    // A bare quote or control character ended the last run.
    rest.is_empty().then_some(Cow::Owned(text))
}

/// Reads one escape after its backslash: the character (`None` for a lone surrogate) and what follows.
fn unescape(escape: &str) -> Option<(Option<char>, &str)> {
    let mut chars = escape.chars();
    let plain = match chars.next()? {
        'u' => return unescape_hex(chars.as_str()),
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        same @ ('"' | '\\' | '/') => same,
        _ => return None,
    };
    Some((Some(plain), chars.as_str()))
}

fn unescape_hex(digits: &str) -> Option<(Option<char>, &str)> {
    let (unit, rest) = hex4(digits)?;
    if !(0xd800..0xdc00).contains(&unit) {
        // A lone low half is no `char`.
        return Some((char::from_u32(unit), rest));
    }
    let low = rest.strip_prefix("\\u").and_then(hex4);
    match low {
        Some((low, after)) if (0xdc00..0xe000).contains(&low) => {
            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            Some((char::from_u32(code), after))
        }
        _ => Some((None, rest)),
    }
}

fn hex4(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

/// Encodes `text` as a JSON string with quotes.
pub fn encode_str(text: &str) -> String {
    let mut raw = String::with_capacity(text.len() + 2);
    push_encoded(&mut raw, text);
    raw
}

/// Writes what [`encode_str`] makes.
pub(super) fn push_encoded(raw: &mut String, text: &str) {
    raw.push('"');
    let mut rest = text;
    while let Some((plain, special)) = rest.split_at_checked(plain_run(rest.as_bytes(), 0)) {
        let mut chars = special.chars();
        let Some(c) = chars.next() else { break };
        raw.push_str(plain);
        push_escape(raw, c);
        rest = chars.as_str();
    }
    raw.push_str(rest);
    raw.push('"');
}

fn push_escape(raw: &mut String, special: char) {
    let short = match special {
        '"' => '"',
        '\\' => '\\',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        control => {
            raw.push_str(&format!("\\u{:04x}", u32::from(control)));
            return;
        }
    };
    raw.extend(['\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: &str, expected: Option<&str>) {
        assert_eq!(decode_str(raw).as_deref(), expected, "{raw}");
    }

    #[test]
    fn escapes_are_decoded() {
        check(r#""""#, Some(""));
        check(r#""plain""#, Some("plain"));
        check(
            r#""\"\\\/\b\f\n\r\t\u0041""#,
            Some("\"\\/\u{8}\u{c}\n\r\tA"),
        );
        check(r#""a\ud83d\ude00b""#, Some("a\u{1f600}b"));
        check(r#""\uD83D\uDE00""#, Some("\u{1f600}"));
    }

    #[test]
    fn a_half_surrogate_has_no_text() {
        check(r#""\ud800""#, None);
        check(r#""\udc00""#, None);
        check(r#""\ud800\ud800""#, None);
        check(r#""\ud800\u0041""#, None);
        assert_eq!(decode_lossy(r#""\ud800a""#).as_deref(), Some("\u{fffd}a"));
    }

    #[test]
    fn what_is_no_string_has_no_text() {
        for raw in [
            "",
            "\"",
            "1",
            "null",
            "\"a",
            "a\"",
            "\"a\"b\"",
            r#""\""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u+123""#,
        ] {
            check(raw, None);
        }
    }

    proptest! {
        #[test]
        fn decoding_agrees_with_serde_json(text: String, ascii: bool) {
            let mut raw = serde_json::to_string(&text).unwrap();
            if ascii {
                raw = raw.encode_utf16().fold(String::new(), |mut raw, unit| {
                    match u8::try_from(unit) {
                        Ok(byte) if byte < 0x80 => raw.push(char::from(byte)),
                        _ => raw.push_str(&format!("\\u{unit:04X}")),
                    }
                    raw
                });
            }
            let decoded = decode_str(&raw);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn encoding_agrees_with_serde_json(text: String) {
            prop_assert_eq!(encode_str(&text), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn any_text_is_survived(text: String) {
            let _ = (decode_str(&text), decode_lossy(&text));
        }
    }
}
