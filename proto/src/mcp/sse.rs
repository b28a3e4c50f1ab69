//! Server-sent events (WHATWG HTML, section 9.2): incremental decoder and encoder.

use bytes::{Bytes, BytesMut};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `event:`; empty means `message`.
    pub name: String,
    /// `id:` as last seen on this stream. `None` when the stream never had one.
    pub id: Option<String>,
    /// `data:` lines joined by newline; may be empty (2025-11-25 priming events).
    pub data: Bytes,
    /// `retry:` in milliseconds.
    pub retry_ms: Option<u64>,
}

/// An event larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SSE event is over the limit of {max} bytes")]
pub struct TooLarge {
    /// Limit.
    pub max: usize,
}

/// Incremental decoder: bytes in, events out. Handles CR, LF, CRLF, BOM, comments, split chunks.
///
/// An event with `id:` or `retry:` and no data is reported too, with empty data: who resumes a stream needs both.
/// An event that the end of the stream cuts off is never reported. `data` shares the memory of the chunk when
/// its one line lies within it.
#[derive(Debug)]
pub struct Decoder {
    bytes_max: usize,
    /// Bytes of the byte order mark seen so far; `None` once the stream is past it.
    bom: Option<usize>,
    /// The last chunk ended in CR: an LF that comes next belongs to it.
    after_cr: bool,
    /// The line that goes on in the next chunk.
    line: Line,
    event: Pending,
    /// Size of the lines of the event so far.
    bytes: usize,
    last_id: Option<String>,
    refused: bool,
}

/// Start of a line whose end was not seen yet.
#[derive(Debug)]
enum Line {
    Kept(BytesMut),
    /// A comment: nothing of it is kept, nor counted.
    Comment,
}

/// The event that is being collected.
#[derive(Debug, Default)]
struct Pending {
    name: String,
    id: Option<String>,
    data: Option<Data>,
    retry_ms: Option<u64>,
}

#[derive(Debug)]
enum Data {
    One(Bytes),
    Joined(BytesMut),
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl Decoder {
    /// Refuses events whose lines add up to more than `bytes_max`; comments don't count.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bom: Some(0),
            after_cr: false,
            line: Line::default(),
            event: Pending::default(),
            bytes: 0,
            last_id: None,
            refused: false,
        }
    }

    /// Takes a chunk and appends the events that it completes to `out`.
    ///
    /// # Errors
    ///
    /// Fails for good when an event passes the limit.
    pub fn feed(&mut self, chunk: &Bytes, out: &mut Vec<Event>) -> Result<(), TooLarge> {
        if self.refused {
            return Err(self.too_large());
        }
        let mut rest = self.skip_bom(chunk);
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = memchr::memchr2(b'\r', b'\n', rest);
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.append(part, chunk, end.is_some(), out)?;
            self.after_cr = after.first() == Some(&b'\r');
            rest = after.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    /// Skips the byte order mark at the start of the stream, even when it comes in pieces.
    fn skip_bom<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let Some(seen) = self.bom else {
            return chunk;
        };
        let wanted = BOM.get(seen..).unwrap_or_default();
        let n_equal = wanted.iter().zip(chunk).take_while(|(a, b)| a == b).count();
        if n_equal == wanted.len() {
            self.bom = None;
        } else if n_equal == chunk.len() {
            self.bom = Some(seen + n_equal);
        } else {
            // No mark after all: what was taken for its start belongs to the first line.
            self.bom = None;
            self.line = Line::Kept(BOM.get(..seen).unwrap_or_default().into());
            return chunk;
        }
        chunk.get(n_equal..).unwrap_or_default()
    }

    /// Adds `part` of `chunk` to the current line, and takes the line when it `ends` there.
    fn append(
        &mut self,
        part: &[u8],
        chunk: &Bytes,
        ends: bool,
        out: &mut Vec<Event>,
    ) -> Result<(), TooLarge> {
        let Line::Kept(start) = &mut self.line else {
            if ends {
                self.line = Line::default();
            }
            return Ok(());
        };
        let is_comment = start.first().or_else(|| part.first()) == Some(&b':');
        if is_comment {
            self.line = if ends { Line::default() } else { Line::Comment };
            return Ok(());
        }
        let size = self.bytes + start.len() + part.len();
        if size > self.bytes_max {
            self.refused = true;
            return Err(self.too_large());
        }
        if !ends {
            start.extend_from_slice(part);
            return Ok(());
        }
        self.bytes = size;
        if start.is_empty() {
            self.take_line(part, chunk, out);
        } else {
            start.extend_from_slice(part);
            let line = std::mem::take(start).freeze();
            self.take_line(&line, &line, out);
        }
        Ok(())
    }

    fn too_large(&self) -> TooLarge {
        TooLarge {
            max: self.bytes_max,
        }
    }

    /// Takes a whole line, which lies within `owner`.
    fn take_line(&mut self, line: &[u8], owner: &Bytes, out: &mut Vec<Event>) {
        if line.is_empty() {
            self.bytes = 0;
            out.extend(std::mem::take(&mut self.event).finish(&mut self.last_id));
            return;
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.strip_prefix(b":").unwrap_or(value);
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        self.event.set(field, value, owner);
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::Kept(BytesMut::new())
    }
}

impl Pending {
    fn set(&mut self, field: &[u8], value: &[u8], owner: &Bytes) {
        match field {
            b"data" => self.push_data(value, owner),
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                // Only digits; empty or too many of them say nothing.
                let digits = std::str::from_utf8(value).ok();
                self.retry_ms = digits.and_then(|d| d.parse().ok()).or(self.retry_ms);
            }
            _ => {}
        }
    }

    fn push_data(&mut self, value: &[u8], owner: &Bytes) {
        let mut joined = match self.data.take() {
            None => {
                // An empty slice has no place in its owner.
                let line = if value.is_empty() {
                    Bytes::new()
                } else {
                    owner.slice_ref(value)
                };
                self.data = Some(Data::One(line));
                return;
            }
            Some(Data::One(first)) => BytesMut::from(first),
            Some(Data::Joined(joined)) => joined,
        };
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(value);
        self.data = Some(Data::Joined(joined));
    }

    /// The event at its blank line, if there was anything to it.
    fn finish(self, last_id: &mut Option<String>) -> Option<Event> {
        if self.data.is_none() && self.id.is_none() && self.retry_ms.is_none() {
            return None;
        }
        if self.id.is_some() {
            *last_id = self.id;
        }
        Some(Event {
            name: self.name,
            id: last_id.clone(),
            data: match self.data {
                None => Bytes::new(),
                Some(Data::One(line)) => line,
                Some(Data::Joined(joined)) => joined.freeze(),
            },
            retry_ms: self.retry_ms,
        })
    }
}

/// Encodes one event; `data` must be single-line JSON or is split into several `data:` lines.
/// An id that has no form on the wire (with a line break or NUL) is left out.
pub fn encode(id: Option<&str>, retry_ms: Option<u64>, data: &[u8]) -> Bytes {
    let id = id.filter(|id| !id.contains(['\r', '\n', '\0']));
    let mut out = BytesMut::with_capacity(data.len() + id.map_or(0, str::len) + 48);
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\n");
    }
    if let Some(retry_ms) = retry_ms {
        out.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
    }
    let mut rest = data;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', rest);
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
        if end.is_none() {
            break;
        }
        let is_pair = after.starts_with(b"\r\n");
        rest = after.get(if is_pair { 2 } else { 1 }..).unwrap_or_default();
    }
    out.extend_from_slice(b"\n");
    out.freeze()
}
