//! Snapshots of the machine, one file each.
//!
//! ```text
//! "LGSNAP01"
//! frame: SnapshotFileHead        up to where, and who the members are
//! frame: SnapshotRecord          one or more a part of the machine
//! ...
//! 0_u32                          the end
//! SHA-256 of all before
//! ```
//!
//! A frame is the length and the CRC-32 of its body, both little-endian in four bytes, and the body. All bodies are
//! protobuf, so that another version of the program can read the file as it is; it travels unchanged.

mod dir;
mod file;
mod head;
mod read;
mod write;

pub(crate) use self::dir::Snapshots;
pub(crate) use self::file::{Draft, SnapshotFile};
pub(crate) use self::read::{Contents, read};
pub(crate) use self::write::write;

const MAGIC: &[u8; 8] = b"LGSNAP01";
const DIGEST_BYTES: usize = 32;
/// Longest body of a frame. A part of the machine is split into records far below it.
const FRAME_BYTES_MAX: usize = 64 << 20;
