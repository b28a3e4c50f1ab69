//! Reads HTTP/1.1 answers out of one reused buffer; a body with a length is never copied.

use std::io;

use memchr::memmem;

/// Largest head we read, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Largest body we read, in bytes.
const BODY_BYTES_MAX: usize = 256 << 20;
/// First size of the buffer: a head and a 64 KiB result.
const BUFFER_BYTES: usize = 80 << 10;

/// Bytes that are no answer as we read it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The connection broke.
    #[error("connection broke")]
    Io(#[from] io::Error),
    /// No HTTP/1.1 head.
    #[error("head is malformed or over {HEAD_BYTES_MAX} bytes")]
    Head,
    /// A body whose length cannot be told.
    #[error("body has neither a length nor chunks")]
    Length,
    /// A chunk that is none.
    #[error("chunk is malformed")]
    Chunk,
    /// A body that we do not want to hold.
    #[error("body is over {BODY_BYTES_MAX} bytes")]
    TooLarge,
}

/// One whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// Status code.
    pub(crate) status: u16,
    /// Whether the body is an event stream.
    pub(crate) is_event_stream: bool,
    /// `Mcp-Session-Id`.
    pub(crate) session_id: Option<&'a str>,
    /// Whether the connection ends with this answer.
    pub(crate) closes: bool,
    /// Body without its framing.
    pub(crate) body: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

#[derive(Debug)]
struct Head {
    bytes: usize,
    status: u16,
    is_event_stream: bool,
    session_id: Option<String>,
    closes: bool,
    framing: Framing,
}

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// Less than there was room for.
    Partial,
    /// All there was room for.
    Full,
    /// The source has ended.
    End,
}

/// Reader of one connection. `fill`, then `answer` until it gives one, then `consume`.
#[derive(Debug)]
pub(crate) struct AnswerReader {
    buffer: Vec<u8>,
    filled: usize,
    head: Option<Head>,
    chunks: Chunks,
}

/// What was read of a chunked body.
#[derive(Debug, Default)]
struct Chunks {
    body: Vec<u8>,
    /// Bytes of the buffer, from its start, that are read.
    read: usize,
    ended: bool,
}

impl AnswerReader {
    /// A reader with nothing read.
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            head: None,
            chunks: Chunks::default(),
        }
    }

    /// Takes what the source has, until it has no more. Returns false at its end.
    ///
    /// # Errors
    /// As `source`, but `WouldBlock` only means that there is no more.
    pub(crate) fn fill(&mut self, source: &mut impl io::Read) -> Result<bool, ReadError> {
        loop {
            match self.read(source) {
                Ok(Read::End) => return Ok(false),
                Ok(Read::Full) => {}
                // Less than asked for: the socket is empty, which saves the call that says so.
                Ok(Read::Partial) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what one read gives; for a blocking source, where a second one could wait forever.
    /// Returns false at its end.
    pub(crate) fn fill_once(&mut self, source: &mut impl io::Read) -> Result<bool, ReadError> {
        Ok(self.read(source)? != Read::End)
    }

    fn read(&mut self, source: &mut impl io::Read) -> io::Result<Read> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let room = &mut self.buffer[self.filled..];
        loop {
            match source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => return Ok(Read::End),
                Ok(n) => {
                    self.filled += n;
                    return Ok(if n < room.len() {
                        Read::Partial
                    } else {
                        Read::Full
                    });
                }
            }
        }
    }

    /// The answer, when all of it was read.
    pub(crate) fn answer(&mut self) -> Result<Option<Answer<'_>>, ReadError> {
        self.read_head()?;
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let filled = &self.buffer[..self.filled];
        let body = match head.framing {
            Framing::Length(length) => {
                let Some(body) = filled.get(head.bytes..head.bytes + length) else {
                    return Ok(None);
                };
                body
            }
            Framing::Chunked => {
                self.chunks.read_from(filled)?;
                if !self.chunks.ended {
                    return Ok(None);
                }
                &self.chunks.body
            }
        };
        Ok(Some(Answer {
            status: head.status,
            is_event_stream: head.is_event_stream,
            session_id: head.session_id.as_deref(),
            closes: head.closes,
            body,
        }))
    }

    /// Reads the head if all of it is there. Interim answers precede the one that counts.
    fn read_head(&mut self) -> Result<(), ReadError> {
        while self.head.is_none()
            && let Some(head) = Head::read(&self.buffer[..self.filled])?
        {
            if head.status < 200 {
                self.drop_front(head.bytes);
            } else {
                self.chunks.read = head.bytes;
                self.head = Some(head);
            }
        }
        Ok(())
    }

    fn drop_front(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }

    /// Whether the head of an event stream was read, complete or not.
    pub(crate) fn has_event_stream_head(&self) -> bool {
        self.head
            .as_ref()
            .is_some_and(|head| head.status == 200 && head.is_event_stream)
    }

    /// Forgets the answer that `answer` gave, and makes room for the next.
    pub(crate) fn consume(&mut self) {
        let Some(head) = self.head.take() else { return };
        let end = match head.framing {
            Framing::Length(length) => head.bytes + length,
            Framing::Chunked => self.chunks.read,
        };
        self.drop_front(end);
        self.chunks.body.clear();
        self.chunks.read = 0;
        self.chunks.ended = false;
    }

    /// Whether bytes were read that belong to no consumed answer.
    pub(crate) fn has_rest(&self) -> bool {
        self.filled > 0
    }
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Option<Self>, ReadError> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > HEAD_BYTES_MAX {
                Err(ReadError::Head)
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_not_ascii| ReadError::Head)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(status_of).ok_or(ReadError::Head)?;
        let mut head = Self {
            bytes: end + 4,
            status,
            is_event_stream: false,
            session_id: None,
            closes: false,
            framing: Framing::Length(0),
        };
        let mut framing =
            (status < 200 || status == 204 || status == 304).then_some(Framing::Length(0));
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(ReadError::Head)?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length: usize = value.parse().map_err(|_no_number| ReadError::Length)?;
                if length > BODY_BYTES_MAX {
                    return Err(ReadError::TooLarge);
                }
                framing.get_or_insert(Framing::Length(length));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Some(Framing::Chunked);
            } else if name.eq_ignore_ascii_case("content-type") {
                head.is_event_stream = value.starts_with("text/event-stream");
            } else if name.eq_ignore_ascii_case("mcp-session-id") {
                head.session_id = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("connection") {
                head.closes = value.eq_ignore_ascii_case("close");
            }
        }
        head.framing = framing.ok_or(ReadError::Length)?;
        Ok(Some(head))
    }
}

