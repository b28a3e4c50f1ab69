//! Arguments in the audit log: what is to be hidden never reaches a disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{BINARY, DEMO, Gateway};

const SECRET: &str = "hunter2-Zq9";
const RULES: &str = r#"audit:
  args: redacted
  file: audit.jsonl
  redact: { fields: [iban, "card.*.number"], patterns: ['\bcase-[0-9]+'] }
telemetry: { filter: debug }
"#;

fn records(data_dir: &Path) -> Vec<Value> {
    let output = Command::new(BINARY)
        .args(["--json", "audit", "log", "--lines", "100", "--data-dir"])
        .arg(data_dir)
        .output()
        .unwrap();
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    log["records"].as_array().unwrap().clone()
}

/// Files below `dir` that have `needle` somewhere in their bytes.
fn files_with(dir: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_with(&path, needle, found);
        } else if fs::read(&path).is_ok_and(|bytes| {
            let mut windows = bytes.windows(needle.len());
            windows.any(|window| window == needle.as_bytes())
        }) {
            found.push(path.display().to_string());
        }
    }
}

#[tokio::test]
async fn a_redacted_secret_is_in_no_file_and_no_log() {
    let mut gateway = Gateway::start(&format!("{RULES}{DEMO}")).await;
    let client = gateway.client().open().await;
    let arguments = json!({
        "text": "about case-77001",
        "password": SECRET,
        "card": {"x": {"number": SECRET}, "y": 1},
        "headers": [{"name": "Authorization", "value": SECRET}],
        "body": json!({"list": [{"IBAN": SECRET}]}).to_string(),
        "argv": ["--token", SECRET, "--path", "/srv"],
        "shell": format!(r#"curl -d "{{\"password\": \"{SECRET}\"}}" https://{SECRET}@host/"#),
    });
    let call = json!({"name": "demo_echo", "arguments": arguments});
    let message = client.message("tools/call", &call).to_string();
    // The same key for whoever reads it.
    let message = message.replace("\"password\"", r#""\u0070ass\u0077ord""#);
    let answer = client.post(message).await.message().await;
    assert!(answer["result"].is_object(), "{answer}");
    let plain = json!({"name": "demo_echo", "arguments": {"text": "hello"}});
    let message = client.message("tools/call", &plain).to_string();
    let answer = client.post(message).await.message().await;
    assert!(answer["result"].is_object(), "{answer}");
    // The end is not shown: nothing of it was hidden.
    let long =
        json!({"name": "demo_echo", "arguments": {"text": format!("{}1234", "x ".repeat(128))}});
    let message = client.message("tools/call", &long).to_string();
    let answer = client.post(message).await.message().await;
    assert!(answer["result"].is_object(), "{answer}");
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());

    let data = gateway.data_dir();
    for needle in [SECRET, "case-77001"] {
        let mut found = Vec::new();
        files_with(data.parent().unwrap(), needle, &mut found);
        assert!(found.is_empty(), "{needle} is in {found:?}");
    }
    let records = records(&data);
    let is_intent = |record: &&Value| record["tool"] == "demo_echo" && record["intent"].is_null();
    let intents: Vec<&Value> = records.iter().filter(is_intent).collect();
    let want = json!({
        "text": "about [redacted]",
        "password": "[redacted]",
        "card": {"x": {"number": "[redacted]"}, "y": 1},
        "headers": [{"name": "Authorization", "value": "[redacted]"}],
        "body": r#"{"list":[{"IBAN":"[redacted]"}]}"#,
        "argv": ["--token", "[redacted]", "--path", "/srv"],
        "shell": r#"curl -d "{\"[redacted]}" [redacted]host/"#,
    });
    assert_eq!(intents[0]["args"], want);
    // A short secret could be guessed from it.
    assert!(intents[0]["args_sha256"].is_null());
    assert_eq!(intents[1]["args"], json!({"text": "hello"}));
    assert_eq!(intents[1]["args_sha256"].as_str().map(str::len), Some(64));
    let want = json!({"text": format!("{}…", "x ".repeat(128))});
    assert_eq!(intents[2]["args"], want);
    assert!(intents[2]["args_sha256"].is_null());
}

#[tokio::test]
async fn arguments_are_not_recorded_unless_they_are_asked_for() {
    let mut gateway = Gateway::start(DEMO).await;
    let call = json!({"name": "demo_echo", "arguments": {"text": SECRET}});
    let answer = gateway.client().stateless("tools/call", call).await;
    assert_eq!(answer.status, 200);
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
    let mut found = Vec::new();
    files_with(&gateway.data_dir(), SECRET, &mut found);
    assert!(found.is_empty(), "{found:?}");
    let records = records(&gateway.data_dir());
    assert!(
        records
            .iter()
            .all(|record| record["args"].is_null() || record["node"] == "@cluster")
    );
}
