//! A secret of the operator guards what no checkpoint covers yet, against whoever has all that lies on the disk.

use std::path::Path;

use lockgate_cluster::Secret;
use lockgate_cluster::audit::segment::{Limits, SegmentStore};
use lockgate_cluster::audit::verify::{Finding, Reason, Trust, Verdict};
use lockgate_cluster::audit::{AuditCommand, Guards, MacKey, MacKeys};

use super::{Fixture, genesis, mac_keys, start, verify};

const SECRET: &str = "a-secret-of-32-bytes-or-more-------";
const FORMER: &str = "another-secret-of-32-bytes-or-more--";

fn guards(text: &str) -> Guards {
    Guards::parse(text).unwrap()
}

/// Keys 2 and 3 follow from secrets.
fn keys(former: MacKey, in_use: MacKey) -> MacKeys {
    let first = mac_keys(&[1]).get(1).cloned();
    first.into_iter().chain([former, in_use]).collect()
}

fn of(text: &str, id: u32) -> MacKey {
    let (guards, log) = (guards(text), genesis().log);
    let mark = guards.marks(&log)[0];
    guards.find(&log, &mark).unwrap().mac_key(&log, id)
}

/// A log under the keyring, then a secret, then another one; a checkpoint covers but the last two records.
fn log() -> Fixture {
    let mut log = Fixture::new();
    log.append(0, 5);
    for (key_id, secret) in [(2, FORMER), (3, SECRET)] {
        let guard = guards(secret).marks(&genesis().log)[0];
        log.apply(AuditCommand::SetGuard { key_id, guard });
        log.append(1, 5);
    }
    log.checkpoint();
    log.append(2, 1);
    log
}

fn store(log: &Fixture, dir: &Path, keys: MacKeys) {
    let opened = SegmentStore::open(dir, &genesis(), &start(), keys, Limits::default());
    let mut store = opened.unwrap();
    store.append(&log.effects).unwrap();
    store.sync().unwrap();
}

fn trust(log: &Fixture, guards: Option<Guards>) -> Trust {
    Trust {
        guards,
        ..log.trust(&[])
    }
}

