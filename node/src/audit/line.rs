//! One JSON object on one line, written straight into a buffer.

use lockgate_cluster::audit::is_plain;

/// A key with the comma before it and the colon behind it, written as one: `key!("ts")` is `,"ts":`.
macro_rules! key {
    ($key:literal) => {
        $crate::audit::line::Key(concat!(",\"", $key, "\":"))
    };
}
pub(super) use key;

/// Made by [`key!`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Key(pub(super) &'static str);

/// The beginning of a line, which says what happened: `event!("admin")` is `{"event":"admin"`.
macro_rules! event {
    ($event:literal) => {
        $crate::audit::line::Event(concat!("{\"event\":\"", $event, "\""))
    };
}
pub(super) use event;

/// Made by [`event!`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Event(pub(super) &'static str);

/// A line in the making. Keys are ours and need no escape; every key is written once.
#[derive(Debug)]
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Opens the object with its first member.
    pub(super) fn open(out: &'a mut Vec<u8>, event: Event) -> Self {
        out.extend_from_slice(event.0.as_bytes());
        Line { out }
    }

    /// Members alone, each with the comma before it, to be put into many lines with [`Self::members`].
    pub(super) fn fragment(fill: impl FnOnce(&mut Line<'_>)) -> Box<[u8]> {
        let mut out = Vec::new();
        fill(&mut Line { out: &mut out });
        out.into()
    }

    /// Adds what [`Self::fragment`] has made.
    pub(super) fn members(&mut self, fragment: &[u8]) {
        self.out.extend_from_slice(fragment);
    }

    /// Closes the object and the line.
    pub(super) fn close(self) {
        self.out.extend_from_slice(b"}\n");
    }

    /// Adds a string that is known to need no escape.
    pub(super) fn plain(&mut self, key: Key, value: &str) {
        debug_assert!(value.bytes().all(|byte| !needs_escape(byte)), "{value:?}");
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// Adds any string. One longer than `limit` bytes is cut at a character and ends in `…`.
    pub(super) fn text(&mut self, key: Key, value: &str, limit: usize) {
        self.key(key);
        self.out.push(b'"');
        if value.len() > limit {
            escape(self.out, &value[..value.floor_char_boundary(limit)]);
            self.out.extend_from_slice("…".as_bytes());
        } else {
            escape(self.out, value);
        }
        self.out.push(b'"');
    }

    /// Adds a string if there is one.
    pub(super) fn optional(&mut self, key: Key, value: Option<&str>, limit: usize) {
        if let Some(value) = value {
            self.text(key, value, limit);
        }
    }

    /// Adds a number.
    pub(super) fn number(&mut self, key: Key, value: u64) {
        self.key(key);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = value;
        loop {
            at -= 1;
            // Below 10, so that it fits.
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }

    fn key(&mut self, key: Key) {
        self.out.extend_from_slice(key.0.as_bytes());
    }
}

/// What JSON demands (RFC 8259, section 7), and DEL, which terminals act on. U+2028 and its kind may stand in JSON and
/// end no line for any reader of lines.
fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f)
}

fn escape(out: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text.as_bytes();
    if is_plain(rest) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => {
                out.extend_from_slice(b"\\u00");
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn line(fill: impl FnOnce(&mut Line<'_>)) -> String {
        let mut out = Vec::new();
        let mut line = Line::open(&mut out, event!("x"));
        fill(&mut line);
        line.close();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(
            line(|line| line.text(key!("a"), "aäb", 2)),
            "{\"event\":\"x\",\"a\":\"a…\"}\n"
        );
        assert_eq!(
            line(|line| line.text(key!("a"), "aäb", 4)),
            "{\"event\":\"x\",\"a\":\"aäb\"}\n"
        );
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        let text: String = (0..=0x7f_u8).map(char::from).collect();
        let written = line(|line| line.text(key!("a"), &text, 1000));
        assert!(
            written
                .trim_end_matches('\n')
                .bytes()
                .all(|byte| (0x20..0x7f).contains(&byte))
        );
    }

    proptest! {
        #[test]
        fn any_text_and_number_come_back(text: String, number: u64) {
            let written = line(|line| {
                line.text(key!("text"), &text, usize::MAX);
                line.number(key!("number"), number);
            });
            prop_assert_eq!(written.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(value["text"].as_str(), Some(text.as_str()));
            prop_assert_eq!(value["number"].as_u64(), Some(number));
        }
    }
}
