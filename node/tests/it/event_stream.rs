//! HTTP+SSE of 2024-11-05: one stream for everything that the client hears, POSTs for everything that it says.

use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ANN, BINARY, BOB, Client, DEMO, Events, Gateway, Push, Upstream, eventually, within,
};

const OLDEST: &str = "2024-11-05";
const KEYS: [(&str, &str); 2] = [("KEY_ANN", ANN), ("KEY_BOB", BOB)];

/// A client of the transport.
struct Oldest {
    events: Events,
    posts: Client,
    endpoint: String,
}

impl Oldest {
    async fn connect(gateway: &Gateway, path: &str, key: Option<&str>) -> Self {
        let client = |path: &str| {
            let client = gateway.client().at(path).with("accept", "*/*");
            match key {
                Some(key) => client.key(key),
                None => client,
            }
        };
        let answer = client(path).send(Method::GET, &[], "").await;
        assert_eq!(answer.status, 200);
        let mut events = answer.events();
        let first = events.next().await.unwrap();
        assert_eq!(first.name.as_deref(), Some("endpoint"));
        Self {
            events,
            posts: client(&first.data),
            endpoint: first.data,
        }
    }

    async fn open(gateway: &Gateway) -> Self {
        let mut client = Self::connect(gateway, "/sse", None).await;
        client.initialize(json!({})).await;
        client
    }

    async fn initialize(&mut self, capabilities: Value) -> Value {
        let params = json!({"protocolVersion": OLDEST, "capabilities": capabilities,
            "clientInfo": {"name": "it", "version": "1"}});
        let answer = self.ask("initialize", params).await;
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        answer
    }

    async fn say(&self, message: &Value) {
        let answer = self.posts.post(message.to_string()).await;
        assert_eq!(answer.status, 202);
        assert!(answer.bytes().await.is_empty());
    }

    async fn hear(&mut self) -> Value {
        let event = self.events.next().await.unwrap();
        assert_eq!(event.name.as_deref(), Some("message"));
        assert_eq!(event.id, None, "nothing can be resumed");
        event.json()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.say(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer
    }
}

fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}})
}

async fn sessions(gateway: &Gateway) -> usize {
    let listed = gateway.admin("/api/v1/sessions").await;
    listed["sessions"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_client_of_the_first_revision_is_served() {
    let gateway = Gateway::start(DEMO).await;
    let mut client = Oldest::connect(&gateway, "/sse", None).await;
    assert!(
        client.endpoint.starts_with("/messages?sessionId="),
        "{}",
        client.endpoint
    );
    let opened = client.initialize(json!({})).await;
    assert_eq!(opened["result"]["protocolVersion"], OLDEST);
    let tools = client.ask("tools/list", json!({})).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "demo_echo");
    client
        .say(&call(
            9,
            "demo_countdown",
            &json!({"steps": 2, "pause_ms": 120}),
        ))
        .await;
    for step in 1..=2 {
        assert_eq!(client.hear().await["params"]["progress"], step);
    }
    let answer = client.hear().await;
    assert_eq!(answer["id"], 9);
    assert_eq!(answer["result"]["content"][0]["text"], "lift-off");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_asks_and_its_call_can_be_cancelled() {
    let upstream = Upstream::start().await;
    let gateway =
        Gateway::start(&format!("{DEMO}{}", upstream.entry("up", ", era: session"))).await;
    let mut client = Oldest::connect(&gateway, "/sse", None).await;
    client.initialize(json!({"elicitation": {}})).await;
    client.say(&call(5, "demo_ask", &json!({}))).await;
    let question = client.hear().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let told = json!({"action": "accept", "content": {"name": "Ada"}});
    client
        .say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": told}))
        .await;
    assert_eq!(client.hear().await["id"], 5);
    let script = upstream.script();
    client.say(&call(6, "up_script", &json!({}))).await;
    script.send(Push::Progress(1)).await.unwrap();
    assert_eq!(client.hear().await["params"]["progress"], 1);
    client
        .say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 6}}))
        .await;
    upstream.got("notifications/cancelled").await;
    gateway.stop().await;
}

