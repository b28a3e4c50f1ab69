//! Every call stands in the tamper-evident log of the cluster, whatever ends the node.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{BINARY, DEMO, Gateway, Upstream, eventually};

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

fn records(data_dir: &Path) -> Vec<Value> {
    let log = value(&audit(data_dir, &["log", "--lines", "1000"]));
    log["records"].as_array().unwrap().clone()
}

async fn call(gateway: &Gateway, text: &str) {
    let arguments = json!({"name": "demo_echo", "arguments": {"text": text}});
    let answer = gateway.client().stateless("tools/call", arguments).await;
    assert_eq!(answer.status, 200);
}

/// Keys of the log, once a checkpoint is there.
async fn signers(gateway: &Gateway) -> std::path::PathBuf {
    let data = gateway.data_dir();
    eventually("a checkpoint is signed", async || {
        let stats = audit(&data, &["stats"]);
        stats.status.success() && value(&stats)["checkpoints"].as_u64() > Some(0)
    })
    .await;
    let path = data.join("signers.json");
    fs::write(&path, audit(&data, &["signers"]).stdout).unwrap();
    path
}

#[tokio::test]
async fn calls_verify_and_a_flipped_bit_is_found() {
    let mut gateway = Gateway::start(DEMO).await;
    for n in 0..20 {
        call(&gateway, &format!("call {n}")).await;
    }
    let signers = signers(&gateway).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
    let data = gateway.data_dir();
    let all = records(&data);
    let calls = all.iter().filter(|record| record["tool"] == "demo_echo");
    assert_eq!(calls.count(), 40, "an intent and a result each");
    let leftovers = fs::read_dir(data.join("audit-spool")).unwrap().count();
    assert_eq!(leftovers, 0, "the log has all, the spool is gone");

    let args = ["verify", "--signers", signers.to_str().unwrap()];
    let verified = audit(&data, &args);
    assert_eq!(value(&verified)["verdict"], "good", "{verified:?}");
    assert_eq!(audit(&data, &["verify"]).status.code(), Some(3));

    let segment = data.join("cluster/audit/00000000000000000000.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let verified = audit(&data, &args);
    assert_eq!(verified.status.code(), Some(1));
    assert_eq!(value(&verified)["verdict"], "bad");
    assert!(value(&verified)["first_bad"].is_u64());
}

#[tokio::test]
async fn a_call_that_a_crash_cut_off_is_closed_as_unknown() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
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
                && record["args"]["boot"] == intent["boot"]
        };
        records.iter().any(closes)
    })
    .await;
}
