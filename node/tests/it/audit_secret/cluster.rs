//! The secret on three nodes.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::forgery::forged;
use super::{NEXT, SECRET, VARIABLE, lockgate, verify};
use crate::support::{DEMO, Fleet, FleetNode, eventually, succeeded};

const GUARDED: &str = "audit: { hmac_key_env: LOCKGATE_TEST_AUDIT_KEY }\n";
const NAMED: [&str; 2] = ["--hmac-key-env", VARIABLE];

async fn guarded(secret: &str) -> Fleet {
    let env = vec![(VARIABLE, secret.to_owned())];
    Fleet::start_with(&format!("{GUARDED}{DEMO}"), env).await
}

async fn call(node: &FleetNode) {
    let params = json!({"name": "demo_echo", "arguments": {"text": "x"}});
    let answer = node.client().stateless("tools/call", params).await;
    assert_eq!(answer.status, 200, "{}", node.name);
}

/// Records of the log that `node` shows.
async fn records(node: &FleetNode) -> Vec<Value> {
    let answer = node.get("/api/v1/audit/records?limit=1000").await;
    answer["records"].as_array().cloned().unwrap_or_default()
}

/// Waits until so many secrets have come in force, as `node` has it.
async fn in_force(node: &FleetNode, n_secrets: usize) {
    eventually("the secret guards", async || {
        let records = records(node).await;
        let marks = records
            .iter()
            .filter_map(|one| one["args"]["guard"].as_str());
        marks.count() == n_secrets
    })
    .await;
}

/// Calls at each node, and waits until all have the records of that.
async fn used(fleet: &Fleet) {
    let names: Vec<&str> = fleet.nodes.iter().map(|node| node.name.as_str()).collect();
    let count = |records: &[Value]| {
        let calls = records.iter().filter(|one| one["tool"] == "demo_echo");
        calls.count()
    };
    let before = count(&records(&fleet.nodes[0]).await);
    for node in &fleet.nodes {
        call(node).await;
    }
    eventually("all nodes have the same records", async || {
        let mut sizes = Vec::new();
        for name in &names {
            let dir = fleet.data_dir(name);
            let stats = [
                "--json",
                "audit",
                "stats",
                "--data-dir",
                dir.to_str().unwrap(),
            ];
            sizes.push(succeeded(&lockgate(&stats, None).await)["records"].clone());
        }
        // An intent and a result each.
        count(&records(&fleet.nodes[0]).await) >= before + 2 * names.len()
            && sizes.iter().all(|size| *size == sizes[0])
    })
    .await;
}

