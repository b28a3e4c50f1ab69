//! Every call stands in the tamper-evident log of the cluster, whatever ends the node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{BINARY, DEMO, Gateway, Upstream, eventually, lockgate};

fn audit(data_dir: &Path, args: &[&str]) -> Output {
    Command::new(BINARY)
        .args(["--json", "audit"])
        .args(args)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap()
}

fn value(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{output:?}"))
}

/// All records of the log of a node, as far as they are on its disk.
pub(crate) fn records(data_dir: &Path) -> Vec<Value> {
    let log = value(&audit(data_dir, &["log", "--lines", "1000"]));
    log["records"].as_array().unwrap().clone()
}

async fn call(gateway: &Gateway, text: &str) {
    let arguments = json!({"name": "demo_echo", "arguments": {"text": text}});
    let answer = gateway.client().stateless("tools/call", arguments).await;
    assert_eq!(answer.status, 200);
}

/// Keys of the log, for whoever verifies it.
fn signers(data_dir: &Path) -> PathBuf {
    let path = data_dir.join("signers.json");
    fs::write(&path, audit(data_dir, &["signers"]).stdout).unwrap();
    path
}

/// Data directory of a gateway that has ended, with the records of so many calls.
async fn recorded(n_calls: usize, config: &str) -> Gateway {
    let mut gateway = Gateway::start(config).await;
    for n in 0..n_calls {
        call(&gateway, &format!("call {n}")).await;
    }
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
    gateway
}

