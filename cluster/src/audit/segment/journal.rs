//! Good checkpoints, one behind the other, in a file of their own.
//!
//! ```text
//! length u32  CRC-32 u32  note
//! ```

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::error::SegmentError;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{NOTE_BYTES_MAX, Note};

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

/// How many notes the file in `dir` has up to a torn end, and the last of them. Holds one or two at a time.
pub(super) fn count(dir: &Path) -> Result<(u64, Option<Vec<u8>>), SegmentError> {
    let path = path(dir);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((0, None)),
        opened => BufReader::new(opened.map_err(SegmentError::io("open", &path))?),
    };
    let (mut n, mut last, mut note) = (0, Vec::new(), Vec::new());
    while read_entry(&mut file, &mut note).map_err(SegmentError::io("read", &path))? {
        n += 1;
        std::mem::swap(&mut last, &mut note);
    }
    Ok((n, (n > 0).then_some(last)))
}

/// Reads the note of the next entry into `note`. `false` when there is no whole one.
fn read_entry(file: &mut impl Read, note: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut prefix = Vec::with_capacity(PREFIX_BYTES);
    file.by_ref()
        .take(PREFIX_BYTES as u64)
        .read_to_end(&mut prefix)?;
    let Some((length, crc)) = prefix.split_first_chunk::<4>() else {
        return Ok(false);
    };
    let length = u32::from_le_bytes(*length);
    if length as usize > NOTE_BYTES_MAX {
        return Ok(false);
    }
    note.clear();
    file.by_ref().take(length.into()).read_to_end(note)?;
    let is_whole = note.len() == length as usize && crc == crc32fast::hash(note).to_le_bytes();
    Ok(is_whole)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, SegmentError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_counted_up_to_a_torn_end() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(count(dir.path()).unwrap(), (0, None));
        let mut journal = Journal::open(dir.path(), 0).unwrap();
        journal.append(b"one").unwrap();
        journal.append(b"two").unwrap();
        assert_eq!(count(dir.path()).unwrap(), (2, Some(b"two".to_vec())));
        let whole = std::fs::read(path(dir.path())).unwrap();
        let with = |behind: &[u8]| {
            std::fs::write(path(dir.path()), [&whole, behind].concat()).unwrap();
            let all = read(dir.path()).unwrap();
            let counted = count(dir.path()).unwrap();
            assert_eq!(counted, (all.len() as u64, all.last().cloned()));
            counted.0
        };
        for torn in [1, 4, 7, 8, 10] {
            assert_eq!(with(&whole[..torn]), 2, "{torn}");
        }
        assert_eq!(with(&whole[..11]), 3);
        assert_eq!(with(&[0xff; 64]), 2);
        assert_eq!(with(&[1, 0, 0, 0, 0, 0, 0, 0, 9]), 2);
    }
}
