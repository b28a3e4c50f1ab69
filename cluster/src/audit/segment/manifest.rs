//! What is known of a sealed segment, also after it was pruned.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::error::SegmentError;
use crate::audit::hash::Hash;

const MAGIC: &[u8; 8] = b"LGASEAL1";
const BYTES: usize = 8 + 8 + 8 + 8 + 3 * 32 + 4;

/// Extent and hash of a sealed segment.
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
    /// SHA-256 of the file.
    pub hash: Hash,
}

impl Manifest {
    /// Number of the first record behind it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.count
    }

    /// As it is stored, with magic and checksum.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for number in [self.first, self.count, self.bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for hash in [&self.chain_before, &self.chain_after, &self.hash] {
            out.extend_from_slice(&hash.0);
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`Manifest::to_bytes`] made; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (fields, crc) = bytes.split_at(BYTES - 4);
        if fields[..8] != *MAGIC || crc != crc32fast::hash(fields).to_le_bytes() {
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
            hash: hash(96)?,
        })
    }

    /// Whether the file at `path` is the segment that was sealed.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn describes(&self, path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() != self.bytes {
            return Ok(false);
        }
        let mut hash = Context::new(&SHA256);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.finish().as_ref() == self.hash.0),
                n => hash.update(&buffer[..n]),
            }
        }
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

    #[test]
    fn a_manifest_comes_back_and_no_changed_one() {
        let manifest = Manifest {
            first: 65_536,
            count: 9,
            chain_before: Hash([1; 32]),
            chain_after: Hash([2; 32]),
            bytes: 4711,
            hash: Hash([3; 32]),
        };
        let mut bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Some(manifest));
        for at in 0..bytes.len() {
            assert_eq!(Manifest::from_bytes(&bytes[..at]), None);
            bytes[at] ^= 1;
            assert_eq!(Manifest::from_bytes(&bytes), None);
            bytes[at] ^= 1;
        }
    }
}
