//! Tasks of stateless clients: at a server with those of 2025-11-25, and at one with the extension.

use serde_json::{Value, json};

use crate::support::{ANN, BOB, Client, Gateway, Upstream, eventually};

pub(crate) const SESSION: &str = ", era: session";
const STATELESS: &str = ", era: stateless";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";
const TOOLS: &str = r#""result":{"tools":[{"name":"work","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}},{"name":"other","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}},{"name":"script","inputSchema":{"type":"object"}}]}"#;
pub(crate) const CREATED: &str = r#""result":{"task":{"taskId":"s-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttl":60000,"pollInterval":50}}"#;
const WORKING: &str = r#""result":{"taskId":"s-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:01Z","ttl":60000}"#;
const COMPLETED: &str = r#""result":{"taskId":"s-1","status":"completed","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:03Z","ttl":60000}"#;
const CANCELLED: &str = r#""result":{"taskId":"s-1","status":"cancelled","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:03Z","ttl":60000}"#;
const RESULT: &str = r#""result":{"content":[{"type":"text","text":"done"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s-1"}}}"#;
/// Of a server with the extension.
const MADE: &str = r#""result":{"resultType":"task","taskId":"t-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttlMs":60000}"#;
const STATE: &str = r#""result":{"resultType":"complete","taskId":"t-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttlMs":60000}"#;
const EMPTY: &str = r#""result":{"resultType":"complete"}"#;

/// A server of the session era that runs tools as tasks.
pub(crate) async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.offer(
        json!({"tools": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}}),
    );
    upstream.reply("tools/list", &[TOOLS]);
    upstream.reply("tools/call", &[CREATED]);
    upstream.reply("tasks/get", &[WORKING]);
    upstream.reply("tasks/result", &[RESULT]);
    upstream
}

/// A server with the extension.
async fn native() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.offer(json!({"tools": {}, "extensions": {EXTENSION: {}}}));
    upstream.reply("tools/call", &[MADE]);
    upstream.reply("tasks/get", &[STATE]);
    upstream.reply("tasks/cancel", &[EMPTY]);
    upstream
}

pub(crate) fn follows() -> Value {
    json!({"elicitation": {}, "extensions": {EXTENSION: {}}})
}

/// Begins a task; gives its id.
pub(crate) async fn begin(client: &Client, tool: &str) -> String {
    let params = json!({"name": tool, "arguments": {}});
    let created = client.ask(follows(), "tools/call", params).await;
    assert_eq!(created.status, 200);
    let created = created.message().await;
    assert_eq!(created["result"]["resultType"], "task", "{created}");
    created["result"]["taskId"].as_str().unwrap().to_owned()
}

pub(crate) async fn about(client: &Client, method: &str, id: &str) -> (u16, Value) {
    let answer = client.ask(follows(), method, json!({"taskId": id})).await;
    (answer.status, answer.message().await)
}

pub(crate) fn sent(upstream: &Upstream, method: &str) -> Value {
    serde_json::from_slice(&upstream.last_body(method).unwrap()).unwrap()
}

