//! Lines that the log of the cluster has not taken, in the order of their numbers.

use std::collections::BTreeSet;

use bytes::Bytes;
use memchr::memchr_iter;

use crate::audit::spool::follow;

/// Room for lines that is kept when there are none.
const IDLE_BYTES: usize = 64 << 10;
/// One batch has at most so many lines, and about so many bytes.
const BATCH_LINES_MAX: usize = 2048;
const BATCH_BYTES_MAX: usize = 768 << 10;

/// What waits for the log.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Lines with their newlines, the first one that of the record `first`, behind `n_gone` bytes of the log's.
    text: Vec<u8>,
    n_gone: usize,
    first: u64,
    next: u64,
    /// The spool has the text up to here, and so the record before `unspooled`.
    n_spooled: usize,
    unspooled: u64,
}

/// Lines for one command.
#[derive(Debug)]
pub(in crate::audit) struct Batch {
    pub(in crate::audit) first: u64,
    pub(in crate::audit) count: usize,
    /// The lines, with a newline between two of them.
    pub(in crate::audit) text: Bytes,
    /// More wait than one command takes.
    pub(in crate::audit) leaves_some: bool,
}

impl Batch {
    /// Its lines, each a part of the one text.
    pub(in crate::audit) fn lines(&self) -> Vec<Bytes> {
        let mut start = 0;
        let ends = memchr_iter(b'\n', &self.text).chain([self.text.len()]);
        let mut lines = Vec::with_capacity(self.count);
        lines.extend(ends.map(|end| self.text.slice(std::mem::replace(&mut start, end + 1)..end)));
        lines
    }
}

impl Backlog {
    /// Without lines, before the first record.
    pub(super) fn new() -> Self {
        Self {
            text: Vec::new(),
            n_gone: 0,
            first: 1,
            next: 1,
            n_spooled: 0,
            unspooled: 1,
        }
    }

