//! Records in files, append only, with one writer and any number of readers.
//!
//! ```text
//! <dir>/genesis              what the log is
//! <dir>/<first seq>.seg      records with their MACs, framed; at most 64 Ki records or 64 MiB
//! <dir>/<first seq>.sealed   once the segment is full: its extent, chain before and after, and hash
//! <dir>/offsets              where each record begins in its segment, four bytes each
//! <dir>/tree/<level>         hashes of complete subtrees of 256^n leaves, 32 bytes each
//! <dir>/checkpoints          good checkpoints, framed
//! ```
//!
//! What the machine does not name is cut away on opening, and damage below that is refused: the replicated log, not this
//! directory, knows what happened. `offsets` and `tree` follow from the records and are made anew for the last segment;
//! for pruned segments they are all that is left, and enough for proofs.

mod error;
mod frame;
mod journal;
mod manifest;
mod open;
mod reader;
mod store;
mod tiles;

pub use self::error::SegmentError;
pub use self::manifest::Manifest;
pub use self::open::Position;
pub use self::reader::{Records, SegmentReader, Stored};
pub use self::store::{Limits, SegmentStore};
pub use self::tiles::Tiles;
