//! The audit log as a library: one log over the whole cluster, in the order of the replicated log, as a hash chain with a
//! Merkle tree over it and signed checkpoints. Pure but for [`segment`], which keeps the records in files; usable
//! offline, with no node running.
//!
//! A node writes a [`Record`]; the log places it ([`AuditLog::apply`]), which gives a [`Chained`] one; a segment store
//! keeps it with a MAC beside it; [`verify`] finds what was changed since.

pub mod chain;
pub mod checkpoint;
pub mod derive;
pub mod export;
mod fields;
pub mod filter;
pub mod guard;
pub mod hash;
pub mod key;
pub mod leaf;
pub mod mac;
pub mod note;
pub mod proof;
pub mod prove;
pub mod record;
pub mod segment;
mod stats;
pub(crate) mod text;
pub mod time;
pub mod tree;
pub mod verify;

pub use self::chain::Genesis;
pub use self::checkpoint::{Checkpoint, Signers};
pub use self::guard::{Guard, GuardError, Guards, Mark};
pub use self::hash::Hash;
pub use self::key::{KeyKind, SignerKey, VerifierKey};
pub use self::mac::{KeyRanges, Mac, MacKey, MacKeys};
pub use self::note::Note;
pub use self::record::{Kind, Origin, Record};
pub use self::stats::Stats;
pub use self::text::is_plain;
pub use self::tree::Frontier;
pub use crate::machine::audit::{
    Appended, AuditCommand, AuditEffect, AuditLog, AuditRefusal, AuditReply, Chained, WireError,
};
