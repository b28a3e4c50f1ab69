//! Hashes of the state, by which nodes find out that they differ.

use std::collections::VecDeque;

/// Every so many entries the state is hashed.
const EVERY: u64 = 1000;
/// So many hashes are kept: enough that nodes which are a few thousand entries apart have one in common.
const KEPT: usize = 8;

/// Hash of the whole state after one entry. On every node that has applied that entry it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHash {
    /// Index of the entry.
    pub index: u64,
    /// SHA-256 of the canonical snapshot.
    pub hash: [u8; 32],
}

/// The last hashes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hashes {
    kept: VecDeque<StateHash>,
}

/// Whether the state is hashed after the entry at `index`, the one before it being at `last`.
pub(super) fn is_due(last: u64, index: u64) -> bool {
    last / EVERY < index / EVERY
}

impl Hashes {
    pub(super) fn push(&mut self, index: u64, hash: [u8; 32]) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(StateHash { index, hash });
    }

    pub(crate) fn kept(&self) -> impl ExactSizeIterator<Item = &StateHash> {
        self.kept.iter()
    }
}
