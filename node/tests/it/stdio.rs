//! `lockgate stdio`: the same gateway for one client on two pipes.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::{BINARY, DEMO, Process, within};

struct Piped {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    dir: TempDir,
}

impl Piped {
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these variables in its environment.
    fn start_with(variables: &[(&str, &str)]) -> Self {
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
            .envs(variables.iter().copied())
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

    fn signal(&self, signal: Signal) {
        Process(self.child.id().unwrap()).signal(signal);
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
    assert_eq!(refusal["id"], json!(null), "{refusal}");
    for (envelope, id) in [
        (r#""jsonrpc":"2.0","id":13,"params":null"#, json!(13)),
        (r#""jsonrpc":"1.0","id":"a""#, json!("a")),
        (r#""jsonrpc":"2.0","id":1.5"#, json!(null)),
    ] {
        let text = format!(r#"{{{envelope},"method":"ping"}}"#);
        gateway.say_text(&text).await;
        let refusal = gateway.hear().await;
        assert_eq!(refusal["error"]["code"], -32600, "{refusal}");
        assert_eq!(refusal["id"], id, "{refusal}");
    }
    // What is no request of the client's must not end one of the same number.
    gateway
        .say_text(r#"{"jsonrpc":"2.0","id":13,"result":{},"error":{}}"#)
        .await;
    assert_eq!(gateway.hear().await["id"], json!(null));
    gateway.say_text("").await;
    assert_eq!(gateway.ask("ping", json!({})).await["result"], json!({}));
    gateway.close().await;
}

fn countdown(id: u64, steps: u64) -> Value {
    let arguments = json!({"steps": steps, "pause_ms": 300});
    let params =
        json!({"name": "demo_countdown", "arguments": arguments, "_meta": {"progressToken": id}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

#[tokio::test]
async fn calls_in_flight_finish_when_the_input_ends() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    gateway.say(&countdown(3, 2)).await;
    let mut alone = countdown(4, 2);
    stateless(&mut alone["params"]);
    gateway.say(&alone).await;
    let mut answered: Vec<u64> = gateway
        .close()
        .await
        .iter()
        .filter_map(|line| answer(line))
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, [3, 4]);
}

/// The id of a message that is a result.
fn answer(line: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(line).unwrap();
    message.get("result")?;
    message["id"].as_u64()
}

#[tokio::test]
async fn a_whole_conversation_may_come_at_once() {
    let mut gateway = Piped::start();
    let opened = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "it", "version": "1"}}});
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let last = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    // The last line has no end.
    let text = format!("{opened}\n{told}\n{last}");
    let input = gateway.input.as_mut().unwrap();
    input.write_all(text.as_bytes()).await.unwrap();
    let answered: Vec<u64> = gateway
        .close()
        .await
        .iter()
        .filter_map(|line| answer(line))
        .collect();
    assert_eq!(answered, [1, 2]);
}

#[tokio::test]
async fn calls_in_flight_finish_at_sigterm_and_new_ones_are_refused() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    gateway.say(&countdown(3, 12)).await;
    assert_eq!(gateway.hear().await["params"]["progress"], 1);
    gateway.signal(Signal::TERM);
    let mut refused = false;
    let mut n_asked = 10;
    let answer = loop {
        n_asked += 1;
        gateway
            .say(&json!({"jsonrpc": "2.0", "id": n_asked, "method": "ping"}))
            .await;
        let message = gateway.hear().await;
        refused |= message["error"]["code"] == -31503;
        if message["id"] == 3 {
            break message;
        }
    };
    assert!(refused, "what is new goes elsewhere");
    assert_eq!(answer["result"]["content"][0]["text"], "lift-off");
    // The input is open still: the process does not wait for it.
    assert!(within("end", gateway.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_listen_ends_with_the_input() {
    let mut gateway = Piped::start();
    let params = stateless(&mut json!({"notifications": {"toolsListChanged": true}}));
    gateway
        .say(
            &json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}),
        )
        .await;
    let acknowledged = gateway.hear().await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    let begun = tokio::time::Instant::now();
    gateway.close().await;
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(30),
        "it is not waited for"
    );
}

#[tokio::test]
async fn a_client_that_asks_twice_is_not_kept_waiting() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    gateway.say(&countdown(3, 600)).await;
    assert_eq!(gateway.hear().await["params"]["progress"], 1);
    gateway.input = None;
    // The end of the input is seen when this answer is there: the call goes on.
    assert_eq!(gateway.hear().await["params"]["progress"], 2);
    gateway.signal(Signal::TERM);
    let rest = gateway.close().await;
    let last: Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!(last["id"], 3, "{last}");
    assert_eq!(
        last["error"]["message"],
        "the session ended during the call"
    );
}

#[tokio::test]
async fn a_client_that_reads_no_more_is_gone() {
    let mut gateway = Piped::start();
    gateway.open(json!({})).await;
    let Piped {
        mut child,
        input,
        output,
        ..
    } = gateway;
    drop(output);
    let mut input = input.unwrap();
    // The input stays open: the broken output ends it.
    let call = format!("{}\n", countdown(3, 600));
    input.write_all(call.as_bytes()).await.unwrap();
    assert!(within("end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn a_key_that_an_anonymous_caller_does_not_need_is_told_to_be_unset() {
    let mut piped = Piped::start_with(&[("LOCKGATE_API_KEY", "lg_of_another_gateway")]);
    let status = within("end", piped.child.wait()).await.unwrap();
    assert!(!status.success());
    let log = std::fs::read_to_string(piped.dir.path().join("log")).unwrap();
    assert!(log.contains("unset LOCKGATE_API_KEY"), "{log}");
}
