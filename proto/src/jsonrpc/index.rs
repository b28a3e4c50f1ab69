//! The members of a message's payload, noted while it is read, so that nobody has to walk there again.

use super::Span;
use super::scanner::{Fault, Scanner};

/// Members that are noted. The params of a call have three or four, results a few more; of a payload with more than
/// these nothing is noted, and it is walked like any other object.
const MEMBERS_MAX: usize = 6;

/// The member of params and results that is looked into most.
const META: &[u8] = b"\"_meta\"";

/// Members of one payload, and of the `_meta` in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    payload: Members,
    meta: Option<Members>,
}

/// Members of one object, if there are few of them and their keys are written without escapes.
#[derive(Clone, Copy, Debug)]
struct Members {
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
        let mut meta = None;
        let payload = Members::read(scanner, |scanner, key_start| {
            if !scanner.reads(key_start, META) || scanner.peek() != Some(b'{') {
                return scanner.value();
            }
            meta = Members::read(scanner, |scanner, _| scanner.value())?;
            Ok(())
        })?;
        Ok(payload.map(|payload| Self { payload, meta }))
    }

    /// Whether it is about the object at `span`.
    pub(super) fn is_of(&self, span: Span) -> bool {
        self.payload.start == span.start
    }

    /// In the order of the text.
    pub(super) fn entries(&self) -> &[Entry] {
        self.payload.entries()
    }

    /// How far it leads along `path`, which is not empty: the value there, and what of the path is left to walk. `text`
    /// is the message.
    pub(super) fn follow<'p, 'k>(
        &self,
        text: &str,
        path: (&str, &'p [&'k str]),
    ) -> Option<(Span, &'p [&'k str])> {
        let (key, rest) = path;
        let value = self.payload.find(text, key)?;
        // What stands there now may be a text that took the object's place.
        let meta = self
            .meta
            .as_ref()
            .filter(|meta| meta.start == value.start && value.of(text).starts_with('{'));
        match (meta, rest) {
            (Some(meta), [key, rest @ ..]) => Some((meta.find(text, key)?, rest)),
            _ => Some((value, rest)),
        }
    }

    /// The same with every span moved.
    pub(super) fn moved(&self, moved: impl Fn(Span) -> Span) -> Self {
        Self {
            payload: self.payload.moved(&moved),
            meta: self.meta.as_ref().map(|meta| meta.moved(&moved)),
        }
    }
}

impl Members {
    /// As [`Index::read`]; `value` reads the value whose key stands where it is told.
    fn read<'a>(
        scanner: &mut Scanner<'a>,
        mut value: impl FnMut(&mut Scanner<'a>, usize) -> Result<(), Fault>,
    ) -> Result<Option<Self>, Fault> {
        const NOWHERE: Span = Span { start: 0, end: 0 };
        let mut members = Self {
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
            value(scanner, key_start)?;
            let value = Span::new(value_start, scanner.at());
            match members.entries.get_mut(usize::from(members.len)) {
                Some(entry) => {
                    *entry = Entry { key, value };
                    members.len += 1;
                }
                None => whole = false,
            }
            more = scanner.more()?;
        }
        Ok(whole.then_some(members))
    }

    fn entries(&self) -> &[Entry] {
        self.entries
            .get(..usize::from(self.len))
            .unwrap_or_default()
    }

    /// Value of `key`, which is written without escapes; the last one when it is repeated.
    fn find(&self, text: &str, key: &str) -> Option<Span> {
        let is_key = |entry: &&Entry| unquoted(entry.key.of(text)) == key;
        self.entries()
            .iter()
            .rev()
            .find(is_key)
            .map(|entry| entry.value)
    }

    fn moved(&self, moved: impl Fn(Span) -> Span) -> Self {
        let mut members = *self;
        let at = Span {
            start: self.start,
            end: self.start,
        };
        members.start = moved(at).start;
        for entry in members.entries.iter_mut().take(usize::from(self.len)) {
            entry.key = moved(entry.key);
            entry.value = moved(entry.value);
        }
        members
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
            &["_meta"],
            &["_meta", "a"],
            &["_meta", "b"],
            &["_meta", "b", "a"],
            &["_meta", "missing"],
            &["a", "_meta"],
            &["b", "_meta", "a"],
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
            r#"{"_meta":{},"a":1}"#,
            r#"{"_meta":{ "a" : 1 , "b":{"a":2}},"a":{"_meta":3}}"#,
            r#"{"_meta":{"a":1,"\u0062":2,"a":3}}"#,
            r#"{"_meta":{"c":0,"d":0,"e":0,"f":0,"g":0,"a":1,"b":2}}"#,
            r#"{"_meta":{"a":1},"_meta":{"b":2}}"#,
            r#"{"_meta":{"a":1},"_meta":[{"a":2}]}"#,
            r#"{"_meta":"{","b":{"_meta":{"a":1}}}"#,
            r#"{"\u005fmeta":{"a":1}}"#,
        ] {
            check_all(&frame(params));
        }
    }

    #[test]
    fn lookups_follow_the_message_when_it_moves() {
        let before = frame(r#"{"a":{"b":2},"_meta":{"a":1,"b":{"a":3}}}"#);
        check_all(&before.with_id("\"a longer id\""));
        let text = format!("[{0}, {0}]", before.text());
        let Ok(Batch::Many(frames)) = Batch::parse(text.into(), &Limits::default()) else {
            panic!("no batch");
        };
        frames
            .iter()
            .for_each(|frame| check_all(frame.as_ref().unwrap()));
    }

    #[test]
    fn lookups_follow_a_value_that_is_replaced() {
        let before = frame(r#"{"b":"x","a":{"b":"y"},"c":"z","_meta":{"b":{"a":1},"a":"x"}}"#);
        for path in [
            &["b"][..],
            &["a", "b"],
            &["c"],
            &["a"],
            &["_meta"],
            &["_meta", "b"],
            &["_meta", "a"],
        ] {
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
