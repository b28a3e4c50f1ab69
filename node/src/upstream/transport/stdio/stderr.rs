//! What a child writes to stderr, into our log.

use lockgate_proto::id::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt};
use tracing::info;

/// A longer line is cut in the log.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Logs every line until the child closes its end. The child is always read, so that it never blocks on its log.
pub(super) async fn log_lines<R: AsyncRead + Unpin>(server: ServerName, mut stderr: R) {
    let mut chunk = vec![0; 4 << 10];
    let mut lines = Lines::default();
    loop {
        match stderr.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(n) => lines.push(&chunk[..n], |line| log(&server, line)),
        }
    }
    lines.finish(|line| log(&server, line));
}

fn log(server: &ServerName, line: &str) {
    info!(%server, line, "stderr");
}

/// Cuts a byte stream into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, chunk: &[u8], mut each: impl FnMut(&str)) {
        let mut parts = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                self.finish(&mut each);
            }
        }
    }

    fn finish(&mut self, mut each: impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            each(line);
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunks: &[&str], expected: &[&str]) {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.push(chunk.as_bytes(), |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        check(&["on", "e\ntw", "o\r\n\nthree"], &["one", "two", "three"]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_is_whole() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        check(
            &[&long, &long, "\nnext\n"],
            &[&long[..LINE_BYTES_MAX], "next"],
        );
    }
}
