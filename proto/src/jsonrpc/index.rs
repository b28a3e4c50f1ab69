//! The members of a message's payload, noted while it is read, so that nobody has to walk there again.

use super::Span;
use super::scanner::{Fault, Scanner};

/// Members that are noted. The params of a call have three or four, results a few more; of a payload with more than
/// these nothing is noted, and it is walked like any other object.
const MEMBERS_MAX: usize = 6;

/// Members of one object, if there are few of them and their keys are written without escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    /// Where the object begins. Nothing else of a message begins there.
    start: u32,
    len: u8,
    entries: [Entry; MEMBERS_MAX],
}

/// One member: its key with quotes, and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) value: Span,
}

impl Index {
    /// Reads the object whose bracket stands at the scanner's position, and notes its members. `None` when they are
    /// too many, or when a key has to be decoded before it can be compared.
    pub(super) fn read(scanner: &mut Scanner<'_>) -> Result<Option<Self>, Fault> {
        const NOWHERE: Span = Span { start: 0, end: 0 };
        let mut index = Self {
            start: Span::new(scanner.at(), scanner.at()).start,
            len: 0,
            entries: [Entry {
                key: NOWHERE,
                value: NOWHERE,
            }; MEMBERS_MAX],
        };
        let mut whole = true;
        let mut more = scanner.open(true)?;
        while more {
            let key_start = scanner.at();
            let key = Span::new(key_start, scanner.key()?);
            whole &= !scanner.was_escaped();
            let value_start = scanner.at();
            scanner.value()?;
            let value = Span::new(value_start, scanner.at());
            match index.entries.get_mut(usize::from(index.len)) {
                Some(entry) => {
                    *entry = Entry { key, value };
                    index.len += 1;
                }
                None => whole = false,
            }
            more = scanner.more()?;
        }
        Ok(whole.then_some(index))
    }

    /// Whether it is about the object at `span`.
    pub(super) fn is_of(&self, span: Span) -> bool {
        self.start == span.start
    }

    /// In the order of the text.
    pub(super) fn entries(&self) -> &[Entry] {
        self.entries
            .get(..usize::from(self.len))
            .unwrap_or_default()
    }

    /// Value of `key`, which is written without escapes; the last one when it is repeated. `text` is the message.
    pub(super) fn find(&self, text: &str, key: &str) -> Option<Span> {
        let is_key = |entry: &&Entry| unquoted(entry.key.of(text)) == key;
        self.entries()
            .iter()
            .rev()
            .find(is_key)
            .map(|entry| entry.value)
    }

    /// The same with every span moved.
    pub(super) fn moved(&self, moved: impl Fn(Span) -> Span) -> Self {
        let mut index = *self;
        let at = Span {
            start: self.start,
            end: self.start,
        };
        index.start = moved(at).start;
        for entry in index.entries.iter_mut().take(usize::from(self.len)) {
            entry.key = moved(entry.key);
            entry.value = moved(entry.value);
        }
        index
    }
}

/// What stands between the quotes.
pub(super) fn unquoted(raw: &str) -> &str {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::jsonrpc::{Batch, Frame, Limits, find_path, members};

    fn frame(params: &str) -> Frame {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params},"x":{{"a":0}}}}"#);
        Frame::parse(text.into(), &Limits::default()).unwrap()
    }

    /// What is found in the frame is what a walk along the params finds.
    #[track_caller]
    fn check_all(frame: &Frame) {
        let params = frame.params().unwrap();
        for path in [
            &["a"][..],
            &["b"],
            &["a", "b"],
            &["b", "a"],
            &["missing"],
            &[],
        ] {
            let found = frame.param(path).map(|span| span.of(frame.text()));
            let walked = find_path(params, path).map(|span| span.of(params));
            assert_eq!(found, walked, "{params} {path:?}");
        }
        let noted: Vec<_> = frame
            .param_members()
            .map(|(key, value)| (key.into_owned(), value))
            .collect();
        let walked: Vec<_> = members(params)
            .map(|m| (m.key.into_owned(), m.value))
            .collect();
        assert_eq!(noted, walked);
    }

    #[test]
    fn lookups_agree_with_a_walk() {
        for params in [
            "{}",
            r#"{"a":1}"#,
            r#"{ "a" : {"b":2} , "b":[{"a":3}]}"#,
            r#"{"a":1,"b":2,"a":{"b":3}}"#,
            r#"{"\u0061":1,"b":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"c":0,"d":0,"e":0,"f":0,"a":1,"b":2}"#,
            r#"{"c":0,"d":0,"e":0,"f":0,"g":0,"a":1,"b":2}"#,
            r#"["a"]"#,
        ] {
            check_all(&frame(params));
        }
    }

    #[test]
    fn lookups_follow_the_message_when_it_moves() {
        let moved = frame(r#"{"a":{"b":2}}"#).with_id("\"a longer id\"");
        check_all(&moved);
        let text = format!("[{0}, {0}]", frame(r#"{"a":{"b":2}}"#).text());
        let Ok(Batch::Many(frames)) = Batch::parse(text.into(), &Limits::default()) else {
            panic!("no batch");
        };
        frames.iter().for_each(check_all);
    }

    #[test]
    fn lookups_follow_a_value_that_is_replaced() {
        let before = frame(r#"{"b":"x","a":{"b":"y"},"c":"z"}"#);
        for path in [&["b"][..], &["a", "b"], &["c"], &["a"]] {
            let at = before.param(path).unwrap();
            for text in ["", "longer than before", "with \"quotes\""] {
                let after = before.with_string(at, text);
                check_all(&after);
                assert_eq!(after.param_str(path).unwrap(), text);
                let again = Frame::parse(after.bytes().clone(), &Limits::default()).unwrap();
                assert_eq!(after.params(), again.params());
                assert_eq!((after.id(), after.method()), (again.id(), again.method()));
            }
        }
    }

    #[test]
    fn the_body_of_an_answer_is_looked_up_beside_foreign_params() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true},"params":{"isError":false}}"#,
            r#"{"jsonrpc":"2.0","params":{"isError":false},"id":1,"result":{"isError":true}}"#,
        ] {
            let frame = Frame::parse(text.into(), &Limits::default()).unwrap();
            let found = frame
                .body_member(&["isError"])
                .map(|span| span.of(frame.text()));
            assert_eq!(found, Some("true"), "{text}");
        }
    }

    #[test]
    fn a_body_gets_a_first_member() {
        for (before, after) in [
            (
                r#"{"id":1,"result":{},"jsonrpc":"2.0"}"#,
                r#"{"id":1,"result":{"k":"v"},"jsonrpc":"2.0"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result": { }}"#,
                r#"{"jsonrpc":"2.0","id":1,"result": {"k":"v" }}"#,
            ),
            (
                r#"{"result":{"a":1},"jsonrpc":"2.0","id":"x"}"#,
                r#"{"result":{"k":"v","a":1},"jsonrpc":"2.0","id":"x"}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":[1]}"#,
            ),
        ] {
            let frame = Frame::parse(before.into(), &Limits::default()).unwrap();
            let frame = frame.with_body_member(r#""k":"v""#);
            assert_eq!(frame.text(), after);
            let again = Frame::parse(after.into(), &Limits::default()).unwrap();
            assert_eq!((frame.id(), frame.body()), (again.id(), again.body()));
            let found = |frame: &Frame, key: &str| {
                let at = frame.body_member(&[key])?;
                Some(at.of(frame.text()).to_owned())
            };
            assert_eq!(found(&frame, "k"), found(&again, "k"));
            assert_eq!(found(&frame, "a"), found(&again, "a"));
        }
    }
}
