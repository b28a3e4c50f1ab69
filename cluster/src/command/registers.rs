//! `RegisterWrite`: compare-and-set of one register.

use bytes::Bytes;

/// Writes one register, if it is as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterWrite {
    /// Which.
    pub key: String,
    /// How it must be.
    pub expected: Expected,
    /// What it is to hold; `None` ends it.
    pub value: Option<Bytes>,
}

/// What a register must be for a write to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// Not there.
    Absent,
    /// Holding this.
    Value(Bytes),
    /// Written last by the entry with this index.
    Revision(u64),
}
