//! The young end of the log in memory. Older entries are read from the disk, which only a node that was away for long
//! needs.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::EntryPayload;
use openraft::entry::RaftEntry;

use crate::raft::types::Entry;

/// Bytes of entries in memory, beyond which those that are on the disk are let go. A batch of audit records of each of a
/// few nodes fits in, as it is not applied before a quorum has it.
const BYTES_MAX: usize = 4 << 20;
/// What an entry takes besides its payload.
const ENTRY_BYTES: usize = 96;

/// Entries without a gap, up to the last one of the log.
#[derive(Debug)]
pub(super) struct Tail {
    /// Index of the first entry here.
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    /// An empty one: the next entry has this index.
    pub(super) fn new(next: u64) -> Self {
        Self {
            first: next,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Index from which on entries are here.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Index that the next entry of the log will have.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Adds the next entry. One that follows a gap begins anew: the engine never leaves one within the log.
    pub(super) fn push(&mut self, entry: Entry) {
        if entry.index() != self.next() {
            *self = Self::new(entry.index());
        }
        self.bytes += size_of(&entry);
        self.entries.push_back(entry);
    }

    /// Takes the entries from `from` on away.
    pub(super) fn truncate(&mut self, from: u64) {
        if from < self.first {
            *self = Self::new(from);
            return;
        }
        while self.next() > from {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= size_of(&entry);
            }
        }
    }

    /// Takes the entries before `end` away, also when the log does not reach that far.
    pub(super) fn purge(&mut self, end: u64) {
        if end >= self.next() {
            *self = Self::new(end);
            return;
        }
        while self.first < end {
            self.pop_front();
        }
    }

    /// Lets go of the oldest entries beyond the bound that lie before `durable`.
    pub(super) fn evict(&mut self, durable: u64) {
        while self.bytes > BYTES_MAX && self.first < durable && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Entries of `range` as far as there are any, up to this many bytes and at least one. `None` when the first of
    /// them is on the disk only.
    pub(super) fn get(&self, range: &Range<u64>, bytes_max: usize) -> Option<Vec<Entry>> {
        if range.start >= range.end {
            return Some(Vec::new());
        }
        let skip = usize::try_from(range.start.checked_sub(self.first)?).ok()?;
        let n_most = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.entries.iter().skip(skip).take(n_most) {
            bytes += size_of(entry);
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Some(entries)
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size_of(&entry);
            self.first += 1;
        }
    }
}

fn size_of(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len(),
            EntryPayload::Blank | EntryPayload::Membership(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::raft::types::{Payload, log_id};

    fn entry(index: u64, bytes: usize) -> Entry {
        Entry {
            log_id: log_id(1, 1, index),
            payload: EntryPayload::Normal(Payload(Bytes::from(vec![0; bytes]))),
        }
    }

    /// Entries 10 to 14.
    fn tail() -> Tail {
        let mut tail = Tail::new(10);
        for index in 10..15 {
            tail.push(entry(index, 100));
        }
        tail
    }

    #[track_caller]
    fn check(tail: &Tail, range: Range<u64>, bytes_max: usize, expected: Option<Range<u64>>) {
        let got = tail.get(&range, bytes_max);
        let got = got.map(|entries| entries.iter().map(RaftEntry::index).collect::<Vec<_>>());
        assert_eq!(got, expected.map(Iterator::collect::<Vec<_>>));
    }

    #[test]
    fn what_is_older_is_on_the_disk() {
        check(&tail(), 9..12, usize::MAX, None);
        check(&tail(), 10..12, usize::MAX, Some(10..12));
        check(&tail(), 13..20, usize::MAX, Some(13..15));
        check(&tail(), 15..20, usize::MAX, Some(0..0));
    }

    #[test]
    fn an_answer_is_bounded_and_never_empty_for_its_bound() {
        check(&tail(), 10..15, 1, Some(10..11));
        check(&tail(), 10..15, 2 * (100 + ENTRY_BYTES), Some(10..12));
    }

    #[test]
    fn both_ends_can_be_cut() {
        let mut tail = tail();
        tail.truncate(13);
        tail.purge(11);
        check(&tail, 11..20, usize::MAX, Some(11..13));
        assert_eq!(tail.bytes, 2 * (100 + ENTRY_BYTES));
        tail.purge(30);
        assert_eq!((tail.next(), tail.bytes), (30, 0));
        tail.truncate(5);
        assert_eq!(tail.next(), 5);
    }

    #[test]
    fn only_what_is_durable_is_let_go() {
        let mut tail = Tail::new(0);
        for index in 0..4 {
            tail.push(entry(index, BYTES_MAX / 2));
        }
        tail.evict(1);
        assert_eq!(tail.first, 1);
        tail.evict(4);
        assert_eq!((tail.first, tail.next()), (3, 4));
    }
}
