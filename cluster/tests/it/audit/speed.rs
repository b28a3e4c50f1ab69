//! How fast verification is; run with `--release --ignored --nocapture`.

use std::time::Duration;

use lockgate_cluster::audit::segment::{Limits, SegmentStore};
use lockgate_cluster::audit::verify::{Verdict, verify_segments};

use super::{Fixture, genesis, mac_keys, start};

const RECORDS: u64 = 400_000;
/// Issue's floor for one core, in a release build.
const RECORDS_PER_SECOND_MIN: f64 = 300_000.0;

/// Time that this thread had a core: on a busy machine others have it, too.
fn on_core() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = stat.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

#[test]
#[ignore = "a measurement: 400,000 records in a release build"]
#[expect(clippy::print_stdout, reason = "a measurement is there to be read")]
fn a_core_verifies_300_000_records_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Fixture::new();
    let keys = mac_keys(&[1, 2]);
    let limits = Limits::default();
    let mut store = SegmentStore::open(dir.path(), &genesis(), &start(), keys, limits).unwrap();
    let began = tokio::time::Instant::now();
    let mut applying = Duration::ZERO;
    while log.log.size() < RECORDS {
        let before = tokio::time::Instant::now();
        log.append(0, 512);
        log.append(1, 512);
        applying += before.elapsed();
        log.checkpoint();
        store.append(&log.effects).unwrap();
        log.effects.clear();
    }
    store.sync().unwrap();
    let written = began.elapsed();
    let (began, on_core_before) = (tokio::time::Instant::now(), on_core());
    let report = verify_segments(&store.reader(), &log.trust(&[1, 2]), None, |_, _| {}).unwrap();
    let wall = began.elapsed();
    let took = (on_core() - on_core_before).as_secs_f64();
    assert_eq!(report.verdict, Verdict::Good);
    let n = report.records.end as f64;
    let position = log.position();
    drop(store);
    let began = tokio::time::Instant::now();
    let keys = mac_keys(&[1, 2]);
    let store = SegmentStore::open(dir.path(), &genesis(), &position, keys, limits).unwrap();
    let reopened = began.elapsed();
    println!(
        "{n} records: made, applied and written in {written:?} (made and applied {applying:?}), verified in {took:.3} s \
         of a core, {wall:?} by the clock ({:.0}/s, {} checkpoints), reopened in {reopened:?} ({} records in the last segment)",
        n / took,
        report.n_checkpoints,
        store.size() % limits.records,
    );
    assert!(
        n / took >= RECORDS_PER_SECOND_MIN,
        "{:.0} records/s",
        n / took
    );
}
