//! MAC keys of the audit log, and their rotation.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{DEMO, Fleet, Gateway, eventually, lockgate, succeeded};

async fn call(client: crate::support::Client) {
    let params = json!({"name": "demo_echo", "arguments": {"text": "x"}});
    assert_eq!(client.stateless("tools/call", params).await.status, 200);
}

async fn audit(data_dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut all = vec!["--json", "audit"];
    all.extend(args);
    all.extend(["--data-dir", data_dir.to_str().unwrap()]);
    let output = lockgate(&all).await;
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

/// Keys of the log, for whoever verifies it.
async fn signers(data_dir: &Path) -> PathBuf {
    let path = data_dir.join("signers.json");
    fs::write(&path, audit(data_dir, &["signers"]).await.1).unwrap();
    path
}

/// Verdict on an export whose line `at` was changed.
async fn changed(data_dir: &Path, lines: &[&str], at: usize, from: &str, to: &str) -> Value {
    let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
    let line = lines[at].replacen(from, to, 1);
    assert_ne!(line, lines[at]);
    lines[at] = line;
    let path = data_dir.join("changed.jsonl");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let signers = signers(data_dir).await;
    let args = [
        "verify",
        "--export",
        path.to_str().unwrap(),
        "--signers",
        signers.to_str().unwrap(),
    ];
    let (code, text) = audit(data_dir, &args).await;
    assert_eq!(code, Some(1), "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_log_verifies_across_rotations_and_no_key_guards_what_is_not_its() {
    let mut gateway = Gateway::start(DEMO).await;
    call(gateway.client()).await;
    let admin = gateway.admin_url();
    let rotate = ["--json", "--admin", &admin, "audit", "rotate-key"];
    let keys = succeeded(&lockgate(&rotate).await);
    let second = &keys["keys"][1];
    assert_eq!(
        (&second["id"], &second["role"]),
        (&json!(2), &json!("guards"))
    );
    assert_eq!(keys["keys"][0]["role"], "verifies");
    call(gateway.client()).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
    // Each life knows the keys of those before it.
    gateway.start_again().await;
    let admin = gateway.admin_url();
    let rotate = ["--json", "--admin", &admin, "audit", "rotate-key"];
    let keys = succeeded(&lockgate(&rotate).await);
    call(gateway.client()).await;
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());

    let data = gateway.data_dir();
    let signers = signers(&data).await;
    let verify = ["verify", "--signers", signers.to_str().unwrap()];
    let (code, text) = audit(&data, &verify).await;
    assert_eq!(code, Some(0), "{text}");

    let (_, export) = audit(&data, &["export"]).await;
    let lines: Vec<&str> = export.lines().collect();
    let is_record = |line: &&str| line.starts_with("{\"key_id\"");
    let head = lines.iter().take_while(|line| !is_record(line)).count();
    for key in keys["keys"].as_array().unwrap() {
        let (id, first) = (&key["id"], key["first"].as_u64().unwrap());
        let at = head + usize::try_from(first).unwrap();
        let guarded = format!("{{\"key_id\":{id},");
        assert!(lines[at].starts_with(&guarded), "{}", lines[at]);
        let other = if *id == json!(1) { 2 } else { 1 };
        let report = changed(
            &data,
            &lines,
            at,
            &guarded,
            &format!("{{\"key_id\":{other},"),
        )
        .await;
        assert_eq!(report["first_bad"], first);
    }
}

#[tokio::test]
async fn a_rotation_at_any_node_holds_on_all() {
    let fleet = Fleet::start(&format!("audit: {{ mode: quorum }}\n{DEMO}")).await;
    for node in &fleet.nodes {
        succeeded(&node.cli(&["audit", "rotate-key"]).await);
        call(node.client()).await;
    }
    let stats = async |name: &str| {
        let (_, text) = audit(&fleet.data_dir(name), &["stats"]).await;
        serde_json::from_str::<Value>(&text).unwrap_or_default()
    };
    eventually("all nodes have the same log", async || {
        let all = [stats("n1").await, stats("n2").await, stats("n3").await];
        all.iter()
            .all(|one| one["checkpoint_size"] == one["records"] && *one == all[0])
    })
    .await;
    let mut chains = Vec::new();
    for name in ["n1", "n2", "n3"] {
        let data = fleet.data_dir(name);
        let signers = signers(&data).await;
        let verify = ["verify", "--signers", signers.to_str().unwrap()];
        let (code, text) = audit(&data, &verify).await;
        assert_eq!(code, Some(0), "{name}: {text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        chains.push(report["chain"].clone());
        let rotations = ["log", "--where", "method=audit/rotate_key"];
        let (_, log) = audit(&data, &rotations).await;
        let log: Value = serde_json::from_str(&log).unwrap();
        let ids = log["records"].as_array().unwrap().iter();
        let ids: Vec<_> = ids.map(|record| record["args"]["new"].clone()).collect();
        assert_eq!(ids, [2, 3, 4]);
    }
    assert!(chains.iter().all(|chain| *chain == chains[0]));
}
