//! What a running node says of its audit log, and that its files say the same.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{DEMO, Gateway, Port, eventually, lockgate, succeeded};

async fn call(gateway: &Gateway, tool: &str) {
    let params = json!({"name": tool, "arguments": {"text": "x", "a": 1, "b": 2}});
    let answer = gateway.client().stateless("tools/call", params).await;
    assert_eq!(answer.status, 200);
}

/// Asks the node, wherever its files are.
async fn asked(gateway: &Gateway, args: &[&str]) -> Value {
    let admin = gateway.admin_url();
    let all = [&["--json", "--admin", &admin, "audit"], args].concat();
    succeeded(&lockgate(&all).await)
}

/// Reads the files, whether or not a node runs.
async fn read(data_dir: &Path, args: &[&str]) -> Value {
    let place = ["--data-dir", data_dir.to_str().unwrap()];
    let nobody = format!("http://{}", Port::reserve().address);
    let admin = ["--json", "--admin", &nobody, "audit"];
    succeeded(&lockgate(&[&admin[..], args, &place].concat()).await)
}

/// Waits until all records are on the disk and in a checkpoint.
async fn settled(gateway: &Gateway) -> u64 {
    let mut records = 0;
    eventually("all records are in a checkpoint", async || {
        let health = gateway.metrics().await;
        let stats = asked(gateway, &["stats"]).await;
        records = stats["records"].as_u64().unwrap();
        crate::audit_tail::metric(&health, "lockgate_audit_queue_records") == 0.0
            && stats["checkpoint_size"] == stats["records"]
    })
    .await;
    records
}

#[tokio::test]
async fn a_running_node_says_what_its_files_say() {
    let mut gateway = Gateway::start(DEMO).await;
    for tool in ["demo_echo", "demo_add", "demo_echo"] {
        call(&gateway, tool).await;
    }
    settled(&gateway).await;
    let verbs: [&[&str]; 5] = [
        &["stats"],
        &["signers"],
        &["log"],
        &["log", "--lines", "3", "--where", "tool=demo_echo"],
        &["log", "--since", "2020", "--until", "2021-01-01T00:00"],
    ];
    let mut answers = Vec::new();
    for verb in verbs {
        answers.push(asked(&gateway, verb).await);
    }
    let [stats, signers, log, echoes, none] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(stats["first"], 0);
    assert!(signers["signers"][0]["log"].is_string(), "{signers}");
    let records = log["records"].as_array().unwrap();
    let adds = records.iter().filter(|one| one["tool"] == "demo_add");
    assert_eq!(adds.count(), 2, "an intent and a result");
    let echoes = echoes["records"].as_array().unwrap();
    let is_echo = |one: &Value| one["tool"] == "demo_echo";
    assert!(echoes.len() == 3 && echoes.iter().all(is_echo));
    assert_eq!(none["records"], json!([]));
    for (verb, answer) in verbs.iter().zip(&answers) {
        assert_eq!(read(&gateway.data_dir(), verb).await, *answer, "{verb:?}");
    }

    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
    let port = Port::reserve();
    let nobody = format!("http://{}", port.address);
    let refused = lockgate(&["--admin", &nobody, "audit", "log"]).await;
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(
        error.contains("no answer") && error.contains("--data-dir"),
        "{error}"
    );
    // What was on the disk is still there.
    let log = read(&gateway.data_dir(), &["log", "--lines", "1000"]).await;
    let first = usize::try_from(records[0]["seq"].as_u64().unwrap()).unwrap();
    let after = &log["records"].as_array().unwrap()[first..];
    assert_eq!(after[..records.len()], records[..]);
}

#[tokio::test]
async fn a_log_is_gone_through_backwards_in_pieces() {
    let gateway = Gateway::start(&format!("audit: {{ mode: memory }}\n{DEMO}")).await;
    // More records than a node gives in one answer.
    for _ in 0..520 {
        call(&gateway, "demo_echo").await;
    }
    let n_records = settled(&gateway).await;
    assert!(n_records > 1000);
    let log = asked(&gateway, &["log", "--lines", "5000"]).await;
    let numbers = log["records"].as_array().unwrap().iter();
    let numbers: Vec<u64> = numbers.map(|one| one["seq"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..n_records), "{numbers:?}");

    let page = async |query: String| {
        gateway
            .admin(&format!("/api/v1/audit/records?{query}"))
            .await
    };
    let last = page("limit=7&where=tool=demo_echo".to_owned()).await;
    assert_eq!(last["next"], n_records);
    let mut previous = last["previous"].as_u64().unwrap();
    assert_eq!(last["records"][0]["seq"], previous);
    let middle = page(format!("limit=2&before={previous}")).await;
    assert_eq!(middle["records"][1]["seq"], previous - 1);
    assert_eq!(middle["next"], previous);
    previous -= 2;
    assert_eq!(middle["previous"], previous);
    let first = page("before=2".to_owned()).await;
    assert_eq!(
        (
            &first["previous"],
            first["records"].as_array().unwrap().len()
        ),
        (&Value::Null, 2)
    );
    let forward = page("from=2&limit=1".to_owned()).await;
    assert_eq!(
        (&forward["previous"], &forward["next"]),
        (&json!(2), &json!(3))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_node_whose_audit_lines_nobody_reads_any_more_ends() {
    let rest = format!("audit: {{ output: stdout }}\n{DEMO}");
    let mut gateway = Gateway::start(&rest).await;
    gateway.stop_reading();
    // What has begun finishes.
    call(&gateway, "demo_add").await;
    assert_eq!(gateway.ended().await.code(), Some(1));
    let log = gateway.log();
    assert!(log.contains("audit.output: stdout"), "{log}");
}
