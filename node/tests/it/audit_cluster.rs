//! One log over three nodes, whoever dies.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{BINARY, DEMO, Fleet, FleetNode, eventually, succeeded};

fn audit(data_dir: &Path, args: &[&str]) -> Value {
    let output = Command::new(BINARY)
        .args(["--json", "audit"])
        .args(args)
        .arg("--data-dir")
        .arg(data_dir)
        .output()
        .unwrap();
    succeeded(&output)
}

async fn call(node: &FleetNode, text: &str) {
    let arguments = json!({"name": "demo_echo", "arguments": {"text": text}});
    let answer = node.client().stateless("tools/call", arguments).await;
    assert_eq!(answer.status, 200, "{}", node.name);
}

/// Waits until all nodes have all records, in a checkpoint that two of three have cosigned.
async fn settled(fleet: &Fleet, n_records_min: u64) {
    eventually("all nodes have the same log", async || {
        let all = ["n1", "n2", "n3"].map(|name| audit(&fleet.data_dir(name), &["stats"]));
        let is_whole = |stats: &Value| {
            stats["records"].as_u64() >= Some(n_records_min)
                && stats["checkpoint_size"] == stats["records"]
        };
        all.iter().all(|stats| is_whole(stats) && *stats == all[0])
    })
    .await;
}

async fn one_log_whoever_dies(mode: &str, ends: &[&str]) {
    let mut fleet = Fleet::start(&format!("audit: {mode}\n{DEMO}")).await;
    for n in 0..30 {
        call(&fleet.nodes[n % 3], &format!("call {n}")).await;
    }
    fleet.kill("n2").await;
    for n in 30..50 {
        call(&fleet.nodes[n % 2], &format!("call {n}")).await;
    }
    let n2 = fleet.run("n2").await;
    eventually("a lease", async || n2.health().await["healthy"] == true).await;
    fleet.nodes.push(n2);
    for n in 50..60 {
        call(&fleet.nodes[n % 3], &format!("call {n}")).await;
    }
    settled(&fleet, 120).await;
    let first = fleet.data_dir("n1");
    let signers = audit(&first, &["signers"]);
    let last = signers["signers"].as_array().unwrap().last().unwrap();
    assert_eq!(last["cosigners"].as_array().unwrap().len(), 3);
    let path = first.join("signers.json");
    std::fs::write(&path, signers.to_string()).unwrap();
    let verify = ["verify", "--signers", path.to_str().unwrap()];
    let verified = ["n1", "n2", "n3"].map(|name| audit(&fleet.data_dir(name), &verify));
    assert_eq!(verified[0]["verdict"], "good");
    assert!(
        verified.iter().all(|report| *report == verified[0]),
        "{verified:#?}"
    );

    let log = audit(&first, &["log", "--lines", "1000"]);
    let records = log["records"].as_array().unwrap();
    let is_call = |record: &&Value| record["tool"] == "demo_echo" && record["intent"].is_null();
    let intents: Vec<&Value> = records.iter().filter(is_call).collect();
    assert_eq!(intents.len(), 60);
    for intent in intents {
        let closes = |record: &&Value| {
            record["intent"] == intent["local_seq"]
                && record["node"] == intent["node"]
                && record["boot"] == intent["boot"]
        };
        let closing: Vec<&Value> = records.iter().filter(closes).collect();
        assert_eq!(closing.len(), 1, "{intent}");
        let status = closing[0]["status"].as_str().unwrap();
        assert!(ends.contains(&status), "{status}");
    }
}

#[tokio::test]
async fn every_call_has_its_records_when_a_node_was_killed() {
    // A result that was still in memory is unknown afterwards.
    one_log_whoever_dies("{ mode: local }", &["ok", "unknown"]).await;
}

#[tokio::test]
async fn in_quorum_mode_every_answer_has_its_record_when_a_node_was_killed() {
    one_log_whoever_dies("{ mode: quorum }", &["ok"]).await;
}
