//! The head: index of the last entry that is on the disk for certain.
//!
//! The embedded store takes whatever it can't read at the end of its file for a write that a crash cut off, also
//! when it was damaged later. Only a note of its own can tell an entry that was never acknowledged from one that is
//! missing. Two slots are written in turn, so that a write cut off half-way leaves the other one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{StoreError, sync_dir};

const MAGIC: &[u8; 8] = b"LGHEAD01";
/// One disk sector each, so that writing one slot can't tear the other.
const SLOT_BYTES: usize = 512;
const CONTENT_BYTES: usize = 20;

/// The open head file.
#[derive(Debug)]
pub(super) struct Head {
    file: File,
    path: PathBuf,
    index: u64,
    /// Slot that holds `index`; the next write goes to the other one.
    current: usize,
}

impl Head {
    /// Makes a head at index 0. Written under another name and moved, so that it is whole or absent.
    pub(super) fn create(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("head");
        let draft = dir.join("head.new");
        let write = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600);
            let file = options.open(&draft)?;
            file.set_len(2 * SLOT_BYTES as u64)?;
            file.write_all_at(&slot(0), 0)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            sync_dir(dir)?;
            Ok(file)
        };
        let file = write().map_err(|source| StoreError::Io {
            what: "write",
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            file,
            path,
            index: 0,
            current: 0,
        })
    }

    /// Opens the head of `dir`. `None` when there is none.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join("head");
        let io = |what, source| StoreError::Io {
            what,
            path: path.clone(),
            source,
        };
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("open", source)),
        };
        let bytes = fs::read(&path).map_err(|source| io("read", source))?;
        let slots = bytes.chunks(SLOT_BYTES).take(2).enumerate();
        match slots
            .filter_map(|(at, slot)| Some((read_slot(slot)?, at)))
            .max()
        {
            Some((index, current)) => Ok(Some(Self {
                file,
                path,
                index,
                current,
            })),
            None => Err(StoreError::Damaged {
                path,
                index: 0,
                what: "neither of its two slots is whole".to_owned(),
            }),
        }
    }

    /// Last durable index.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Notes that everything up to `index` is on the disk. Returns when the note is, too.
    pub(super) fn advance(&mut self, index: u64) -> Result<(), StoreError> {
        let next = 1 - self.current;
        self.file
            .write_all_at(&slot(index), (next * SLOT_BYTES) as u64)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| StoreError::Io {
                what: "write",
                path: self.path.clone(),
                source,
            })?;
        self.index = index;
        self.current = next;
        Ok(())
    }
}

fn slot(index: u64) -> [u8; CONTENT_BYTES] {
    let mut slot = [0; CONTENT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&index.to_le_bytes());
    let crc = crc32fast::hash(&slot[..16]);
    slot[16..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn read_slot(bytes: &[u8]) -> Option<u64> {
    let content = bytes.get(..CONTENT_BYTES)?;
    let index = u64::from_le_bytes(content.get(8..16)?.try_into().ok()?);
    (content == slot(index)).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut head = Head::create(dir.path()).unwrap();
        // An even distance, as after a batch of two: the slots still take turns.
        head.advance(2).unwrap();
        head.advance(4).unwrap();
        let path = dir.path().join("head");
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Head::open(dir.path()).unwrap().unwrap().index(), 2);
    }

    #[test]
    fn two_torn_slots_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        drop(Head::create(dir.path()).unwrap());
        fs::write(dir.path().join("head"), [0; 1024]).unwrap();
        assert!(matches!(
            Head::open(dir.path()),
            Err(StoreError::Damaged { .. })
        ));
    }
}
