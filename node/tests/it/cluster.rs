//! Three gateways that are one cluster.

use std::fs;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{BINARY, Fleet, FleetNode, LATEST, eventually, succeeded};

/// A sound cluster shows a change everywhere within 100 ms; a machine that is busy testing takes longer.
const SPREAD_MAX: Duration = Duration::from_secs(10);

fn registry() -> String {
    format!(
        "identity: {{ anonymous: deny }}\nroles: {{ all: {{ allow: [\"*\"] }} }}\n\
         servers:\n  demo: {{ command: \"{BINARY}\", args: [demo-server] }}\n"
    )
}

async fn create_key(node: &FleetNode, id: &str) -> String {
    let args = [
        "keys",
        "create",
        "--principal",
        "p",
        "--role",
        "all",
        "--id",
        id,
    ];
    let answer = succeeded(&node.cli(&args).await);
    answer["key"].as_str().unwrap().to_owned()
}

/// Status of a stateless `tools/list` with that key.
async fn status(node: &FleetNode, key: &str) -> u16 {
    let client = node.client().key(key);
    client.stateless("tools/list", json!({})).await.status
}

fn server_names(answer: &Value) -> Vec<&str> {
    let servers = answer["servers"].as_array().unwrap();
    servers
        .iter()
        .filter_map(|server| server["name"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_was_told_all_nodes_know() {
    let fleet = Fleet::start(&registry()).await;
    let [n1, n2, n3] = &fleet.nodes[..] else {
        panic!("three nodes")
    };
    eventually("all are well and follow one leader", async || {
        let all = [n1.health().await, n2.health().await, n3.health().await];
        let first = &all[0]["leader"];
        all.iter()
            .all(|one| one["healthy"] == true && one["leader"] == *first)
    })
    .await;

    // A key that was made at one node opens all of them, and after its revocation none.
    let key = create_key(n2, "k").await;
    for node in &fleet.nodes {
        eventually("the key works", async || status(node, &key).await == 200).await;
    }
    succeeded(&n3.cli(&["keys", "revoke", "k"]).await);
    for node in &fleet.nodes {
        // One that is too busy to renew its lease says 503 meanwhile.
        eventually("the key is refused", async || {
            status(node, &key).await == 401
        })
        .await;
    }

    // A session stays on the node that it was opened on; another says so at once.
    let key = create_key(n1, "session").await;
    for node in [n1, n2] {
        eventually("the key works", async || status(node, &key).await == 200).await;
    }
    let session = n1.client().key(&key).open().await;
    let elsewhere = n2.client().key(&key);
    let elsewhere = elsewhere
        .with("mcp-session-id", session.session_id())
        .with("mcp-protocol-version", LATEST);
    let ping = elsewhere.message("ping", &json!({})).to_string();
    assert_eq!(elsewhere.post(ping).await.status, 404);

    // Registers: compared and set at any node, read as new as the question at any other.
    let put = async |node: &FleetNode, body: &str| {
        let answer = node.admin(Method::PUT, "/api/v1/registers/r", body).await;
        answer.status
    };
    assert_eq!(put(n1, r#"{"value":"a","expected":"absent"}"#).await, 200);
    assert_eq!(put(n2, r#"{"value":"b","expected":"absent"}"#).await, 409);
    assert_eq!(
        put(n3, r#"{"value":"b","expected":{"value":"a"}}"#).await,
        200
    );
    assert_eq!(n1.get("/api/v1/registers/r").await["value"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_applied_at_one_node_is_served_by_all() {
    let fleet = Fleet::start(&registry()).await;
    let [n1, n2, n3] = &fleet.nodes[..] else {
        panic!("three nodes")
    };
    let file = fleet.file("n2");
    let text = fs::read_to_string(&file).unwrap();
    let more = format!("{text}  more: {{ url: \"http://127.0.0.1:9/mcp\" }}\n");
    fs::write(&file, &more).unwrap();

    assert_eq!(
        n1.cli(&["config", "diff", &file]).await.status.code(),
        Some(1)
    );
    let dry = succeeded(&n2.cli(&["config", "apply", &file, "--dry-run"]).await);
    assert_eq!(
        dry["changes"],
        json!([{"path": "servers.more", "what": "added"}])
    );
    let applied = succeeded(&n2.cli(&["config", "apply", &file]).await);
    assert_eq!(applied["version"], 2);
    succeeded(&n3.cli(&["config", "diff", &file]).await);
    // The other nodes' files are as they were.
    for (node, differs) in [(n1, true), (n2, false)] {
        eventually("the node knows whether its file differs", async || {
            node.health().await["file_differs"] == differs
        })
        .await;
    }
    for node in &fleet.nodes {
        eventually("the server is there", async || {
            server_names(&node.get("/api/v1/servers").await).contains(&"more")
        })
        .await;
    }
    let stale = [
        "config",
        "apply",
        &file,
        "--expected-version",
        "1",
        "--prune",
    ];
    assert_eq!(n3.cli(&stale).await.status.code(), Some(1));
    succeeded(&n1.cli(&["config", "rollback", "1"]).await);
    let history = succeeded(&n3.cli(&["config", "history"]).await);
    assert_eq!(history["versions"].as_array().unwrap().len(), 3);
    eventually("the server is gone", async || {
        server_names(&n3.get("/api/v1/servers").await) == ["demo"]
    })
    .await;

    for node in &fleet.nodes {
        eventually("it logs which registry it applied", async || {
            fleet.log(&node.name).contains("registry applied version=3")
        })
        .await;
    }
    // What stands in the registry goes with the registry: a file of one node changes nothing.
    let refused = n1.cli(&["servers", "remove", "demo"]).await;
    let told = String::from_utf8_lossy(&refused.stdout);
    assert!(told.contains("lockgate config apply FILE"), "{told}");
}

/// How long until a change at one node is served by another.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_one_node_is_soon_served_by_the_others() {
    let fleet = Fleet::start(&registry()).await;
    let [n1, _n2, n3] = &fleet.nodes[..] else {
        panic!("three nodes")
    };
    let mut took = Vec::new();
    for round in 0..9 {
        let name = format!("added{round}");
        let begun = Instant::now();
        let body = json!({"name": name, "url": "http://127.0.0.1:9/mcp"}).to_string();
        let answer = n1.admin(Method::POST, "/api/v1/servers", &body).await;
        assert_eq!(answer.status, 201);
        eventually("added", async || {
            server_names(&n3.get("/api/v1/servers").await).contains(&&*name)
        })
        .await;
        took.push(begun.elapsed());
    }
    took.sort();
    assert!(took[4] < SPREAD_MAX, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_the_run_does() {
    let fleet = Fleet::start(&registry()).await;
    let node = &fleet.nodes[1];
    create_key(node, "gone").await;
    succeeded(&node.cli(&["keys", "revoke", "gone"]).await);
    create_key(node, "vip").await;
    let add = ["servers", "add", "two", "--", BINARY, "demo-server"];
    succeeded(&node.cli(&add).await);

    let file = fleet.file("n1");
    let apply = ["config", "apply", &file];
    let stale = [&apply[..], &["--expected-version", "7"]].concat();
    for more in [&[][..], &["--dry-run"]] {
        let refused = node.cli(&[&stale[..], more].concat()).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let told = String::from_utf8_lossy(&refused.stdout);
        assert!(told.contains("at version 1 by now"), "{told}");
    }

    // Whoever sends nothing, or something else, does not mean that there shall be nothing.
    let empty = fleet.data_dir("n1").with_extension("empty");
    fs::write(&empty, "# nothing\n").unwrap();
    let refused = node
        .cli(&["config", "apply", empty.to_str().unwrap()])
        .await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    for document in ["null", "5", "[]", "{}", r#"{"severs":{}}"#] {
        let body = format!(r#"{{"document":{document}}}"#);
        let refused = node.admin(Method::POST, "/api/v1/config/apply", &body);
        assert_eq!(refused.await.status, 422, "{document}");
    }

    let pruned = json!({"keys": ["vip"], "servers": ["two"]});
    let prune = [&apply[..], &["--prune"]].concat();
    let dry = succeeded(&node.cli(&[&prune[..], &["--dry-run"]].concat()).await);
    let run = succeeded(&node.cli(&prune).await);
    for answer in [&dry, &run] {
        assert_eq!(answer["changed"], false);
        assert_eq!(answer["pruned"], pruned);
        assert_eq!(
            (&answer["keys_pruned"], &answer["servers_pruned"]),
            (&json!(1), &json!(1))
        );
    }
    let again = succeeded(&node.cli(&prune).await);
    assert_eq!(again["pruned"], json!({"keys": [], "servers": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_without_a_quorum_says_so_and_waits_for_one() {
    let mut fleet = Fleet::start(&registry()).await;
    // It remembers another one as the leader, which is gone.
    let transfer = ["cluster", "transfer-leader", "n2"];
    succeeded(&fleet.nodes[0].cli(&transfer).await);
    for name in ["n1", "n2", "n3"] {
        fleet.kill(name).await;
    }
    let n1 = fleet.run_unready("n1").await;
    eventually("it says why it is not ready", async || {
        let (status, ready) = n1.get("/readyz").await;
        status == 503
            && ready["status"] == "no_quorum"
            && ready["cluster"]["voters"] == json!(["n1", "n2", "n3"])
    })
    .await;
    assert_eq!(n1.get("/healthz").await.0, 200);
    let (_, health) = n1.get("/api/v1/cluster/health").await;
    assert_eq!(
        (&health["healthy"], &health["node"], &health["leader"]),
        (&json!(false), &json!("n1"), &json!(null))
    );
    let (status, refused) = n1.get("/api/v1/keys").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (503, &json!("starting"))
    );
    assert!(n1.terminate().await, "it ends when it is asked to");

    let n1 = fleet.spawn("n1");
    let n2 = fleet.run("n2").await;
    let n1 = fleet.ready(n1).await;
    for node in [&n1, &n2] {
        eventually("it serves", async || node.health().await["healthy"] == true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_go_on_without_the_leader_and_one_alone_serves_nothing() {
    let mut fleet = Fleet::start(&registry()).await;
    let key = create_key(&fleet.nodes[0], "k").await;
    let leader = fleet.nodes[0].health().await["leader"]
        .as_str()
        .unwrap()
        .to_owned();
    fleet.kill(&leader).await;
    eventually("the others go on", async || {
        fleet.nodes[0].health().await["healthy"] == true
            && fleet.nodes[1].health().await["healthy"] == true
    })
    .await;
    eventually("they decide", async || {
        let write = r#"{"value":"after"}"#;
        let answer = fleet.nodes[0].admin(Method::PUT, "/api/v1/registers/r", write);
        answer.await.status == 200
    })
    .await;
    eventually("they serve", async || {
        status(&fleet.nodes[1], &key).await == 200
    })
    .await;

    // The killed one comes back and has what it missed.
    let back = fleet.run(&leader).await;
    eventually("it has what it missed", async || {
        back.get("/api/v1/registers/r").await["value"] == "after"
    })
    .await;
    eventually("it serves", async || status(&back, &key).await == 200).await;

    let others: Vec<String> = fleet.nodes.iter().map(|node| node.name.clone()).collect();
    for name in others {
        fleet.kill(&name).await;
    }
    eventually("alone it serves nothing", async || {
        status(&back, &key).await == 503
    })
    .await;
    assert_eq!(back.get("/readyz").await["status"], "no_lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_has_lost_its_quorum_does_not_call_itself_one() {
    let mut fleet = Fleet::start(&registry()).await;
    let leader = fleet.nodes[0].health().await["leader"].clone();
    let (mut others, name) = (Vec::new(), leader.as_str().unwrap());
    for node in fleet.nodes.iter().filter(|node| node.name != name) {
        others.push(node.name.clone());
    }
    fleet.kill(&others[0]).await;
    let leads = fleet.nodes.iter().find(|node| node.name == name).unwrap();
    for metric in ["lockgate_raft_silent_members", "lockgate_raft_is_leader"] {
        eventually("it leads, and tells of the silent one", async || {
            leads.metric(metric).await == "1"
        })
        .await;
    }

    fleet.kill(&others[1]).await;
    let alone = &fleet.nodes[0];
    eventually("it knows that it lost the quorum", async || {
        let health = alone.health().await;
        health["lease"] == false && health["leader"].is_null() && health["quorum"] == false
    })
    .await;
    let members = alone.get("/api/v1/cluster/members").await;
    let members = members["members"].as_array().unwrap();
    assert!(
        members.iter().all(|member| member["leader"] == false),
        "{members:?}"
    );
    for metric in [
        "lockgate_raft_is_leader",
        "lockgate_raft_has_leader",
        "lockgate_raft_lease",
    ] {
        assert_eq!(alone.metric(metric).await, "0", "{metric}");
    }
    let refused = alone.cli(&["cluster", "transfer-leader"]).await;
    let told = String::from_utf8_lossy(&refused.stdout);
    assert!(
        told.contains("none of the other voters (2) answers"),
        "{told}"
    );
}
