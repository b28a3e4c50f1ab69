//! The log as its callers see it, over sinks that fail when they are told to.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate_proto::id::{Principal, ServerName, Tenant};
use parking_lot::{Condvar, Mutex};
use proptest::prelude::*;
use serde_json::Value;

use super::handle::{Audit, FlushError};
use super::sink::Sink;
use super::{Completed, Decision, Deed, Received};
use crate::call::Caller;
use crate::config;
use crate::error::CallError;

const LIMIT: Duration = Duration::from_secs(20);

/// What the tests see of a sink, and how they steer it.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    fails: AtomicBool,
    n_failures: Mutex<usize>,
    failed: Condvar,
    n_synced: AtomicUsize,
    /// Bytes that one write takes at most; 0: all.
    take_max: usize,
    /// A new file was opened after so many bytes.
    reopened_at: Mutex<Vec<usize>>,
}

struct DiskSink(Arc<Disk>);

impl Sink for DiskSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.fails.load(Ordering::SeqCst) {
            *self.0.n_failures.lock() += 1;
            self.0.failed.notify_all();
            return Err(io::ErrorKind::StorageFull.into());
        }
        let n = if self.0.take_max == 0 {
            bytes.len()
        } else {
            bytes.len().min(self.0.take_max)
        };
        self.0.bytes.lock().extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let n = self.0.bytes.lock().len();
        self.0.reopened_at.lock().push(n);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.n_synced.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Disk {
    /// Waits until a write has failed, and a bit of the writer's reaction is visible.
    fn await_failure(&self, audit: &Audit) {
        let mut n_failures = self.n_failures.lock();
        while *n_failures < 2 {
            self.failed.wait(&mut n_failures);
        }
        // The second attempt comes only after the first failure was noted.
        assert!(!audit.is_healthy());
    }

    fn lines(&self) -> Vec<Value> {
        let bytes = self.bytes.lock().clone();
        assert!(
            bytes.is_empty() || bytes.ends_with(b"\n"),
            "the last line is not whole"
        );
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_709_210_096_007)
}

fn start(disk: Disk) -> (Audit, Arc<Disk>) {
    let disk = Arc::new(disk);
    (
        Audit::start(Box::new(DiskSink(Arc::clone(&disk))), "n1/7", noon).unwrap(),
        disk,
    )
}

fn caller() -> Caller {
    Caller {
        principal: "ci-bot".into(),
        tenant: Some("acme".into()),
        roles: Vec::new(),
        credential: "ci".into(),
        in_audit: OnceLock::new(),
    }
}

fn received<'a>(caller: &'a Caller, serial: u64, target: &'a str) -> Received<'a> {
    Received {
        serial,
        caller,
        session: Some("5e0f"),
        method: "tools/call",
        target: Some(target),
        server: None,
        arguments: Some("{}"),
        decision: Decision {
            allowed: true,
            rule: "role dev: allow *",
        },
        trace_id: None,
        is_awaited: false,
    }
}

fn completed(caller: &Caller, serial: u64) -> Completed<'_> {
    Completed {
        intent: None,
        serial,
        caller,
        session: None,
        method: "tools/call",
        tool: Some("github_get"),
        server: None,
        status: "ok",
        took: Duration::from_micros(6912),
    }
}

#[test]
fn the_lines_of_a_call_have_the_documented_members() {
    let (audit, disk) = start(Disk::default());
    let caller = caller();
    let github = ServerName::from("github");
    let event = Received {
        server: Some(&github),
        trace_id: Some("4bf9"),
        ..received(&caller, 42, "github_get")
    };
    audit.received(&event).unwrap();
    audit.completed(&Completed {
        server: Some(&github),
        ..completed(&caller, 42)
    });
    audit.close(LIMIT).unwrap();
    insta::assert_snapshot!(String::from_utf8(disk.bytes.lock().clone()).unwrap().trim_end(), @r#"
    {"event":"received","ts":"2024-02-29T12:34:56.007Z","at":"n1/7","id":42,"principal":"ci-bot","credential":"ci","tenant":"acme","session":"5e0f","method":"tools/call","target":"github_get","server":"github","args_sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","decision":"allow","rule":"role dev: allow *","trace_id":"4bf9"}
    {"event":"completed","ts":"2024-02-29T12:34:56.007Z","at":"n1/7","id":42,"principal":"ci-bot","credential":"ci","tenant":"acme","method":"tools/call","target":"github_get","server":"github","status":"ok","latency_us":6912}
    "#);
}

const DEED: Deed<'_> = Deed {
    who: "operator",
    action: "keys.create",
    target: "ci",
};

