//! The durable log: a store whose records are framed, and the head that says how far it must reach.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::head::Head;
use super::journaled::Journaled;
use super::sled_store::SledStore;
use super::{Change, Note, Store, StoreError, record};

/// Bytes that are read at once while a log is checked.
const READ_BYTES: usize = 1 << 20;

/// Log and notes of one node. One writer; [`Self::cold`] gives readers.
pub(crate) struct DurableLog {
    store: Arc<dyn Store>,
    head: Head,
    /// Number of the last write.
    sequence: u64,
    path: PathBuf,
}

/// Reads entries that are no longer in memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Cold {
    store: Arc<dyn Store>,
    path: PathBuf,
}

impl DurableLog {
    /// Opens the log in `dir`, or creates it. A write that was cut off is gone as a whole; anything else that is
    /// missing is refused.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("log");
        let head = match Head::open(dir)? {
            Some(head) => head,
            None if path.exists() => {
                let what = "the head file beside it is missing".to_owned();
                return Err(StoreError::Damaged {
                    path,
                    index: 0,
                    what,
                });
            }
            None => Head::create(dir)?,
        };
        let sled = SledStore::open(&path)?;
        let stored = sequence_in(sled.note(Note::Sequence)?, &path)?;
        let store = Arc::new(Journaled::open(dir, sled, stored)?);
        Self::check_reach(store, head, path)
    }

    /// A new log in a store that a test brings.
    #[cfg(test)]
    pub(crate) fn over(dir: &Path, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        Self::check_reach(store, Head::create(dir)?, dir.join("log"))
    }

    fn check_reach(store: Arc<dyn Store>, head: Head, path: PathBuf) -> Result<Self, StoreError> {
        let mut log = Self {
            store,
            head,
            sequence: 0,
            path,
        };
        log.sequence = log.check_sequence()?;
        // What was found is durable, as the store was synced on opening.
        log.head.advance(log.sequence)?;
        log.head.sync()?;
        Ok(log)
    }

    /// Passes the records from index `next` on through `each`, in order, after checking that each is whole and none
    /// is missing between them.
    pub(crate) fn check(
        &self,
        mut next: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        loop {
            let records = self.store.records(next..u64::MAX, READ_BYTES)?;
            if records.is_empty() {
                return Ok(());
            }
            for (index, framed) in records {
                if index != next {
                    let what = format!("it is missing, though entry {index} is there");
                    return Err(self.damaged(next, what));
                }
                let body = record::decode(index, &framed);
                each(index, body.map_err(|what| self.damaged(index, what))?)?;
                next = index + 1;
            }
        }
    }

    /// Index of the first record. `None` when there is none.
    pub(crate) fn first(&self) -> Result<Option<u64>, StoreError> {
        let records = self.store.records(0..u64::MAX, 1)?;
        Ok(records.first().map(|(index, _)| *index))
    }

    /// A note as it was last written.
    pub(crate) fn note(&self, note: Note) -> Result<Option<Vec<u8>>, StoreError> {
        unframed(note, self.store.note(note)?, &self.path)
    }

    /// Makes all changes or none. Returns when they will be there after a power loss, and readers see them.
    pub(crate) fn write(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.append(changes)?;
        self.apply()
    }

    /// The first half of [`Self::write`]: returns when the changes will be there after a power loss.
    pub(crate) fn append(&mut self, changes: Vec<Change>) -> Result<(), StoreError> {
        let sequence = self.sequence + 1;
        let numbered = Change::Note(Note::Sequence, sequence.to_le_bytes().to_vec());
        let changes = changes.into_iter().chain([numbered]).map(framed).collect();
        self.store.write(sequence, changes)?;
        self.sequence = sequence;
        self.head.advance(sequence)
    }

    /// The second half: readers see the changes from then on.
    pub(crate) fn apply(&self) -> Result<(), StoreError> {
        self.store.apply()
    }

    /// Makes store and head exact, before the log is closed.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        self.store.settle()?;
        self.head.sync()
    }

    /// A reader beside the writer.
    pub(crate) fn cold(&self) -> Cold {
        Cold {
            store: Arc::clone(&self.store),
            path: self.path.clone(),
        }
    }

    /// Something in the log is not what it should be.
    pub(crate) fn damaged(&self, index: u64, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            index,
            what,
        }
    }

    /// Something can't be written, though the disk was not asked.
    pub(crate) fn unwritable(&self, source: io::Error) -> StoreError {
        StoreError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        }
    }

    fn check_sequence(&self) -> Result<u64, StoreError> {
        let sequence = sequence_in(self.store.note(Note::Sequence)?, &self.path)?;
        let acknowledged = self.head.sequence();
        if sequence >= acknowledged {
            return Ok(sequence);
        }
        let mut next = self.first()?.unwrap_or_default();
        self.check(next, |index, _| {
            next = index + 1;
            Ok(())
        })?;
        let what = format!(
            "its end is missing: {acknowledged} writes were acknowledged, it holds {sequence}"
        );
        Err(self.damaged(next, what))
    }
}

impl Cold {
    /// Bodies of the records of `range` in order, up to about this many bytes and at least one, as far as there are
    /// any.
    pub(crate) fn read(
        &self,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut records = self.store.records(range, bytes_max)?;
        for (index, framed) in &mut records {
            let body = record::decode(*index, framed).map_err(|what| StoreError::Damaged {
                path: self.path.clone(),
                index: *index,
                what,
            })?;
            *framed = body.to_vec();
        }
        Ok(records)
    }
}

