//! Validates JSON text (RFC 8259) in one pass: no recursion, no allocation, nothing is built.

use super::ParseError;
use super::limits::DEPTH_CEILING;
use super::long_string;
use super::plain_run::Block;

const WORDS: usize = DEPTH_CEILING as usize / 64;

/// What stopped the scanner; [`Scanner::at`] is where, and [`Scanner::error`] has the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Value,
    After,
    Key,
    Colon,
    NextMember,
    NextElement,
    Unterminated,
    Control,
    Escape,
    Digit,
    Depth,
}

/// A position in a text, and the arrays and objects that are open there.
///
/// The text is UTF-8 already, so every byte of 0x80 and above is part of a whole character and is
/// legal inside strings only.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u16,
    depth_max: u16,
    /// Whether the innermost open level is an object.
    in_object: bool,
    /// Whether the string read last holds an escape.
    escaped: bool,
    /// One bit per open level, set for objects.
    objects: [u64; WORDS],
}

type Scanned<T = ()> = Result<T, Fault>;

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str, depth_max: u16) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
            in_object: false,
            escaped: false,
            depth_max: depth_max.min(DEPTH_CEILING),
            objects: [0; WORDS],
        }
    }

    /// Offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Whether the text goes on with `known` from `at` on.
    pub(super) fn reads(&self, at: usize, known: &[u8]) -> bool {
        self.bytes
            .get(at..)
            .is_some_and(|rest| rest.starts_with(known))
    }

    /// Skips the four blanks of RFC 8259 section 2.
    pub(super) fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Nothing but blanks may be left.
    pub(super) fn end(&mut self) -> Scanned {
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Fault::After),
        }
    }

    /// Opens the array or object whose bracket stands here. Returns whether it has a first element or member;
    /// if not, it is closed again.
    pub(super) fn open(&mut self, is_object: bool) -> Scanned<bool> {
        if self.depth == self.depth_max {
            return Err(Fault::Depth);
        }
        let (word, bit) = (usize::from(self.depth / 64), self.depth % 64);
        // `depth < depth_max <= DEPTH_CEILING`, so the word is there.
        if let Some(word) = self.objects.get_mut(word) {
            *word = *word & !(1 << bit) | u64::from(is_object) << bit;
        }
        self.depth += 1;
        self.in_object = is_object;
        self.at += 1;
        self.blanks();
        let close = if is_object { b'}' } else { b']' };
        if self.peek() == Some(close) {
            return self.close();
        }
        Ok(true)
    }

    /// After an element or member: whether another one follows (its comma is consumed). If not, the innermost
    /// array or object is closed.
    pub(super) fn more(&mut self) -> Scanned<bool> {
        self.blanks();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.blanks();
                Ok(true)
            }
            Some(b'}') if self.in_object => self.close(),
            Some(b']') if !self.in_object => self.close(),
            _ if self.in_object => Err(Fault::NextMember),
            _ => Err(Fault::NextElement),
        }
    }

    /// A key with its quotes, and the colon and blanks after it. Returns the key's end.
    pub(super) fn key(&mut self) -> Scanned<usize> {
        if self.peek() != Some(b'"') {
            return Err(Fault::Key);
        }
        self.string()?;
        let end = self.at;
        self.blanks();
        if self.peek() != Some(b':') {
            return Err(Fault::Colon);
        }
        self.at += 1;
        self.blanks();
        Ok(end)
    }

    /// One whole value, however deep.
    pub(super) fn value(&mut self) -> Scanned {
        let outside = self.depth;
        loop {
            let opened = match self.peek() {
                Some(b'{') => self.open(true)?,
                Some(b'[') => self.open(false)?,
                _ => {
                    self.scalar()?;
                    false
                }
            };
            let next = opened || self.climb(outside)?;
            if !next {
                return Ok(());
            }
            if self.in_object {
                self.key()?;
            }
        }
    }

    /// Closes levels until one has another element or member (`true`) or `outside` is reached (`false`).
    fn climb(&mut self, outside: u16) -> Scanned<bool> {
        while self.depth > outside {
            if self.more()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Leaves the innermost level at its bracket. Always `Ok(false)`: nothing more follows in it.
    fn close(&mut self) -> Scanned<bool> {
        self.at += 1;
        self.depth -= 1;
        self.in_object = self.depth.checked_sub(1).is_some_and(|level| {
            let word = self.objects.get(usize::from(level / 64));
            word.is_some_and(|word| word >> (level % 64) & 1 == 1)
        });
        Ok(false)
    }

    fn scalar(&mut self) -> Scanned {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(Fault::Value),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Scanned {
        match self.bytes.get(self.at..) {
            Some(rest) if rest.starts_with(word) => {
                self.at += word.len();
                Ok(())
            }
            _ => Err(Fault::Value),
        }
    }

    /// Whether the string or key that was read last holds an escape; without one, its raw text is its text.
    pub(super) fn was_escaped(&self) -> bool {
        self.escaped
    }

    /// A string; the quote that opens it stands here.
    fn string(&mut self) -> Scanned {
        self.at += 1;
        self.escaped = false;
        let mut block = Block::short(self.bytes, self.at);
        loop {
            let start = self.at;
            let mut marks = block.marks;
            while marks != 0 {
                self.at = start + marks.trailing_zeros() as usize;
                match self.peek() {
                    Some(b'"') => {
                        self.at += 1;
                        return Ok(());
                    }
                    Some(b'\\') => self.escape()?,
                    _ => return Err(Fault::Control),
                }
                // An escape may hold marks, and may reach beyond its block.
                let read = u32::try_from(self.at - start).unwrap_or(u32::MAX);
                marks &= u64::MAX.checked_shl(read).unwrap_or(0);
            }
            self.at = self.at.max(start + block.len);
            if block.is_last {
                return Err(Fault::Unterminated);
            }
            // What the vectors of every processor find in a moment is not worth the call for the longest ones.
            if block.len == Block::LONG {
                let passed = long_string::pass(self.bytes, self.at);
                self.at = passed.at;
                self.escaped |= passed.escaped;
            }
            block = Block::long(self.bytes, self.at);
        }
    }

    fn escape(&mut self) -> Scanned {
        self.at += 1 + long_string::escape_len(self.bytes, self.at + 1).ok_or(Fault::Escape)?;
        self.escaped = true;
        Ok(())
    }

    fn number(&mut self) -> Scanned {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // A zero stands alone.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Scanned {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(Fault::Digit);
        }
        Ok(())
    }

    /// The fault that the last call ended with, at its place.
    #[cold]
    pub(super) fn error(&self, fault: Fault) -> ParseError {
        let what = match fault {
            Fault::Value => "expected a value",
            Fault::After => "text after the value",
            Fault::Key => "expected a member name",
            Fault::Colon => "expected `:`",
            Fault::NextMember => "expected `,` or `}`",
            Fault::NextElement => "expected `,` or `]`",
            Fault::Unterminated => "unterminated string",
            Fault::Control => "control character in a string",
            Fault::Escape => "bad escape",
            Fault::Digit => "expected a digit",
            Fault::Depth => {
                return ParseError::TooDeep {
                    at: self.at,
                    max: self.depth_max,
                };
            }
        };
        ParseError::Syntax { what, at: self.at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), (&str, usize)>) {
        let mut scanner = Scanner::new(text, 8);
        let found = scanner.value().and_then(|()| scanner.end());
        let found = found.map_err(|fault| match scanner.error(fault) {
            ParseError::Syntax { what, at } => (what, at),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-0.0e-00",
            "123456789012345678901234567890",
            "1E+9",
            "\"\"",
            r#""\"\\\/\b\f\n\r\t\u00fF""#,
            r#""\ud800""#,
            "\"\u{7f}\u{80}\u{10ffff}\"",
            "[]",
            "{}",
            "[ ]",
            "{ }",
            "[[],{},[{}]]",
            "{\"a\":{\"b\":[1,2,{\"c\":null}]},\"d\":[]}",
            "\t[\r1 ,\n2 ]",
        ] {
            check(text.trim_start(), Ok(()));
        }
    }

    #[test]
    fn faults_are_named_with_their_place() {
        check("", Err(("expected a value", 0)));
        check("nul", Err(("expected a value", 0)));
        check("[1,]", Err(("expected a value", 3)));
        check("[1 2]", Err(("expected `,` or `]`", 3)));
        check("[1}", Err(("expected `,` or `]`", 2)));
        check("{\"a\":1]", Err(("expected `,` or `}`", 6)));
        check("{\"a\":1,}", Err(("expected a member name", 7)));
        check("{a:1}", Err(("expected a member name", 1)));
        check("{\"a\" 1}", Err(("expected `:`", 5)));
        check("{\"a\":}", Err(("expected a value", 5)));
        check("\"a", Err(("unterminated string", 2)));
        check("\"a\u{1f}\"", Err(("control character in a string", 2)));
        check("\"\\x\"", Err(("bad escape", 1)));
        check("\"\\u12g4\"", Err(("bad escape", 1)));
        check("\"\\u12", Err(("bad escape", 1)));
        check("\"\\", Err(("bad escape", 1)));
        check("01", Err(("text after the value", 1)));
        check("-", Err(("expected a digit", 1)));
        check("+1", Err(("expected a value", 0)));
        check("1.", Err(("expected a digit", 2)));
        check(".5", Err(("expected a value", 0)));
        check("1e", Err(("expected a digit", 2)));
        check("1e+", Err(("expected a digit", 3)));
        check("NaN", Err(("expected a value", 0)));
        check("1 1", Err(("text after the value", 2)));
        check("[1]\u{a0}", Err(("text after the value", 3)));
        check("[\u{2028}1]", Err(("expected a value", 1)));
    }

    #[test]
    fn depth_is_counted_from_the_outermost_bracket() {
        check("[[[[[[[[]]]]]]]]", Ok(()));
        check("[[[[[[[{}]]]]]],[[[[[[]]]]]]]", Ok(()));
        let mut scanner = Scanner::new("[[[[[[[[{}]]]]]]]]", 8);
        assert_eq!(scanner.value(), Err(Fault::Depth));
        assert_eq!(scanner.at(), 8);
    }

    #[test]
    fn no_limit_reaches_past_the_ceiling() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(Scanner::new(&nested(1024), u16::MAX).value(), Ok(()));
        let text = nested(100_000);
        let mut scanner = Scanner::new(&text, u16::MAX);
        assert_eq!(scanner.value(), Err(Fault::Depth));
        let (at, max) = (1024, 1024);
        assert_eq!(scanner.error(Fault::Depth), ParseError::TooDeep { at, max });
    }
}
