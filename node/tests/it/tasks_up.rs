//! Tasks of clients with sessions at a server with the tasks extension.

use serde_json::{Value, json};

use crate::support::{ANN, BOB, Client, Gateway, Upstream, eventually};

const STATELESS: &str = ", era: stateless";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";
const CREATED: &str = r#""result":{"resultType":"task","taskId":"t-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttlMs":60000,"pollIntervalMs":50,"x":1.0}"#;
const WORKING: &str = r#""result":{"resultType":"complete","taskId":"t-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:01Z","ttlMs":60000,"pollIntervalMs":50}"#;
const ASKING: &str = r#""result":{"resultType":"complete","taskId":"t-1","status":"input_required","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:02Z","ttlMs":60000,"pollIntervalMs":50,"inputRequests":{"who":{"method":"elicitation/create","params":{"mode":"form","message":"who?","requestedSchema":{"type":"object","properties":{}}}}}}"#;
const COMPLETED: &str = r#""result":{"resultType":"complete","taskId":"t-1","status":"completed","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:03Z","ttlMs":60000,"result":{"content":[{"type":"text","text":"done"}],"structuredContent":[1]}}"#;
const FAILED: &str = r#""result":{"resultType":"complete","taskId":"t-1","status":"failed","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:03Z","ttlMs":null,"error":{"code":-32603,"message":"broke off"}}"#;
const NEEDED: &str = r#""error":{"code":-32021,"message":"tasks only","data":{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}}"#;
const EMPTY: &str = r#""result":{"resultType":"complete"}"#;

/// A server with the extension.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.offer(json!({"tools": {}, "extensions": {EXTENSION: {}}}));
    upstream.reply("tools/call", &[CREATED]);
    upstream.reply("tasks/get", &[WORKING]);
    upstream
}

async fn client(gateway: &Gateway) -> Client {
    let client = gateway.client().at("/s/up/mcp");
    client
        .open_with("2025-11-25", json!({"elicitation": {}}))
        .await
}

async fn begin(client: &Client) -> Value {
    let params = json!({"name": "work", "arguments": {}, "task": {"ttl": 60000}});
    client.request("tools/call", params).await
}

async fn about(client: &Client, method: &str) -> Value {
    client.request(method, json!({"taskId": "t-1"})).await
}

fn sent(upstream: &Upstream, method: &str) -> Value {
    serde_json::from_slice(&upstream.last_body(method).unwrap()).unwrap()
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_task_is_made_and_followed_in_the_clients_words() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let created = begin(&client).await;
    assert_eq!(
        created["result"],
        json!({"task": {"taskId": "t-1", "status": "working", "createdAt": "2026-11-21T00:00:00Z",
            "lastUpdatedAt": "2026-11-21T00:00:00Z", "ttl": 60000, "pollInterval": 50, "x": 1.0}})
    );
    let call = sent(&upstream, "tools/call");
    assert_eq!(call["params"].get("task"), None);
    let declared = &call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(
        *declared,
        json!({"elicitation": {}, "extensions": {EXTENSION: {}}})
    );

    let state = about(&client, "tasks/get").await;
    assert_eq!(state["result"]["status"], "working");
    assert_eq!(state["result"]["ttl"], 60000);
    assert_eq!(state["result"].get("resultType"), None);
    assert_eq!(upstream.last_headers("tasks/get")["mcp-name"], "t-1");
    assert_eq!(
        upstream.last_headers("tasks/get")["mcp-method"],
        "tasks/get"
    );

    upstream.reply("tasks/get", &[COMPLETED]);
    let state = about(&client, "tasks/get").await;
    assert_eq!(state["result"]["status"], "completed");
    assert_eq!(state["result"].get("result"), None);
    let result = about(&client, "tasks/result").await;
    assert_eq!(text(&result), "done");
    assert_eq!(
        result["result"]["structuredContent"],
        json!({"result": [1]})
    );
    assert_eq!(
        result["result"]["_meta"],
        json!({RELATED: {"taskId": "t-1"}})
    );
    gateway.stop().await;
}