#[test]
fn operators_and_intruders_leave_lines_too() {
    let (audit, disk) = start(Disk::default());
    audit.admin(&DEED).unwrap();
    audit.admin_ended(&DEED, None, "key_exists");
    audit.security("session_id_refused", &caller(), "/mcp");
    audit.credential_refused("the API key is not valid", "127.0.0.1:5000");
    audit.close(LIMIT).unwrap();
    insta::assert_snapshot!(String::from_utf8(disk.bytes.lock().clone()).unwrap().trim_end(), @r#"
    {"event":"admin","ts":"2024-02-29T12:34:56.007Z","at":"n1/7","who":"operator","action":"keys.create","target":"ci"}
    {"event":"admin","ts":"2024-02-29T12:34:56.007Z","at":"n1/7","who":"operator","action":"keys.create","target":"ci","status":"key_exists"}
    {"event":"security","ts":"2024-02-29T12:34:56.007Z","at":"n1/7","what":"session_id_refused","principal":"ci-bot","credential":"ci","tenant":"acme","detail":"/mcp"}
    {"event":"security","ts":"2024-02-29T12:34:56.007Z","at":"n1/7","what":"credential_refused","peer":"127.0.0.1:5000","detail":"the API key is not valid"}
    "#);
}

#[test]
fn the_order_of_the_lines_is_the_order_of_the_events() {
    let (audit, disk) = start(Disk {
        take_max: 100,
        ..Disk::default()
    });
    let caller = caller();
    for serial in 0..5_000 {
        audit.received(&received(&caller, serial, "x")).unwrap();
    }
    audit.close(LIMIT).unwrap();
    let ids: Vec<u64> = disk
        .lines()
        .iter()
        .map(|line| line["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (0..5_000).collect::<Vec<_>>());
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let (audit, disk) = start(Disk::default());
    let caller = caller();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (audit, caller) = (&audit, &caller);
            scope.spawn(move || {
                for n in 0..1_000 {
                    audit
                        .received(&received(caller, thread * 1_000 + n, "x"))
                        .unwrap();
                    audit.completed(&completed(caller, thread * 1_000 + n));
                }
            });
        }
    });
    audit.close(LIMIT).unwrap();
    assert_eq!(disk.lines().len(), 8_000);
}

#[test]
fn a_flush_loses_nothing_and_syncs() {
    let (audit, disk) = start(Disk::default());
    audit.received(&received(&caller(), 1, "x")).unwrap();
    audit.flush(LIMIT).unwrap();
    assert_eq!(
        (disk.lines().len(), disk.n_synced.load(Ordering::SeqCst)),
        (1, 1)
    );
    audit.flush(LIMIT).unwrap();
    assert_eq!(
        disk.n_synced.load(Ordering::SeqCst),
        2,
        "also when nothing is waiting"
    );
    audit.close(LIMIT).unwrap();
}

#[test]
fn a_failing_disk_refuses_calls_until_it_recovers_and_loses_none() {
    let (audit, disk) = start(Disk::default());
    let caller = caller();
    disk.fails.store(true, Ordering::SeqCst);
    audit.received(&received(&caller, 1, "x")).unwrap();
    disk.await_failure(&audit);
    let refused = audit.received(&received(&caller, 2, "x")).unwrap_err();
    assert!(matches!(refused, CallError::AuditUnavailable));
    assert!(audit.admin(&DEED).is_err());
    audit.completed(&completed(&caller, 1));
    disk.fails.store(false, Ordering::SeqCst);
    audit.flush(LIMIT).unwrap();
    audit.received(&received(&caller, 3, "x")).unwrap();
    audit.close(LIMIT).unwrap();
    let events: Vec<_> = disk
        .lines()
        .iter()
        .map(|line| (line["event"].clone(), line["id"].clone()))
        .collect();
    assert_eq!(
        events,
        [
            ("received".into(), 1.into()),
            ("completed".into(), 1.into()),
            ("received".into(), 3.into())
        ]
    );
}

