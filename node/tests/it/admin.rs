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
roles: {{ all: {{ allow: ["*"] }}, adder: {{ allow: ["demo_add"] }} }}
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
        self.run_with_key("", arguments).await
    }

    async fn run_with_key(&self, key: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .env("LOCKGATE_ADMIN", &self.admin)
            .env("LOCKGATE_API_KEY", key)
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
    let added = gateway
        .json(&["servers", "add", "more", "--", BINARY, "demo-server"])
        .await;
    let server = &added["server"];
    assert_eq!(
        (&server["up"], &server["name"]),
        (&json!(true), &json!("more"))
    );
    let tools = gateway.json(&["tools", "list"]).await;
    assert!(tools.to_string().contains("more_echo"), "{tools}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_shown_the_tools_that_its_key_may_call() {
    let gateway = Gateway::start().await;
    let made = gateway
        .json(&["keys", "create", "--principal", "bob", "--role", "adder"])
        .await;
    let list = ["--json", "tools", "list", "--as-client"];
    let listed = gateway
        .run_with_key(made["key"].as_str().unwrap(), &list)
        .await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names = listed["tools"].as_array().unwrap();
    let names: Vec<&Value> = names.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["demo_add"]);
    let all = gateway.json(&["tools", "list"]).await;
    assert!(all["tools"].as_array().unwrap().len() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_asks_for_input_is_answered_or_fails() {
    let gateway = Gateway::start().await;
    let call = ["tools", "call", "demo_ask"];
    let unanswered = gateway.run(&call).await;
    assert_eq!(unanswered.status.code(), Some(1), "{unanswered:?}");
    let told = String::from_utf8_lossy(&unanswered.stderr);
    let asks = "the tool asks for input: What is your name?";
    assert!(told.contains(asks), "{told}");
    let answer = ["--answer", r#"{"name":"Ann"}"#];
    let answered = gateway.json(&[&call[..], &answer].concat()).await;
    assert!(answered.to_string().contains("Ann"), "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_named_with_its_setting() {
    let gateway = Gateway::start().await;
    let taken = gateway.admin.strip_prefix("http://").unwrap();
    for (free, option, setting) in [
        ("--admin-listen", "--listen", "`listen`"),
        ("--listen", "--admin-listen", "`admin.listen`"),
    ] {
        let demo = ["demo", free, "127.0.0.1:0", option, taken];
        let refused = gateway.run(&demo).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let told = String::from_utf8_lossy(&refused.stderr);
        let what = format!("{setting}: something listens on {taken} already");
        assert!(told.contains(&what), "{told}");
        let remedy = format!("{setting} of the configuration, or {option} of `lockgate demo`");
        assert!(told.contains(&remedy), "{told}");
    }
}
