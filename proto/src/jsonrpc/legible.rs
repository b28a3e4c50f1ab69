//! What a text that is refused as a message still says of itself: what it is, and whose.

use std::borrow::Cow;

use super::envelope::check_id;
use super::index::unquoted;
use super::limits::DEPTH_CEILING;
use super::scanner::{Fault, Scanner};
use super::string::decode_lossy;

/// What a text seems to be that [`Frame::parse`](super::Frame::parse) refuses: for a word to whoever waits for it, and not
/// to be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Legible {
    /// A request, under this raw id (a string, or an integer as it was spelled). Its text is whole.
    Request(Box<str>),
    /// An answer, under this raw id (a string, or a number as it was spelled). Its text may break off.
    Answer(Box<str>),
}

/// The members that tell.
#[derive(Default)]
struct Found<'a> {
    id: Option<&'a str>,
    n_ids: usize,
    has_version: bool,
    has_method: bool,
    has_body: bool,
    /// One that JSON-RPC does not know.
    has_other: bool,
}

impl Legible {
    /// Reads what can be read of `text`, which need not be UTF-8. `None` when that does not say whose it is.
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = String::from_utf8_lossy(text);
        let mut scanner = Scanner::new(&text, DEPTH_CEILING);
        scanner.blanks();
        if scanner.peek() != Some(b'{') {
            return None;
        }
        let mut found = Found::default();
        let read = found.read(&mut scanner, &text);
        let is_whole = read.and_then(|()| scanner.end()).is_ok();
        let is_told = |id: &&str| found.n_ids == 1 && !id.contains(char::REPLACEMENT_CHARACTER);
        let id = found.id.filter(is_told)?;
        // Servers write their logs in JSON, too, and numbers of requests into them.
        let is_rpc = found.has_version || (is_whole && !found.has_other);
        match (found.has_method, found.has_body) {
            _ if !is_rpc => None,
            (true, false) if is_whole && check_id(id).is_ok() => Some(Self::Request(id.into())),
            (false, true) => Some(Self::Answer(id.into())),
            // What has neither is no request either.
            (false, false) if is_whole && found.has_version => Some(Self::Answer(id.into())),
            _ => None,
        }
    }
}

impl<'a> Found<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, text: &'a str) -> Result<(), Fault> {
        let mut more = scanner.open(true)?;
        while more {
            let start = scanner.at();
            let end = scanner.key()?;
            let key = &text[start..end];
            let key = if scanner.was_escaped() {
                decode_lossy(key)
            } else {
                Some(Cow::Borrowed(unquoted(key)))
            };
            // Noted before the value, which may be what cannot be read.
            match key.as_deref() {
                Some("id") => self.n_ids += 1,
                Some("jsonrpc") => self.has_version = true,
                Some("method") => self.has_method = true,
                Some("result" | "error") => self.has_body = true,
                Some("params") => {}
                _ => self.has_other = true,
            }
            let start = scanner.at();
            scanner.value()?;
            if key.as_deref() == Some("id") {
                let id = &text[start..scanner.at()];
                let is_id = |first: char| matches!(first, '"' | '-' | '0'..='9');
                self.id = id.starts_with(is_id).then_some(id);
            }
            more = scanner.more()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: impl AsRef<[u8]>, expected: Option<&Legible>) {
        let text = text.as_ref();
        let shown = String::from_utf8_lossy(text);
        assert_eq!(Legible::read(text).as_ref(), expected, "{shown}");
    }

    fn request(id: &str) -> Option<Legible> {
        Some(Legible::Request(id.into()))
    }

    fn answer(id: &str) -> Option<Legible> {
        Some(Legible::Answer(id.into()))
    }

    #[test]
    fn a_request_with_a_bad_member_names_itself() {
        check(
            r#"{"jsonrpc":"2.0","id":13,"method":"ping","params":null}"#,
            request("13").as_ref(),
        );
        check(
            r#"{"method":"a","params":{},"jsonrpc":"1.0","\u0069d":"x\ny"}"#,
            request(r#""x\ny""#).as_ref(),
        );
        check(
            b"{\"id\":\"a\",\"method\":\"\xff\"}",
            request(r#""a""#).as_ref(),
        );
        check(r#"{"id":1,"method":2}"#, request("1").as_ref());
    }

    #[test]
    fn what_is_not_surely_a_request_is_none() {
        for text in [
            r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"a"}"#,
            r#"{"jsonrpc":"2.0","method":"a","params":null}"#,
            r#"{"id":1,"method":"a","result":{}}"#,
            r#"{"level":"info","id":1,"method":"a"}"#,
            r#"[{"id":1,"method":"a"}]"#,
            "7",
            "",
        ] {
            check(text, None);
        }
        check(b"{\"id\":\"\xff\",\"method\":\"a\"}", None);
    }

    #[test]
    fn an_answer_that_cannot_be_read_says_whose_it_is() {
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"error":"boom"}"#,
            r#"{"id":7,"result":{}}"#,
            "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}",
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":NaN}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":"#,
        ] {
            check(text, answer("7").as_ref());
        }
        check(
            r#"{"jsonrpc":"2.0","id":7.0,"result":{}}"#,
            answer("7.0").as_ref(),
        );
        let (open, shut) = ("[".repeat(900), "]".repeat(900));
        check(
            format!(r#"{{"result":{open}{shut},"id":7}}"#),
            answer("7").as_ref(),
        );
        let open = "[".repeat(5_000);
        let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{open}"#);
        check(deep, answer("7").as_ref());
    }

    #[test]
    fn a_line_of_a_log_answers_nothing() {
        check(r#"{"id":7}"#, None);
        check(r#"{"level":"error","id":7,"error":"boom"}"#, None);
        check(r#"{"id":7,"error":{"at":NaN},"level":50}"#, None);
    }

    #[test]
    fn what_breaks_off_before_it_says_that_it_answers_is_nobodys() {
        check(r#"{"jsonrpc":"2.0","id":7,"resu"#, None);
        check(r#"{"jsonrpc":"2.0","id":7,"x":NaN,"result":{}}"#, None);
    }
}