#[tokio::test]
async fn calls_verify_and_a_flipped_bit_is_found() {
    let gateway = recorded(20, DEMO).await;
    let data = gateway.data_dir();
    let all = records(&data);
    let calls = all.iter().filter(|record| record["tool"] == "demo_echo");
    assert_eq!(calls.count(), 40, "an intent and a result each");
    let leftovers = fs::read_dir(data.join("audit-spool")).unwrap().count();
    assert_eq!(leftovers, 0, "the log has all, the spool is gone");

    let signers = signers(&data);
    let args = ["verify", "--signers", signers.to_str().unwrap()];
    let verified = audit(&data, &args);
    assert_eq!(value(&verified)["verdict"], "good", "{verified:?}");
    assert_eq!(audit(&data, &["verify"]).status.code(), Some(3));
    // Whatever keeps it from looking says nothing about the records.
    let garbage = data.join("garbage.json");
    fs::write(&garbage, "{}").unwrap();
    let garbage = garbage.to_str().unwrap();
    for (option, file) in [
        ("--signers", "nope.json"),
        ("--signers", garbage),
        ("--export", "nope.jsonl"),
        ("--export", garbage),
    ] {
        let unchecked = audit(&data, &["verify", option, file]);
        assert_eq!(unchecked.status.code(), Some(3), "{unchecked:?}");
    }

    let segment = data.join("cluster/audit/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let verified = audit(&data, &args);
    assert_eq!(verified.status.code(), Some(1));
    assert_eq!(value(&verified)["verdict"], "bad");
    let first_bad = value(&verified)["first_bad"].as_u64().unwrap();
    // The record that has the byte: up to there the same bytes are good.
    bytes.truncate(at);
    let before = String::from_utf8_lossy(&bytes).matches("\"seq\":").count() as u64;
    assert!((before - 1..=before).contains(&first_bad), "{first_bad}");
}

/// Verifies an export whose records were changed, and returns the first bad one.
fn first_bad(data: &Path, export: &str, change: impl FnOnce(&mut Vec<String>)) -> Option<u64> {
    let is_record = |line: &&str| line.starts_with("{\"key_id\"");
    let before: Vec<&str> = export.lines().filter(|line| !is_record(line)).collect();
    let records = export.lines().filter(is_record);
    let mut records: Vec<String> = records.map(str::to_owned).collect();
    change(&mut records);
    let path = data.join("export.jsonl");
    let text = format!("{}\n{}\n", before.join("\n"), records.join("\n"));
    fs::write(&path, text).unwrap();
    let (path, signers) = (path.to_str().unwrap(), signers(data));
    let args = [
        "verify",
        "--export",
        path,
        "--signers",
        signers.to_str().unwrap(),
    ];
    let verified = audit(data, &args);
    let value = value(&verified);
    let code = if value["verdict"] == "bad" { 1 } else { 0 };
    assert_eq!(verified.status.code(), Some(code), "{value}");
    value["first_bad"].as_u64()
}

#[tokio::test]
async fn whatever_is_done_to_an_export_is_found_where_it_was_done() {
    let gateway = recorded(10, DEMO).await;
    let data = gateway.data_dir();
    let exported = audit(&data, &["export"]);
    assert!(exported.status.success());
    let export = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(first_bad(&data, &export, |_| {}), None);
    let found = |change: fn(&mut Vec<String>)| first_bad(&data, &export, change);
    let flip = |records: &mut Vec<String>| records[7] = records[7].replace("\"v\":1", "\"v\":2");
    assert_eq!(found(flip), Some(7));
    assert_eq!(found(|records| drop(records.remove(7))), Some(7));
    assert_eq!(
        found(|records| records.insert(7, records[6].clone())),
        Some(7)
    );
    assert_eq!(found(|records| records.swap(7, 8)), Some(7));
    assert_eq!(found(|records| records.truncate(7)), Some(7));
    let other_key = |records: &mut Vec<String>| {
        records[7] = records[7].replacen("\"key_id\":1", "\"key_id\":2", 1);
    };
    assert_eq!(found(other_key), Some(7));
}

#[tokio::test]
async fn without_a_wish_for_lines_there_are_none() {
    let gateway = recorded(3, &format!("audit: {{ mode: memory }}\n{DEMO}")).await;
    let data = gateway.data_dir();
    let calls = records(&data);
    let calls = calls.iter().filter(|record| record["tool"] == "demo_echo");
    assert_eq!(calls.count(), 6);
    assert!(!data.join("audit-spool").exists());
    assert!(!data.with_file_name("audit.jsonl").exists());
}

/// What the answer to a call has promised is in the log after a kill, in each of these modes.
async fn survives_a_kill(mode: &str) {
    let mut gateway = Gateway::start(&format!("audit: {mode}\n{DEMO}")).await;
    for n in 0..5 {
        call(&gateway, &format!("call {n}")).await;
    }
    gateway.signal(Signal::KILL);
    gateway.ended().await;
    gateway.start_again().await;
    let data = gateway.data_dir();
    let ends = || {
        let records = records(&data).into_iter();
        let ends =
            records.filter(|record| record["tool"] == "demo_echo" && !record["intent"].is_null());
        ends.map(|end| end["status"].clone()).collect::<Vec<_>>()
    };
    eventually("the records are in the log", async || ends().len() == 5).await;
    assert_eq!(ends(), ["ok"; 5], "{mode}");
}

#[tokio::test]
async fn in_quorum_mode_an_answer_comes_after_its_record() {
    survives_a_kill("{ mode: quorum }").await;
}

#[tokio::test]
async fn with_sync_each_an_answer_comes_after_its_record() {
    survives_a_kill("{ mode: local, sync: each }").await;
}

/// A call that the end of the process cuts off is closed by the next one, in each of these modes.
async fn is_closed_as_unknown(mode: &str) {
    let upstream = Upstream::start().await;
    let servers = upstream.config(", era: session");
    let mut gateway = Gateway::start(&format!("audit: {{ mode: {mode} }}\n{servers}")).await;
    let client = gateway.client().open().await;
    let slow = json!({"name": "up_work", "arguments": {"key": "cut", "wait_ms": 60_000}});
    let answer = client
        .post(client.message("tools/call", &slow).to_string())
        .await;
    assert!(answer.is_stream(), "the call lasts");
    gateway.signal(Signal::KILL);
    gateway.ended().await;
    let data = gateway.data_dir();
    assert!(fs::read_dir(data.join("audit-spool")).unwrap().count() > 0);
    gateway.start_again().await;
    eventually("the open intent is closed", async || {
        let records = records(&data);
        let intent = records
            .iter()
            .find(|record| record["tool"] == "up_work" && record["intent"].is_null());
        let Some(intent) = intent else { return false };
        let closes = |record: &Value| {
            record["status"] == "unknown"
                && record["intent"] == intent["local_seq"]
                && record["boot"] == intent["boot"]
        };
        records.iter().any(closes)
    })
    .await;
}

#[tokio::test]
async fn a_call_that_a_crash_cut_off_is_closed_as_unknown() {
    is_closed_as_unknown("local").await;
}

#[tokio::test]
async fn in_quorum_mode_a_call_that_a_crash_cut_off_is_closed_as_unknown() {
    is_closed_as_unknown("quorum").await;
}

#[tokio::test]
async fn whoever_reads_the_beginning_of_an_export_sees_no_error() {
    let gateway = recorded(20, DEMO).await;
    for format in ["csv", "jsonl"] {
        let mut export = Command::new(BINARY)
            .args(["audit", "export", "--format", format, "--data-dir"])
            .arg(gateway.data_dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Nobody reads: each write fails.
        drop(export.stdout.take());
        let export = export.wait_with_output().unwrap();
        assert!(
            export.status.success() && export.stderr.is_empty(),
            "{export:?}"
        );
    }
}

#[tokio::test]
async fn what_an_operator_did_and_what_was_refused_differ() {
    let mut gateway = Gateway::start(DEMO).await;
    let url = gateway.admin_url();
    let create = ["create", "--principal", "p", "--role", "all", "--id", "k"];
    for (verb, code) in [(&create[..], 0), (&create, 1), (&["revoke", "nope"], 1)] {
        let done = lockgate(&[&["--admin", &url, "keys"], verb].concat()).await;
        assert_eq!(done.status.code(), Some(code), "{done:?}");
    }
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
    let all = records(&gateway.data_dir());
    let all = all.iter().filter(|record| record["kind"] == "key");
    let (begun, ended): (Vec<&Value>, Vec<&Value>) =
        all.partition(|record| record["intent"].is_null());
    assert!(
        begun.iter().all(|record| record["status"].is_null()),
        "{begun:?}"
    );
    let told = |record: &&Value| {
        let of = begun
            .iter()
            .find(|intent| intent["local_seq"] == record["intent"]);
        let of = of.unwrap();
        assert_eq!(
            (&of["method"], &of["tool"]),
            (&record["method"], &record["tool"])
        );
        json!([record["method"], record["tool"], record["status"]])
    };
    let ended: Vec<Value> = ended.iter().map(told).collect();
    assert_eq!(
        ended,
        [
            json!(["keys.create", "k", "ok"]),
            json!(["keys.create", "k", "key_exists"]),
            json!(["keys.revoke", "nope", "unknown_key"]),
        ]
    );
}