#[tokio::test]
async fn tasks_are_announced_to_those_who_know_them() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path);
        let answer = client.initialize("2025-11-25", &json!({})).await;
        let capabilities = answer.message().await["result"]["capabilities"].clone();
        assert_eq!(
            capabilities["tasks"],
            json!({"cancel": {}, "requests": {"tools": {"call": {}}}}),
            "{path}"
        );
        assert_eq!(capabilities.get("extensions"), None, "{path}");
        let client = client.open().await;
        let listed = client.request("tools/list", json!({})).await;
        for tool in listed["result"]["tools"].as_array().unwrap() {
            assert_eq!(tool["execution"], json!({"taskSupport": "optional"}));
        }
        let refused = client.request("tasks/list", json!({})).await;
        assert_eq!(refused["error"]["code"], -32601, "{path}");
    }
    // Before 2025-11-25 `task` is nothing but an unknown member.
    let older = gateway.client().at("/s/up/mcp");
    let older = older.open_with("2025-06-18", json!({})).await;
    let refused = about(&older, "tasks/get").await;
    assert_eq!(refused["error"]["code"], -32601);
    gateway.stop().await;
}

#[tokio::test]
async fn questions_of_a_task_are_put_to_whoever_waits_for_its_result() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    begin(&client).await;
    // The acknowledgement of the answer comes before the state that follows from it.
    upstream.reply("tasks/get", &[WORKING, ASKING, ASKING, COMPLETED]);
    upstream.reply("tasks/update", &[EMPTY]);
    let asking = client.message("tasks/result", &json!({"taskId": "t-1"}));
    let mut events = client.post(asking.to_string()).await.events();
    let mut asked = Vec::new();
    let last = loop {
        let message = events.message().await.unwrap().json();
        if message["id"] == asking["id"] {
            break message;
        }
        if message["method"] == "elicitation/create" {
            assert_eq!(message["params"]["_meta"][RELATED]["taskId"], "t-1");
            let given = json!({"jsonrpc": "2.0", "id": message["id"],
                "result": {"action": "accept", "content": {"name": "x"}}});
            assert_eq!(client.post(given.to_string()).await.status, 202);
        } else {
            assert_eq!(message["method"], "notifications/tasks/status");
        }
        asked.push(message["method"].clone());
    };
    assert_eq!(text(&last), "done");
    let n_asked = asked.iter().filter(|m| **m == "elicitation/create").count();
    assert_eq!(n_asked, 1, "{asked:?}");
    let update = sent(&upstream, "tasks/update");
    assert_eq!(update["params"]["taskId"], "t-1");
    assert_eq!(
        update["params"]["inputResponses"]["who"]["action"],
        "accept"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_failed_task_gives_the_error_that_its_call_would_have_given() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    begin(&client).await;
    upstream.reply("tasks/get", &[FAILED]);
    let state = about(&client, "tasks/get").await;
    assert_eq!(state["result"]["status"], "failed");
    assert_eq!(state["result"]["ttl"], Value::Null);
    let result = about(&client, "tasks/result").await;
    assert_eq!(
        result["error"],
        json!({"code": -32603, "message": "broke off"})
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_cancelled_task_is_cancelled_whatever_its_server_does() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    begin(&client).await;
    upstream.reply("tasks/cancel", &[EMPTY]);
    let cancelled = about(&client, "tasks/cancel").await;
    assert_eq!(cancelled["result"]["status"], "cancelled");
    assert_eq!(cancelled["result"]["taskId"], "t-1");
    upstream.reply("tasks/get", &[COMPLETED]);
    let state = about(&client, "tasks/get").await;
    assert_eq!(state["result"]["status"], "cancelled");
    let again = about(&client, "tasks/cancel").await;
    assert_eq!(again["error"]["code"], -32602);
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_is_unknown_outside_of_its_session() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let owner = client(&gateway).await;
    begin(&owner).await;
    let other = client(&gateway).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        let refused = about(&other, method).await;
        assert_eq!(refused["error"]["code"], -32602, "{method}");
        assert_eq!(upstream.last_body(method), None);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_comes_at_once_is_held_for_who_wanted_a_task() {
    let upstream = upstream().await;
    upstream.reply(
        "tools/call",
        &[r#""result":{"resultType":"complete","content":[{"type":"text","text":"at once"}]}"#],
    );
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let created = begin(&client).await["result"]["task"].clone();
    assert_eq!(created["status"], "working");
    assert_eq!(created["ttl"], 60000);
    let params = json!({"taskId": created["taskId"]});
    let state = client.request("tasks/get", params.clone()).await;
    assert_eq!(state["result"]["status"], "completed");
    assert_eq!(state["result"]["createdAt"], created["createdAt"]);
    let result = client.request("tasks/result", params.clone()).await;
    assert_eq!(text(&result), "at once");
    assert_eq!(
        result["result"]["_meta"][RELATED]["taskId"],
        created["taskId"]
    );
    let late = client.request("tasks/cancel", params).await;
    assert_eq!(late["error"]["code"], -32602);
    gateway.stop().await;
}

#[tokio::test]
async fn a_result_that_finds_no_room_is_not_held_and_its_caller_is_told_so() {
    let upstream = upstream().await;
    let large = "x".repeat(700 << 10);
    let answer = format!(
        r#""result":{{"resultType":"complete","content":[{{"type":"text","text":"{large}"}}]}}"#
    );
    upstream.reply("tools/call", &[&answer]);
    let bridge = "bridge: { memory_max: 1MiB, memory_principal_max: 1MiB, question_max: 1KiB }";
    let servers = upstream.entry("up", STATELESS);
    let gateway = Gateway::of_two(&format!("{servers}{bridge}\n")).await;
    let client = async |key: &str| {
        let client = gateway.client().at("/s/up/mcp").key(key);
        client.open_with("2025-11-25", json!({})).await
    };
    let (ann, bob) = (client(ANN).await, client(BOB).await);
    let held = begin(&ann).await["result"]["task"].clone();
    assert_eq!(held["status"], "working");
    // The other has nothing yet: it is the node that is full.
    let refused = begin(&bob).await;
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the tool has run"), "{message}");
    let params = json!({"taskId": held["taskId"]});
    let result = ann.request("tasks/result", params).await;
    assert_eq!(text(&result), large);
    assert_eq!(ann.delete().await, 200);
    eventually("the room is free again", async || {
        begin(&bob).await["result"]["task"].is_object()
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_that_needs_a_task_answers_clients_without_any() {
    let upstream = upstream().await;
    upstream.reply("tools/call", &[NEEDED, CREATED]);
    upstream.reply("tasks/get", &[WORKING, COMPLETED]);
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let done = client.call("work", json!({})).await;
    assert_eq!(text(&done), "done");
    assert_eq!(done["result"].get("_meta"), None);
    assert_eq!(upstream.last_body("tasks/cancel"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_that_its_client_never_knew_ends_with_the_call() {
    let upstream = upstream().await;
    upstream.reply("tools/call", &[NEEDED, CREATED]);
    upstream.reply("tasks/get", &[WORKING]);
    upstream.reply("tasks/cancel", &[EMPTY]);
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let call = client.message("tools/call", &json!({"name": "work", "arguments": {}}));
    let cancel = async {
        eventually("the task is followed", async || {
            upstream.last_body("tasks/get").is_some()
        })
        .await;
        let params = json!({"requestId": call["id"]});
        assert_eq!(client.notify("notifications/cancelled", params).await, 202);
    };
    let calling = client.post(call.to_string());
    let (answer, ()) = tokio::join!(calling, cancel);
    drop(answer);
    eventually("the server hears of it", async || {
        upstream.last_body("tasks/cancel").is_some()
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn other_extensions_are_named_and_reached_by_clients_with_sessions() {
    let upstream = upstream().await;
    upstream.offer(json!({"tools": {}, "extensions": {
        EXTENSION: {}, "io.modelcontextprotocol/skills": {}, "com.example/thing": {"a": 1}}}));
    upstream.reply(
        "thing/list",
        &[r#""result":{"resultType":"complete","things":[]}"#],
    );
    let other = Upstream::start().await;
    let config =
        upstream.config(STATELESS).trim_end().to_owned() + "\n" + &other.entry("other", "");
    let gateway = Gateway::start(&config).await;
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path);
        let declared = json!({"extensions": {"com.example/thing": {}}});
        let answer = client.initialize("2025-11-25", &declared).await;
        assert_eq!(
            answer.message().await["result"]["capabilities"]["extensions"],
            json!({"io.modelcontextprotocol/skills": {}, "com.example/thing": {"a": 1}}),
            "{path}"
        );
        let client = client.open_with("2025-11-25", declared.clone()).await;
        let listed = client.request("thing/list", json!({})).await;
        assert_eq!(listed["result"], json!({"things": []}), "{path}");
        let asked = sent(&upstream, "thing/list");
        assert_eq!(
            asked["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
            declared
        );
    }
    gateway.stop().await;
}