#[test]
fn a_full_buffer_refuses_calls_but_takes_the_ends_of_those_that_run() {
    let (audit, disk) = start(Disk::default());
    let caller = caller();
    disk.fails.store(true, Ordering::SeqCst);
    let target = "x".repeat(2_000);
    audit.received(&received(&caller, 0, &target)).unwrap();
    disk.await_failure(&audit);
    // Until the reserve is used up, too: what is lost then is told.
    let mut n_completed = 0_u64;
    for _ in 0..12_000 {
        audit.completed(&Completed {
            tool: Some(&target),
            ..completed(&caller, 0)
        });
        n_completed += 1;
    }
    assert!(audit.received(&received(&caller, 1, "x")).is_err());
    disk.fails.store(false, Ordering::SeqCst);
    audit.flush(LIMIT).unwrap();
    audit.close(LIMIT).unwrap();
    let lines = disk.lines();
    let lost = lines
        .iter()
        .find(|line| line["what"] == "audit_lines_lost")
        .unwrap()["count"]
        .as_u64()
        .unwrap();
    let kept = lines
        .iter()
        .filter(|line| line["event"] == "completed")
        .count() as u64;
    assert!(lost > 0);
    assert_eq!(kept + lost, n_completed);
}

#[test]
fn a_flush_that_cannot_succeed_says_what_is_left() {
    let (audit, disk) = start(Disk::default());
    disk.fails.store(true, Ordering::SeqCst);
    audit.received(&received(&caller(), 1, "x")).unwrap();
    let FlushError { bytes } = audit.close(Duration::from_millis(20)).unwrap_err();
    assert!(bytes > 100);
}

#[test]
fn nothing_is_taken_after_closing() {
    let (audit, _disk) = start(Disk::default());
    audit.close(LIMIT).unwrap();
    assert!(audit.received(&received(&caller(), 1, "x")).is_err());
}

#[test]
fn a_rotated_file_goes_on_in_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let moved = dir.path().join("audit.jsonl.1");
    let audit = Audit::open(&config::Audit::File(path.clone()), "n1", 7, noon).unwrap();
    audit.received(&received(&caller(), 1, "x")).unwrap();
    audit.flush(LIMIT).unwrap();
    std::fs::rename(&path, &moved).unwrap();
    audit.reopen();
    audit.received(&received(&caller(), 2, "x")).unwrap();
    audit.close(LIMIT).unwrap();
    let id = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["id"].clone()
    };
    assert_eq!((id(&moved), id(&path)), (1.into(), 2.into()));
}

#[test]
fn a_line_that_a_crash_cut_off_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    std::fs::write(&path, "{\"event\":\"rece").unwrap();
    let audit = Audit::open(&config::Audit::File(path.clone()), "n1", 8, noon).unwrap();
    audit.received(&received(&caller(), 1, "x")).unwrap();
    audit.close(LIMIT).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let whole: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(whole["at"], "n1/8");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = config::Audit::File(dir.path().join("no/such/dir/audit.jsonl"));
    assert!(Audit::open(&nowhere, "n1", 1, noon).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_names_are_each_line_is_json(
        principal: String, tenant: Option<String>, target: String, rule: String, args: String,
    ) {
        let (audit, disk) = start(Disk::default());
        let caller = Caller {
            principal: Principal::from(&*principal),
            tenant: tenant.as_deref().map(Tenant::from),
            roles: Vec::new(),
            credential: "c".into(),
            in_audit: OnceLock::new(),
        };
        let decision = Decision { allowed: false, rule: &rule };
        let event = Received { arguments: Some(&args), decision, ..received(&caller, 1, &target) };
        audit.received(&event).unwrap();
        audit.close(LIMIT).unwrap();
        let line = disk.lines().remove(0);
        prop_assert_eq!(line["principal"].as_str(), Some(&*principal));
        prop_assert_eq!(line["tenant"].as_str(), tenant.as_deref());
        prop_assert_eq!(line["target"].as_str(), Some(&*target));
        prop_assert_eq!(line["rule"].as_str(), Some(&*rule));
        prop_assert_eq!(line["args_sha256"].as_str().map(str::len), Some(64));
    }
}
