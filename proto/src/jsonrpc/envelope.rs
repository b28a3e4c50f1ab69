//! The top-level members of a message, and the rules of JSON-RPC 2.0 for them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::index::{Index, unquoted};
use super::object::reads_as;
use super::scanner::{Fault, Scanner};
use super::string::{decode_lossy, decode_str};
use super::{Kind, ParseError, Span};

/// Where the members of a message stand, relative to the scanned text.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) kind: Kind,
    pub(super) id: Option<Span>,
    pub(super) method: Option<Span>,
    /// Whether the method is written without escapes.
    pub(super) method_is_plain: bool,
    pub(super) params: Option<Span>,
    pub(super) body: Option<Span>,
    /// Members of `params` or `body`. Shared, because messages are moved about and cloned more than they are looked into.
    pub(super) index: Option<Arc<Index>>,
}

impl Envelope {
    /// The same with every span moved.
    pub(super) fn moved(&self, moved: impl Fn(Span) -> Span) -> Self {
        Self {
            kind: self.kind,
            id: self.id.map(&moved),
            method: self.method.map(&moved),
            method_is_plain: self.method_is_plain,
            params: self.params.map(&moved),
            body: self.body.map(&moved),
            index: self
                .index
                .as_ref()
                .map(|index| Arc::new(index.moved(&moved))),
        }
    }
}

/// Reads the message that starts at the scanner's position. A fault of JSON anywhere in it comes before
/// any fault of the envelope, as -32700 comes before -32600.
pub(super) fn read<'a>(scanner: &mut Scanner<'a>, text: &'a str) -> Result<Envelope, ParseError> {
    match scanner.peek() {
        Some(b'{') => {
            let mut found = Found::default();
            let read = found.read(scanner, text);
            read.map_err(|fault| scanner.error(fault))?;
            found.judge(text)
        }
        first => {
            scanner.value().map_err(|fault| scanner.error(fault))?;
            let what = match first {
                Some(b'[') => "a batch is not allowed here",
                _ => "not an object",
            };
            Err(ParseError::Envelope { what })
        }
    }
}

/// Members of JSON-RPC.
const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Members as they were found, not judged yet.
#[derive(Default)]
struct Found<'a> {
    jsonrpc: Option<Span>,
    id: Option<Span>,
    method: Option<Span>,
    method_is_plain: bool,
    params: Option<Span>,
    result: Option<Span>,
    error: Option<Span>,
    index: Option<Arc<Index>>,
    /// Members that JSON-RPC doesn't know. They pass, but once each, so that everyone who reads the
    /// message reads the same.
    others: BTreeSet<Cow<'a, str>>,
    duplicate: Option<&'static str>,
    /// One of them looks like a member that JSON-RPC knows, to readers that don't mind the case of letters.
    unclear: bool,
}

