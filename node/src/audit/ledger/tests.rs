use futures_util::poll;

use super::*;

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
        let intent = ledger.intend(Kind::Call, |record| record.tool = Some(&tool));
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
    ledger.committed(&ledger.batch().unwrap());
    call.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_ends_the_wait_and_then_refuses() {
    let ledger = in_memory();
    let last = fill(&ledger, WAITING_BYTES_MAX);
    assert!(ledger.settled(last.local_seq).await.is_err());
    let intent = fill(&ledger, REFUSED_BYTES);
    assert!(ledger.intend(Kind::Call, |_record| {}).is_err());
    assert!(!ledger.is_healthy());
    // The ends of calls still find room.
    assert!(
        ledger
            .tell(Some(intent), Kind::Call, |_record| {})
            .is_some()
    );
}
