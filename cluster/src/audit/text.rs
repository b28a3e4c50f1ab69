//! Writes members of a JSON object straight into a buffer.

/// Adds a member whose value needs no escape and is no string: a number, or raw JSON.
pub(crate) fn raw(out: &mut Vec<u8>, key: &str, value: &str) {
    name(out, key);
    out.extend_from_slice(value.as_bytes());
}

/// Adds a number.
pub(crate) fn number(out: &mut Vec<u8>, key: &str, value: u64) {
    name(out, key);
    digits(out, value);
}

/// Adds a string. Of one that needs more than `limit` bytes with its escapes only the beginning is written, and `…`.
pub(crate) fn string(out: &mut Vec<u8>, key: &str, value: &str, limit: usize) {
    name(out, key);
    quoted(out, value, limit);
}

/// Writes a string alone, with its quotes.
pub(crate) fn quoted(out: &mut Vec<u8>, value: &str, limit: usize) {
    out.push(b'"');
    // Nearly every name goes this way.
    if value.len() <= limit && is_plain(value.as_bytes()) {
        out.extend_from_slice(value.as_bytes());
    } else {
        escaped(out, value, limit);
    }
    out.push(b'"');
}

/// Writes a number alone.
pub(crate) fn digits(out: &mut Vec<u8>, value: u64) {
    let length = value.checked_ilog10().map_or(1, |log| log as usize + 1);
    let start = out.len();
    // In their place: to copy digits that were stored one by one is to wait until each of them has arrived.
    out.resize(start + length, b'0');
    let mut rest = value;
    for digit in out.iter_mut().skip(start).rev() {
        // Below 10, so that it fits.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Whether nothing in `text` needs an escape, as in nearly every name: what JSON demands (RFC 8259, section 7), and DEL,
/// which terminals act on. Looks at eight bytes at a time, at the last eight with some of those before.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else {
        return !text.iter().any(|byte| needs_escape(*byte));
    };
    // No early end: nearly every text is looked at to its end.
    let (words, _) = text.as_chunks::<8>();
    let marks = words
        .iter()
        .fold(specials(last), |marks, word| marks | specials(word));
    marks == 0
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f)
}

/// Marks those of eight bytes that need an escape. May mark the byte above a special one as well, never misses one: a
/// subtraction borrows from the next byte only where it has found something.
fn specials(word: &[u8; 8]) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(*word);
    let equals = |byte: u8| {
        let differs = word ^ (LOW * u64::from(byte));
        differs.wrapping_sub(LOW) & !differs
    };
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (control | equals(b'"') | equals(b'\\') | equals(0x7f)) & HIGH
}

fn escaped(out: &mut Vec<u8>, value: &str, limit: usize) {
    let start = out.len();
    for c in value.chars() {
        let before = out.len();
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..' ' | '\x7f' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes())
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        if out.len() - start > limit {
            out.truncate(before);
            out.extend_from_slice("…".as_bytes());
            return;
        }
    }
}

fn name(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::decode_str;
    use proptest::prelude::*;

    use super::*;

    fn written(value: &str, limit: usize) -> String {
        let mut out = Vec::new();
        quoted(&mut out, value, limit);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_string_is_cut_at_a_character() {
        assert_eq!(written("aäb", 2), "\"a…\"");
        assert_eq!(written("aäb", 4), "\"aäb\"");
        assert_eq!(written("a\"b", 2), "\"a…\"");
        assert_eq!(written("a\"b", 3), "\"a\\\"…\"");
    }

    #[test]
    fn every_byte_that_needs_an_escape_is_seen_wherever_it_stands() {
        for length in 0..20 {
            let plain = vec![b'a'; length];
            assert!(is_plain(&plain));
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut text = plain.clone();
                    text[at] = byte;
                    assert_eq!(
                        is_plain(&text),
                        !needs_escape(byte),
                        "{byte} at {at} of {length}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(text: String) {
            let json = written(&text, usize::MAX);
            prop_assert!(json.bytes().all(|byte| byte >= 0x20 && byte != 0x7f));
            let decoded = decode_str(&json);
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn no_string_outgrows_its_limit(text: String, limit in 0..40_usize) {
            prop_assert!(written(&text, limit).len() <= limit + 2 + '…'.len_utf8());
        }

        #[test]
        fn any_number_comes_back(number: u64) {
            let mut out = Vec::new();
            digits(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
