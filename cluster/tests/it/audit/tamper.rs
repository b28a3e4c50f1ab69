//! Whatever is changed is found, where it was changed first.

use std::sync::LazyLock;

use lockgate_cluster::audit::leaf::Head;
use lockgate_cluster::audit::segment::SegmentReader;
use lockgate_cluster::audit::verify::{Finding, Reason, Trust, Verdict, verify_export};
use lockgate_cluster::audit::{KeyKind, Signers};
use proptest::prelude::*;

use super::{Fixture, mac_keys, signer, verify};

/// The eventful log, with two records and a checkpoint more; made once, since signatures are slow without optimisation.
static EVENTFUL: LazyLock<(Exported, Trust, Trust)> = LazyLock::new(|| {
    let mut log = Fixture::eventful();
    log.append(0, 2);
    log.checkpoint();
    (Exported::of(&log), log.trust(&[1, 2]), log.trust(&[]))
});

/// An export of a log as lines: header, checkpoints, records.
#[derive(Clone)]
struct Exported {
    before: Vec<String>,
    records: Vec<String>,
}

impl Exported {
    fn of(log: &Fixture) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = log.store(dir.path());
        let mut out = Vec::new();
        let size = store.size();
        lockgate_cluster::audit::export::export_jsonl(
            &store.reader(),
            0..size,
            &mut out,
            |_, _| {},
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        let (records, before) = text
            .lines()
            .map(str::to_owned)
            .partition(|line| line.starts_with("{\"key_id\""));
        Self { before, records }
    }

    fn verdict(&self, trust: &Trust) -> Verdict {
        let lines = [self.before.as_slice(), &self.records].concat();
        let text = lines.join("\n") + "\n";
        let report = verify_export(text.as_bytes(), trust, |_, _| {}).unwrap();
        report.verdict
    }

