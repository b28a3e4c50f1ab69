use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::DurableLog;

/// What a log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    /// Index of the next entry.
    next: u64,
    records: BTreeMap<u64, Vec<u8>>,
    vote: Option<Vec<u8>>,
}

/// What is done to it.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Truncate(u64),
    Purge(u64),
    Vote(u8),
    Reopen { is_settled: bool },
    Crash,
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0_usize..20_000, 1..4).prop_map(Step::Append),
        1 => (1_u64..4).prop_map(Step::Truncate),
        1 => (1_u64..6).prop_map(Step::Purge),
        1 => any::<u8>().prop_map(Step::Vote),
        1 => any::<bool>().prop_map(|is_settled| Step::Reopen { is_settled }),
        1 => Just(Step::Crash),
    ]
}

impl Model {
    /// Changes of one write, which are made here at once.
    fn changes(&mut self, step: &Step) -> Vec<Change> {
        match step {
            Step::Append(sizes) => {
                let put = |bytes: &usize| {
                    let (index, body) = (self.next, vec![self.next as u8; *bytes]);
                    self.next += 1;
                    self.records.insert(index, body.clone());
                    Change::Put(index, body)
                };
                sizes.iter().map(put).collect()
            }
            Step::Truncate(n) => {
                let kept = self.next.saturating_sub(*n);
                self.records.retain(|index, _| *index < kept);
                let removed = kept..self.next;
                self.next = kept;
                vec![Change::Remove(removed)]
            }
            Step::Purge(n) => {
                let first = self.records.keys().next().copied();
                let end = first.unwrap_or_default() + n;
                self.records.retain(|index, _| *index >= end);
                self.next = self.next.max(end);
                vec![Change::Remove(0..end)]
            }
            Step::Vote(vote) => {
                self.vote = Some(vec![*vote]);
                vec![Change::Note(Note::Vote, vec![*vote])]
            }
            Step::Reopen { .. } | Step::Crash => Vec::new(),
        }
    }

    fn of(log: &DurableLog, next: u64) -> Self {
        let records = log.cold().read(0..u64::MAX, usize::MAX).unwrap();
        Self {
            next,
            records: records.into_iter().collect(),
            vote: log.note(Note::Vote).unwrap(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a killed process leaves of the open log in `dir`.
fn crashed(dir: &TempDir) -> TempDir {
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    crashed
}

fn put(index: u64, bytes: usize) -> Vec<Change> {
    vec![Change::Put(index, vec![index as u8; bytes])]
}

/// Opens a log and says how many entries it has from 0 on, and that none is missing between them.
fn n_entries(dir: &Path) -> Result<u64, String> {
    let mut n_entries = 0;
    let log = DurableLog::open(dir).map_err(|error| error.to_string())?;
    let checked = log.check(0, |_, _| {
        n_entries += 1;
        Ok(())
    });
    checked.map_err(|error| error.to_string())?;
    Ok(n_entries)
}

#[test]
fn what_was_not_applied_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = DurableLog::open(dir.path()).unwrap();
    log.append(put(0, 10)).unwrap();
    assert_eq!(log.cold().read(0..9, 1).unwrap(), []);
    let crashed = crashed(&dir);
    drop(log);
    assert_eq!(n_entries(crashed.path()), Ok(1));
    assert_eq!(n_entries(dir.path()), Ok(1));
}

/// A crash leaves any part of them in sled. Where the number is among them, all are.
#[test]
fn the_number_of_the_write_is_the_last_note() {
    let all = [
        Note::Sequence,
        Note::Identity,
        Note::Vote,
        Note::Committed,
        Note::Purged,
    ];
    let mut notes = Notes {
        values: all.map(|note| (note, vec![note as u8])).into(),
        upto: 7,
        n_writes: 3,
    };
    let drained: Vec<_> = notes.drain().collect();
    assert_eq!(drained.len(), all.len());
    assert!(matches!(
        drained.last(),
        Some(Change::Note(Note::Sequence, value)) if *value == [Note::Sequence as u8]
    ));
    assert_eq!((notes.values.len(), notes.n_writes), (0, 0));
}

#[test]
fn a_vote_outlives_a_crash_before_and_after_its_write_is_in_sled() {
    for n_later in [0, 1, NOTES_EVERY - 2, NOTES_EVERY, 3 * NOTES_EVERY + 1] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = DurableLog::open(dir.path()).unwrap();
        for vote in ["old", "new"] {
            log.write(vec![Change::Note(Note::Vote, vote.into())])
                .unwrap();
        }
        for index in 0..n_later {
            log.write(put(index, 10)).unwrap();
        }
        assert_eq!(log.note(Note::Vote).unwrap().as_deref(), Some(&b"new"[..]));
        let crashed = crashed(&dir);
        drop(log);
        for dir in [crashed.path(), dir.path()] {
            assert_eq!(n_entries(dir), Ok(n_later));
            let log = DurableLog::open(dir).unwrap();
            assert_eq!(log.note(Note::Vote).unwrap().as_deref(), Some(&b"new"[..]));
        }
    }
}

#[test]
fn a_log_of_a_program_without_a_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = DurableLog::open(dir.path()).unwrap();
    for index in 0..3 {
        log.write(put(index, 100)).unwrap();
    }
    log.settle().unwrap();
    drop(log);
    for name in ["journal-0", "journal-1"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let mut log = DurableLog::open(dir.path()).unwrap();
    log.write(put(3, 100)).unwrap();
    drop(log);
    assert_eq!(n_entries(dir.path()), Ok(4));
}

/// As one does whose log is written by sled alone.
#[test]
fn a_log_that_was_settled_needs_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = DurableLog::open(dir.path()).unwrap();
    log.append(put(0, 100)).unwrap();
    log.settle().unwrap();
    let crashed = crashed(&dir);
    for name in ["journal-0", "journal-1"] {
        fs::remove_file(crashed.path().join(name)).unwrap();
    }
    assert_eq!(n_entries(crashed.path()), Ok(1));
}

/// After a power loss sled has what its last sync covers, and the journal the rest.
#[test]
fn a_store_that_fell_behind_catches_up_from_both_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = DurableLog::open(dir.path()).unwrap();
    log.write(put(0, 10)).unwrap();
    log.settle().unwrap();
    let early = crashed(&dir);
    // Enough to leave the first file, not enough to come back to it.
    for index in 1..20 {
        log.write(put(index, 300_000)).unwrap();
    }
    let lost = crashed(&dir);
    fs::remove_dir_all(lost.path().join("log")).unwrap();
    copy(&early.path().join("log"), &lost.path().join("log"));
    assert_eq!(n_entries(lost.path()), Ok(20));

