//! Shallow views into validated JSON text: members, elements and paths, as byte spans.

use std::borrow::Cow;

use super::Span;
use super::index::unquoted;
use super::limits::DEPTH_CEILING;
use super::scanner::Scanner;
use super::string::decode_lossy;

/// One member of an object.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Key, escapes decoded; half of a surrogate pair reads as U+FFFD.
    pub key: Cow<'a, str>,
    /// Key with its quotes, relative to the object's text.
    pub key_span: Span,
    /// Value, relative to the object's text.
    pub value_span: Span,
    /// Raw text of the value.
    pub value: &'a str,
}

/// Iterates over the members of an object.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    inside: Inside<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let text = self.inside.text;
        let scanner = self.inside.enter(true)?;
        let key_start = scanner.at();
        let key_span = Span::new(key_start, scanner.key().ok()?);
        let key_is_plain = !scanner.was_escaped();
        let value_start = scanner.at();
        scanner.value().ok()?;
        let value_span = Span::new(value_start, scanner.at());
        self.inside.leave();
        let raw_key = key_span.of(text);
        Some(Member {
            key: if key_is_plain {
                Cow::Borrowed(unquoted(raw_key))
            } else {
                decode_lossy(raw_key)?
            },
            key_span,
            value_span,
            value: value_span.of(text),
        })
    }
}

/// Iterates over the elements of an array: spans relative to the array's text.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    inside: Inside<'a>,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let scanner = self.inside.enter(false)?;
        let start = scanner.at();
        scanner.value().ok()?;
        let span = Span::new(start, scanner.at());
        self.inside.leave();
        Some(span)
    }
}

/// A walk along one object or array. The scanner that proved the text also walks it, so text that was
/// never validated ends the walk at its first fault.
#[derive(Clone, Debug)]
struct Inside<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    at: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Before,
    Within,
    Over,
}

impl<'a> Inside<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            scanner: Scanner::new(text, DEPTH_CEILING),
            at: Place::Before,
        }
    }

    /// The scanner at the start of the next member or element. Until [`Self::leave`] the walk counts as over,
    /// so that a fault ends it.
    fn enter(&mut self, is_object: bool) -> Option<&mut Scanner<'a>> {
        let more = match self.at {
            Place::Before => {
                self.scanner.blanks();
                let bracket = if is_object { b'{' } else { b'[' };
                self.scanner.peek() == Some(bracket) && self.scanner.open(is_object).ok()?
            }
            Place::Within => self.scanner.more().ok()?,
            Place::Over => false,
        };
        self.at = Place::Over;
        more.then_some(&mut self.scanner)
    }

    fn leave(&mut self) {
        self.at = Place::Within;
    }
}

/// Members of the object `text` (raw text of one JSON object, already validated by [`super::Frame::parse`]).
/// Anything that is not an object has no members. Never panics, whatever the text.
pub fn members(text: &str) -> Members<'_> {
    Members {
        inside: Inside::new(text),
    }
}

/// Elements of the array `text`, under the same conditions as [`members`].
pub fn elements(text: &str) -> Elements<'_> {
    Elements {
        inside: Inside::new(text),
    }
}

/// Span of the value of `key` in the object `text`; the last one wins when a key is repeated.
pub fn find(text: &str, key: &str) -> Option<Span> {
    members(text)
        .filter(|m| m.key == key)
        .last()
        .map(|m| m.value_span)
}

/// Span of the value at `path` (object keys), relative to `text`.
pub fn find_path(text: &str, path: &[&str]) -> Option<Span> {
    let mut at = Span {
        start: 0,
        end: u32::try_from(text.len()).ok()?,
    };
    for key in path {
        at = find(at.of(text), key)?.shift(at.start);
    }
    Some(at)
}

/// Whether some reader of JSON takes `written` for `known`, which is ASCII: there are decoders that match keys under
/// simple case folding (Go's `encoding/json` does), where two letters beyond ASCII fold into it.
pub fn reads_as(written: &str, known: &str) -> bool {
    if written.is_ascii() {
        return written.eq_ignore_ascii_case(known);
    }
    let folded = written.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    });
    folded.eq(known.chars().map(|letter| letter.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_with_their_spans() {
        let text = r#" { "a" : 1.0 , "\u0062":[{}, "}"],"a":null } "#;
        let found: Vec<_> = members(text)
            .map(|m| {
                assert_eq!(m.value_span.of(text), m.value);
                (m.key.into_owned(), m.key_span.of(text), m.value)
            })
            .collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), "\"a\"", "1.0"),
                ("b".to_owned(), "\"\\u0062\"", r#"[{}, "}"]"#),
                ("a".to_owned(), "\"a\"", "null"),
            ]
        );
    }

    #[test]
    fn elements_come_in_order() {
        let text = "[1, [2,3],{\"a\":[]} ]";
        let found: Vec<_> = elements(text).map(|span| span.of(text)).collect();
        assert_eq!(found, ["1", "[2,3]", "{\"a\":[]}"]);
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in [
            "",
            "[]",
            "{}",
            "[{\"a\":1}]",
            "1",
            "\"{}\"",
            "{1}",
            "{\"a\"}",
        ] {
            assert_eq!(members(text).count(), 0, "{text}");
        }
        for text in ["", "{}", "[]", "null", "[,]"] {
            assert_eq!(elements(text).count(), 0, "{text}");
        }
    }

    #[test]
    fn a_fault_ends_the_walk() {
        let mut members = members(r#"{"a":1,"b":2 "c":3}"#);
        assert!(members.next().is_some());
        assert!(members.next().is_some());
        assert!(members.next().is_none());
        assert!(members.next().is_none());
    }

    #[test]
    fn the_last_of_a_repeated_key_is_found() {
        let text = r#"{"a":{"b":1},"a":{"b":[2]}}"#;
        assert_eq!(
            find_path(text, &["a", "b"]).map(|s| s.of(text)),
            Some("[2]")
        );
        assert_eq!(find_path(text, &[]).map(|s| s.of(text)), Some(text));
        assert_eq!(find_path(text, &["a", "c"]), None);
        assert_eq!(find_path(text, &["a", "b", "c"]), None);
    }

    #[test]
    fn keys_are_compared_as_the_laxest_reader_does() {
        for written in [
            "taskId",
            "TASKID",
            "taskid",
            "ta\u{17f}kId",
            "tas\u{212a}Id",
        ] {
            assert!(reads_as(written, "taskId"), "{written}");
        }
        for written in ["task", "taskIds", "task_id", "t\u{e4}skId", ""] {
            assert!(!reads_as(written, "taskId"), "{written}");
        }
    }
}