fn unchecked(verdict: Verdict) -> String {
    match verdict {
        Verdict::Unchecked(reasons) => reasons.join("; "),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_end_of_a_log_is_good_by_the_word_of_its_secrets() {
    let mut log = log();
    log.append(0, 1);
    let dir = tempfile::tempdir().unwrap();
    store(&log, dir.path(), keys(of(FORMER, 2), of(SECRET, 3)));
    let check = |guards: Option<Guards>| verify(dir.path(), &trust(&log, guards)).verdict;
    let both = guards(&format!("{SECRET} {FORMER}"));
    assert_eq!(check(Some(both.clone())), Verdict::Good);
    let by_macs = Trust {
        signers: Vec::new(),
        ..trust(&log, Some(both))
    };
    assert_eq!(verify(dir.path(), &by_macs).verdict, Verdict::Good);
    // The one that was in use before is missing; then all are.
    let told = unchecked(check(Some(guards(SECRET))));
    assert_eq!(
        told,
        "records from 7 on are guarded by a secret that was not given"
    );
    let told = unchecked(check(Some(Guards::default())));
    assert!(
        told.starts_with("records from 7 on are guarded by a secret"),
        "{told}"
    );
    let told = unchecked(check(None));
    assert!(
        told.contains("no checkpoint that was verified yet"),
        "{told}"
    );
}

#[test]
fn whoever_has_all_but_the_secret_forges_no_end() {
    let mut forged = log();
    forged.append(0, 1);
    let end = forged.log.size();
    let dir = tempfile::tempdir().unwrap();
    let (other, last) = (
        Secret::from_bytes([9; 32]),
        keys(of(FORMER, 2), of(SECRET, 3)),
    );
    // All up to the last record is as it was.
    let mut honest =
        SegmentStore::open(dir.path(), &genesis(), &start(), last, Limits::default()).unwrap();
    let n_records = forged.effects.len() - 1;
    honest.append(&forged.effects[..n_records]).unwrap();
    honest.set_keys(keys(of(FORMER, 2), MacKey::new(3, &other)));
    honest.append(&forged.effects[n_records..]).unwrap();
    let both = guards(&format!("{SECRET} {FORMER}"));
    let verdict = verify(dir.path(), &trust(&forged, Some(both))).verdict;
    let finding = Finding {
        seq: end - 1,
        reason: Reason::Mac,
    };
    assert_eq!(verdict, Verdict::Bad(finding));
    let verdict = verify(dir.path(), &trust(&forged, Some(Guards::default()))).verdict;
    assert!(unchecked(verdict).contains("a secret that was not given"));
}

#[test]
fn a_log_that_knows_nothing_of_the_secret_is_not_good() {
    let mut log = Fixture::new();
    log.append(0, 5);
    log.checkpoint();
    let dir = tempfile::tempdir().unwrap();
    store(&log, dir.path(), mac_keys(&[1]));
    let check = |guards| verify(dir.path(), &trust(&log, guards)).verdict;
    assert_eq!(check(None), Verdict::Good);
    assert_eq!(check(Some(Guards::default())), Verdict::Good);
    let told = unchecked(check(Some(guards(SECRET))));
    assert_eq!(told, "no record is guarded by the secret that was given");
}

#[test]
fn a_former_secret_and_a_mark_are_no_witnesses() {
    let both = guards(&format!("{SECRET} {FORMER}"));
    let set = |key_id, secret| {
        let guard = guards(secret).marks(&genesis().log)[0];
        AuditCommand::SetGuard { key_id, guard }
    };
    // Cut off before the secret in use came, and written on with the former one. Then the log names the one in use, with
    // nothing behind it. Both have signatures of all.
    let mut log = Fixture::new();
    log.append(0, 5);
    log.apply(set(2, FORMER));
    log.append(1, 5);
    for names_it in [false, true] {
        if names_it {
            log.apply(set(3, SECRET));
        }
        log.checkpoint();
        let dir = tempfile::tempdir().unwrap();
        store(&log, dir.path(), keys(of(FORMER, 2), of(SECRET, 3)));
        let check = |guards| verify(dir.path(), &trust(&log, Some(guards))).verdict;
        let told = unchecked(check(both.clone()));
        assert!(told.contains("guards no record yet"), "{told}");
        if !names_it {
            assert_eq!(
                check(guards(FORMER)),
                Verdict::Good,
                "as it was in its time"
            );
        }
        let told = unchecked(check(guards(SECRET)));
        assert!(told.contains("a secret that was not given"), "{told}");
    }
    log.append(0, 1);
    let dir = tempfile::tempdir().unwrap();
    store(&log, dir.path(), keys(of(FORMER, 2), of(SECRET, 3)));
    let report = verify(dir.path(), &trust(&log, Some(both)));
    assert_eq!(report.verdict, Verdict::Good);
}

/// Which secret guards the first records is written in a record that is not there any more; their MACs tell it.
#[test]
fn a_log_without_its_beginning_is_held_to_the_secrets_that_were_given() {
    let mut log = log();
    log.append(0, 1);
    let end = log.log.size();
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        records: 4,
        ..Limits::default()
    };
    let keys = keys(of(FORMER, 2), of(SECRET, 3));
    let opened = SegmentStore::open(dir.path(), &genesis(), &start(), keys, limits);
    let mut store = opened.unwrap();
    for effects in log.effects.chunks(1) {
        store.append(effects).unwrap();
    }
    store.sync().unwrap();
    let report = |guards| verify(dir.path(), &trust(&log, guards));
    let both = guards(&format!("{SECRET} {FORMER}"));
    // The first record that is there is of the former one, then of the one in use.
    for below in [9, end - 3] {
        let first = store.prune(below).unwrap();
        let whole = report(Some(both.clone()));
        assert_eq!(whole.verdict, Verdict::Good, "from {first} on");
        assert_eq!((whole.records, whole.n_macs), (first..end, end - first));
        let none = report(Some(Guards::default()));
        assert!(none.lacks_secret);
        let told = unchecked(none.verdict);
        assert!(told.contains("a secret that was not given"), "{told}");
    }
    // As good as all of it, of which the former one guards nothing.
    assert_eq!(report(Some(guards(SECRET))).verdict, Verdict::Good);
    let told = unchecked(report(Some(guards(FORMER))).verdict);
    assert!(told.contains("cannot be told"), "{told}");
}

#[test]
fn checkpoints_alone_decide_on_a_log_without_its_beginning_where_they_are_to() {
    let mut log = Fixture::new();
    log.append(0, 50);
    log.checkpoint();
    let dir = tempfile::tempdir().unwrap();
    let mut store = log.store(dir.path());
    assert_eq!(store.prune(45).unwrap(), 40);
    let check = |guards| verify(dir.path(), &trust(&log, guards)).verdict;
    assert_eq!(check(None), Verdict::Good);
    for guards in [Guards::default(), guards(SECRET)] {
        let told = unchecked(check(Some(guards)));
        assert!(told.contains("cannot be told"), "{told}");
    }
    let with_keys = Trust {
        guards: Some(Guards::default()),
        ..log.trust(&[1])
    };
    assert_eq!(verify(dir.path(), &with_keys).verdict, Verdict::Good);
}
