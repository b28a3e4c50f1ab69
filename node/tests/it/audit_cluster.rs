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
    // Where it led, the others elect one first.
    eventually("the others have a lease", async || {
        fleet.nodes[0].health().await["healthy"] == true
            && fleet.nodes[1].health().await["healthy"] == true
    })
    .await;
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

/// Calls go on at the node that leads until it is taken out.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_node_that_is_removed_has_its_records() {
    let fleet = Fleet::start(DEMO).await;
    let leaves = &fleet.nodes[2];
    succeeded(&leaves.cli(&["cluster", "transfer-leader", "n3"]).await);
    let calls = async {
        let mut n_answered = 0_usize;
        loop {
            let arguments = json!({"name": "demo_echo", "arguments": {"text": "x"}});
            let answer = leaves.client().stateless("tools/call", arguments).await;
            match answer.status {
                200 => n_answered += 1,
                503 => return n_answered,
                status => panic!("{status}"),
            }
        }
    };
    let removal = async {
        // Under way before it begins.
        eventually("calls are recorded", async || {
            let stats = fleet.nodes[0].cli(&["audit", "stats"]).await;
            succeeded(&stats)["records"].as_u64() > Some(20)
        })
        .await;
        succeeded(&fleet.nodes[0].cli(&["cluster", "remove", "n3"]).await);
    };
    let (n_answered, ()) = tokio::join!(calls, removal);
    let of_leaver = |record: &&Value| record["tool"] == "demo_echo" && record["node"] == "n3";
    let log = audit(&fleet.data_dir("n1"), &["log", "--lines", "100000"]);
    let records = log["records"].as_array().unwrap();
    let (results, intents): (Vec<&Value>, Vec<&Value>) = records
        .iter()
        .filter(of_leaver)
        .partition(|record| record["intent"].is_u64());
    assert_eq!((intents.len(), results.len()), (n_answered, n_answered));
}
