//! Body of a response, cut out of what the connection has read (RFC 9112 sections 6 and 7). Pure.

use bytes::{Bytes, BytesMut};
use httparse::{Status, parse_chunk_size};

/// Longest line that begins a chunk: sixteen digits, and extensions that nobody sends.
const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Most bytes of trailers, which mean nothing in MCP.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// What of a body has yet to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes.
    Length(u64),
    /// A line with the size of the next chunk.
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Lines up to an empty one; so many bytes of them have come.
    Trailers(usize),
    /// Everything until the connection ends.
    UntilClose,
    /// Nothing.
    Ended,
}

/// What there is of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of it; never empty.
    Data(Bytes),
    /// Nothing until the connection was read again.
    More,
    /// Its end.
    End,
}

impl Body {
    pub(super) fn of_length(length: u64) -> Self {
        Self(match length {
            0 => State::Ended,
            length => State::Length(length),
        })
    }

    pub(super) fn chunked() -> Self {
        Self(State::ChunkLine)
    }

    pub(super) fn until_close() -> Self {
        Self(State::UntilClose)
    }

    pub(super) fn ended() -> Self {
        Self(State::Ended)
    }

    pub(super) fn is_until_close(&self) -> bool {
        self.0 == State::UntilClose
    }

    pub(super) fn is_ended(&self) -> bool {
        self.0 == State::Ended
    }

    /// How much is left, where that was announced.
    pub(super) fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// The connection was closed by the server.
    ///
    /// # Errors
    ///
    /// Fails when more was announced.
    pub(super) fn close(&mut self) -> Result<(), &'static str> {
        if !matches!(self.0, State::UntilClose | State::Ended) {
            return Err("the connection was closed in the middle of the answer");
        }
        self.0 = State::Ended;
        Ok(())
    }

    /// Takes the next piece out of `read`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the chunks.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            let took = match self.0 {
                State::Ended => return Ok(Piece::End),
                _ if read.is_empty() => return Ok(Piece::More),
                State::UntilClose => return Ok(Piece::Data(read.split().freeze())),
                State::Length(left) => {
                    let (data, left) = cut(read, left);
                    *self = Self::of_length(left);
                    return Ok(Piece::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = cut(read, left);
                    self.0 = match left {
                        0 => State::ChunkEnd,
                        left => State::Chunk(left),
                    };
                    return Ok(Piece::Data(data));
                }
                State::ChunkLine => self.take_line(read)?,
                State::ChunkEnd => self.take_end(read)?,
                State::Trailers(seen) => self.take_trailer(read, seen)?,
            };
            if !took {
                return Ok(Piece::More);
            }
        }
    }

    fn take_line(&mut self, read: &mut BytesMut) -> Result<bool, &'static str> {
        // RFC 9112, section 7.1: at least one digit, which the parser does not insist on.
        if read.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err("the size of a chunk is malformed");
        }
        match parse_chunk_size(read) {
            Err(_) => Err("the size of a chunk is malformed"),
            Ok(Status::Partial) if read.len() > CHUNK_LINE_BYTES_MAX => {
                Err("the line of a chunk is too long")
            }
            Ok(Status::Partial) => Ok(false),
            Ok(Status::Complete((len, size))) => {
                drop(read.split_to(len));
                self.0 = match size {
                    0 => State::Trailers(0),
                    size => State::Chunk(size),
                };
                Ok(true)
            }
        }
    }

    fn take_end(&mut self, read: &mut BytesMut) -> Result<bool, &'static str> {
        match &**read {
            [b'\r', b'\n', ..] => {
                drop(read.split_to(2));
                self.0 = State::ChunkLine;
                Ok(true)
            }
            [b'\r'] => Ok(false),
            _ => Err("a chunk is longer than announced"),
        }
    }

    fn take_trailer(&mut self, read: &mut BytesMut, seen: usize) -> Result<bool, &'static str> {
        let Some(end) = memchr::memchr(b'\n', read) else {
            return if seen + read.len() > TRAILER_BYTES_MAX {
                Err("the trailers are too long")
            } else {
                Ok(false)
            };
        };
        let line = read.split_to(end + 1);
        let seen = seen + line.len();
        if seen > TRAILER_BYTES_MAX {
            return Err("the trailers are too long");
        }
        self.0 = match &*line {
            b"\r\n" | b"\n" => State::Ended,
            _ => State::Trailers(seen),
        };
        Ok(true)
    }
}

