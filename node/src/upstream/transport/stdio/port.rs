//! The narrow interface to the far end of a child's pipes: numbered lines in both directions.
//!
//! Here the far end is a pair of pipes. Whoever puts another process between (it then holds the pipes and outlives
//! this one) implements [`Source`] and [`Sink`] again; the numbers say where both sides go on after a break.

use std::future::Future;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::upstream::transport::channel::{Down, Up};

/// Bytes asked from the pipe at once; the capacity of a Linux pipe.
const READ_BYTES: usize = 64 << 10;

/// A shorter line is copied out of the read buffer, so that a small message that is kept does not keep 64 KiB.
const COPY_BYTES_MAX: usize = 4 << 10;

/// Why no more lines come.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// A line passed the bound.
    #[error("sent a line of more than {max} bytes")]
    LineTooLong {
        /// Bound.
        max: usize,
    },
    /// The pipe failed.
    #[error("its output cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Gives the child's lines.
pub(super) trait Source: Send + 'static {
    /// Next line; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Down>, SourceError>> + Send;
}

/// Takes lines for the child.
pub(super) trait Sink: Send + 'static {
    /// Hands one line over. `Ok` acknowledges it: the far end has it whole.
    fn write(&mut self, up: Up) -> impl Future<Output = io::Result<()>> + Send;
}

/// Lines out of a byte stream. Memory is bounded by the longest line allowed and one read.
#[derive(Debug)]
pub(super) struct LineSource<R> {
    reader: R,
    buffer: BytesMut,
    /// Bytes of `buffer` that hold no line break.
    scanned: usize,
    n: u64,
    line_bytes_max: usize,
}

impl<R> LineSource<R> {
    pub(super) fn new(reader: R, line_bytes_max: usize) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            scanned: 0,
            n: 0,
            line_bytes_max,
        }
    }

    /// A whole line, if the buffer has one. Empty lines say nothing and are passed over.
    fn buffered(&mut self) -> Result<Option<Down>, SourceError> {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let end = self.scanned + at;
            self.check(end)?;
            let line = self.take(end);
            self.buffer.advance(1);
            if !line.trim_ascii().is_empty() {
                return Ok(Some(self.numbered(line)));
            }
        }
        self.scanned = self.buffer.len();
        self.check(self.scanned)?;
        Ok(None)
    }

    fn check(&self, bytes: usize) -> Result<(), SourceError> {
        if bytes > self.line_bytes_max {
            let max = self.line_bytes_max;
            return Err(SourceError::LineTooLong { max });
        }
        Ok(())
    }

    fn take(&mut self, end: usize) -> Bytes {
        self.scanned = 0;
        if end < COPY_BYTES_MAX {
            let line = Bytes::copy_from_slice(&self.buffer[..end]);
            self.buffer.advance(end);
            return line;
        }
        self.buffer.split_to(end).freeze()
    }

    fn numbered(&mut self, line: Bytes) -> Down {
        self.n += 1;
        Down { n: self.n, line }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> Source for LineSource<R> {
    async fn next(&mut self) -> Result<Option<Down>, SourceError> {
        loop {
            if let Some(down) = self.buffered()? {
                return Ok(Some(down));
            }
            self.buffer.reserve(READ_BYTES);
            if self.reader.read_buf(&mut self.buffer).await? > 0 {
                continue;
            }
            // The end. What came without a line break may still be a whole message.
            let rest = self.take(self.buffer.len());
            let more = !rest.trim_ascii().is_empty();
            return Ok(more.then(|| self.numbered(rest)));
        }
    }
}

/// Lines into a byte stream.
#[derive(Debug)]
pub(super) struct LineSink<W> {
    writer: W,
}

impl<W> LineSink<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Sink for LineSink<W> {
    async fn write(&mut self, up: Up) -> io::Result<()> {
        // Line and line break in one vectored write, without a copy.
        let mut text = up.line.chain(&b"\n"[..]);
        self.writer.write_all_buf(&mut text).await?;
        self.writer.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `text` when it comes in pieces: `number:line`, and the error at the end.
    async fn lines(text: &[u8], piece_bytes: usize, line_bytes_max: usize) -> String {
        let (mut writer, reader) = tokio::io::duplex(piece_bytes);
        let mut source = LineSource::new(reader, line_bytes_max);
        let feed = async {
            // The source may stop reading.
            let _closed = writer.write_all(text).await;
            drop(writer);
        };
        let read = async {
            let mut seen = String::new();
            loop {
                match source.next().await {
                    Ok(Some(down)) => {
                        let line = String::from_utf8_lossy(&down.line);
                        seen.push_str(&format!("{}:{line} ", down.n));
                    }
                    Ok(None) => return seen,
                    Err(error) => return format!("{seen}{error}"),
                }
            }
        };
        tokio::pin!(read);
        tokio::select! {
            seen = &mut read => seen,
            () = feed => read.await,
        }
    }

    async fn check(text: &str, expected: &str) {
        for piece_bytes in [1, 2, 3, 7, 1000] {
            assert_eq!(
                lines(text.as_bytes(), piece_bytes, 8).await,
                expected,
                "{text:?} in {piece_bytes}"
            );
        }
    }

    #[tokio::test]
    async fn lines_are_numbered_and_empty_ones_are_not_lines() {
        check("a\n\n \r\nbc\n", "1:a 2:bc ").await;
        check("", "").await;
        check("\n\n", "").await;
    }

    #[tokio::test]
    async fn the_last_line_needs_no_break() {
        check("a\nb", "1:a 2:b ").await;
    }

    #[tokio::test]
    async fn the_bound_counts_the_line_without_its_break() {
        check("12345678\n1\n", "1:12345678 2:1 ").await;
        check("1\n123456789\n", "1:1 sent a line of more than 8 bytes").await;
    }

    #[tokio::test]
    async fn long_and_short_lines_alternate() {
        let long = "x".repeat(3 * COPY_BYTES_MAX);
        let text = format!("{long}\ns\n{long}\n");
        let expected = format!("1:{long} 2:s 3:{long} ");
        assert_eq!(lines(text.as_bytes(), 5000, 16 << 10).await, expected);
    }

    #[tokio::test]
    async fn a_sink_writes_one_line_for_each() {
        let mut sink = LineSink::new(Vec::new());
        for (n, line) in [(1, &b"one"[..]), (2, b"two")] {
            let line = Bytes::from_static(line);
            sink.write(Up { n, line }).await.unwrap();
        }
        assert_eq!(sink.writer, b"one\ntwo\n");
    }
}
