use std::collections::BTreeSet;

use futures_util::poll;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::audit::spool::leftovers;

fn clock() -> SystemTime {
    UNIX_EPOCH
}

fn in_memory() -> Ledger {
    let settings = Settings {
        mode: AuditMode::Memory,
        ..Settings::default()
    };
    Ledger::open(settings, Path::new("/nowhere"), ("n1", 1), clock).unwrap()
}

/// Records calls until so many bytes wait. Returns the last one.
fn fill(ledger: &Ledger, bytes: usize) -> Intent {
    let tool = "x".repeat(1_000);
    loop {
        let intent = ledger.intend(Kind::Call, true, |record| record.tool = Some(&tool));
        if ledger.status().waiting_bytes >= bytes {
            return intent.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_log_that_is_behind_until_it_has_caught_up() {
    let ledger = in_memory();
    let before = fill(&ledger, WAITING_BYTES_MAX / 2);
    ledger.settled(before.local_seq).await.unwrap();
    let last = fill(&ledger, WAITING_BYTES_MAX);
    let mut call = Box::pin(ledger.settled(last.local_seq));
    assert!(poll!(&mut call).is_pending());
    assert!(ledger.is_healthy());
    ledger.on_committed(&ledger.batch().unwrap());
    call.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_ends_the_wait_and_then_refuses() {
    let ledger = in_memory();
    let last = fill(&ledger, WAITING_BYTES_MAX);
    assert!(ledger.settled(last.local_seq).await.is_err());
    let intent = fill(&ledger, REFUSED_BYTES);
    assert!(ledger.intend(Kind::Call, true, |_record| {}).is_err());
    assert!(!ledger.is_healthy());
    // The ends of calls still find room.
    assert!(
        ledger
            .tell(Some(intent), Kind::Call, |_record| {})
            .is_some()
    );
}

const QUORUM: (AuditMode, AuditSync) = (AuditMode::Quorum, AuditSync::Group);
const EACH: (AuditMode, AuditSync) = (AuditMode::Local, AuditSync::Each);
const GROUP: (AuditMode, AuditSync) = (AuditMode::Local, AuditSync::Group);

fn on_disk((mode, sync): (AuditMode, AuditSync)) -> (Ledger, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { mode, sync };
    let ledger = Ledger::open(settings, dir.path(), ("n1", 1), clock).unwrap();
    (ledger, dir)
}

fn begin(ledger: &Ledger) -> Intent {
    ledger.intend(Kind::Call, true, |_record| {}).unwrap()
}

fn end(ledger: &Ledger, intent: Intent) -> u64 {
    let told = ledger.tell(Some(intent), Kind::Call, |record| {
        record.status = Some("ok")
    });
    told.unwrap()
}

fn n_waiting(ledger: &Ledger) -> usize {
    ledger.state.lock().waiters.len()
}

/// Records that the next life finds in the spool, and the calls of them that have no end.
fn found(dir: &TempDir) -> (Vec<u64>, Vec<u64>) {
    let life = leftovers(dir.path(), 2).unwrap().remove(0);
    let numbers = life.lines.iter().map(|(local_seq, _)| *local_seq);
    (numbers.collect(), life.open.into_iter().collect())
}

#[tokio::test(start_paused = true)]
async fn in_quorum_mode_those_go_on_whose_record_the_log_has() {
    let (ledger, _dir) = on_disk(QUORUM);
    let intents = [begin(&ledger), begin(&ledger)];
    let mut waits = intents.map(|intent| Box::pin(ledger.settled(intent.local_seq)));
    assert!(poll!(&mut waits[0]).is_pending());
    let batch = ledger.batch().unwrap();
    let later = begin(&ledger);
    let mut later = Box::pin(ledger.settled(later.local_seq));
    assert!(poll!(&mut later).is_pending());
    assert!(poll!(&mut waits[1]).is_pending());
    // What the disk has is not enough.
    ledger.sync();
    assert!(poll!(&mut waits[1]).is_pending());
    assert_eq!(n_waiting(&ledger), 3);
    ledger.on_committed(&batch);
    assert_eq!(n_waiting(&ledger), 1);
    for wait in waits {
        wait.await.unwrap();
    }
    assert!(poll!(&mut later).is_pending());
    drop(later);
    assert_eq!(n_waiting(&ledger), 0);
}

#[tokio::test(start_paused = true)]
async fn with_sync_each_those_go_on_whose_record_the_disk_or_the_log_has() {
    let (ledger, _dir) = on_disk(EACH);
    let first = begin(&ledger);
    let mut call = Box::pin(ledger.settled(first.local_seq));
    assert!(poll!(&mut call).is_pending());
    ledger.sync();
    assert_eq!(n_waiting(&ledger), 0);
    call.await.unwrap();
    let mut answer = Box::pin(ledger.settled(end(&ledger, first)));
    assert!(poll!(&mut answer).is_pending());
    ledger.on_committed(&ledger.batch().unwrap());
    answer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn with_sync_in_groups_nobody_waits_for_a_log_that_keeps_up() {
    let (ledger, dir) = on_disk(GROUP);
    let intent = begin(&ledger);
    assert!(poll!(Box::pin(ledger.settled(intent.local_seq))).is_ready());
    assert_eq!(found(&dir), (vec![1], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_takes_too_long_ends_and_leaves_nothing() {
    let (ledger, _dir) = on_disk(QUORUM);
    let started = Instant::now();
    assert!(ledger.settled(begin(&ledger).local_seq).await.is_err());
    assert_eq!((started.elapsed(), n_waiting(&ledger)), (SETTLE_MAX, 0));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_is_drained_when_the_log_has_what_was_recorded() {
    for (ledger, _dir) in [QUORUM, EACH, GROUP].map(on_disk) {
        ledger.drained().await;
        end(&ledger, begin(&ledger));
        let mut drained = Box::pin(ledger.drained());
        assert!(poll!(&mut drained).is_pending());
        ledger.sync();
        assert!(poll!(&mut drained).is_pending());
        ledger.on_committed(&ledger.batch().unwrap());
        drained.await;
        ledger.retire().unwrap();
    }
}

#[test]
fn what_is_awaited_goes_into_the_spool_on_its_way_into_the_log() {
    let (ledger, dir) = on_disk(QUORUM);
    let intent = begin(&ledger);
    assert_eq!(found(&dir), (vec![], vec![]));
    ledger.intend(Kind::Admin, false, |_record| {}).unwrap();
    assert_eq!(found(&dir), (vec![1, 2], vec![1]));
    end(&ledger, intent);
    begin(&ledger);
    let batch = ledger.batch().unwrap();
    assert_eq!((batch.count, found(&dir)), (4, (vec![1, 2, 3, 4], vec![4])));
}

#[test]
fn a_call_that_a_kill_cut_off_behind_its_commit_is_found_by_the_next_life() {
    let (ledger, dir) = on_disk(QUORUM);
    let (first, _second) = (begin(&ledger), begin(&ledger));
    ledger.on_committed(&ledger.batch().unwrap());
    end(&ledger, first);
    // Killed: neither end is anywhere but in its memory.
    drop(ledger);
    let mut life = leftovers(dir.path(), 2).unwrap().remove(0);
    assert_eq!(life.open, BTreeSet::from([1, 2]));
    life.owe(2, |local_seq, intent| {
        format!("{{\"local_seq\":{local_seq},\"kind\":\"call\",\"intent\":{intent}}}").into()
    })
    .unwrap();
    assert_eq!(found(&dir), (vec![1, 2, 3, 4], vec![]));
}

#[test]
fn the_next_file_of_the_spool_begins_with_the_calls_that_have_no_end() {
    let (ledger, dir) = on_disk(QUORUM);
    let ended = begin(&ledger);
    fill(&ledger, 4 << 20);
    let batch = ledger.batch().unwrap();
    let open = begin(&ledger);
    let end = end(&ledger, ended);
    ledger.on_committed(&batch);
    let files = std::fs::read_dir(dir.path()).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let [_full, next] = paths.as_slice() else {
        panic!("{paths:?}")
    };
    assert!(next.ends_with(format!("{:020}-{:020}.jsonl", 1, end + 1)));
    let header = std::fs::read_to_string(next).unwrap();
    let unended = (2..=open.local_seq).map(|local_seq| local_seq.to_string());
    let unended = unended.collect::<Vec<_>>().join(",");
    assert_eq!(
        header,
        format!("{{\"lockgate_spool\":1,\"open\":[{unended}]}}\n")
    );
    assert_eq!(found(&dir).0, (1..=end).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_refuses_ends_the_calls_that_have_not_begun() {
    let (ledger, dir) = on_disk(QUORUM);
    let (started, under_way) = (Instant::now(), begin(&ledger));
    ledger.on_committed(&ledger.batch().unwrap());
    let swap = |file| ledger.state.lock().spool.as_mut().unwrap().write_to(file);
    let disk = swap(File::open("/dev/full").unwrap());

    let intents = [begin(&ledger), begin(&ledger)];
    let [mut first, mut second] = intents.map(|intent| Box::pin(ledger.settled(intent.local_seq)));
    assert!(poll!(&mut first).is_pending());
    let mut answer = Box::pin(ledger.settled(end(&ledger, under_way)));
    assert!(poll!(&mut answer).is_pending());
    assert!(ledger.batch().is_none(), "nothing goes that would be owed");
    assert!(first.await.is_err() && !ledger.is_healthy());
    assert!(ledger.intend(Kind::Call, true, |_record| {}).is_err());
    // It looks only now.
    assert!(poll!(&mut second).is_ready());
    assert!(poll!(&mut answer).is_pending());

    // An intent whose end is known owes nothing: both go, and the answer with them.
    for intent in intents {
        end(&ledger, intent);
    }
    let batch = ledger.batch().unwrap();
    assert_eq!((batch.first, batch.count, batch.leaves_some), (2, 5, false));
    ledger.on_committed(&batch);
    answer.await.unwrap();
    assert_eq!((n_waiting(&ledger), started.elapsed()), (0, Duration::ZERO));

    ledger.sync();
    assert!(!ledger.is_healthy(), "it still refuses");
    drop(swap(disk));
    ledger.sync();
    let next = begin(&ledger);
    assert_eq!((ledger.batch().unwrap().first, next.local_seq), (7, 7));
    assert_eq!(found(&dir), (vec![1, 7], vec![1, 7]));
}

#[tokio::test(start_paused = true)]
async fn what_a_spool_has_refused_goes_when_it_takes_it() {
    let (ledger, dir) = on_disk(QUORUM);
    let swap = |file| ledger.state.lock().spool.as_mut().unwrap().write_to(file);
    let disk = swap(File::open("/dev/full").unwrap());
    let intent = begin(&ledger);
    assert!(ledger.batch().is_none());
    drop(swap(disk));
    // Before the call has looked: it may take place after all.
    ledger.sync();
    ledger.to_ship.notified().await;
    let mut call = Box::pin(ledger.settled(intent.local_seq));
    assert!(poll!(&mut call).is_pending());
    ledger.on_committed(&ledger.batch().unwrap());
    call.await.unwrap();
    assert_eq!(found(&dir), (vec![1], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_refuses_this_life_ends_all_calls_for_good() {
    let (ledger, _dir) = on_disk(EACH);
    let (waits, began) = (begin(&ledger), Instant::now());
    let mut call = Box::pin(ledger.settled(waits.local_seq));
    assert!(poll!(&mut call).is_pending());
    ledger.refused();
    assert!(call.await.is_err());
    // The disk does not make up for the log.
    ledger.sync();
    assert!(!ledger.is_healthy());
    assert!(ledger.intend(Kind::Call, true, |_record| {}).is_err());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[test]
fn a_spool_that_refuses_takes_a_call_back_that_would_go_at_once() {
    let (ledger, dir) = on_disk(GROUP);
    let swap = |file| ledger.state.lock().spool.as_mut().unwrap().write_to(file);
    let disk = swap(File::open("/dev/full").unwrap());
    assert!(ledger.intend(Kind::Call, true, |_record| {}).is_err());
    assert_eq!((ledger.status().last, ledger.status().open), (0, 0));
    drop(swap(disk));
    ledger.sync();
    assert_eq!(begin(&ledger).local_seq, 1);
    assert_eq!(found(&dir), (vec![1], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn whoever_ships_is_woken_by_the_record_that_it_waits_for() {
    let (ledger, _dir) = on_disk(QUORUM);
    let first = begin(&ledger).local_seq;
    ledger.to_ship.notified().await;
    let batch = ledger.batch().unwrap();
    begin(&ledger);
    // It is busy.
    assert!(poll!(pin!(ledger.to_ship.notified())).is_pending());
    let mut awaited = Box::pin(ledger.recorded(first + 3));
    assert!(poll!(&mut awaited).is_pending());
    begin(&ledger);
    assert!(poll!(&mut awaited).is_pending());
    begin(&ledger);
    awaited.await;
    ledger.recorded(first).await;
    // Nothing to do: the next one wakes it.
    ledger.on_committed(&batch);
    let rest = ledger.batch().unwrap();
    ledger.on_committed(&rest);
    assert!(ledger.batch().is_none());
    begin(&ledger);
    ledger.to_ship.notified().await;
}
