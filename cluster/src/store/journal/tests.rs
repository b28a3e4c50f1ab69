use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::turns::FILE_BYTES;
use super::*;

/// Writes by number: the bytes of the record that each puts under its own number.
type Held = BTreeMap<u64, usize>;

fn put(number: u64, bytes: usize) -> Vec<Change> {
    vec![Change::Put(number, vec![number as u8; bytes])]
}

/// Opens the journal before a store that has all up to number `stored`.
fn open(dir: &Path, stored: u64) -> Result<(Journal, Held), String> {
    let mut held = Held::new();
    let journal = Journal::open(dir, stored, |number, changes| {
        let [Change::Put(index, record)] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!(*index, number);
        held.insert(number, record.len());
        Ok(())
    });
    let journal =
        journal.map_err(|error| error.to_string().replace(&dir.display().to_string(), "DIR"));
    Ok((journal?, held))
}

/// A journal with writes from 1 on, of so many bytes each.
fn written(sizes: &[usize]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 0).unwrap();
    for (number, bytes) in (1..).zip(sizes) {
        append(&mut journal, number, *bytes, &mut 0);
    }
    dir
}

/// Appends a write. The store gets ahead only as far as it must.
fn append(journal: &mut Journal, number: u64, bytes: usize, stored: &mut u64) {
    let free = |upto: u64| {
        *stored = upto.max(*stored);
        Ok(())
    };
    journal.append(number, &put(number, bytes), free).unwrap();
}

fn file(dir: &TempDir, n: usize) -> PathBuf {
    dir.path().join(format!("journal-{n}"))
}

/// What is in a file, up to the end of its last frame.
fn read_frames(dir: &TempDir, n: usize) -> Vec<u8> {
    let mut bytes = fs::read(file(dir, n)).unwrap();
    // Records here have no zeros; behind the frames is nothing else.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(used.next_multiple_of(BLOCK));
    bytes
}

#[track_caller]
fn check_damage(dir: &TempDir, stored: u64, what: &str) {
    let error = open(dir.path(), stored).unwrap_err();
    assert!(error.starts_with(what), "{error}");
}

#[test]
fn only_what_the_store_lacks_is_passed_on() {
    let dir = written(&[1, 5000, 3]);
    let (_, held) = open(dir.path(), 0).unwrap();
    assert_eq!(held, Held::from([(1, 1), (2, 5000), (3, 3)]));
    let (_, held) = open(dir.path(), 2).unwrap();
    assert_eq!(held, Held::from([(3, 3)]));
    let (_, held) = open(dir.path(), 9).unwrap();
    assert_eq!(held, Held::new());
}

#[test]
fn a_new_use_of_a_file_hides_the_last_one() {
    let dir = written(&[1, 1, 1]);
    let (mut journal, _) = open(dir.path(), 3).unwrap();
    append(&mut journal, 4, 1, &mut 3);
    let (_, held) = open(dir.path(), 3).unwrap();
    assert_eq!(held, Held::from([(4, 1)]));
}

#[test]
fn a_hole_between_store_and_journal_is_refused() {
    let dir = written(&[1, 1, 1]);
    let (mut journal, _) = open(dir.path(), 3).unwrap();
    append(&mut journal, 4, 1, &mut 3);
    let what =
        "`DIR/journal-0` is damaged at byte 8192: write 1 is missing, though write 2 is there";
    check_damage(&dir, 0, what);
}

#[test]
fn a_write_that_is_there_twice_is_refused() {
    let dir = written(&[1, 1]);
    let (mut journal, _) = open(dir.path(), 2).unwrap();
    append(&mut journal, 2, 1, &mut 0);
    check_damage(
        &dir,
        0,
        "`DIR/journal-0` is damaged at byte 4096: write 1 is missing",
    );
    check_damage(
        &dir,
        1,
        "`DIR/journal-0` is damaged at byte 8192: write 2 is there twice",
    );
}

#[test]
fn a_file_that_is_no_journal_is_refused() {
    for bytes in [&b""[..], b"LGJRNL01", &[0; 5000]] {
        let dir = written(&[1]);
        fs::write(file(&dir, 1), bytes).unwrap();
        check_damage(
            &dir,
            0,
            "`DIR/journal-1` is damaged at byte 0: it does not begin as a journal",
        );
    }
}

#[test]
fn a_frame_of_a_newer_program_is_refused() {
    let dir = written(&[1]);
    let bytes = read_frames(&dir, 0);
    let salt = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
    let mut frame = Vec::new();
    frame::encode(&mut frame, salt, 2, &put(2, 0)).unwrap();
    // Its checksum fits, its change is of an unknown kind.
    frame[20] = 9;
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&frame[..16]);
    hasher.update(&frame[20..][..13]);
    frame[16..20].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(file(&dir, 0), [bytes, frame].concat()).unwrap();
    check_damage(
        &dir,
        0,
        "`DIR/journal-0` is damaged at byte 8192: it holds something that",
    );
}

/// Opens a journal whose only frame is damaged, and holds a frame of number 99 at the beginning of each block.
fn frame_in_a_record(salt: impl FnOnce(&[u8]) -> u32) -> Result<Held, String> {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 0).unwrap();
    let salt = salt(&fs::read(file(&dir, 0)).unwrap()[8..12]);
    let mut frame = Vec::new();
    frame::encode(&mut frame, salt, 99, &[]).unwrap();
    // In front of it are header, kind, index and length.
    let record = [&[0; BLOCK - 33], &frame[..], &frame[..]].concat();
    let changes = [Change::Put(1, record)];
    journal.append(1, &changes, |_| Ok(())).unwrap();
    let mut bytes = fs::read(file(&dir, 0)).unwrap();
    bytes[BLOCK] ^= 1;
    fs::write(file(&dir, 0), bytes).unwrap();
    open(dir.path(), 0).map(|(_, held)| held)
}

