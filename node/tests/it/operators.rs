//! What operators are told: while the node starts, about names that hide each other, and about what they asked for.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Command;

use crate::support::{BINARY, Client, DEMO, Gateway, Port, Upstream, eventually, within};

#[tokio::test]
async fn a_node_that_waits_for_a_server_says_that_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lockgate.yaml");
    // Asked before the node tells its ports, which it does when it is ready.
    let port = Port::reserve();
    let admin = port.address;
    let data = dir.path().join("data");
    let config = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: {admin:?} }}\ndata_dir: {data:?}\n\
         identity: {{ anonymous: [all] }}\nroles: {{ all: {{ allow: [\"*\"] }} }}\n\
         servers: {{ mute: {{ command: sleep, args: [\"600\"] }} }}\n"
    );
    std::fs::write(&file, config).unwrap();
    let _child = Command::new(BINARY)
        .args(["serve", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the admin plane listens", async || {
        tokio::net::TcpStream::connect(admin).await.is_ok()
    })
    .await;
    let get = async |path: &str| {
        let client = Client::new(admin).at(path);
        client.send(http::Method::GET, &[], "").await
    };
    assert_eq!(get("/healthz").await.status, 200);
    let ready = async || {
        let ready = get("/readyz").await;
        assert_eq!(ready.status, 503);
        let ready = ready.json().await;
        assert_eq!(ready["status"], "starting");
        ready
    };
    // Its state is read first; of the servers it knows from then on.
    eventually("it names the server that it waits for", async || {
        ready().await["servers"][0]["settled"] == false
    })
    .await;
}

#[tokio::test]
async fn a_name_collision_is_told_once_and_shown_where_servers_are() {
    let twin = format!("  twin: {{ command: {BINARY:?}, args: [demo-server], prefix: demo }}\n");
    let gateway = Gateway::start(&format!("{DEMO}{twin}")).await;
    let hidden = async |at: usize| {
        let servers = gateway.admin("/api/v1/servers").await;
        servers["servers"][at]["hidden"].as_array().unwrap().clone()
    };
    let names = hidden(1).await;
    assert!(names.contains(&"demo_add".into()), "{names:?}");
    assert!(hidden(0).await.is_empty());
    let log = gateway.log();
    let told = log.matches("name collision hides an item");
    assert_eq!(told.count(), names.len(), "{log}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_and_a_prompt_of_one_name_are_one_hidden_name_and_told_apart() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    for upstream in [&first, &second] {
        let list = r#""result":{"prompts":[{"name":"work"}]}"#;
        upstream.reply("prompts/list", &[list]);
    }
    let twin = second.entry("twin", ", prefix: up");
    let gateway = Gateway::start(&format!("{}{twin}", first.config(""))).await;
    eventually("the names are hidden", async || {
        let servers = gateway.admin("/api/v1/servers").await;
        let hidden = servers["servers"][1]["hidden"].as_array().unwrap().clone();
        let work = hidden.iter().filter(|name| *name == "up_work");
        work.count() == 1
    })
    .await;
    let log = gateway.log();
    for kind in ["kind=\"tool\" name=up_work", "kind=\"prompt\" name=up_work"] {
        assert_eq!(log.matches(kind).count(), 1, "{log}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_hang_up_without_news_says_so() {
    let gateway = Gateway::start(DEMO).await;
    gateway.signal(Signal::HUP);
    eventually("the file was looked at", async || {
        gateway.log().contains("configuration file has not changed")
    })
    .await;
    let log = gateway.log();
    assert!(log.contains("server is up server=demo eras="), "{log}");
    assert!(!log.contains("Actor{") && !log.contains("Eras {"), "{log}");
    gateway.stop().await;
}

/// A service manager tries again what a full disk or a taken port keeps from starting, and not this.
#[tokio::test]
async fn a_start_that_is_refused_for_its_file_has_a_status_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lockgate.yaml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!(
        "listen: \"{}\"\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {:?}\n",
        taken.local_addr().unwrap(),
        dir.path().join("data"),
    );
    for verb in ["serve", "stdio"] {
        for (text, status) in [("servers: [", 78), (&*taken, 1)] {
            if verb == "stdio" && status == 1 {
                continue;
            }
            std::fs::write(&file, text).unwrap();
            let run = Command::new(BINARY)
                .args([verb, "--config"])
                .arg(&file)
                .stdin(Stdio::null())
                .output();
            let ran = within("the end", run).await.unwrap();
            assert_eq!(ran.status.code(), Some(status), "{ran:?}");
        }
    }
}

/// A bound on the size of files stands for a disk without room.
#[tokio::test]
async fn doctor_finds_a_disk_on_which_no_start_is_possible() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lockgate.yaml");
    let text = "listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\ndata_dir: data\naudit: { file: audit.jsonl }\n";
    std::fs::write(&file, text).unwrap();
    let run = async |bound: &str, verb: &[&str]| {
        let script = format!("ulimit -f {bound}; exec \"$0\" \"$@\"");
        let run = Command::new("sh")
            .args(["-c", &script, BINARY])
            .args(verb)
            .arg(&file)
            .stdin(Stdio::null())
            .output();
        within("the end", run).await.unwrap()
    };
    let doctor = async |bound: &str| {
        let verb = ["--json", "--admin", "http://127.0.0.1:1", "doctor"];
        let ran = run(bound, &verb).await;
        let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let checks = found["checks"].as_array().unwrap().iter();
        let failed = checks.filter(|check| check["result"] == "failed");
        failed
            .map(|check| check["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(doctor("unlimited").await, [""; 0]);
    assert_eq!(doctor("0").await, ["data_dir", "audit.file"]);
    std::fs::write(dir.path().join("audit.jsonl"), "").unwrap();
    assert_eq!(doctor("0").await, ["data_dir", "audit.file"]);
    assert!(!dir.path().join("data").exists());
    let started = run("0", &["serve", "--config"]).await;
    assert_eq!(started.status.code(), Some(1), "{started:?}");
    let told = String::from_utf8_lossy(&started.stderr);
    assert!(told.contains("make room on that disk"), "{told}");
}