    for index in 20..40 {
        log.write(put(index, 300_000)).unwrap();
    }
    let lost = crashed(&dir);
    fs::remove_dir_all(lost.path().join("log")).unwrap();
    copy(&early.path().join("log"), &lost.path().join("log"));
    let error = n_entries(lost.path()).unwrap_err();
    assert!(error.contains("journal-0` is damaged at byte "), "{error}");
    assert!(error.contains("is missing, though write"), "{error}");
}

#[test]
fn a_damaged_end_that_was_acknowledged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = DurableLog::open(dir.path()).unwrap();
    for index in 0..3 {
        log.append(put(index, 100)).unwrap();
    }
    let crashed = crashed(&dir);
    let journal = crashed.path().join("journal-0");
    let mut bytes = fs::read(&journal).unwrap();
    // The third frame, behind the block that says what the file is.
    bytes[3 * 4096 + 50] ^= 1;
    fs::write(&journal, bytes).unwrap();
    let error = n_entries(crashed.path()).unwrap_err();
    assert!(
        error.contains("its end is missing: 3 writes were acknowledged, it holds 2"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_log_holds_what_was_written(steps in prop::collection::vec(a_step(), 1..40)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut log = Some(DurableLog::open(dir.path()).unwrap());
        let mut model = Model::default();
        for step in steps {
            let changes = model.changes(&step);
            let open = log.as_mut().unwrap();
            match step {
                Step::Reopen { is_settled } => {
                    if is_settled {
                        open.settle().unwrap();
                    }
                    drop(log.take());
                    log = Some(DurableLog::open(dir.path()).unwrap());
                }
                Step::Crash => {
                    let left = crashed(&dir);
                    drop(log.take());
                    log = Some(DurableLog::open(left.path()).unwrap());
                    dir = left;
                }
                _ => open.write(changes).unwrap(),
            }
            let got = Model::of(log.as_ref().unwrap(), model.next);
            prop_assert!(got == model, "{:?}", step);
        }
    }
}
