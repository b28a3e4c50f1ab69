//! Good checkpoints, one behind the other, in a file of their own.
//!
//! ```text
//! length u32  CRC-32 u32  note
//! ```
//!
//! What is damaged in the middle hides nothing behind it: reading goes on with the next entry that is whole.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::error::SegmentError;
use super::manifest::replace;
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
    /// Opens the file and takes away what is damaged, and checkpoints of more than `size` records: they come again.
    pub(super) fn open(dir: &Path, size: u64) -> Result<Self, SegmentError> {
        let path = path(dir);
        let bytes = read_bytes(&path)?;
        let mut kept = Vec::new();
        for entry in entries(&bytes) {
            match entry {
                Entry::Whole { at, note } => match stated_size(note) {
                    Some(covered) if covered <= size => {
                        kept.extend_from_slice(&bytes[at..at + PREFIX_BYTES + note.len()]);
                    }
                    _ => break,
                },
                Entry::Damaged { .. } => {}
            }
        }
        if !bytes.starts_with(&kept) {
            replace(&path, &kept)?;
        }
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path);
        let file = file.map_err(SegmentError::io("open", &path))?;
        file.set_len(kept.len() as u64)
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

/// Notes of the file in `dir` that are whole, oldest first.
pub(super) fn read(dir: &Path) -> Result<Vec<Vec<u8>>, SegmentError> {
    let bytes = read_bytes(&path(dir))?;
    let whole = entries(&bytes).filter_map(|entry| match entry {
        Entry::Whole { note, .. } => Some(note.to_vec()),
        Entry::Damaged { .. } => None,
    });
    Ok(whole.collect())
}

/// The first place in the file that is damaged, and how many records the checkpoint before it covers. A torn end is no
/// damage.
pub(super) fn damage(dir: &Path) -> Result<Option<(u64, SegmentError)>, SegmentError> {
    let path = path(dir);
    let bytes = read_bytes(&path)?;
    let (mut n, mut covered) = (0, 0);
    for entry in entries(&bytes) {
        n += 1;
        match entry {
            Entry::Whole { note, .. } => covered = stated_size(note).unwrap_or(covered),
            Entry::Damaged { at } => {
                let what = format!("checkpoint {n} is not what was written");
                return Ok(Some((
                    covered,
                    SegmentError::damaged(&path, at as u64, what),
                )));
            }
        }
    }
    Ok(None)
}

/// How many whole notes the file in `dir` has, and the last of them. Holds one or two at a time, unless it is damaged.
pub(super) fn count(dir: &Path) -> Result<(u64, Option<Vec<u8>>), SegmentError> {
    let path = path(dir);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((0, None)),
        opened => BufReader::new(opened.map_err(SegmentError::io("open", &path))?),
    };
    let (mut n, mut end, mut last, mut note) = (0, 0, Vec::new(), Vec::new());
    while read_entry(&mut file, &mut note).map_err(SegmentError::io("read", &path))? {
        n += 1;
        std::mem::swap(&mut last, &mut note);
        end += (PREFIX_BYTES + last.len()) as u64;
    }
    let length = file.get_ref().metadata();
    if length.map_err(SegmentError::io("read", &path))?.len() > end {
        let mut whole = read(dir)?;
        return Ok((whole.len() as u64, whole.pop()));
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
    if length == 0 || length as usize > NOTE_BYTES_MAX {
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

/// What stands at a place of the file.
enum Entry<'a> {
    Whole { at: usize, note: &'a [u8] },
    Damaged { at: usize },
}

/// All entries, up to a torn end.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let at = next;
        if let Some(note) = whole(bytes, at) {
            next = at + PREFIX_BYTES + note.len();
            return Some(Entry::Whole { at, note });
        }
        // A length that is damaged does not tell where the next one is.
        let behind = (at + 1..bytes.len()).find(|behind| whole(bytes, *behind).is_some());
        next = behind.unwrap_or(bytes.len());
        let is_end = behind.is_none() && is_torn(bytes.get(at..)?);
        (!is_end).then_some(Entry::Damaged { at })
    })
}

/// The note of the entry at `at`, which is never empty.
fn whole(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > NOTE_BYTES_MAX {
        return None;
    }
    let note = rest.get(..length)?;
    (crc32fast::hash(note) == u32::from_le_bytes(*crc)).then_some(note)
}

/// Whether a crash can have left this: an entry that was not written to its end, or whose end the disk has as zeros.
fn is_torn(rest: &[u8]) -> bool {
    let Some((prefix, note)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
        return true;
    };
    let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    (length > note.len() && length <= NOTE_BYTES_MAX) || note.last() == Some(&0)
}

/// Number of records that the checkpoint in a note covers, if it is one.
fn stated_size(note: &[u8]) -> Option<u64> {
    let note = Note::parse(note).ok()?;
    Checkpoint::parse(note.text())
        .ok()
        .map(|stated| stated.size)
}

pub(super) fn path(dir: &Path) -> PathBuf {
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
            assert!(damage(dir.path()).unwrap().is_none(), "{torn}");
        }
        assert_eq!(with(&whole[..11]), 3);
        assert_eq!(with(&[0; 64]), 2);
        assert!(damage(dir.path()).unwrap().is_none());
        for damaged in [[0xff; 16], [1, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]] {
            assert_eq!(with(&damaged), 2);
            let (_, error) = damage(dir.path()).unwrap().unwrap();
            let place = format!("damaged at byte {}: checkpoint 3 ", whole.len());
            assert!(error.to_string().contains(&place), "{error}");
        }
    }

    #[test]
    fn what_stands_behind_a_damaged_note_is_read_and_kept() {
        let note = |size: u64| {
            let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
            format!("lockgate.audit/c1\n{size}\n{root}\n\n\u{2014} c1 AAAAAAAAAAAAAAAA\n")
                .into_bytes()
        };
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), 0).unwrap();
        for size in 1..=4 {
            journal.append(&note(size)).unwrap();
        }
        let whole = std::fs::read(path(dir.path())).unwrap();
        let entry = whole.len() / 4;
        // Each byte of an entry: its length, too.
        for at in 0..entry {
            let mut damaged = whole.clone();
            damaged[entry + at] ^= 1;
            std::fs::write(path(dir.path()), &damaged).unwrap();
            assert_eq!(read(dir.path()).unwrap(), [1, 3, 4].map(note), "{at}");
            assert_eq!(count(dir.path()).unwrap(), (3, Some(note(4))), "{at}");
            let (covered, error) = damage(dir.path()).unwrap().unwrap();
            let place = format!("damaged at byte {entry}: checkpoint 2 ");
            assert_eq!(covered, 1);
            assert!(error.to_string().contains(&place), "{error}");

            Journal::open(dir.path(), 3).unwrap();
            assert_eq!(read(dir.path()).unwrap(), [1, 3].map(note), "{at}");
            assert!(damage(dir.path()).unwrap().is_none(), "{at}");
        }
    }
}