#[test]
fn a_record_cannot_pass_for_a_frame() {
    assert_eq!(frame_in_a_record(|_| 0), Ok(Held::new()));
    // It would, if the salt could be known.
    let known = |salt: &[u8]| u32::from_le_bytes(salt.try_into().unwrap());
    assert!(frame_in_a_record(known).is_err());
}

/// Files are overwritten in turn for as long as it takes, and cut off at any of these moments what is read is what the
/// store lacks.
#[test]
fn both_files_are_used_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 0).unwrap();
    let mut stored = 0;
    let mut before = [Vec::new(), Vec::new()];
    for number in 1..=24 {
        let bytes = usize::try_from(FILE_BYTES / 4 + number * 9000).unwrap();
        append(&mut journal, number, bytes, &mut stored);
        let (_, held) = open(dir.path(), stored).unwrap();
        let numbers: Vec<u64> = held.into_keys().collect();
        assert_eq!(numbers, Vec::from_iter(stored + 1..=number));
        let now = [0, 1].map(|n| fs::read(file(&dir, n)).unwrap());
        for n in [0, 1] {
            if now[n] != before[n] && !before[n].is_empty() {
                check_torn(stored, number, [&before[1 - n], &before[n]], &now[n]);
            }
        }
        before = now;
    }
    assert!(stored > 12, "{stored}");
}

/// A crash in the middle of the write of frame `number`, which makes the second file what is `now` in it.
fn check_torn(stored: u64, number: u64, [other, old]: [&[u8]; 2], now: &[u8]) {
    let from = now.iter().zip(old).position(|(now, old)| now != old);
    let from = from.unwrap_or_else(|| old.len().min(now.len()));
    for done in [0, 1, 30, BLOCK, 2 * BLOCK + 5, FILE_BYTES as usize / 4] {
        let crashed = tempfile::tempdir().unwrap();
        let done = from + done;
        let rest = old.get(done..).unwrap_or_default();
        fs::write(file(&crashed, 0), other).unwrap();
        fs::write(file(&crashed, 1), [&now[..done], rest].concat()).unwrap();
        let (_, held) = open(crashed.path(), stored).unwrap();
        let numbers: Vec<u64> = held.into_keys().collect();
        assert_eq!(numbers, Vec::from_iter(stored + 1..number));
    }
}

#[test]
fn a_file_grows_for_many_frames_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(dir.path(), 0).unwrap();
    let length = || fs::metadata(file(&dir, 0)).unwrap().len();
    let mut lengths = std::collections::BTreeSet::from([length()]);
    for number in 1..=100 {
        append(&mut journal, number, 1, &mut 0);
        lengths.insert(length());
    }
    assert!(lengths.len() <= 5, "{lengths:?}");
    // The next one to open it knows how long it is.
    let (mut journal, _) = open(dir.path(), 100).unwrap();
    append(&mut journal, 101, 1, &mut 100);
    assert!(lengths.contains(&length()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_last_frame_that_is_cut_off_takes_nothing_else_along(
        sizes in prop::collection::vec(0_usize..9000, 1..8),
        at: prop::sample::Index,
        is_zeroed: bool,
    ) {
        let last = sizes.len() - 1;
        let without = read_frames(&written(&sizes[..last]), 0).len();
        let dir = written(&sizes);
        let mut bytes = fs::read(file(&dir, 0)).unwrap();
        // Magic to checksum, kind, index, length, record.
        let used = 20 + 13 + sizes[last];
        let kept = without + at.index(used);
        if is_zeroed {
            // The size of the file can be there before what is in it.
            let zeros = bytes[kept..].iter().all(|byte| *byte == 0);
            prop_assume!(!zeros);
            bytes[kept..].fill(0);
        } else {
            bytes.truncate(kept);
        }
        fs::write(file(&dir, 0), bytes).unwrap();
        let (mut journal, held) = open(dir.path(), 0).unwrap();
        let whole = || (1..).zip(sizes[..last].iter().copied());
        prop_assert_eq!(held, whole().collect::<Held>());
        // And it goes on.
        append(&mut journal, sizes.len() as u64, 5, &mut 0);
        let (_, held) = open(dir.path(), last as u64).unwrap();
        prop_assert_eq!(held, Held::from([(sizes.len() as u64, 5)]));
    }

    #[test]
    fn a_bit_that_has_changed_before_the_last_frame_is_found(
        sizes in prop::collection::vec(0_usize..9000, 2..8),
        victim: prop::sample::Index,
        at: prop::sample::Index,
        bit in 0..8,
    ) {
        let dir = written(&sizes);
        let victim = victim.index(sizes.len() - 1);
        let begin = read_frames(&written(&sizes[..victim]), 0).len();
        let mut bytes = fs::read(file(&dir, 0)).unwrap();
        bytes[begin + at.index(20 + 13 + sizes[victim])] ^= 1_u8 << bit;
        fs::write(file(&dir, 0), bytes).unwrap();
        let want = format!("`DIR/journal-0` is damaged at byte {begin}: write {} is missing", victim + 1);
        let error = open(dir.path(), 0).unwrap_err();
        prop_assert!(error.starts_with(&want), "{}", error);
        // Nobody needs it when the store has what was in it.
        prop_assert!(open(dir.path(), victim as u64 + 1).is_ok());
    }
}
