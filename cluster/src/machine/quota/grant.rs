//! Tokens that a node may spend.

use super::key::Key;

/// Tokens that one life of one node may spend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Of which account.
    pub(super) key: Key,
    /// Who holds it.
    pub(super) node: u64,
    /// In which life.
    pub(super) boot: u64,
    /// Batch that asked for it.
    pub(super) seq: u64,
    /// How many were granted.
    pub(super) tokens: u64,
    /// How many of them are reported as spent.
    pub(super) used: u64,
}

impl Grant {
    /// Tokens that may still be spent, as far as the machine knows.
    pub(super) fn left(&self) -> u64 {
        self.tokens - self.used
    }
}