fn status_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.parse().ok()
}

impl Chunks {
    /// Moves every chunk that is there completely into the body.
    fn read_from(&mut self, filled: &[u8]) -> Result<(), ReadError> {
        while !self.ended {
            let rest = &filled[self.read..];
            let Some(line) = memmem::find(rest, b"\r\n") else {
                return Ok(());
            };
            let length = chunk_length(&rest[..line])?;
            let start = line + 2;
            if length == 0 {
                // Trailers, if any, end with an empty line.
                let Some(end) = memmem::find(&rest[line..], b"\r\n\r\n") else {
                    return Ok(());
                };
                self.read += line + end + 4;
                self.ended = true;
                return Ok(());
            }
            let Some(chunk) = rest.get(start..start + length + 2) else {
                return Ok(());
            };
            if &chunk[length..] != b"\r\n" {
                return Err(ReadError::Chunk);
            }
            if self.body.len() + length > BODY_BYTES_MAX {
                return Err(ReadError::TooLarge);
            }
            self.body.extend_from_slice(&chunk[..length]);
            self.read += start + length + 2;
        }
        Ok(())
    }
}

fn chunk_length(line: &[u8]) -> Result<usize, ReadError> {
    let text = std::str::from_utf8(line).map_err(|_not_ascii| ReadError::Chunk)?;
    let digits = text.split(';').next().unwrap_or_default().trim();
    let length = usize::from_str_radix(digits, 16).map_err(|_no_number| ReadError::Chunk)?;
    if length > BODY_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::{AnswerReader, ReadError};

    const PLAIN: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nmcp-session-id: s\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";

    /// Feeds `bytes` in pieces of `step` and gives status and body of each answer.
    fn check(bytes: &[u8], step: usize, expected: &[(u16, &str)]) {
        let mut reader = AnswerReader::new();
        let mut seen = Vec::new();
        for mut piece in bytes.chunks(step) {
            while !piece.is_empty() {
                assert!(reader.fill(&mut piece).unwrap());
            }
            while let Some(answer) = reader.answer().unwrap() {
                seen.push((
                    answer.status,
                    String::from_utf8(answer.body.to_vec()).unwrap(),
                ));
                reader.consume();
            }
        }
        let seen: Vec<_> = seen
            .iter()
            .map(|(status, body)| (*status, body.as_str()))
            .collect();
        assert_eq!(seen, expected, "in pieces of {step}");
        assert!(!reader.has_rest());
    }

    #[test]
    fn answers_are_found_wherever_the_stream_is_cut() {
        let both = [PLAIN, CHUNKED, PLAIN].concat();
        for step in 1..both.len() {
            check(
                &both,
                step,
                &[(200, "{}"), (200, "abc0123456789"), (200, "{}")],
            );
        }
    }

    #[test]
    fn an_answer_larger_than_the_buffer_is_read_whole() {
        let body = "x".repeat(300_000);
        let bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n{body}");
        check(bytes.as_bytes(), 70_000, &[(200, &body)]);
    }

    #[test]
    fn interim_answers_are_skipped() {
        let bytes = [b"HTTP/1.1 100 Continue\r\n\r\n", PLAIN].concat();
        check(&bytes, bytes.len(), &[(200, "{}")]);
    }

    #[test]
    fn headers_that_matter_are_read() {
        let mut reader = AnswerReader::new();
        reader.fill(&mut &*CHUNKED).unwrap();
        let answer = reader.answer().unwrap().unwrap();
        assert!(answer.is_event_stream);
        assert_eq!(answer.session_id, Some("s"));
    }

    fn fails(bytes: &[u8]) -> ReadError {
        let mut reader = AnswerReader::new();
        let mut rest = bytes;
        reader.fill(&mut rest).unwrap();
        reader.answer().unwrap_err()
    }

    #[test]
    fn a_body_without_a_length_is_refused() {
        assert!(matches!(
            fails(b"HTTP/1.1 200 OK\r\n\r\n"),
            ReadError::Length
        ));
    }

    #[test]
    fn a_broken_chunk_is_refused() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabcd\r\n";
        assert!(matches!(fails(bytes), ReadError::Chunk));
    }

    #[test]
    fn something_else_is_refused() {
        assert!(matches!(fails(b"SSH-2.0\r\n\r\n"), ReadError::Head));
    }
}