async fn export(data: &Path) -> String {
    let data = data.to_str().unwrap();
    let output = lockgate(&["audit", "export", "--data-dir", data], None).await;
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_record_is_found_on_the_word_of_the_secret() {
    let fleet = guarded(SECRET).await;
    in_force(&fleet.nodes[0], 1).await;
    used(&fleet).await;
    used(&fleet).await;
    let mut reports = Vec::new();
    for name in ["n1", "n2", "n3"] {
        let data = fleet.data_dir(name);
        let (code, report) = verify(&data, &NAMED, Some(SECRET)).await;
        assert_eq!(code, Some(0), "{name}: {report}");
        let (code, told) = verify(&data, &NAMED, Some(NEXT)).await;
        assert_eq!(code, Some(3), "{name}: {told}");
        reports.push(report);
    }
    assert!(reports.iter().all(|one| *one == reports[0]), "{reports:#?}");

    let records = records(&fleet.nodes[0]).await;
    let calls = records.iter().filter(|one| one["tool"] == "demo_echo");
    let seqs: Vec<u64> = calls.map(|one| one["seq"].as_u64().unwrap()).collect();
    let whole = export(&fleet.data_dir("n2")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("export.jsonl");
    for seq in [seqs[1], seqs[seqs.len() / 2], seqs[seqs.len() - 1]] {
        fs::write(&file, forged(&whole, seq)).unwrap();
        let args = [&NAMED[..], &["--export", file.to_str().unwrap()]].concat();
        let (code, told) = verify(dir.path(), &args, Some(SECRET)).await;
        assert_eq!(code, Some(1), "{told}");
        let report: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(report["first_bad"], seq, "{told}");
        assert!(told.contains("its MAC is wrong"), "{told}");
        // Nothing else gives it away.
        let (code, told) = verify(dir.path(), &args[2..], None).await;
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains("a secret that was not given"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_is_told_so_and_one_that_was_wiped_returns_with_the_right_one() {
    let mut fleet = guarded(SECRET).await;
    in_force(&fleet.nodes[0], 1).await;
    used(&fleet).await;
    fleet.kill("n3").await;
    let file = fleet.file("n3");
    let without = fs::read_to_string(&file).unwrap().replace(GUARDED, "");
    let other = format!("{}.other", &file[..file.len() - ".yaml".len()]);
    fs::write(&other, without).unwrap();
    for (config, secret) in [(&file, NEXT), (&other, SECRET)] {
        fleet.env = vec![(VARIABLE, secret.to_owned())];
        let output = fleet.verb(&["serve", "--config", config]).await;
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("a secret that this node was not given"),
            "{told}"
        );
        assert!(told.contains("`audit.hmac_key_env`"), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }

    succeeded(
        &fleet.nodes[0]
            .cli(&["cluster", "remove", "n3", "--lost"])
            .await,
    );
    let n1 = &fleet.nodes[0];
    eventually("two members", async || n1.health().await["members"] == 2).await;
    fleet.wipe("n3");
    let join = ["--json", "cluster", "join", "--config"];
    fleet.env = vec![(VARIABLE, NEXT.to_owned())];
    let output = fleet.verb(&[&join[..], &[&file]].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        told.contains("a secret guards the audit log of this cluster"),
        "{told}"
    );
    let members = fleet.nodes[0].health().await["members"].clone();
    assert_eq!(members, 2, "it is none");

    fleet.env = vec![(VARIABLE, SECRET.to_owned())];
    succeeded(&fleet.verb(&[&join[..], &[&file]].concat()).await);
    let n3 = fleet.run("n3").await;
    eventually("it has a vote", async || n3.health().await["voters"] == 3).await;
    eventually("a lease", async || n3.health().await["healthy"] == true).await;
    fleet.nodes.push(n3);
    used(&fleet).await;
    let (code, told) = verify(&fleet.data_dir("n3"), &NAMED, Some(SECRET)).await;
    assert_eq!(code, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_changed_under_calls_one_node_after_the_other() {
    let mut fleet = guarded(SECRET).await;
    in_force(&fleet.nodes[0], 1).await;
    used(&fleet).await;
    let both = format!("{NEXT} {SECRET}");
    fleet.env = vec![(VARIABLE, both.clone())];
    let names = ["n1", "n2", "n3"];
    for (at, name) in names.into_iter().enumerate() {
        let (code, told) = verify(&fleet.data_dir("n1"), &NAMED, Some(SECRET)).await;
        assert_eq!(code, Some(0), "{name}: {told}");
        fleet.kill(name).await;
        call(&fleet.nodes[0]).await;
        let node = fleet.run(name).await;
        eventually("a lease", async || node.health().await["healthy"] == true).await;
        let rest = &names[at + 1..];
        eventually("it waits for the rest", async || {
            let keys = succeeded(&node.cli(&["audit", "keys"]).await);
            keys["secret"] == json!({ "in_force": rest.is_empty(), "awaits": rest })
        })
        .await;
        fleet.nodes.push(node);
    }
    in_force(&fleet.nodes[0], 2).await;
    used(&fleet).await;
    for name in ["n1", "n2", "n3"] {
        let data = fleet.data_dir(name);
        let (code, told) = verify(&data, &NAMED, Some(&both)).await;
        assert_eq!(code, Some(0), "{name}: {told}");
        for one in [SECRET, NEXT] {
            let (code, told) = verify(&data, &NAMED, Some(one)).await;
            assert_eq!(code, Some(3), "{name}: {told}");
        }
        assert!(!fleet.log(name).contains("canary"), "{name}");
    }
}