impl<'a> Found<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>, text: &'a str) -> Result<(), Fault> {
        let mut more = scanner.open(true)?;
        while more {
            let key_start = scanner.at();
            let key = Span::new(key_start, scanner.key()?);
            let key = if scanner.was_escaped() {
                decode_lossy(key.of(text))
            } else {
                Some(Cow::Borrowed(unquoted(key.of(text))))
            };
            let value_start = scanner.at();
            match key.as_deref() {
                Some("params" | "result" | "error") if scanner.peek() == Some(b'{') => {
                    self.index = Index::read(scanner)?.map(Arc::new);
                }
                Some("method") => {
                    scanner.value()?;
                    self.method_is_plain = !scanner.was_escaped();
                }
                _ => scanner.value()?,
            }
            if let Some(key) = key {
                self.note(key, Span::new(value_start, scanner.at()));
            }
            more = scanner.more()?;
        }
        Ok(())
    }

    fn note(&mut self, key: Cow<'a, str>, value: Span) {
        let (slot, what) = match &*key {
            "jsonrpc" => (&mut self.jsonrpc, "duplicate member `jsonrpc`"),
            "id" => (&mut self.id, "duplicate member `id`"),
            "method" => (&mut self.method, "duplicate member `method`"),
            "params" => (&mut self.params, "duplicate member `params`"),
            "result" => (&mut self.result, "duplicate member `result`"),
            "error" => (&mut self.error, "duplicate member `error`"),
            _ => {
                if KNOWN.iter().any(|known| reads_as(&key, known)) {
                    self.unclear = true;
                }
                if !self.others.insert(key) {
                    self.duplicate = Some("duplicate member");
                }
                return;
            }
        };
        if slot.replace(value).is_some() {
            self.duplicate = Some(what);
        }
    }

    fn judge(self, text: &str) -> Result<Envelope, ParseError> {
        if let Some(what) = self.duplicate {
            return Err(ParseError::Envelope { what });
        }
        ensure(
            !self.unclear,
            "a member differs from one of JSON-RPC's in the case of letters only",
        )?;
        let version = self.jsonrpc.map(|span| span.of(text));
        let is_version =
            |raw: &str| raw == "\"2.0\"" || decode_str(raw).is_some_and(|text| text == "2.0");
        ensure(version.is_some_and(is_version), "`jsonrpc` must be \"2.0\"")?;
        if let Some(params) = self.params {
            ensure(
                params.of(text).starts_with(['{', '[']),
                "`params` must be an object or an array",
            )?;
        }
        match (self.method, self.result, self.error) {
            (Some(method), None, None) => self.judge_call(text, method),
            (None, Some(result), None) => {
                let id = self.id.ok_or(ParseError::Envelope {
                    what: "`result` without `id`",
                })?;
                check_id(id.of(text))?;
                Ok(self.envelope(Kind::Result, Some(id), Some(result)))
            }
            (None, None, Some(error)) => self.judge_error(text, error),
            _ => Err(ParseError::Envelope {
                what: "exactly one of `method`, `result` and `error` must be present",
            }),
        }
    }

    fn judge_call(self, text: &str, method: Span) -> Result<Envelope, ParseError> {
        let raw = method.of(text);
        // Without an escape, a string is its own text.
        let is_text = match self.method_is_plain {
            true => raw.starts_with('"'),
            false => decode_str(raw).is_some(),
        };
        ensure(is_text, "`method` must be a string of whole characters")?;
        let kind = match self.id {
            Some(id) => {
                check_id(id.of(text))?;
                Kind::Request
            }
            None => Kind::Notification,
        };
        let id = self.id;
        Ok(self.envelope(kind, id, None))
    }

    fn judge_error(self, text: &str, error: Span) -> Result<Envelope, ParseError> {
        ensure(error.of(text).starts_with('{'), "`error` must be an object")?;
        let id = self.id.filter(|id| id.of(text) != "null");
        if let Some(id) = id {
            check_id(id.of(text))?;
        }
        Ok(self.envelope(Kind::Error, id, Some(error)))
    }

    fn envelope(self, kind: Kind, id: Option<Span>, body: Option<Span>) -> Envelope {
        Envelope {
            kind,
            id,
            method: self.method,
            method_is_plain: self.method_is_plain,
            params: self.params,
            body,
            index: self.index,
        }
    }
}

/// MCP: an id is a string or an integer, and never null in a request.
pub(super) fn check_id(raw: &str) -> Result<(), ParseError> {
    let is_string = raw.starts_with('"');
    let is_integer = || raw.bytes().all(|b| matches!(b, b'-' | b'0'..=b'9'));
    ensure(
        is_string || is_integer(),
        "`id` must be a string or an integer",
    )
}

fn ensure(holds: bool, what: &'static str) -> Result<(), ParseError> {
    if holds {
        Ok(())
    } else {
        Err(ParseError::Envelope { what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::{Frame, Limits};

    #[test]
    fn a_member_is_known_by_its_exact_letters_only() {
        let parse = |member: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a",{member}}}"#);
            Frame::parse(text.into(), &Limits::default())
        };
        assert!(parse(r#""vendor":1"#).is_ok());
        for member in [
            r#""Params":{}"#,
            r#""METHOD":"b""#,
            r#""Id":2"#,
            r#""param\u017f":{}"#,
            r#""i\u0044":2"#,
        ] {
            let refused = parse(member);
            assert!(
                matches!(refused, Err(ParseError::Envelope { .. })),
                "{member}"
            );
        }
    }
}