    /// Bytes of all lines.
    pub(super) fn len(&self) -> usize {
        self.text.len() - self.n_gone
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of the last record, wherever it is.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Number of the last record that the log has.
    pub(super) fn committed(&self) -> u64 {
        self.first - 1
    }

    /// The first line.
    pub(super) fn oldest(&self) -> Option<&[u8]> {
        let lines = &self.text[self.n_gone..];
        lines.split(|byte| *byte == b'\n').next()
    }

    /// Adds the line that `write` makes for its number. Returns that.
    pub(super) fn push(&mut self, write: impl FnOnce(u64, &mut Vec<u8>)) -> u64 {
        let local_seq = self.next;
        write(local_seq, &mut self.text);
        self.text.push(b'\n');
        self.next += 1;
        local_seq
    }

    /// Takes the last line away, before which there were so many bytes, as if it had never been.
    pub(super) fn take_back(&mut self, bytes_before: usize) {
        self.text.truncate(self.n_gone + bytes_before);
        self.next -= 1;
    }

    /// What the spool does not have.
    pub(super) fn unspooled(&self) -> &[u8] {
        &self.text[self.n_spooled..]
    }

    /// The spool has it all.
    pub(super) fn spooled(&mut self) {
        (self.n_spooled, self.unspooled) = (self.text.len(), self.next);
    }

    /// Whether the spool has this record, or the log.
    pub(super) fn is_spooled(&self, local_seq: u64) -> bool {
        local_seq < self.unspooled
    }

    /// Lines that are next for the log, up to where nothing in the log would be owed that the spool does not show: an
    /// intent goes from here only if the spool has it, or together with its outcome.
    pub(super) fn batch(&self) -> Option<Batch> {
        let lines = &self.text[self.n_gone..];
        let n_spooled = self.n_spooled - self.n_gone;
        let ends = memchr_iter(b'\n', lines).take(BATCH_LINES_MAX);
        let ends = ends.take_while(|end| *end <= BATCH_BYTES_MAX);
        let (mut start, mut count, mut text) = (0, 0, 0);
        let mut owed = BTreeSet::new();
        for (n, end) in (1..).zip(ends) {
            if end >= n_spooled {
                // Rare: as a rule the spool has all of them.
                let line = std::str::from_utf8(&lines[start..end]);
                let _number = line.ok().and_then(|line| follow(&mut owed, line));
            }
            start = end + 1;
            if owed.is_empty() {
                (count, text) = (n, end);
            }
        }
        (count > 0).then(|| Batch {
            first: self.first,
            count,
            text: Bytes::copy_from_slice(&lines[..text]),
            leaves_some: text + 1 < lines.len(),
        })
    }

    /// The log has the batch.
    pub(super) fn on_committed(&mut self, batch: &Batch) {
        self.n_gone += batch.text.len() + 1;
        self.first = batch.first + batch.count as u64;
        self.n_spooled = self.n_spooled.max(self.n_gone);
        self.unspooled = self.unspooled.max(self.first);
        // Only so much is moved as has gone, however much waits.
        if self.n_gone >= self.len() {
            self.text.drain(..self.n_gone);
            self.n_spooled -= self.n_gone;
            self.n_gone = 0;
        }
        if self.text.is_empty() {
            self.text.shrink_to(IDLE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn push(backlog: &mut Backlog, intent: Option<u64>) {
        backlog.push(|local_seq, text| {
            let mut line = format!("{{\"v\":1,\"local_seq\":{local_seq},\"kind\":\"call\"");
            if let Some(intent) = intent {
                write!(line, ",\"intent\":{intent}").unwrap();
            }
            text.extend_from_slice(format!("{line}}}").as_bytes());
        });
    }

    /// Lines in words: `i` an intent that the spool has, `I` one that it does not have, a number the outcome of that
    /// record, which it does not have either. Returns how many of them may go.
    fn n_next(lines: &str) -> usize {
        let mut backlog = Backlog::new();
        for word in lines.split_whitespace() {
            push(&mut backlog, word.parse().ok());
            if word == "i" {
                backlog.spooled();
            }
        }
        let batch = backlog.batch();
        let count = batch.as_ref().map_or(0, |batch| batch.lines().len());
        assert_eq!(count, batch.as_ref().map_or(0, |batch| batch.count));
        if let Some(batch) = &batch {
            backlog.on_committed(batch);
        }
        assert_eq!(backlog.committed(), count as u64);
        assert!(backlog.is_spooled(count as u64));
        assert_eq!(backlog.is_empty(), count as u64 == backlog.last());
        count
    }

    #[test]
    fn an_intent_goes_only_from_the_spool_or_with_its_outcome() {
        assert_eq!(n_next(""), 0);
        assert_eq!(n_next("i i 1"), 3);
        assert_eq!(n_next("I"), 0);
        assert_eq!(n_next("i 1 I"), 2);
        assert_eq!(n_next("i I 2"), 3);
        assert_eq!(n_next("i I I 2 1"), 1);
        assert_eq!(n_next("i I 2 I I 4"), 3);
        assert_eq!(n_next("i I I 3 2 1"), 6);
    }

    #[test]
    fn what_has_gone_makes_room_without_moving_much() {
        let mut backlog = Backlog::new();
        for _ in 0..3 * BATCH_LINES_MAX {
            push(&mut backlog, None);
        }
        let (bytes, one) = (backlog.len(), backlog.oldest().unwrap().len() + 1);
        backlog.spooled();
        for left in (0..3).rev() {
            let batch = backlog.batch().unwrap();
            assert_eq!(batch.leaves_some, left > 0);
            backlog.on_committed(&batch);
            assert_eq!(backlog.committed(), batch.first + batch.count as u64 - 1);
            assert_eq!(backlog.unspooled(), b"");
        }
        assert!(bytes > one && backlog.is_empty());
        assert_eq!((backlog.text.len(), backlog.n_gone), (0, 0));
        push(&mut backlog, None);
        assert_eq!(backlog.unspooled().len(), backlog.len());
        let next = backlog.last();
        assert_eq!(next, 3 * BATCH_LINES_MAX as u64 + 1);
        assert!(!backlog.is_spooled(next) && backlog.is_spooled(next - 1));
        let before = backlog.len();
        push(&mut backlog, None);
        backlog.take_back(before);
        assert_eq!((backlog.last(), backlog.len()), (next, before));
    }
}
