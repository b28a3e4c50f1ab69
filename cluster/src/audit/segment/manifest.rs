//! What is known of a sealed segment, also after it was pruned.
//!
//! ```text
//! "LGASEAL2"  first seq u64  count u64  bytes u64  chain before [32]  chain after [32]  CRC-32 of these u32
//! ```
//!
//! Numbers are little-endian. The two chain hashes bind every line between them, and a MAC each record beside its line, so
//! that the file needs no hash of its own; version 1 had one in front of the CRC, which took as long to make as the leaves.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::SegmentError;
use super::frame::{HEADER_BYTES, PREFIX_BYTES};
use super::reader::Records;
use crate::audit::chain;
use crate::audit::hash::{Hash, leaf_hash};

const MAGIC: &[u8; 8] = b"LGASEAL2";
const MAGIC_1: &[u8; 8] = b"LGASEAL1";
/// Length without the hash of the first version and the CRC.
const FIELD_BYTES: usize = 8 + 8 + 8 + 8 + 2 * 32;
const CRC_BYTES: usize = 4;

/// Extent of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// First record.
    pub first: u64,
    /// Number of records.
    pub count: u64,
    /// Chain hash before the first.
    pub chain_before: Hash,
    /// Chain hash after the last.
    pub chain_after: Hash,
    /// Length of the file.
    pub bytes: u64,
}

impl Manifest {
    /// Number of the first record behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// As it is stored, with magic and checksum.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.first, self.count, self.bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for hash in [&self.chain_before, &self.chain_after] {
            out.extend_from_slice(&hash.0);
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`Manifest::to_bytes`] made; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fields, crc) = bytes.split_at_checked(bytes.len().checked_sub(CRC_BYTES)?)?;
        let is_known = match fields.first_chunk()? {
            MAGIC => fields.len() == FIELD_BYTES,
            MAGIC_1 => fields.len() == FIELD_BYTES + Hash::BYTES,
            _ => false,
        };
        if !is_known || crc != crc32fast::hash(fields).to_le_bytes() {
            return None;
        }
        let number = |at: usize| fields[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let hash = |at: usize| Hash::from_slice(&fields[at..at + 32]);
        Some(Self {
            first: number(8)?,
            count: number(16)?,
            bytes: number(24)?,
            chain_before: hash(32)?,
            chain_after: hash(64)?,
        })
    }

    /// Whether the segment in `dir` is the one that was sealed: whole, and with its lines. Their MACs are for those who
    /// have the keys.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn describes(&self, dir: &Path) -> Result<bool, SegmentError> {
        let path = segment_path(dir, self.first);
        let length = fs::metadata(&path).map_err(SegmentError::io("read", &path))?;
        if length.len() != self.bytes || self.bytes < HEADER_BYTES as u64 {
            return Ok(false);
        }
        match self.walk(dir) {
            Ok(walked) => Ok(walked == (self.count, self.bytes, self.chain_after)),
            Err(SegmentError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Number of records of the segment in `dir`, where the last of them ends, and the chain hash after it.
    fn walk(&self, dir: &Path) -> Result<(u64, u64, Hash), SegmentError> {
        let mut records = Records::of_segment(dir, self.first..self.end(), &self.chain_before)?;
        let (mut count, mut bytes) = (0, HEADER_BYTES);
        let mut chain = self.chain_before;
        while let Some(record) = records.next()? {
            count += 1;
            bytes += PREFIX_BYTES + record.line.len();
            chain = chain::link(&chain, record.seq, &leaf_hash(record.line));
        }
        Ok((count, bytes as u64, chain))
    }

    /// Reads the manifest at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, SegmentError> {
        let bytes = fs::read(path).map_err(SegmentError::io("read", path))?;
        Self::from_bytes(&bytes)
            .ok_or_else(|| SegmentError::damaged(path, 0, "it is no manifest of a known format"))
    }

    /// Writes it, whole or not at all, and durably.
    pub(super) fn write(&self, dir: &Path) -> Result<(), SegmentError> {
        replace(&sealed_path(dir, self.first), &self.to_bytes())
    }
}

/// File of the records of the segment that begins with `first`.
pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}

/// File of its manifest.
pub(super) fn sealed_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.sealed"))
}

/// First records of the files in `dir` that have this extension, in order.
pub(super) fn firsts(dir: &Path, extension: &str) -> Result<Vec<u64>, SegmentError> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(dir).map_err(SegmentError::io("list", dir))? {
        let path = entry.map_err(SegmentError::io("list", dir))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            firsts.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Puts `bytes` in the place of the file: a crash leaves the old or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SegmentError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(SegmentError::io("create", &new))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(SegmentError::io("write", &new))?;
    fs::rename(&new, path).map_err(SegmentError::io("rename", &new))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes new, renamed and removed files of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), SegmentError> {
    let dir_file = File::open(dir).map_err(SegmentError::io("open", dir))?;
    dir_file.sync_all().map_err(SegmentError::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: Manifest = Manifest {
        first: 65_536,
        count: 9,
        chain_before: Hash([1; 32]),
        chain_after: Hash([2; 32]),
        bytes: 4711,
    };

    /// What stands between the magic and the chain hashes.
    const NUMBERS: [u8; 24] = [
        0, 0, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0x67, 0x12, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn a_manifest_keeps_its_bytes() {
        let fields = [&MAGIC[..], &NUMBERS, &[1; 32], &[2; 32]].concat();
        let bytes = MANIFEST.to_bytes();
        assert_eq!(bytes[..bytes.len() - 4], fields);
        // By Python's `zlib.crc32`.
        assert_eq!(bytes[bytes.len() - 4..], 0xf1ab_0022_u32.to_le_bytes());
    }

    #[test]
    fn a_manifest_of_the_first_version_is_read() {
        let mut bytes = [&MAGIC_1[..], &NUMBERS, &[1; 32], &[2; 32], &[3; 32]].concat();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        assert_eq!(Manifest::from_bytes(&bytes), Some(MANIFEST));
        bytes[7] = b'2';
        assert_eq!(Manifest::from_bytes(&bytes), None);
    }

    #[test]
    fn a_manifest_comes_back_and_no_changed_one() {
        let mut bytes = MANIFEST.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Some(MANIFEST));
        for at in 0..bytes.len() {
            assert_eq!(Manifest::from_bytes(&bytes[..at]), None);
            bytes[at] ^= 1;
            assert_eq!(Manifest::from_bytes(&bytes), None);
            bytes[at] ^= 1;
        }
    }
}
