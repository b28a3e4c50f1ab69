//! The store of a log: sled behind a journal.
//!
//! A write is on the disk when it is in the journal, which takes one sync of one small file. Then its changes are put
//! into sled, where readers find them, and sled is synced by a thread of its own when some more have come together. What
//! sled lacks after a crash it gets from the journal when it is opened.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::Journal;
use super::sled_store::SledStore;
use super::syncer::{Syncer, UNSYNCED_BYTES_MAX};
use super::{Change, Note, Store, StoreError};

/// Journal and sled.
pub(super) struct Journaled {
    sled: Arc<SledStore>,
    syncer: Syncer,
    writer: Mutex<Writer>,
}

struct Writer {
    journal: Journal,
    /// The last write, which is not in sled yet.
    pending: Option<(u64, Vec<Change>)>,
}

impl Journaled {
    /// Opens the journal of `dir` before a store that has all writes up to number `stored`, and brings the store up to
    /// the journal's end.
    pub(super) fn open(dir: &Path, sled: SledStore, stored: u64) -> Result<Self, StoreError> {
        let mut last = stored;
        let mut unsynced = 0;
        let journal = Journal::open(dir, stored, |number, changes| {
            last = number;
            for change in changes {
                sled.apply(change, &mut |bytes| {
                    unsynced += bytes;
                    if unsynced > UNSYNCED_BYTES_MAX {
                        sled.sync()?;
                        unsynced = 0;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        if last > stored {
            sled.sync()?;
        }
        let sled = Arc::new(sled);
        let synced = Arc::clone(&sled);
        Ok(Self {
            syncer: Syncer::start(sled.dir(), last, move || synced.sync())?,
            sled,
            writer: Mutex::new(Writer {
                journal,
                pending: None,
            }),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_pending(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Some((number, changes)) = writer.pending.take() {
            for change in changes {
                self.sled
                    .apply(change, &mut |bytes| self.syncer.put(bytes))?;
            }
            self.syncer.applied(number);
        }
        Ok(())
    }
}

impl Store for Journaled {
    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        self.sled.note(note)
    }

    fn records(
        &self,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.sled.records(range, bytes_max)
    }

    fn write(&self, number: u64, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut writer = self.writer();
        self.put_pending(&mut writer)?;
        self.syncer.check()?;
        let free = |upto| self.syncer.free(upto);
        writer.journal.append(number, &changes, free)?;
        writer.pending = Some((number, changes));
        Ok(())
    }

    fn apply(&self) -> Result<(), StoreError> {
        self.put_pending(&mut self.writer())
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.apply()?;
        self.syncer.check()?;
        self.sled.sync()
    }
}

#[cfg(test)]
mod tests;