#[tokio::test]
async fn a_task_is_made_and_followed_in_the_clients_words() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    for (path, prefix) in [("/mcp", "up_"), ("/s/up/mcp", "")] {
        let client = gateway.client().at(path);
        for tool in ["work", "other"] {
            upstream.reply("tasks/get", &[WORKING]);
            let params = json!({"name": format!("{prefix}{tool}"), "arguments": {}});
            let created = client.ask(follows(), "tools/call", params).await;
            let created = created.message().await["result"].clone();
            assert_eq!(created["resultType"], "task", "{created}");
            assert_eq!(created["status"], "working");
            assert_eq!(created["ttlMs"], 60000);
            assert_eq!(created["pollIntervalMs"], 50);
            let id = created["taskId"].as_str().unwrap();
            assert_ne!(id, "s-1");
            let call = sent(&upstream, "tools/call");
            assert_eq!(call["params"]["task"], json!({}));

            let (status, state) = about(&client, "tasks/get", id).await;
            assert_eq!(status, 200);
            assert_eq!(state["result"]["resultType"], "complete");
            assert_eq!(state["result"]["status"], "working");
            assert_eq!(state["result"]["taskId"], id);
            assert_eq!(sent(&upstream, "tasks/get")["params"]["taskId"], "s-1");

            upstream.reply("tasks/get", &[COMPLETED]);
            let (_, state) = about(&client, "tasks/get", id).await;
            assert_eq!(state["result"]["status"], "completed");
            assert_eq!(
                state["result"]["result"],
                json!({"content": [{"type": "text", "text": "done"}]})
            );
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tasks_are_announced_and_demanded_as_an_extension() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    for (path, prefix) in [("/mcp", "up_"), ("/s/up/mcp", "")] {
        let client = gateway.client().at(path);
        let discovered = client.ask(json!({}), "server/discover", json!({})).await;
        let capabilities = discovered.message().await["result"]["capabilities"].clone();
        assert_eq!(capabilities["extensions"], json!({EXTENSION: {}}), "{path}");
        assert_eq!(capabilities.get("tasks"), None);
        let listed = client.ask(json!({}), "tools/list", json!({})).await;
        let listed = listed.message().await["result"]["tools"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 3, "{path}");

        let params = json!({"name": format!("{prefix}work")});
        for (method, params) in [
            ("tools/call", params),
            ("tasks/get", json!({"taskId": "x"})),
        ] {
            let refused = client.ask(json!({}), method, params).await;
            assert_eq!(refused.status, 400);
            let error = refused.message().await["error"].clone();
            assert_eq!(error["code"], -32021, "{path} {method}");
            assert_eq!(
                error["data"]["requiredCapabilities"],
                json!({"extensions": {EXTENSION: {}}})
            );
        }
        // What need not be a task is none for those who cannot follow it.
        let params = json!({"name": format!("{prefix}other")});
        upstream.reply("tools/call", &[r#""result":{"content":[]}"#]);
        let plain = client.ask(json!({}), "tools/call", params).await;
        assert_eq!(plain.message().await["result"]["resultType"], "complete");
        assert_eq!(sent(&upstream, "tools/call")["params"].get("task"), None);
        upstream.reply("tools/call", &[CREATED]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_is_cancelled_as_far_as_its_server_lets_it_be() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    upstream.reply("tasks/cancel", &[CANCELLED]);
    let (status, taken) = about(&client, "tasks/cancel", &id).await;
    assert_eq!(
        (status, &taken["result"]["resultType"]),
        (200, &json!("complete"))
    );
    assert_eq!(taken["result"].get("status"), None);
    upstream.reply("tasks/get", &[CANCELLED]);
    let (_, state) = about(&client, "tasks/get", &id).await;
    assert_eq!(state["result"]["status"], "cancelled");
    upstream.reply(
        "tasks/cancel",
        &[r#""error":{"code":-32602,"message":"terminal"}"#],
    );
    let (status, _) = about(&client, "tasks/cancel", &id).await;
    assert_eq!(status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_is_its_callers_alone() {
    let session = upstream().await;
    let stateless = native().await;
    let servers = [
        session.entry("up", SESSION),
        stateless.entry("new", STATELESS),
    ];
    let gateway = Gateway::of_two(&servers.concat()).await;
    for (server, upstream, tool) in [("up", &session, "work"), ("new", &stateless, "work")] {
        let own = format!("/s/{server}/mcp");
        let ann = gateway.client().at(&own).key(ANN);
        let id = begin(&ann, tool).await;
        let bob = gateway.client().at(&own).key(BOB);
        let merged = gateway.client().key(ANN);
        let other = if server == "up" { "new" } else { "up" };
        let elsewhere = gateway.client().at(&format!("/s/{other}/mcp")).key(ANN);
        let cut = &id[..id.len() - 1];
        let unsealed = if server == "up" { "s-1" } else { "t-1" };
        for (what, client, id) in [
            ("another principal", &bob, &*id),
            ("another route", &merged, &*id),
            ("another server", &elsewhere, &*id),
            ("a cut id", &ann, cut),
            ("the server's own id", &ann, unsealed),
        ] {
            let before = upstream.last_body("tasks/get");
            for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
                let (status, refused) = about(client, method, id).await;
                assert_eq!(status, 400, "{server}: {what}: {method}: {refused}");
                assert_eq!(
                    refused["error"]["code"], -32602,
                    "{server}: {what}: {method}"
                );
            }
            assert_eq!(upstream.last_body("tasks/get"), before, "{server}: {what}");
        }
        assert_eq!(about(&ann, "tasks/get", &id).await.0, 200);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn tasks_of_several_servers_live_on_one_endpoint() {
    let session = upstream().await;
    let stateless = native().await;
    let servers = [
        session.entry("up", SESSION),
        stateless.entry("new", STATELESS),
    ];
    let gateway = Gateway::of_two(&servers.concat()).await;
    let client = gateway.client().key(ANN);
    let old = begin(&client, "up_work").await;
    let new = begin(&client, "new_work").await;
    for (id, upstream, own) in [(&old, &session, "s-1"), (&new, &stateless, "t-1")] {
        let (_, state) = about(&client, "tasks/get", id).await;
        assert_eq!(state["result"]["taskId"], **id, "{state}");
        assert_eq!(state["result"]["status"], "working");
        assert_eq!(sent(upstream, "tasks/get")["params"]["taskId"], own);
    }
    assert_eq!(stateless.last_headers("tasks/get")["mcp-name"], "t-1");
    gateway.stop().await;
}

#[tokio::test]
async fn a_result_without_a_type_gets_one() {
    let upstream = native().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = gateway.client().at("/s/up/mcp");
    for (theirs, ours) in [
        (r#""result":{}"#, json!({"resultType": "complete"})),
        (
            r#""result":{"content":[]}"#,
            json!({"resultType": "complete", "content": []}),
        ),
        (
            r#""result":{"content":[],"resultType":"input_required"}"#,
            json!({"resultType": "input_required", "content": []}),
        ),
    ] {
        upstream.reply("tools/call", &[theirs]);
        let answer = client
            .ask(json!({}), "tools/call", json!({"name": "work"}))
            .await;
        assert_eq!(answer.message().await["result"], ours);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn news_of_tasks_come_under_the_clients_ids() {
    let upstream = native().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path);
        let tool = if path == "/mcp" { "up_work" } else { "work" };
        let id = begin(&client, tool).await;
        let wanted = json!({"notifications": {"taskIds": [id, "t-1", "somebody's"]}});
        let refused = client
            .ask(json!({}), "subscriptions/listen", wanted.clone())
            .await;
        assert_eq!(refused.status, 400, "{path}");
        assert_eq!(refused.message().await["error"]["code"], -32021, "{path}");

        let mut events = client
            .ask(follows(), "subscriptions/listen", wanted)
            .await
            .events();
        let acknowledged = events.message().await.unwrap().json();
        assert_eq!(
            acknowledged["params"]["notifications"]["taskIds"],
            json!([id]),
            "{path}"
        );
        let heard = sent(&upstream, "subscriptions/listen");
        assert_eq!(
            heard["params"]["notifications"]["taskIds"],
            json!(["t-1"]),
            "{path}"
        );
        for task in ["t-2", "t-1"] {
            let news = json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": {
                "taskId": task, "status": "working", "createdAt": "c", "lastUpdatedAt": "l", "ttlMs": null}});
            upstream.say("lists", &news).await;
        }
        let news = events.message().await.unwrap().json();
        assert_eq!(news["method"], "notifications/tasks", "{path}");
        assert_eq!(news["params"]["taskId"], *id, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_caller_has_so_many_tasks_and_those_that_have_ended_make_room() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    let first = begin(&client, "work").await;
    for _ in 1..256 {
        begin(&client, "work").await;
    }
    let call = async |tool: &str| {
        let params = json!({"name": tool, "arguments": {}});
        let answer = client.ask(follows(), "tools/call", params).await;
        answer.message().await
    };
    let refused = call("work").await;
    assert_eq!(refused["error"]["code"], -31503, "{refused}");
    // What need not be a task is called without.
    upstream.reply("tools/call", &[r#""result":{"content":[]}"#]);
    assert_eq!(call("other").await["result"]["resultType"], "complete");
    upstream.reply("tools/call", &[CREATED]);
    upstream.reply("tasks/get", &[COMPLETED]);
    for _ in 0..2 {
        let (_, state) = about(&client, "tasks/get", &first).await;
        assert_eq!(state["result"]["status"], "completed");
    }
    begin(&client, "work").await;
    assert_eq!(about(&client, "tasks/get", &first).await.0, 400);
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_stays_where_it_began_when_its_server_is_replaced() {
    let upstream = upstream().await;
    let config =
        |n: usize| upstream.config(&format!("{SESSION}, headers: {{ X-Generation: \"{n}\" }}"));
    let gateway = Gateway::start(&config(0)).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    let session = upstream.last_session("tools/call");
    gateway.reconfigure(&config(1));
    eventually("calls go to the successor", async || {
        begin(&client, "work").await;
        upstream.last_headers("tools/call")["x-generation"] == "1"
    })
    .await;
    let (status, state) = about(&client, "tasks/get", &id).await;
    assert_eq!(
        (status, &state["result"]["status"]),
        (200, &json!("working"))
    );
    assert_eq!(upstream.last_session("tasks/get"), session);
    gateway.stop().await;
}
