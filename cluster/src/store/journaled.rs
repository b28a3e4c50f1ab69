//! The store of a log: sled behind a journal.
//!
//! A write is on the disk when it is in the journal, which takes one sync of one small file. Then its changes are put
//! into sled, where readers find them, and sled is synced by a thread of its own when some more have come together. What
//! sled lacks after a crash it gets from the journal when it is opened.
//!
//! Nearly every write has notes, which replace those of the write before. They are put into sled for many writes at
//! once: sled writes a leaf of its tree anew after ten changes of it, and the youngest records are in that of the notes.
//! The number of the last write is a note too, so the journal repeats all that came after those that sled has.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::Journal;
use super::sled_store::SledStore;
use super::syncer::{Syncer, UNSYNCED_BYTES_MAX};
use super::{Change, Note, Store, StoreError};

/// So many writes may pass until their notes are put into sled.
const NOTES_EVERY: u64 = 32;

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
    notes: Notes,
}

/// Notes of writes whose records are in sled.
#[derive(Default)]
struct Notes {
    values: BTreeMap<Note, Vec<u8>>,
    /// Number of the last of these writes.
    upto: u64,
    /// How many there are.
    n_writes: u64,
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
                notes: Notes::default(),
            }),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_pending(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some((number, changes)) = writer.pending.take() else {
            return Ok(());
        };
        let notes = &mut writer.notes;
        for change in changes {
            match change {
                Change::Note(note, value) => _ = notes.values.insert(note, value),
                change => self.put(change)?,
            }
        }
        notes.upto = number;
        notes.n_writes += 1;
        if notes.n_writes >= NOTES_EVERY {
            self.put_notes(notes)?;
        }
        Ok(())
    }

    fn put_notes(&self, notes: &mut Notes) -> Result<(), StoreError> {
        if notes.n_writes > 0 {
            for change in notes.drain() {
                self.put(change)?;
            }
            self.syncer.applied(notes.upto);
        }
        Ok(())
    }

    fn put(&self, change: Change) -> Result<(), StoreError> {
        self.sled.apply(change, &mut |bytes| self.syncer.put(bytes))
    }
}

impl Notes {
    /// All of them, and none is left. The number of the write comes last: as long as sled has not got that, the journal
    /// repeats the others.
    fn drain(&mut self) -> impl Iterator<Item = Change> + use<> {
        self.n_writes = 0;
        let mut notes: Vec<_> = std::mem::take(&mut self.values).into_iter().collect();
        notes.sort_by_key(|(note, _)| *note == Note::Sequence);
        notes
            .into_iter()
            .map(|(note, value)| Change::Note(note, value))
    }
}

impl Store for Journaled {
    fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writer().notes.values.get(&note) {
            Some(value) => Ok(Some(value.clone())),
            None => self.sled.note(note),
        }
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
        let Writer { journal, notes, .. } = &mut *writer;
        let free = |upto| {
            self.put_notes(notes)?;
            self.syncer.free(upto)
        };
        journal.append(number, &changes, free)?;
        writer.pending = Some((number, changes));
        Ok(())
    }

    fn apply(&self) -> Result<(), StoreError> {
        self.put_pending(&mut self.writer())
    }

    fn settle(&self) -> Result<(), StoreError> {
        let mut writer = self.writer();
        self.put_pending(&mut writer)?;
        self.put_notes(&mut writer.notes)?;
        self.syncer.check()?;
        self.sled.sync()
    }
}

#[cfg(test)]
mod tests;
