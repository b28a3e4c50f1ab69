//! The command line against a running gateway.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic with a backtrace"
)]

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const BINARY: &str = env!("CARGO_BIN_EXE_lockgate");

struct Gateway {
    _child: Child,
    admin: String,
    _dir: TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let at = dir.path().display();
        let config = format!(
            r#"listen: 127.0.0.1:0
admin: {{ listen: 127.0.0.1:0 }}
data_dir: "{at}/data"
identity: {{ anonymous: [all] }}
roles: {{ all: {{ allow: ["*"] }} }}
audit: {{ file: "{at}/audit.jsonl" }}
servers: {{ demo: {{ command: "{BINARY}", args: [demo-server] }} }}
"#
        );
        let file = dir.path().join("lockgate.yaml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(BINARY)
            .args(["serve", "--ready-json", "--config"])
            .arg(file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = tokio::time::timeout(crate::support::PATIENCE, lines.next_line());
        let ready: Value = serde_json::from_str(&ready.await.unwrap().unwrap().unwrap()).unwrap();
        let admin = format!("http://{}", ready["admin"].as_str().unwrap());
        Self {
            _child: child,
            admin,
            _dir: dir,
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env("LOCKGATE_ADMIN", &self.admin)
            .env_remove("LOCKGATE_TOKEN");
        command.output().await.unwrap()
    }

    /// Output of a command that must succeed, as JSON.
    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_of_the_command_line_finds_its_end() {
    let gateway = Gateway::start().await;
    let made = gateway.json(&[
        "keys",
        "create",
        "--principal",
        "bob",
        "--role",
        "all",
        "--id",
        "k",
    ]);
    assert!(made.await["key"].as_str().unwrap().starts_with("lg_"));
    gateway.json(&["keys", "rotate", "k"]).await;
    gateway.json(&["keys", "revoke", "k"]).await;
    assert_eq!(
        gateway.json(&["keys", "list"]).await["keys"][0]["revoked"],
        true
    );

    let servers = gateway.json(&["servers", "list"]).await;
    assert_eq!(servers["servers"][0]["up"], true, "{servers}");
    gateway.json(&["servers", "restart", "demo"]).await;
    gateway
        .json(&["servers", "add", "more", "--", BINARY, "demo-server"])
        .await;
    assert_eq!(
        gateway.json(&["servers", "list"]).await["servers"][1]["source"],
        "registry"
    );
    gateway.json(&["servers", "remove", "more"]).await;

    assert_eq!(
        gateway.json(&["sessions", "list"]).await,
        json!({ "sessions": [] })
    );
    let refused = gateway.run(&["sessions", "end", "none"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no session `none`"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listed_tools_can_be_called() {
    let gateway = Gateway::start().await;
    let tools = gateway.json(&["tools", "list", "--server", "demo"]).await;
    let tools = tools["tools"].as_array().unwrap();
    let add = tools
        .iter()
        .find(|tool| tool["name"] == "demo_add")
        .unwrap();
    assert!(add["description"].is_string());
    let sum = gateway
        .json(&["tools", "call", "demo_add", r#"{"a":2,"b":40}"#])
        .await;
    assert!(sum.to_string().contains("42"), "{sum}");
}
