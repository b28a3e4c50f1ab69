//! The one writer.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::SegmentError;
use super::frame::{self, Frame};
use super::journal::Journal;
use super::manifest::{Manifest, firsts, sealed_path, segment_path, sync_dir};
use super::reader::SegmentReader;
use super::tiles::Tiles;
use crate::audit::chain;
use crate::audit::hash::Hash;
use crate::audit::mac::MacKeys;
use crate::machine::audit::{AuditEffect, Chained};

/// A segment is synced when so much of it waits for the disk. Nobody waits for that here, but what is synced at once
/// keeps the disk from the log: a whole segment for tens of milliseconds, on all nodes at the same record.
const UNSYNCED_BYTES_MAX: u64 = 1 << 20;

/// When a segment is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records.
    pub records: u64,
    /// Most bytes, but for one record.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            records: 64 << 10,
            bytes: 64 << 20,
        }
    }
}

/// The segments of one node, open for appending. After an error it must be opened anew: what it holds in memory may be
/// ahead of the files.
#[derive(Debug)]
pub struct SegmentStore {
    pub(super) dir: PathBuf,
    pub(super) keys: MacKeys,
    pub(super) limits: Limits,
    /// Number of records.
    pub(super) size: u64,
    pub(super) chain: Hash,
    pub(super) active: Option<Active>,
    pub(super) offsets: File,
    pub(super) tiles: Tiles,
    pub(super) journal: Journal,
    /// Number of records that readers may read.
    pub(super) readable: Arc<AtomicU64>,
}

/// The segment that is not sealed yet.
pub(super) struct Active {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) first: u64,
    pub(super) chain_before: Hash,
    pub(super) bytes: u64,
    /// The disk has so many of them for certain.
    pub(super) synced: u64,
}

impl std::fmt::Debug for Active {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Active")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl SegmentStore {
    /// Number of records: the number of the next one.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Keys from now on, after a rotation.
    pub fn set_keys(&mut self, keys: MacKeys) {
        self.keys = keys;
    }

    /// Reader of what is written, now and later.
    #[must_use]
    pub fn reader(&self) -> SegmentReader {
        SegmentReader::of(&self.dir, Arc::clone(&self.readable))
    }

    /// Writes what the machine gave out. Readers see it; a power loss may take it until [`SegmentStore::sync`].
    ///
    /// # Errors
    /// When the disk refuses, a record does not follow, or its key is not there.
    pub fn append(&mut self, effects: &[AuditEffect]) -> Result<(), SegmentError> {
        let mut batch = Batch::with_room_for(effects);
        let mut follows = false;
        for effect in effects {
            match effect {
                AuditEffect::Record(record) => {
                    // Those behind the first were chained with it, and by nobody else.
                    follows = follows || self.continues(record);
                    if !follows || record.seq != self.size {
                        return Err(SegmentError::OutOfOrder {
                            got: record.seq,
                            want: self.size,
                        });
                    }
                    self.add(record, &mut batch)?;
                }
                AuditEffect::Checkpoint { note, .. } => self.journal.append(note)?,
            }
        }
        self.write(&mut batch)?;
        self.readable.store(self.size, Ordering::Release);
        Ok(())
    }

    /// Makes durable what was appended. The replicated log may be purged only as far as this has returned for.
    ///
    /// # Errors
    /// When the disk refuses; nothing that was appended can be trusted then, and the process must end.
    pub fn sync(&mut self) -> Result<(), SegmentError> {
        if let Some(active) = &mut self.active {
            active.sync()?;
        }
        self.journal.sync()
    }

