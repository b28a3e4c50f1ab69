//! Good checkpoints, one behind the other, in a file of their own.
//!
//! ```text
//! length u32  CRC-32 u32  note
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::SegmentError;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::Note;

const PREFIX_BYTES: usize = 8;

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    is_dirty: bool,
}

impl Journal {
    /// Opens the file and takes away a torn end and checkpoints of more than `size` records: they come again.
    pub(super) fn open(dir: &Path, size: u64) -> Result<Self, SegmentError> {
        let path = path(dir);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path);
        let file = file.map_err(SegmentError::io("open", &path))?;
        let mut end = 0;
        for (note, after) in entries(&read_bytes(&path)?) {
            let checkpoint = Note::parse(note)
                .ok()
                .and_then(|note| Checkpoint::parse(note.text()).ok());
            if checkpoint.is_none_or(|checkpoint| checkpoint.size > size) {
                break;
            }
            end = after;
        }
        file.set_len(end as u64)
            .map_err(SegmentError::io("cut", &path))?;
        Ok(Self {
            file,
            path,
            is_dirty: false,
        })
    }

    pub(super) fn append(&mut self, note: &[u8]) -> Result<(), SegmentError> {
        let mut entry = Vec::with_capacity(PREFIX_BYTES + note.len());
        // A note has 64 KiB at most.
        let length = u32::try_from(note.len()).unwrap_or(u32::MAX);
        entry.extend_from_slice(&length.to_le_bytes());
        entry.extend_from_slice(&crc32fast::hash(note).to_le_bytes());
        entry.extend_from_slice(note);
        self.is_dirty = true;
        self.file
            .write_all(&entry)
            .map_err(SegmentError::io("write", &self.path))
    }

    pub(super) fn sync(&mut self) -> Result<(), SegmentError> {
        if self.is_dirty {
            let synced = self.file.sync_data();
            synced.map_err(SegmentError::io("sync", &self.path))?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

/// Notes of the file in `dir`, oldest first, up to a torn end.
pub(super) fn read(dir: &Path) -> Result<Vec<Vec<u8>>, SegmentError> {
    let bytes = read_bytes(&path(dir))?;
    Ok(entries(&bytes).map(|(note, _)| note.to_vec()).collect())
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, SegmentError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(SegmentError::io("read", path)),
    }
}

/// Whole entries, each with where it ends.
fn entries(bytes: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let note = rest.get(..u32::from_le_bytes(*length) as usize)?;
        if crc32fast::hash(note) != u32::from_le_bytes(*crc) {
            return None;
        }
        at += PREFIX_BYTES + note.len();
        Some((note, at))
    })
}

fn path(dir: &Path) -> PathBuf {
    dir.join("checkpoints")
}