/// Number of the last write of the log at `path`, from the note as it is stored.
fn sequence_in(framed: Option<Vec<u8>>, path: &Path) -> Result<u64, StoreError> {
    let Some(body) = unframed(Note::Sequence, framed, path)? else {
        return Ok(0);
    };
    match body.try_into() {
        Ok(bytes) => Ok(u64::from_le_bytes(bytes)),
        Err(_) => Err(StoreError::Damaged {
            path: path.to_owned(),
            index: 0,
            what: "the number of its writes".to_owned(),
        }),
    }
}

fn unframed(
    note: Note,
    framed: Option<Vec<u8>>,
    path: &Path,
) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(framed) = framed else {
        return Ok(None);
    };
    match record::decode(note as u64, &framed) {
        Ok(body) => Ok(Some(body.to_vec())),
        Err(what) => Err(StoreError::Damaged {
            path: path.to_owned(),
            index: 0,
            what: format!("note {note:?}: {what}"),
        }),
    }
}

fn framed(change: Change) -> Change {
    match change {
        Change::Put(index, body) => Change::Put(index, record::encode(index, &body)),
        Change::Note(note, body) => Change::Note(note, record::encode(note as u64, &body)),
        removed @ Change::Remove(_) => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(index: u64, byte: u8, bytes: usize) -> Change {
        Change::Put(index, vec![byte; bytes])
    }

    /// Writes entries 1 to 5, lets `damage` at the store, and opens it again.
    fn reopen(damage: impl FnOnce(&dyn Store)) -> Result<u64, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut log = DurableLog::open(dir.path()).unwrap();
        for index in 1..=5 {
            log.write(vec![put(index, 7, 40)]).unwrap();
        }
        damage(&*log.store);
        drop(log);
        let mut n_entries = 0;
        let opened = DurableLog::open(dir.path()).and_then(|log| {
            log.check(1, |_, _| {
                n_entries += 1;
                Ok(())
            })
        });
        opened.map(|()| n_entries).map_err(|error| {
            error
                .to_string()
                .replace(&dir.path().display().to_string(), "DIR")
        })
    }

    #[track_caller]
    fn check_damage(got: Result<u64, String>, what: &str) {
        let error = got.unwrap_err();
        assert!(
            error.starts_with(&format!("`DIR/log` is damaged at {what}")),
            "{error}"
        );
    }

    #[test]
    fn a_whole_log_comes_back() {
        assert_eq!(reopen(|_| {}), Ok(5));
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let changed = |store: &dyn Store| {
            let mut record = record::encode(2, &[7; 40]);
            record[30] ^= 4;
            store.write(6, vec![Change::Put(2, record)]).unwrap();
        };
        check_damage(reopen(changed), "entry 2: its checksum does not match");
    }

    #[test]
    fn swapped_entries_are_refused() {
        let swapped = |store: &dyn Store| {
            let other = record::encode(3, &[7; 40]);
            store.write(6, vec![Change::Put(2, other)]).unwrap();
        };
        check_damage(reopen(swapped), "entry 2: it belongs to another index");
    }

    #[test]
    fn a_gap_is_refused() {
        let gap = |store: &dyn Store| store.write(6, vec![Change::Remove(3..4)]).unwrap();
        check_damage(
            reopen(gap),
            "entry 3: it is missing, though entry 4 is there",
        );
    }

    #[test]
    fn a_store_that_lost_its_last_write_is_refused() {
        let older = |store: &dyn Store| {
            let number = record::encode(Note::Sequence as u64, &4_u64.to_le_bytes());
            let older = vec![Change::Remove(5..6), Change::Note(Note::Sequence, number)];
            store.write(6, older).unwrap();
        };
        check_damage(
            reopen(older),
            "entry 5: its end is missing: 5 writes were acknowledged, it holds 4",
        );
    }

    #[test]
    fn a_store_without_its_head_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = DurableLog::open(dir.path()).unwrap();
        log.write(vec![put(1, 1, 1)]).unwrap();
        drop(log);
        std::fs::remove_file(dir.path().join("head")).unwrap();
        assert!(matches!(
            DurableLog::open(dir.path()),
            Err(StoreError::Damaged { .. })
        ));
    }

    #[test]
    fn an_entry_of_many_pieces_comes_back_and_goes_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = DurableLog::open(dir.path()).unwrap();
        let big: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        log.write(vec![Change::Put(0, big.clone()), put(1, 1, 10)])
            .unwrap();
        assert_eq!(log.cold().read(0..9, 1).unwrap(), [(0, big)]);
        assert_eq!(log.cold().read(0..9, usize::MAX).unwrap().len(), 2);
        log.write(vec![Change::Remove(0..1), put(0, 5, 20)])
            .unwrap();
        assert_eq!(
            log.cold().read(0..9, usize::MAX).unwrap(),
            [(0, vec![5; 20]), (1, vec![1; 10])]
        );
    }

    #[test]
    fn notes_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = DurableLog::open(dir.path()).unwrap();
        assert_eq!(log.note(Note::Vote).unwrap(), None);
        log.write(vec![Change::Note(Note::Vote, b"me".to_vec())])
            .unwrap();
        log.settle().unwrap();
        drop(log);
        let log = DurableLog::open(dir.path()).unwrap();
        assert_eq!(log.note(Note::Vote).unwrap().as_deref(), Some(&b"me"[..]));
    }
}
