//! The durable log: a store, and the head that says how far it must reach.

use std::path::{Path, PathBuf};

use tracing::warn;

use super::head::Head;
use super::sled_log::SledLog;
use super::{Store, StoreError, Stored, record};

/// Log and snapshot of one node.
pub(crate) struct DurableLog {
    store: Box<dyn Store>,
    head: Head,
    path: PathBuf,
}

/// What a log held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// State after the entry with this index.
    pub(crate) snapshot: Option<(u64, Vec<u8>)>,
    /// Bodies of the entries after it, without a gap.
    pub(crate) entries: Vec<(u64, Vec<u8>)>,
}

impl DurableLog {
    /// Opens the log in `dir`, or creates it. A tail that was never acknowledged is cut if it can't be read; anything
    /// else that is missing or damaged is refused.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Loaded), StoreError> {
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
        let store = Box::new(SledLog::open(&path)?);
        let mut log = Self { store, head, path };
        let loaded = log.load()?;
        Ok((log, loaded))
    }

    /// Adds `bodies` from `first` on. Returns when they will be there after a power loss.
    pub(crate) fn append(&mut self, first: u64, bodies: &[Vec<u8>]) -> Result<(), StoreError> {
        let records = (first..)
            .zip(bodies)
            .map(|(index, body)| (index, record::encode(index, body)));
        let records: Vec<_> = records.collect();
        let Some(&(last, _)) = records.last() else {
            return Ok(());
        };
        self.store.append(records)?;
        self.head.advance(last)
    }

    /// Puts `snapshot`, the state after `index`, in the place of the entries up to there.
    pub(crate) fn compact(&mut self, index: u64, snapshot: &[u8]) -> Result<(), StoreError> {
        self.store.compact(index, snapshot)
    }

    /// An entry or a snapshot whose frame is whole says something that this program can't read.
    pub(crate) fn unreadable(&self, index: u64) -> StoreError {
        self.damaged(
            index,
            "it holds something that this program cannot read".to_owned(),
        )
    }

    fn load(&mut self) -> Result<Loaded, StoreError> {
        let Stored { snapshot, records } = self.store.load()?;
        let mut next = snapshot.as_ref().map_or(1, |(index, _)| index + 1);
        let mut entries = Vec::new();
        let mut broken = None;
        for (index, bytes) in records {
            if index != next {
                broken = Some(format!("it is missing, though entry {index} is there"));
                break;
            }
            match record::decode(index, &bytes) {
                Ok(body) => entries.push((index, body.to_vec())),
                Err(what) => {
                    broken = Some(what);
                    break;
                }
            }
            next += 1;
        }
        if next <= self.head.index() {
            let head = self.head.index();
            let what = broken.unwrap_or_else(|| {
                format!("it is missing, though {head} entries were acknowledged")
            });
            return Err(self.damaged(next, what));
        }
        if let Some(what) = broken {
            warn!(
                index = next,
                what, "log cut behind its last acknowledged entry"
            );
            self.store.cut(next)?;
        }
        Ok(Loaded { snapshot, entries })
    }

    fn damaged(&self, index: u64, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            index,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes entries 1 to `entries`, of which the first `acknowledged` are in the head, lets `damage` at the store,
    /// and opens it again.
    fn reopen(
        entries: u64,
        acknowledged: u64,
        damage: impl FnOnce(&mut dyn Store),
    ) -> Result<u64, String> {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = DurableLog::open(dir.path()).unwrap();
        for index in 1..=acknowledged {
            log.append(index, &[vec![7; 40]]).unwrap();
        }
        for index in acknowledged + 1..=entries {
            log.store
                .append(vec![(index, record::encode(index, &[7; 40]))])
                .unwrap();
        }
        damage(&mut *log.store);
        drop(log);
        match DurableLog::open(dir.path()) {
            Ok((_, loaded)) => Ok(loaded.entries.len() as u64),
            Err(error) => Err(error
                .to_string()
                .replace(&dir.path().display().to_string(), "DIR")),
        }
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
        assert_eq!(reopen(5, 5, |_| {}), Ok(5));
    }

    #[test]
    fn whole_entries_behind_the_head_are_kept() {
        assert_eq!(reopen(5, 3, |_| {}), Ok(5));
    }

    #[test]
    fn a_torn_tail_is_cut() {
        assert_eq!(
            reopen(5, 4, |store| store
                .append(vec![(5, vec![1, 2, 3])])
                .unwrap()),
            Ok(4)
        );
    }

    #[test]
    fn a_gap_behind_the_head_is_cut() {
        assert_eq!(
            reopen(3, 3, |store| store
                .append(vec![(5, record::encode(5, b"x"))])
                .unwrap()),
            Ok(3)
        );
    }

    #[test]
    fn a_torn_entry_that_was_acknowledged_is_refused() {
        check_damage(
            reopen(5, 5, |store| {
                store.append(vec![(5, vec![1, 2, 3])]).unwrap()
            }),
            "entry 5: it is cut off",
        );
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let changed = |store: &mut dyn Store| {
            let mut record = record::encode(2, &[7; 40]);
            record[30] ^= 4;
            store.append(vec![(2, record)]).unwrap();
        };
        check_damage(
            reopen(5, 5, changed),
            "entry 2: its checksum does not match",
        );
    }

    #[test]
    fn swapped_entries_are_refused() {
        let swapped = |store: &mut dyn Store| {
            store
                .append(vec![(2, record::encode(3, &[7; 40]))])
                .unwrap()
        };
        check_damage(
            reopen(5, 5, swapped),
            "entry 2: it belongs to another index",
        );
    }

    #[test]
    fn acknowledged_entries_that_are_gone_are_refused() {
        check_damage(
            reopen(5, 5, |store| store.cut(4).unwrap()),
            "entry 4: it is missing, though 5 entries were acknowledged",
        );
    }

    #[test]
    fn a_store_without_its_head_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = DurableLog::open(dir.path()).unwrap();
        log.append(1, &[vec![1]]).unwrap();
        drop(log);
        std::fs::remove_file(dir.path().join("head")).unwrap();
        assert!(matches!(
            DurableLog::open(dir.path()),
            Err(StoreError::Damaged { .. })
        ));
    }

    #[test]
    fn a_snapshot_of_many_chunks_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = DurableLog::open(dir.path()).unwrap();
        log.append(1, &[vec![1], vec![2], vec![3]]).unwrap();
        let snapshot: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        log.compact(1, b"older").unwrap();
        log.compact(2, &snapshot).unwrap();
        drop(log);
        let (_, loaded) = DurableLog::open(dir.path()).unwrap();
        assert_eq!(loaded.snapshot, Some((2, snapshot)));
        assert_eq!(loaded.entries, [(3, vec![3])]);
    }
}
