//! One JSON-RPC message: its bytes and where its members stand.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::envelope::{self, Envelope};
use super::index::{Index, unquoted};
use super::scanner::Scanner;
use super::string::push_encoded;
use super::{Limits, ParseError, Span, Splice};

/// What a message is, by its members (JSON-RPC 2.0 section 4 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `result` and `id`.
    Result,
    /// `error`; the id may be null or absent when the request could not be read.
    Error,
}

/// One message. Cloning shares the bytes. The text is valid UTF-8 and valid JSON by construction.
#[derive(Clone)]
pub struct Frame {
    // `ByteString` carries the proof of UTF-8, so that no accessor pays for it again.
    text: ByteString,
    envelope: Envelope,
}

impl Frame {
    /// Reads one message; validates the whole text (RFC 8259, UTF-8, depth).
    ///
    /// # Errors
    ///
    /// See [`ParseError`].
    pub fn parse(text: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        Self::read(checked_text(text, limits)?, limits)
    }

    /// Reads one message from text whose size was checked.
    pub(super) fn read(text: ByteString, limits: &Limits) -> Result<Self, ParseError> {
        let mut scanner = Scanner::new(&text, limits.depth_max);
        scanner.blanks();
        let read = envelope::read(&mut scanner, &text);
        // Text that is no JSON comes before a bad envelope.
        if let Ok(_) | Err(ParseError::Envelope { .. }) = read {
            scanner.end().map_err(|fault| scanner.error(fault))?;
        }
        let envelope = read?;
        Ok(Self { text, envelope })
    }

    /// A message of a batch: `text` is exactly the element, `envelope` is relative to it.
    pub(super) fn from_parts(text: ByteString, envelope: Envelope) -> Self {
        Self { text, envelope }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.envelope.kind
    }

    /// Whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whole text as bytes; shares the allocation.
    pub fn bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// Whole text on one line, as stdio wants it: line breaks, which can stand between tokens only, become
    /// blanks. Shares the allocation when there are none, as in nearly every message.
    pub fn line(&self) -> Bytes {
        if memchr::memchr2(b'\n', b'\r', self.bytes()).is_none() {
            return self.bytes().clone();
        }
        self.text.replace(['\n', '\r'], " ").into()
    }

    /// Raw id (a string with quotes, or a number as it was spelled); `None` for notifications and unreadable ids.
    pub fn id(&self) -> Option<&str> {
        self.id_span().map(|s| s.of(self.text()))
    }

    /// Where the id stands.
    pub fn id_span(&self) -> Option<Span> {
        self.envelope.id
    }