    /// Takes the records away of sealed segments that end at `below` or before. Their manifests and nodes of the tree
    /// stay. Returns the first record that is left.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn prune(&mut self, below: u64) -> Result<u64, SegmentError> {
        for first in firsts(&self.dir, "sealed")? {
            let manifest = Manifest::read(&sealed_path(&self.dir, first))?;
            let path = segment_path(&self.dir, first);
            if manifest.end() <= below && path.exists() {
                fs::remove_file(&path).map_err(SegmentError::io("remove", &path))?;
            }
        }
        sync_dir(&self.dir)?;
        let left = firsts(&self.dir, "seg")?;
        Ok(left.first().copied().unwrap_or_else(|| self.size()))
    }

    fn continues(&self, record: &Chained) -> bool {
        record.chain == chain::link(&self.chain, self.size, &record.leaf)
    }

    fn add(&mut self, record: &Chained, batch: &mut Batch) -> Result<(), SegmentError> {
        let seq = self.size;
        let key_id = record.key_id;
        let key = self
            .keys
            .get(key_id)
            .ok_or(SegmentError::NoKey { key_id })?;
        let mac = key.sign(seq, &record.chain);
        let active = match self.active.take() {
            Some(active) if self.limits.admit(&active, seq, batch) => active,
            full => {
                self.active = full;
                self.write(batch)?;
                self.seal()?;
                Active::create(&self.dir, seq, self.chain)?
            }
        };
        let offset = active.bytes + batch.frames.len() as u64;
        self.active = Some(active);
        // A segment is far below 4 GiB.
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        batch.offsets.extend_from_slice(&offset.to_le_bytes());
        let frame = Frame {
            key_id,
            mac,
            line: &record.line,
        };
        frame::write(&mut batch.frames, seq, &frame);
        self.tiles.push(record.leaf, &record.nodes);
        self.size += 1;
        self.chain = record.chain;
        Ok(())
    }

    /// Writes the frames before what is derived from them.
    fn write(&mut self, batch: &mut Batch) -> Result<(), SegmentError> {
        if let Some(active) = &mut self.active {
            active.write(&batch.frames)?;
        }
        let size = self.size;
        let at = (size * 4).saturating_sub(batch.offsets.len() as u64);
        let path = offsets_path(&self.dir);
        self.offsets
            .write_all_at(&batch.offsets, at)
            .map_err(SegmentError::io("write", &path))?;
        self.tiles.flush(size)?;
        batch.frames.clear();
        batch.offsets.clear();
        Ok(())
    }

    /// Seals the active segment. All that belongs to it is durable before the manifest says so.
    fn seal(&mut self) -> Result<(), SegmentError> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        active.sync()?;
        self.tiles.sync()?;
        let path = offsets_path(&self.dir);
        self.offsets
            .sync_data()
            .map_err(SegmentError::io("sync", &path))?;
        let manifest = Manifest {
            first: active.first,
            count: self.size - active.first,
            chain_before: active.chain_before,
            chain_after: self.chain,
            bytes: active.bytes,
        };
        manifest.write(&self.dir)
    }
}

impl Limits {
    fn admit(&self, active: &Active, seq: u64, batch: &Batch) -> bool {
        seq - active.first < self.records && active.bytes + batch.frames.len() as u64 <= self.bytes
    }
}

/// What is written at once.
#[derive(Debug)]
struct Batch {
    frames: Vec<u8>,
    offsets: Vec<u8>,
}

impl Batch {
    fn with_room_for(effects: &[AuditEffect]) -> Self {
        let bytes = effects.iter().map(|effect| match effect {
            AuditEffect::Record(record) => frame::PREFIX_BYTES + record.line.len(),
            AuditEffect::Checkpoint { .. } => 0,
        });
        Self {
            frames: Vec::with_capacity(bytes.sum()),
            offsets: Vec::with_capacity(4 * effects.len()),
        }
    }
}

impl Active {
    /// Begins a segment.
    fn create(dir: &Path, first: u64, chain: Hash) -> Result<Self, SegmentError> {
        let path = segment_path(dir, first);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.mode(0o600).open(&path);
        let mut active = Self {
            file: file.map_err(SegmentError::io("create", &path))?,
            path,
            first,
            chain_before: chain,
            bytes: 0,
            synced: 0,
        };
        let mut header = Vec::new();
        frame::write_header(&mut header, first, &chain);
        active.write(&header)?;
        sync_dir(dir)?;
        Ok(active)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        self.file
            .write_all(bytes)
            .map_err(SegmentError::io("write", &self.path))?;
        self.bytes += bytes.len() as u64;
        match self.bytes - self.synced >= UNSYNCED_BYTES_MAX {
            true => self.sync(),
            false => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), SegmentError> {
        if self.synced < self.bytes {
            let synced = self.file.sync_data();
            synced.map_err(SegmentError::io("sync", &self.path))?;
            self.synced = self.bytes;
        }
        Ok(())
    }
}

/// File of the places of records in their segments.
pub(super) fn offsets_path(dir: &Path) -> PathBuf {
    dir.join("offsets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_of_a_segment_than_that_waits_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut active = Active::create(dir.path(), 0, Hash::of(b"chain")).unwrap();
        let mut n_syncs = 0;
        for _ in 0..20 {
            let before = active.synced;
            active.write(&[7; 150_000]).unwrap();
            assert!(active.bytes - active.synced < UNSYNCED_BYTES_MAX);
            n_syncs += usize::from(active.synced > before);
        }
        assert_eq!(n_syncs, 2);
        active.sync().unwrap();
        assert_eq!(active.synced, active.bytes);
    }
}