    /// First bad record.
    #[track_caller]
    fn bad(&self, trust: &Trust) -> Finding {
        match self.verdict(trust) {
            Verdict::Bad(finding) => finding,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_nobody_changed_is_good() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    for keys in [[1, 2].as_slice(), &[]] {
        let mut trust = log.trust(keys);
        let report = verify(dir.path(), &trust);
        assert_eq!(report.records, 0..log.log.size());
        assert_eq!(report.n_checkpoints, 3);
        assert_eq!(report.chain, log.log.chain().unwrap());
        // Some records are behind the last checkpoint.
        assert_eq!(report.verdict == Verdict::Good, !keys.is_empty());
        assert_eq!(Exported::of(&log).verdict(&trust), report.verdict);
        trust.signers.clear();
        let report = verify(dir.path(), &trust);
        assert_eq!(report.verdict == Verdict::Good, !keys.is_empty());
    }
}

#[test]
fn what_no_checkpoint_covers_yet_is_told_from_what_could_not_be_checked_at_all() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    let mut trust = log.trust(&[]);
    let reasons = |trust: &Trust| {
        let report = verify(dir.path(), trust);
        let Verdict::Unchecked(reasons) = report.verdict else {
            panic!("{report:?}");
        };
        (report.attested, reasons.join("; "))
    };
    let (attested, told) = reasons(&trust);
    let rest = format!("records {attested} to {} are", log.log.size() - 1);
    assert!(
        told.starts_with(&rest) && told.contains("it is no fault"),
        "{told}"
    );
    let other = signer("lockgate.audit/c0", KeyKind::Signer, 1);
    let other = Signers::new(other.verifier().clone(), Vec::new()).unwrap();
    trust.signers = vec![other];
    let (_, told) = reasons(&trust);
    assert!(
        told.contains("of the log `lockgate.audit/c0`, and this is `lockgate.audit/c1`"),
        "{told}"
    );
    assert!(
        !told.contains("no fault") && !told.contains("no majority"),
        "{told}"
    );
    trust.signers.clear();
    let (_, told) = reasons(&trust);
    assert!(told.ends_with("no public keys were given"), "{told}");
}

#[test]
fn a_public_key_is_enough_for_what_checkpoints_cover() {
    let mut log = Fixture::eventful();
    log.checkpoint();
    let exported = Exported::of(&log);
    assert_eq!(exported.verdict(&log.trust(&[])), Verdict::Good);
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    let report = verify(dir.path(), &log.trust(&[]));
    assert_eq!((report.verdict, report.n_macs), (Verdict::Good, 0));
}

#[test]
fn a_retired_key_can_not_guard_what_came_after_it() {
    let log = Fixture::eventful();
    let trust = log.trust(&[1, 2]);
    let mut exported = Exported::of(&log);
    let key = mac_keys(&[1]);
    let rotation = exported
        .records
        .iter()
        .position(|line| line.contains("audit/rotate_key"));
    let at = rotation.unwrap() + 3;
    // Whoever has the retired key signs a record anew, as it is.
    let size = u64::try_from(at).unwrap();
    let next = &exported.records[at + 1];
    let leaf = &next[next.find("\"leaf\":").unwrap() + 7..next.len() - 1];
    let chain = Head::read(leaf.as_bytes()).unwrap().prev;
    let mac = key.get(1).unwrap().sign(size, &chain);
    let hex: String = mac.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let line = &exported.records[at];
    let leaf = line.find("\"leaf\":").unwrap();
    exported.records[at] = format!("{{\"key_id\":1,\"mac\":\"{hex}\",{}", &line[leaf..]);
    let finding = exported.bad(&trust);
    let reason = Reason::Key {
        found: 1,
        allowed: 2,
    };
    assert_eq!(finding, Finding { seq: size, reason });
}

#[test]
fn an_end_that_is_cut_off_is_missed() {
    let log = Fixture::eventful();
    let mut exported = Exported::of(&log);
    exported.records.truncate(30);
    let finding = exported.bad(&log.trust(&[1, 2]));
    let end = log.log.size();
    let reason = Reason::Missing { end };
    assert_eq!(finding, Finding { seq: 30, reason });
}

#[test]
fn checkpoints_of_others_are_found() {
    let log = Fixture::eventful();
    let trust = log.trust(&[1, 2]);
    let mut exported = Exported::of(&log);
    let line = &exported.before[1];
    let at = line.find("\\n\\n— lockgate.audit/c1 ").unwrap() + 40;
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    exported.before[1].replace_range(at..=at, other);
    let finding = exported.bad(&trust);
    assert!(
        matches!(finding.reason, Reason::Checkpoint { .. }),
        "{finding}"
    );
}

#[test]
fn a_log_that_was_written_anew_with_the_keys_is_not_that_of_its_checkpoints() {
    let log = Fixture::eventful();
    let mut other = Fixture::new();
    other.append(0, 60);
    let mut forged = Exported::of(&other);
    let real = Exported::of(&log);
    forged.before.truncate(1);
    forged.before.push(real.before[1].clone());
    let finding = forged.bad(&log.trust(&[1, 2]));
    assert!(matches!(finding.reason, Reason::Root { .. }), "{finding}");
    assert_eq!(finding.seq, 0);
}

#[test]
fn a_bit_that_a_disk_flips_is_found_with_its_place() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    let path = dir.path().join(format!("{:020}.seg", 40));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[52 + 44 + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let Verdict::Bad(finding) = verify(dir.path(), &log.trust(&[1, 2])).verdict else {
        panic!("it is not found");
    };
    assert_eq!(finding.seq, 40);
    assert!(
        finding.to_string().contains("is damaged at byte 52"),
        "{finding}"
    );
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let log = Fixture::eventful();
    for (first, want) in [(40, 40), (120, 120)] {
        let dir = tempfile::tempdir().unwrap();
        drop(log.store(dir.path()));
        std::fs::remove_file(dir.path().join(format!("{first:020}.seg"))).unwrap();
        let Verdict::Bad(finding) = verify(dir.path(), &log.trust(&[1, 2])).verdict else {
            panic!("it is not missed");
        };
        assert_eq!(finding.seq, want, "{finding}");
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_others_count() {
    let mut log = Fixture::eventful();
    log.checkpoint();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    let path = dir.path().join("checkpoints");
    let whole = std::fs::read(&path).unwrap();
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let report = verify(dir.path(), &log.trust(&[]));
        assert_eq!(
            (report.n_checkpoints, report.records.end),
            (3, log.log.size())
        );
        let Verdict::Bad(finding) = report.verdict else {
            panic!("byte {at} is not found");
        };
        (report.attested, finding)
    };
    // In the length, in the checksum, in the text.
    for at in [0, 5, 30] {
        let (attested, finding) = damaged(at);
        assert_eq!((attested, finding.seq), (log.log.size(), 0));
        let told = finding.to_string();
        assert!(told.contains("damaged at byte 0: checkpoint 1 "), "{told}");
    }
    let (attested, finding) = damaged(whole.len() - 2);
    assert!(attested < log.log.size());
    assert_eq!(finding.seq, attested);
    assert!(finding.to_string().contains("checkpoint 4 "), "{finding}");

    // What was done to a record comes first.
    let segment = dir.path().join(format!("{:020}.seg", 40));
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[52 + 44 + 100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let Verdict::Bad(finding) = verify(dir.path(), &log.trust(&[])).verdict else {
        panic!("it is not found");
    };
    assert_eq!(finding.seq, 40);
}

#[test]
fn a_forged_checkpoint_does_not_keep_the_others_from_counting() {
    let mut log = Fixture::eventful();
    log.checkpoint();
    let mut exported = Exported::of(&log);
    let line = &exported.before[1];
    let at = line.find("\\n\\n— lockgate.audit/c1 ").unwrap() + 40;
    let other = if &line[at..=at] == "A" { "B" } else { "A" };
    exported.before[1].replace_range(at..=at, other);
    let lines = [exported.before.as_slice(), &exported.records].concat();
    let text = lines.join("\n") + "\n";
    let report = verify_export(text.as_bytes(), &log.trust(&[]), |_, _| {}).unwrap();
    assert_eq!((report.n_checkpoints, report.attested), (3, log.log.size()));
    assert!(matches!(report.verdict, Verdict::Bad(_)), "{report:?}");
}

#[test]
fn checkpoints_that_are_gone_are_told_from_those_that_come_yet() {
    let mut log = Fixture::eventful();
    let reason = |log: &Fixture, is_removed: bool| {
        let dir = tempfile::tempdir().unwrap();
        drop(log.store(dir.path()));
        if is_removed {
            std::fs::remove_file(dir.path().join("checkpoints")).unwrap();
        }
        match verify(dir.path(), &log.trust(&[])).verdict {
            Verdict::Unchecked(reasons) => reasons.join("; "),
            other => panic!("{other:?}"),
        }
    };
    assert!(reason(&log, false).contains("it is no fault"));
    let told = reason(&log, true);
    assert!(told.contains("checkpoints` is not there"), "{told}");
    assert!(!told.contains("no fault"), "{told}");
    log.at_ms += 70_000;
    log.append(2, 1);
    let told = reason(&log, false);
    assert!(told.contains("checkpoints are missing here"), "{told}");
}

#[derive(Clone, Copy, Debug)]
enum Tampering {
    Flip(prop::sample::Index),
    Delete,
    Double,
    Swap,
    OtherKey,
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop_oneof![
        6 => any::<prop::sample::Index>().prop_map(Tampering::Flip),
        1 => Just(Tampering::Delete),
        1 => Just(Tampering::Double),
        1 => Just(Tampering::Swap),
        1 => Just(Tampering::OtherKey),
    ]
}

impl Tampering {
    /// Tampers with the record `at` and returns the first bad one.
    fn apply(self, records: &mut Vec<String>, at: usize) -> usize {
        match self {
            Self::Flip(index) => {
                let line = &records[at];
                let at_byte = index.index(line.len());
                let mut bytes = line.clone().into_bytes();
                // Into something that is text, and ends no line.
                bytes[at_byte] = if bytes[at_byte] == b'7' { b'4' } else { b'7' };
                records[at] = String::from_utf8(bytes).unwrap();
                at
            }
            Self::Delete => {
                records.remove(at);
                at
            }
            Self::Double => {
                let line = records[at].clone();
                records.insert(at, line);
                at + 1
            }
            Self::Swap => {
                let other = if at + 1 < records.len() {
                    at + 1
                } else {
                    at - 1
                };
                records.swap(at, other);
                at.min(other)
            }
            Self::OtherKey => {
                let line = &records[at];
                let other = if line.starts_with("{\"key_id\":1,") {
                    "2"
                } else {
                    "1"
                };
                records[at] = format!("{{\"key_id\":{other}{}", &line[11..]);
                at
            }
        }
    }
}

proptest! {
    #[test]
    fn any_tampering_with_any_record_is_found_where_it_is(what in tampering(), at: prop::sample::Index) {
        let (exported, trust, _) = &*EVENTFUL;
        let mut exported = exported.clone();
        let at = at.index(exported.records.len());
        let want = what.apply(&mut exported.records, at);
        let finding = exported.bad(trust);
        prop_assert_eq!(finding.seq, want as u64, "{}", finding);
    }

    // MACs are beside the records: without their keys a change of one can't be seen, and hides nothing. The last record
    // has none behind it that would tell it from those before.
    #[test]
    fn a_changed_record_is_found_without_keys(at: prop::sample::Index, byte: prop::sample::Index) {
        let (exported, _, trust) = &*EVENTFUL;
        let mut exported = exported.clone();
        let at = at.index(exported.records.len() - 1);
        let line = &exported.records[at];
        let start = line.find("\"leaf\":").unwrap() + 7;
        let byte = start + byte.index(line.len() - 1 - start);
        let new = if &line[byte..=byte] == "7" { "4" } else { "7" };
        exported.records[at].replace_range(byte..=byte, new);
        let finding = exported.bad(trust);
        prop_assert_eq!(finding.seq, at as u64, "{}", finding);
    }
}

#[test]
fn a_copy_without_its_last_bytes_is_cut_off() {
    let log = Fixture::eventful();
    let dir = tempfile::tempdir().unwrap();
    drop(log.store(dir.path()));
    let size = log.log.size();
    let path = dir.path().join(format!("{:020}.seg", size / 40 * 40));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(SegmentReader::open(dir.path()).unwrap().size(), size - 1);
    let Verdict::Bad(finding) = verify(dir.path(), &log.trust(&[1, 2])).verdict else {
        panic!("it is not found");
    };
    assert_eq!(finding.seq, size - 1);
}
