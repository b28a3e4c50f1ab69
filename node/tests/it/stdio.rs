//! `lockgate stdio`: the same gateway for one client on two pipes.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{BINARY, DEMO, within};

struct Piped {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    dir: TempDir,
}

impl Piped {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let config = format!(
            "data_dir: {}\naudit: {{ file: {} }}\n{DEMO}",
            path("data"),
            path("audit")
        );
        std::fs::write(path("lockgate.yaml"), config).unwrap();
        let mut child = Command::new(BINARY)
            .args(["stdio", "--config", &path("lockgate.yaml")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(path("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            dir,
        }
    }

    async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    async fn say_text(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = within("line", self.output.next_line())
            .await
            .unwrap()
            .unwrap();
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer
    }

    async fn open(&mut self, capabilities: Value) {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "it", "version": "1"}});
        let answer = self.ask("initialize", params).await;
        assert_eq!(
            answer["result"]["protocolVersion"], "2025-11-25",
            "{answer}"
        );
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    /// Closes the input: the process says what it owes and ends.
    async fn close(mut self) -> Vec<String> {
        self.input = None;
        let mut rest = Vec::new();
        while let Some(line) = within("line", self.output.next_line()).await.unwrap() {
            rest.push(line);
        }
        assert!(within("end", self.child.wait()).await.unwrap().success());
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        rest
    }
}

fn stateless(params: &mut Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    params.clone()
}

#[tokio::test]
async fn a_session_lives_on_the_pipes() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    let tools = gateway.ask("tools/list", json!({})).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "demo_echo");
    let answer = gateway
        .ask(
            "tools/call",
            json!({"name": "demo_add", "arguments": {"a": 1, "b": 2}}),
        )
        .await;
    assert_eq!(answer["result"]["content"][0]["text"], "3");
    let params = json!({"name": "demo_countdown", "arguments": {"steps": 2, "pause_ms": 120}, "_meta": {"progressToken": "p"}});
    gateway
        .say(&json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}))
        .await;
    for step in 1..=2 {
        assert_eq!(gateway.hear().await["params"]["progress"], step);
    }
    let answer = gateway.hear().await;
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!(9), &json!("lift-off"))
    );
    assert_eq!(gateway.close().await, [""; 0]);
}

#[tokio::test]
async fn a_server_asks_the_client_through_the_pipes() {
    let mut gateway = Piped::start();
    gateway.open(json!({"elicitation": {}})).await;
    gateway.say(&json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "demo_ask"}})).await;
    let question = gateway.hear().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let told = json!({"action": "accept", "content": {"name": "Ada"}});
    gateway
        .say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": told}))
        .await;
    let answer = gateway.hear().await;
    assert_eq!(answer["id"], 5);
    assert!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Ada"),
        "{answer}"
    );
    gateway.close().await;
}

#[tokio::test]
async fn stateless_requests_need_no_session_on_the_pipes() {
    let mut gateway = Piped::start();
    let found = gateway
        .ask("server/discover", stateless(&mut json!({})))
        .await;
    assert_eq!(
        found["result"]["supportedVersions"][0], "2026-07-28",
        "{found}"
    );
    let mut add = json!({"name": "demo_add", "arguments": {"a": 2, "b": 2}});
    let answer = gateway.ask("tools/call", stateless(&mut add)).await;
    assert_eq!(answer["result"]["content"][0]["text"], "4", "{answer}");
    gateway.close().await;
}

#[tokio::test]
async fn lines_that_are_no_messages_are_answered_and_passed_over() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    gateway.say_text("{\"jsonrpc\":").await;
    let refusal = gateway.hear().await;
    assert_eq!(refusal["error"]["code"], -32700, "{refusal}");
    gateway.say_text("").await;
    assert_eq!(gateway.ask("ping", json!({})).await["result"], json!({}));
    gateway.close().await;
}

#[tokio::test]
async fn a_client_that_closes_its_end_is_not_kept_waiting() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    let params = json!({"name": "demo_countdown", "arguments": {"steps": 600, "pause_ms": 1000}});
    gateway
        .say(&json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}))
        .await;
    assert_eq!(gateway.close().await, [""; 0]);
}
