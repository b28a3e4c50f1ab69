//! The audit log of a running node, as an operator watches it.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{BINARY, DEMO, Gateway, eventually, within};

type Printed = Lines<BufReader<ChildStdout>>;

fn tail(gateway: &Gateway, args: &[&str]) -> (Child, Printed) {
    let mut child = Command::new(BINARY)
        .args(["--admin", &gateway.admin_url(), "audit", "tail"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let printed = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, printed)
}

async fn call(gateway: &Gateway, tool: &str) {
    let params = json!({"name": tool, "arguments": {"text": "x", "a": 1, "b": 2}});
    let answer = gateway.client().stateless("tools/call", params).await;
    assert_eq!(answer.status, 200);
}

async fn next(printed: &mut Printed) -> String {
    let line = within("a line of the tail", printed.next_line()).await;
    line.unwrap().expect("the tail has ended")
}

#[tokio::test]
async fn a_tail_shows_what_comes_and_ends_when_it_is_told() {
    let mut gateway = Gateway::start(DEMO).await;
    call(&gateway, "demo_echo").await;
    let filter = ["--json", "--lines", "2", "--where", "tool=demo_add"];
    let (mut child, mut printed) = tail(&gateway, &filter);
    let (mut table, mut rows) = tail(&gateway, &["--lines", "1"]);
    assert!(next(&mut rows).await.trim_start().starts_with("SEQ"));
    call(&gateway, "demo_echo").await;
    call(&gateway, "demo_add").await;
    let intent: Value = serde_json::from_str(&next(&mut printed).await).unwrap();
    assert_eq!(
        (&intent["tool"], &intent["kind"]),
        (&json!("demo_add"), &json!("call"))
    );
    let outcome: Value = serde_json::from_str(&next(&mut printed).await).unwrap();
    assert_eq!(outcome["status"], "ok");
    assert_eq!(outcome["intent"], intent["local_seq"]);
    while !next(&mut rows).await.contains("demo_add") {}

    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(
        within("the end of the tail", child.wait())
            .await
            .unwrap()
            .success()
    );
    // Whoever has seen enough.
    drop(rows);
    call(&gateway, "demo_add").await;
    assert!(
        within("the end of the tail", table.wait())
            .await
            .unwrap()
            .success()
    );
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
}

/// Value of a metric without labels.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_say_how_the_log_does() {
    let gateway = Gateway::start(&format!("audit: {{ mode: memory }}\n{DEMO}")).await;
    call(&gateway, "demo_echo").await;
    eventually("all records are in the log and signed", async || {
        let text = gateway.metrics().await;
        let is_done = |name: &str| metric(&text, name) == 0.0;
        metric(&text, "lockgate_audit_records") >= 2.0
            && is_done("lockgate_audit_queue_records")
            && is_done("lockgate_audit_lag_seconds")
            && is_done("lockgate_audit_unsigned_records")
            && is_done("lockgate_audit_checkpoint_age_seconds")
    })
    .await;
    let text = gateway.metrics().await;
    for (name, want) in [
        ("lockgate_audit_segments", 1.0),
        ("lockgate_audit_complete", 1.0),
        ("lockgate_audit_healthy", 1.0),
        ("lockgate_audit_degraded", 1.0),
        ("lockgate_audit_open_calls", 0.0),
        ("lockgate_audit_lost_total", 0.0),
    ] {
        assert_eq!(metric(&text, name), want, "{name}");
    }
    assert!(metric(&text, "lockgate_audit_segment_bytes") > 0.0);
    gateway.stop().await;
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let gateway = Gateway::start(DEMO).await;
    for (query, code) in [
        ("from=x", "invalid_number"),
        ("limit=-1", "invalid_number"),
        ("where=tool", "invalid_filter"),
        ("where=tol=x", "invalid_filter"),
        ("since=yesterday", "invalid_filter"),
        ("until=", "invalid_filter"),
        ("from=1&before=2", "invalid_range"),
        ("limit=1&sice=2026", "unknown_parameter"),
    ] {
        let answer = gateway
            .admin(&format!("/api/v1/audit/records?{query}"))
            .await;
        assert_eq!(answer["error"]["code"], code, "{query}");
    }
    let stats = gateway.admin("/api/v1/audit/stats?by=tool").await;
    let message = stats["error"]["message"].as_str().unwrap();
    assert!(message.contains("`by`"), "{message}");
    let last = gateway.admin("/api/v1/audit/records?limit=1").await;
    let next = last["next"].as_u64().unwrap();
    let beyond = format!("/api/v1/audit/records?from={}", next + 100);
    assert_eq!(gateway.admin(&beyond).await["records"], json!([]));
    gateway.stop().await;
}