/// As much of `left` bytes as there is, and how many are left then.
fn cut(read: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let len = usize::try_from(left).map_or(read.len(), |left| left.min(read.len()));
    (read.split_to(len).freeze(), left - len as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `text` in pieces; returns the body and what was left over, or the error.
    fn read(mut body: Body, text: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        let mut rest = text;
        let mut cuts = cuts.iter();
        loop {
            match body.take(&mut buffer)? {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    found.extend_from_slice(&data);
                }
                Piece::End => {
                    buffer.extend_from_slice(rest);
                    return Ok((found, buffer.to_vec()));
                }
                Piece::More if rest.is_empty() => body.close()?,
                Piece::More => {
                    let len = cuts
                        .next()
                        .map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
                    let (piece, later) = rest.split_at(len);
                    buffer.extend_from_slice(piece);
                    rest = later;
                }
            }
        }
    }

    #[track_caller]
    fn check(body: Body, text: &str, expected: Result<(&str, &str), ()>) {
        let found = read(body, text.as_bytes(), &[]);
        let found = found.map(|(body, rest)| {
            (
                String::from_utf8(body).unwrap(),
                String::from_utf8(rest).unwrap(),
            )
        });
        let found = found.as_ref().map(|(body, rest)| (&**body, &**rest));
        assert_eq!(found.map_err(|_| ()), expected, "{text:?}");
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        check(Body::of_length(3), "abcd", Ok(("abc", "d")));
        check(Body::of_length(0), "d", Ok(("", "d")));
        check(Body::of_length(3), "ab", Err(()));
        check(Body::ended(), "d", Ok(("", "d")));
    }

    #[test]
    fn a_body_without_a_length_ends_with_its_connection() {
        check(Body::until_close(), "abcd", Ok(("abcd", "")));
        check(Body::until_close(), "", Ok(("", "")));
    }

    #[test]
    fn chunks_end_with_an_empty_one() {
        check(Body::chunked(), "3\r\nabc\r\n0\r\n\r\nd", Ok(("abc", "d")));
        check(
            Body::chunked(),
            "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: v\r\n\r\n",
            Ok(("abc0123456789", "")),
        );
        check(Body::chunked(), "0\r\n\r\n", Ok(("", "")));
        for broken in [
            "",
            "3\r\nabc\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "x\r\n",
            "\r\n",
            ";x\r\n",
            " \r\n",
            "3\r\nabc\r\n\r\n\r\n",
            "-1\r\n",
            "11111111111111111\r\n",
            "0\r\n",
        ] {
            check(Body::chunked(), broken, Err(()));
        }
        let long = format!("3;{}", "x".repeat(CHUNK_LINE_BYTES_MAX));
        check(Body::chunked(), &long, Err(()));
        let long = format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1));
        check(Body::chunked(), &long, Err(()));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_come(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5),
            cuts in prop::collection::vec(1_usize..20, 0..200),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\nx: y\r\n\r\n");
            let found = read(Body::chunked(), &text, &cuts);
            prop_assert_eq!(found, Ok((chunks.concat(), Vec::new())));
        }

        #[test]
        fn no_bytes_make_it_panic_or_hang(
            text in prop::collection::vec(prop_oneof![
                any::<u8>(),
                prop::sample::select(b"\r\n0123af;".to_vec()),
            ], 0..200),
            cuts in prop::collection::vec(1_usize..9, 0..200),
        ) {
            let _any = read(Body::chunked(), &text, &cuts);
        }
    }
}
