//! The head: number of the last write that is on the disk for certain.
//!
//! The embedded store takes whatever it can't read at the end of its file for a write that a crash cut off, also
//! when it was damaged later. Only a note of its own can tell a write that was never acknowledged from one that is
//! missing. Two slots are written in turn, so that a write cut off half-way leaves the other one.
//!
//! The note follows the write and is synced itself about once a second only. So it never promises too much, it is exact
//! after a killed process, and a power loss can set it back by that second: in that time a damaged end of the file
//! looks like one that was never written. A sync of its own after each write would halve the rate of writes to close
//! it, for the case that power is lost and what was synced is damaged, both within a second.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::{StoreError, sync_dir};

const MAGIC: &[u8; 8] = b"LGHEAD02";
/// One disk sector each, so that writing one slot can't tear the other.
const SLOT_BYTES: usize = 512;
const CONTENT_BYTES: usize = 20;
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The open head file.
#[derive(Debug)]
pub(super) struct Head {
    file: File,
    path: PathBuf,
    sequence: u64,
    /// Slot that holds `sequence`; the next write goes to the other one.
    current: usize,
    synced: Instant,
}

impl Head {
    /// Makes a head at 0. Written under another name and moved, so that it is whole or absent.
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
            sequence: 0,
            current: 0,
            synced: Instant::now(),
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
            Some((sequence, current)) => Ok(Some(Self {
                file,
                path,
                sequence,
                current,
                synced: Instant::now(),
            })),
            None => Err(StoreError::Damaged {
                path,
                index: 0,
                what: "neither of its two slots is whole".to_owned(),
            }),
        }
    }

    /// Number of the last durable write.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Notes that the writes up to this one are on the disk.
    pub(super) fn advance(&mut self, sequence: u64) -> Result<(), StoreError> {
        let next = 1 - self.current;
        self.file
            .write_all_at(&slot(sequence), (next * SLOT_BYTES) as u64)
            .map_err(|source| self.io("write", source))?;
        self.sequence = sequence;
        self.current = next;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the note durable.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|source| self.io("sync", source))?;
        self.synced = Instant::now();
        Ok(())
    }

    fn io(&self, what: &'static str, source: io::Error) -> StoreError {
        StoreError::Io {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

fn slot(sequence: u64) -> [u8; CONTENT_BYTES] {
    let mut slot = [0; CONTENT_BYTES];
    slot[..8].copy_from_slice(MAGIC);
    slot[8..16].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32fast::hash(&slot[..16]);
    slot[16..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn read_slot(bytes: &[u8]) -> Option<u64> {
    let content = bytes.get(..CONTENT_BYTES)?;
    let sequence = u64::from_le_bytes(content.get(8..16)?.try_into().ok()?);
    (content == slot(sequence)).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut head = Head::create(dir.path()).unwrap();
        // An even distance: the slots still take turns.
        head.advance(2).unwrap();
        head.advance(4).unwrap();
        let path = dir.path().join("head");
        let mut bytes = fs::read(&path).unwrap();
        bytes[10] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Head::open(dir.path()).unwrap().unwrap().sequence(), 2);
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
