//! Numbered messages in both directions: the narrow interface to the far end of a channel.
//!
//! The numbers say where both sides go on after a break, should another process ever stand between.

use bytes::Bytes;

/// Characters of a stray line that are logged.
const EXCERPT_CHARS_MAX: usize = 200;

/// A message towards the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Up {
    /// Counts from 1, without gaps.
    pub(crate) n: u64,
    /// One message, without line breaks.
    pub(crate) line: Bytes,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Down {
    /// Counts from 1, without gaps.
    pub(crate) n: u64,
    /// One message, or an array of them, without a line break at its end.
    pub(crate) line: Bytes,
}

/// The beginning of a line, for the log.
pub(super) fn excerpt(line: &[u8]) -> String {
    let head = &line[..line.len().min(4 * EXCERPT_CHARS_MAX)];
    let text = String::from_utf8_lossy(head);
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}