    /// Method, escapes decoded. Empty for answers.
    pub fn method(&self) -> Cow<'_, str> {
        let raw = self.envelope.method.map(|s| s.of(self.text()));
        if self.envelope.method_is_plain {
            return raw.map(unquoted).unwrap_or_default().into();
        }
        raw.and_then(super::decode_str).unwrap_or_default()
    }

    /// Where the message's own object stands: the whole text without the blanks around it.
    pub fn object_span(&self) -> Span {
        let text = self.text();
        let before = text.len() - text.trim_start().len();
        Span::new(before, text.trim_end().len())
    }

    /// Raw params.
    pub fn params(&self) -> Option<&str> {
        self.params_span().map(|s| s.of(self.text()))
    }

    /// Where the params stand.
    pub fn params_span(&self) -> Option<Span> {
        self.envelope.params
    }

    /// Keys (escapes decoded; half of a surrogate pair reads as U+FFFD) and raw values of the params, in order. None
    /// when they are absent or an array.
    pub fn param_members(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        let text = self.text();
        let params = self.params_span();
        let index = self.envelope.index.as_deref();
        let index = index.filter(|index| params.is_some_and(|params| index.is_of(params)));
        let noted = index.map_or(&[][..], Index::entries).iter();
        let walked = match (index, params) {
            (None, Some(params)) => params.of(text),
            _ => "",
        };
        let noted =
            noted.map(move |entry| (unquoted(entry.key.of(text)).into(), entry.value.of(text)));
        noted.chain(super::members(walked).map(|member| (member.key, member.value)))
    }

    /// Raw `result` of a [`Kind::Result`], raw `error` of a [`Kind::Error`].
    pub fn body(&self) -> Option<&str> {
        self.body_span().map(|s| s.of(self.text()))
    }

    /// Where `result` or `error` stands.
    pub fn body_span(&self) -> Option<Span> {
        self.envelope.body
    }

    /// Span (in the whole text) of the value at `path` below params.
    pub fn param(&self, path: &[&str]) -> Option<Span> {
        self.below(self.params_span()?, path)
    }

    /// Span (in the whole text) of the value at `path` below the body.
    pub fn body_member(&self, path: &[&str]) -> Option<Span> {
        self.below(self.body_span()?, path)
    }

    fn below(&self, object: Span, path: &[&str]) -> Option<Span> {
        let index = self.envelope.index.as_deref();
        let (from, path) = match (index.filter(|index| index.is_of(object)), path) {
            (Some(index), [first, rest @ ..]) => index.follow(self.text(), (first, rest))?,
            _ => (object, path),
        };
        if path.is_empty() {
            return Some(from);
        }
        Some(super::find_path(from.of(self.text()), path)?.shift(from.start))
    }

    /// Decoded string at `path` below params.
    pub fn param_str(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        super::decode_str(self.param(path)?.of(self.text()))
    }

    /// The same message with another id (`raw` is a JSON string or integer). A message without id stays as it is.
    #[must_use]
    pub fn with_id(&self, raw: &str) -> Self {
        match self.id_span() {
            Some(id) => self.with_value(id, raw.len(), |out| out.push_str(raw)),
            None => self.clone(),
        }
    }

    /// The same message with the string `text` in place of the value at `at`, which must be a value's place in it.
    #[must_use]
    pub fn with_string(&self, at: Span, text: &str) -> Self {
        // Nearly every name is written without an escape.
        self.with_value(at, text.len() + 2, |out| push_encoded(out, text))
    }

    /// The same answer with `member` (raw key, colon and value) as the first of its body. A body that is no object stays
    /// as it is; one that has the key already must not get it again.
    #[must_use]
    pub fn with_body_member(&self, member: &str) -> Self {
        let body = self
            .body_span()
            .filter(|body| body.of(self.text()).starts_with('{'));
        let Some(body) = body else {
            return self.clone();
        };
        let at = body.start + 1;
        let is_empty = self.text()[body.range()][1..].trim_start().starts_with('}');
        let comma = if is_empty { "" } else { "," };
        let mut splice = Splice::new(self.text());
        splice.replace(Span { start: at, end: at }, format!("{member}{comma}"));
        let added = member.len() + comma.len();
        let moved = |offset: u32| match offset {
            offset if offset >= at => offset as usize + added,
            offset => offset as usize,
        };
        let envelope = Envelope {
            // It knows nothing of the new member.
            index: None,
            ..self.envelope.clone()
        };
        let frame = Self {
            text: splice.finish_text().into(),
            envelope: envelope.moved(|span| Span::new(moved(span.start), moved(span.end))),
        };
        debug_assert!(Self::read(frame.text.clone(), &Limits::WIDEST).is_ok());
        frame
    }

    /// One value for another leaves JSON that is as valid as before, so that nothing has to be read again. `write` writes
    /// the other, of about `len` bytes.
    fn with_value(&self, at: Span, len: usize, write: impl FnOnce(&mut String)) -> Self {
        let range = at.range();
        let (before, behind) = (&self.text()[..range.start], &self.text()[range.end..]);
        let mut text = String::with_capacity(before.len() + len + behind.len());
        text.push_str(before);
        write(&mut text);
        let new_end = text.len();
        text.push_str(behind);
        let moved = |offset: u32| match offset.checked_sub(at.end) {
            Some(behind) => new_end + behind as usize,
            None => offset as usize,
        };
        let frame = Self {
            text: text.into(),
            envelope: self
                .envelope
                .moved(|span| Span::new(moved(span.start), moved(span.end))),
        };
        debug_assert!(Self::read(frame.text.clone(), &Limits::WIDEST).is_ok());
        frame
    }

    /// The message after edits, re-read with the widest limits (edits are ours).
    ///
    /// # Errors
    ///
    /// Fails when the edited text is not a message any more.
    pub fn edited(splice: Splice<'_>) -> Result<Self, ParseError> {
        let text = splice.finish_text();
        check_size(text.len(), &Limits::WIDEST)?;
        Self::read(text.into(), &Limits::WIDEST)
    }
}

/// Says what it is, without what it carries: arguments and results don't belong in logs.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind())
            .field("id", &self.id())
            .field("method", &self.method())
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// Checks size and UTF-8.
pub(super) fn checked_text(text: Bytes, limits: &Limits) -> Result<ByteString, ParseError> {
    check_size(text.len(), limits)?;
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(ParseError::Syntax {
            what: "byte order mark",
            at: 0,
        });
    }
    ByteString::try_from(text).map_err(|error| ParseError::Syntax {
        what: "invalid UTF-8",
        at: error.valid_up_to(),
    })
}

fn check_size(bytes: usize, limits: &Limits) -> Result<(), ParseError> {
    let max = limits.body_bytes_max.min(Limits::WIDEST.body_bytes_max);
    if bytes > max {
        return Err(ParseError::TooLarge { bytes, max });
    }
    Ok(())
}