#[tokio::test]
async fn tenants_and_servers_have_paths_of_their_own() {
    let config = format!(
        r#"
identity:
  api_keys:
    - {{ id: ann, key_env: KEY_ANN, principal: ann, tenant: acme, roles: [all] }}
    - {{ id: bob, key_env: KEY_BOB, principal: bob, roles: [all] }}
roles: {{ all: {{ allow: ["*"] }} }}
tenants: {{ acme: {{ servers: [demo] }} }}
servers:
  demo: {{ command: "{BINARY}", args: [demo-server] }}
"#
    );
    let gateway = Gateway::start_with(&config, &KEYS).await;
    for (path, tool) in [
        ("/t/acme/sse", "demo_echo"),
        ("/s/demo/sse", "echo"),
        ("/t/acme/s/demo/sse", "echo"),
    ] {
        let mut client = Oldest::connect(&gateway, path, Some(ANN)).await;
        let base = path.strip_suffix("/sse").unwrap();
        assert!(client.endpoint.starts_with(&format!("{base}/messages?")));
        client.initialize(json!({})).await;
        let tools = client.ask("tools/list", json!({})).await;
        assert_eq!(tools["result"]["tools"][0]["name"], tool, "{path}");
    }
    let foreign = gateway.client().key(BOB).at("/t/acme/sse");
    let answer = foreign.send(Method::GET, &[], "").await;
    assert!([401, 403].contains(&answer.status));
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_takes_messages_of_its_owner_only_and_on_its_path_only() {
    let server = format!("  demo: {{ command: \"{BINARY}\", args: [demo-server] }}\n");
    let gateway = Gateway::of_two(&server).await;
    let ann = Oldest::connect(&gateway, "/sse", Some(ANN)).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let post = async |path: &str, key: &str| {
        let client = gateway.client().at(path).key(key);
        client.post(ping.clone()).await.status
    };
    assert_eq!(post(&ann.endpoint, ANN).await, 202);
    // Somebody else's and nobody's look the same.
    assert_eq!(post(&ann.endpoint, BOB).await, 404);
    assert_eq!(
        post("/messages?sessionId=AAAAAAAAAAAAAAAAAAAAAA", BOB).await,
        404
    );
    assert_eq!(post(&format!("/s/demo{}", ann.endpoint), ANN).await, 404);
    assert_eq!(post("/messages", ANN).await, 400);
    assert_eq!(post(&ann.endpoint, "lg_nobody").await, 401);
    eventually("the refusal is in the audit log", async || {
        let lines = gateway.audit();
        let refused = |line: &Value| line.to_string().contains("session_id_refused");
        lines.iter().any(refused)
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_where_it_was_posted() {
    let limits = "limits: { body_max: 4KiB }\n";
    let gateway = Gateway::start(&(limits.to_owned() + DEMO)).await;
    let mut client = Oldest::open(&gateway).await;
    for (body, status) in [("{\"jsonrpc\":", 400), ("7", 400)] {
        let answer = client.posts.post(body).await;
        assert_eq!(answer.status, status);
        assert!(answer.json().await["error"]["code"].is_number());
    }
    let bad = r#"{"jsonrpc":"2.0","id":"x","method":"ping","params":null}"#;
    let answer = client.posts.post(bad).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json().await["id"], "x");
    let large = vec![b' '; (4 << 10) + 1];
    assert_eq!(client.posts.post(large).await.status, 413);
    let text = [("content-type", "text/plain")];
    let answer = client.posts.send(Method::POST, &text, "{}").await;
    assert_eq!(answer.status, 415);
    let page = [("origin", "http://evil.example")];
    let answer = client.posts.send(Method::POST, &page, "{}").await;
    assert_eq!(answer.status, 403);
    assert_eq!(client.posts.send(Method::GET, &[], "").await.status, 405);
    let stream = gateway.client().at("/sse");
    assert_eq!(stream.post("{}").await.status, 405);
    let html = [("accept", "text/html")];
    assert_eq!(stream.send(Method::GET, &html, "").await.status, 406);
    // And the stream goes on.
    assert_eq!(client.ask("ping", json!({})).await["result"], json!({}));
    gateway.stop().await;
}

#[tokio::test]
async fn a_lost_stream_ends_its_session() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let mut client = Oldest::open(&gateway).await;
    let script = upstream.script();
    client.say(&call(7, "up_script", &json!({}))).await;
    script.send(Push::Progress(1)).await.unwrap();
    client.hear().await;
    drop(client.events);
    eventually("the session has ended", async || {
        sessions(&gateway).await == 0
    })
    .await;
    upstream.got("notifications/cancelled").await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    eventually("nobody is there", async || {
        client.posts.post(ping.to_string()).await.status == 404
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_in_flight_is_answered_before_the_stream_ends() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    let mut client = Oldest::open(&gateway).await;
    let script = upstream.script();
    client.say(&call(7, "up_script", &json!({}))).await;
    script.send(Push::Progress(1)).await.unwrap();
    client.hear().await;
    gateway.signal(Signal::TERM);
    script.send(Push::Progress(2)).await.unwrap();
    script.send(Push::Answer("end")).await.unwrap();
    assert_eq!(client.hear().await["params"]["progress"], 2);
    let answer = client.hear().await;
    assert_eq!(answer["result"]["content"][0]["text"], "end");
    assert!(client.events.next().await.is_none());
    assert!(gateway.ended().await.success());
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn an_idle_stream_holds_no_shutdown_up() {
    let mut gateway = Gateway::start(DEMO).await;
    let mut client = Oldest::open(&gateway).await;
    gateway.signal(Signal::TERM);
    within("end of the stream", async {
        while client.events.next().await.is_some() {}
    })
    .await;
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_stateless_request_needs_no_session_on_the_stream() {
    let gateway = Gateway::start(DEMO).await;
    let mut client = Oldest::connect(&gateway, "/sse", None).await;
    let params = json!({"name": "demo_add", "arguments": {"a": 2, "b": 2}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}}});
    let answer = client.ask("tools/call", params).await;
    assert_eq!(answer["result"]["content"][0]["text"], "4", "{answer}");
    gateway.stop().await;
}
