//! What operators do to a cluster, at any of its nodes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::support::{BINARY, Fleet, FleetNode, Port, eventually, lockgate, succeeded, within};

const REGISTRY: &str = "identity: { anonymous: deny }\n";

/// The member of that name that is not removed, as `cluster members` shows it at `node`.
async fn member(node: &FleetNode, name: &str) -> Value {
    let answer = succeeded(&node.cli(&["cluster", "members"]).await);
    let members = answer["members"].as_array().unwrap();
    let mut members = members.iter();
    let live = members.find(|one| one["name"] == name && one["state"] != "removed");
    live.cloned().unwrap_or_default()
}

/// Shards that the nodes own, in the order of the nodes.
async fn owned(node: &FleetNode) -> Vec<u64> {
    let answer = succeeded(&node.cli(&["cluster", "shards"]).await);
    let nodes = answer["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node["primary"].as_u64().unwrap())
        .collect()
}

async fn leader(node: &FleetNode) -> String {
    let health = node.health().await;
    health["leader"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_shards_and_the_leader_are_the_same_at_every_node() {
    let mut fleet = Fleet::start(REGISTRY).await;
    let [n1, _n2, n3] = &fleet.nodes[..] else {
        panic!("three nodes")
    };
    for node in &fleet.nodes {
        for name in ["n1", "n2", "n3"] {
            let shown = member(node, name).await;
            assert_eq!(shown["answers"], true, "{shown}");
            assert!(shown["applied"].as_u64() > Some(0), "{shown}");
            assert_eq!(shown["leader"], leader(n1).await == name, "{shown}");
        }
    }
    eventually("every shard has its owner", async || {
        let answer = n3.get("/api/v1/cluster/shards").await;
        let even = owned(n1).await.iter().all(|n| (341..=342).contains(n));
        even && answer["in_sync"] == 1024
    })
    .await;

    // The leadership goes where an operator wants it, whichever node is asked.
    for to in ["n3", "n1", "n2"] {
        let asked = fleet.nodes.iter().find(|node| node.name != to).unwrap();
        let answer = succeeded(&asked.cli(&["cluster", "transfer-leader", to]).await);
        assert_eq!(answer["leader"], to);
        assert_eq!(leader(asked).await, to);
    }
    let answer = succeeded(&n1.cli(&["cluster", "transfer-leader"]).await);
    assert_ne!(answer["leader"], "n2");

    let kept = succeeded(&n1.cli(&["cluster", "remove", "n3", "--cancel"]).await);
    assert_eq!(kept["removed"], false);
    assert_eq!(member(n1, "n3").await["draining"], false);

    // One that is taken out while it runs is told so, and ends.
    succeeded(&n1.cli(&["cluster", "remove", "n3"]).await);
    assert_eq!(fleet.nodes[2].ended().await, Some(1));
    let log = fleet.log("n3");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("`n3` was removed from cluster "), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_removed_leaves_the_pipes_of_its_client() {
    let registry = "roles: { all: { allow: [\"*\"] } }\nidentity: { anonymous: [all] }\n";
    let mut fleet = Fleet::start(registry).await;
    fleet.kill("n3").await;
    let mut child = Command::new(BINARY)
        .args(["stdio", "--config", &fleet.file("n3")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // Stays open: the client wants nothing yet.
    let mut input = child.stdin.take().unwrap();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    input
        .write_all(format!("{ping}\n").as_bytes())
        .await
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let served = within("an answer", output.next_line()).await.unwrap();
    assert!(served.unwrap().contains("jsonrpc"));

    succeeded(&fleet.nodes[0].cli(&["cluster", "remove", "n3"]).await);
    let ended = within("the end", child.wait_with_output()).await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let log = String::from_utf8_lossy(&ended.stderr);
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("`n3` was removed from cluster "), "{log}");
    drop(input);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_loses_its_shards_and_its_place_and_returns_as_a_learner() {
    let mut fleet = Fleet::start(REGISTRY).await;
    eventually("every shard has a backup", async || {
        let answer = fleet.nodes[0].get("/api/v1/cluster/shards").await;
        answer["in_sync"] == 1024
    })
    .await;
    fleet.kill("n3").await;
    let node = &fleet.nodes[0];
    eventually("its shards are taken over", async || {
        let owned = owned(node).await;
        owned[2] == 0 && owned.iter().sum::<u64>() == 1024
    })
    .await;
    let map = node.get("/api/v1/cluster/shards").await;
    assert_eq!(map["lost"], 0, "its backups knew everything");
    assert_eq!(member(node, "n3").await["answers"], false);

    succeeded(&node.cli(&["cluster", "remove", "n3", "--lost"]).await);
    eventually("two members", async || node.health().await["members"] == 2).await;
    let again = node.cli(&["cluster", "remove", "n3"]).await;
    assert_eq!(again.status.code(), Some(1));
    let told = String::from_utf8_lossy(&again.stdout);
    assert!(told.contains("`n3` was removed at 20"), "{told}");

    // With what it had it is no newcomer.
    let file = fleet.file("n3");
    let refused = lockgate(&["cluster", "join", "--config", &file]).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("`n3` was removed from cluster "), "{told}");

    fleet.wipe("n3");
    let join = ["--json", "cluster", "join", "--learner", "--config"];
    succeeded(&lockgate(&[&join[..], &[&file]].concat()).await);
    let n3 = fleet.run("n3").await;
    eventually("it follows", async || {
        member(node, "n3").await["state"] == "learner"
    })
    .await;
    assert_eq!(node.health().await["voters"], 2);
    let promoted = succeeded(&n3.cli(&["cluster", "promote", "n3"]).await);
    assert_eq!(promoted["state"], "voter");
    eventually("three voters", async || n3.health().await["voters"] == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_the_beginning_of_another_cluster() {
    let mut fleet = Fleet::start(REGISTRY).await;
    let [n1, n2, n3] = &fleet.nodes[..] else {
        panic!("three nodes")
    };
    let register = "/api/v1/registers/r";
    let put = n3.admin(Method::PUT, register, r#"{"value":"kept"}"#);
    assert_eq!(put.await.status, 200);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot");
    let file = file.to_str().unwrap();
    let saved = succeeded(&n2.cli(&["snapshot", "save", file]).await);
    let former = n1.health().await["cluster"].clone();
    assert_eq!(saved["cluster"], former);
    assert_eq!(saved["members"], json!(["n1", "n2", "n3"]));
    let again = n2.cli(&["snapshot", "save", file]).await;
    assert_eq!(again.status.code(), Some(1), "nobody's file is replaced");
    let status = succeeded(&lockgate(&["--json", "snapshot", "status", file]).await);
    assert_eq!(status["index"], saved["index"]);
    let of_node = succeeded(&n2.cli(&["snapshot", "status"]).await);
    assert!(of_node["index"].as_u64() >= saved["index"].as_u64());

    for name in ["n1", "n2", "n3"] {
        fleet.kill(name).await;
    }
    let key = dir.path().join("key");
    fs::copy(fleet.data_dir("n2").join("cluster/key"), &key).unwrap();
    let config = fleet.file("n1");
    let restore = [
        "--json",
        "snapshot",
        "restore",
        file,
        "--config",
        &config,
        "--key",
        key.to_str().unwrap(),
    ];
    let refused = lockgate(&restore).await;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stdout).unwrap();
    assert!(said.contains("empty data directory"), "{said}");
    for name in ["n1", "n2"] {
        fleet.wipe(name);
    }
    let restored = succeeded(&lockgate(&restore).await);
    assert_eq!(restored["former"], former);
    let n1 = fleet.run("n1").await;
    assert_eq!(n1.health().await["cluster"], restored["cluster"]);
    assert_ne!(restored["cluster"], former);
    assert_eq!(n1.get(register).await["value"], "kept");

    // Others join it with nothing of their own, and a member of the old one is no member.
    let n2 = fleet.run("n2").await;
    eventually("two voters", async || n2.health().await["voters"] == 2).await;
    assert_eq!(n2.get(register).await["value"], "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_disk_of_a_cluster_is_the_beginning_of_another() {
    let mut fleet = Fleet::start(REGISTRY).await;
    let [n1, n2, n3] = &fleet.nodes[..] else {
        panic!("three nodes")
    };
    let register = "/api/v1/registers/r";
    let put = n3.admin(Method::PUT, register, r#"{"value":"kept"}"#);
    assert_eq!(put.await.status, 200);
    // Whatever a majority has: this node must have it, too.
    eventually("all at n2", async || {
        n2.get(register).await["value"] == "kept"
    })
    .await;
    let former = n1.health().await["cluster"].clone();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("salvaged");
    let data_dir = fleet.data_dir("n2");
    let salvage = [
        "--json",
        "snapshot",
        "save",
        "--data-dir",
        data_dir.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    let in_use = lockgate(&salvage).await;
    assert_eq!(in_use.status.code(), Some(1));
    let said = String::from_utf8(in_use.stdout).unwrap();
    assert!(said.contains("in use by process"), "{said}");

    for name in ["n1", "n2", "n3"] {
        fleet.kill(name).await;
    }
    for name in ["n1", "n3"] {
        fleet.wipe(name);
    }
    let salvaged = succeeded(&lockgate(&salvage).await);
    assert_eq!(salvaged["cluster"], former);
    assert_eq!(salvaged["members"], json!(["n1", "n2", "n3"]));
    let key = data_dir.join("cluster/key");
    let config = fleet.file("n1");
    let restore = [
        "--json",
        "snapshot",
        "restore",
        file.to_str().unwrap(),
        "--config",
        &config,
        "--key",
        key.to_str().unwrap(),
    ];
    let restored = succeeded(&lockgate(&restore).await);
    assert_eq!(restored["former"], former);
    let n1 = fleet.run("n1").await;
    assert_eq!(n1.get(register).await["value"], "kept");
    fleet.wipe("n2");
    let _others = [fleet.run("n2").await, fleet.run("n3").await];
    eventually("three voters", async || n1.health().await["voters"] == 3).await;
}

#[tokio::test]
async fn doctor_finds_what_keeps_a_node_from_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    succeeded(&lockgate(&["certs", "dev", "--dir", here, "n1", "n2"]).await);
    // The CA that is there signs for one more; nobody's files are replaced.
    let more = ["--json", "certs", "dev", "--dir", here];
    let made = succeeded(&lockgate(&[&more[..], &["n3"]].concat()).await);
    assert_eq!(made["files"].as_array().unwrap().len(), 2, "{made}");
    let again = lockgate(&[&more[..], &["n3"]].concat()).await;
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(again.status.code(), Some(1), "{told}");
    assert!(
        told.contains("n3.key") && told.contains("join with a token"),
        "{told}"
    );

    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken, free) = (held.local_addr().unwrap(), Port::reserve());
    let check = async |listen: SocketAddr, tls: &str| {
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {here}/data\n\
             cluster: {{ node: n3, listen: \"{listen}\", peers: {{ n3: \"{listen}\" }}, tls: {{ {tls} }} }}\n\
             servers: {{ demo: {{ command: \"{BINARY}\", args: [demo-server] }} }}\n"
        );
        let file = dir.path().join("n3.yaml");
        fs::write(&file, text).unwrap();
        let doctor = ["--json", "--admin", "http://127.0.0.1:1", "doctor"];
        let ran = lockgate(&[&doctor[..], &[file.to_str().unwrap()]].concat()).await;
        let checks: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let checks = checks["checks"].as_array().unwrap().iter();
        let failed = checks.filter(|check| check["result"] == "failed");
        let failed: Vec<String> = failed
            .map(|check| format!("{} {}", check["name"].as_str().unwrap(), check["detail"]))
            .collect();
        assert_eq!(ran.status.success(), failed.is_empty(), "{failed:?}");
        failed.join("; ")
    };
    let good = "ca: ca.pem, cert: n3.pem, key: n3.key, ca_key: ca.key";
    assert_eq!(check(free.address, good).await, "");
    let port = check(taken, good).await;
    assert!(
        port.starts_with("cluster.listen") && port.contains("in use"),
        "{port}"
    );
    for wrong in [
        "ca: ca.pem, cert: nope.pem, key: n3.key",
        "ca: ca.pem, cert: n1.pem, key: n1.key",
        "ca: ca.pem, cert: n3.pem, key: n2.key",
        "ca: n3.pem, cert: n3.pem, key: n3.key",
        "ca: ca.pem, cert: n3.pem, key: n3.key, ca_key: n3.key",
    ] {
        let failed = check(free.address, wrong).await;
        assert!(failed.starts_with("cluster.tls"), "{wrong}: {failed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_of_another_ca_is_told_so_at_once() {
    let mut fleet = Fleet::start(REGISTRY).await;
    let token = succeeded(&fleet.nodes[0].cli(&["cluster", "token", "create"]).await);
    fleet.kill("n3").await;
    fleet.wipe("n3");
    let file = fleet.file("n3");
    let written = fs::read_to_string(&file).unwrap();
    let other = fleet.data_dir("other");
    let other = other.to_str().unwrap();
    succeeded(&lockgate(&["certs", "dev", "--dir", other, "n3"]).await);
    let join = ["--json", "cluster", "join", "--config", &file];
    let refused = async |args: &[&str], ca: &str| {
        let ran = lockgate(&[&join[..], args].concat()).await;
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        let told = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(
            told.contains("of another CA than") && told.contains(ca),
            "{told}"
        );
        let reason = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(reason.contains("not admitted yet"), "{reason}");
    };
    fs::write(&file, written.replace("certs/", "other/")).unwrap();
    refused(&[], "`cluster.tls.ca`").await;

    let token = token["token"].as_str().unwrap();
    let (whole, ca) = token.rsplit_once('.').unwrap();
    let wrong = format!("{whole}.{}", "A".repeat(ca.len()));
    fs::write(&file, written.replace("n3.pem", "new.pem")).unwrap();
    refused(&["--token", &wrong], "the join token names").await;
}
