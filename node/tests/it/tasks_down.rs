//! Tasks of stateless clients: at a server with those of 2025-11-25, and at one with the extension.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Gateway, Push, Upstream, eventually};

const SESSION: &str = ", era: session";
const STATELESS: &str = ", era: stateless";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";
const TOOLS: &str = r#""result":{"tools":[{"name":"work","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}},{"name":"other","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}},{"name":"script","inputSchema":{"type":"object"}}]}"#;
const CREATED: &str = r#""result":{"task":{"taskId":"s-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttl":60000,"pollInterval":50}}"#;
const WORKING: &str = r#""result":{"taskId":"s-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:01Z","ttl":60000}"#;
const ASKING: &str = r#""result":{"taskId":"s-1","status":"input_required","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:02Z","ttl":60000}"#;
const COMPLETED: &str = r#""result":{"taskId":"s-1","status":"completed","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:03Z","ttl":60000}"#;
const CANCELLED: &str = r#""result":{"taskId":"s-1","status":"cancelled","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:03Z","ttl":60000}"#;
const RESULT: &str = r#""result":{"content":[{"type":"text","text":"done"}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s-1"}}}"#;
const QUESTION: &str = r#"{"jsonrpc":"2.0","id":41,"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s-1"}}}}"#;
/// Of a server with the extension.
const MADE: &str = r#""result":{"resultType":"task","taskId":"t-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttlMs":60000}"#;
const STATE: &str = r#""result":{"resultType":"complete","taskId":"t-1","status":"working","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:00Z","ttlMs":60000}"#;
const EMPTY: &str = r#""result":{"resultType":"complete"}"#;

const ANN: &str = "lg_0000000000000000000000000000000000000000ann";
const BOB: &str = "lg_0000000000000000000000000000000000000000bob";

async fn gateway_of_two(servers: &str) -> Gateway {
    let config = format!(
        "identity:\n  api_keys:\n    - {{ id: ann, key_env: KEY_ANN, principal: ann, roles: [all] }}\n    - {{ id: bob, key_env: KEY_BOB, principal: bob, roles: [all] }}\nroles: {{ all: {{ allow: [\"*\"] }} }}\nservers:\n{servers}"
    );
    Gateway::start_with(&config, &[("KEY_ANN", ANN), ("KEY_BOB", BOB)]).await
}

/// A server of the session era that runs tools as tasks.
async fn upstream() -> Upstream {
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

async fn ask(client: &Client, capabilities: Value, method: &str, mut params: Value) -> Answer {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    let mut headers = vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    let name = ["name", "uri", "taskId"].map(|key| params[key].as_str());
    let name = name.into_iter().flatten().next();
    headers.extend(name.map(|name| ("mcp-name", name)));
    let body = client.message(method, &params).to_string();
    client.send(Method::POST, &headers, body).await
}

fn follows() -> Value {
    json!({"elicitation": {}, "extensions": {EXTENSION: {}}})
}

/// Begins a task; gives its id.
async fn begin(client: &Client, tool: &str) -> String {
    let params = json!({"name": tool, "arguments": {}});
    let created = ask(client, follows(), "tools/call", params).await;
    assert_eq!(created.status, 200);
    let created = created.message().await;
    assert_eq!(created["result"]["resultType"], "task", "{created}");
    created["result"]["taskId"].as_str().unwrap().to_owned()
}

async fn about(client: &Client, method: &str, id: &str) -> (u16, Value) {
    let answer = ask(client, follows(), method, json!({"taskId": id})).await;
    (answer.status, answer.message().await)
}

fn sent(upstream: &Upstream, method: &str) -> Value {
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
            let created = ask(&client, follows(), "tools/call", params).await;
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
        let discovered = ask(&client, json!({}), "server/discover", json!({})).await;
        let capabilities = discovered.message().await["result"]["capabilities"].clone();
        assert_eq!(capabilities["extensions"], json!({EXTENSION: {}}), "{path}");
        assert_eq!(capabilities.get("tasks"), None);
        let listed = ask(&client, json!({}), "tools/list", json!({})).await;
        let listed = listed.message().await["result"]["tools"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 3, "{path}");

        let params = json!({"name": format!("{prefix}work")});
        for (method, params) in [
            ("tools/call", params),
            ("tasks/get", json!({"taskId": "x"})),
        ] {
            let refused = ask(&client, json!({}), method, params).await;
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
        let plain = ask(&client, json!({}), "tools/call", params).await;
        assert_eq!(plain.message().await["result"]["resultType"], "complete");
        assert_eq!(sent(&upstream, "tools/call")["params"].get("task"), None);
        upstream.reply("tools/call", &[CREATED]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn questions_of_a_task_are_shown_with_its_state_and_answered_by_updates() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let say = upstream.script_of("tasks/result");
    say.send(Push::Raw(QUESTION)).await.unwrap();
    let mut asked = Value::Null;
    eventually("the question is known", async || {
        asked = about(&client, "tasks/get", &id).await.1["result"].clone();
        asked["status"] == "input_required"
    })
    .await;
    assert_eq!(
        asked["inputRequests"],
        json!({"ask-1": {"method": "elicitation/create",
            "params": {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}}})
    );
    let update = async |responses: Value| {
        let params = json!({"taskId": id, "inputResponses": responses});
        let answer = ask(&client, follows(), "tasks/update", params).await;
        (answer.status, answer.message().await)
    };
    let (status, refused) = update(json!({"ask-1": {"action": "perhaps"}})).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!(-32602)));
    let given = json!({"action": "accept", "content": {"name": "x"}});
    let (status, taken) = update(json!({"ask-1": given, "ask-9": {"action": "cancel"}})).await;
    assert_eq!(status, 200);
    assert_eq!(taken["result"]["resultType"], "complete");
    let answer = sent(&upstream, "");
    assert_eq!(answer["id"], 41);
    assert_eq!(answer["result"]["action"], "accept");
    assert_eq!(answer["result"]["_meta"][RELATED]["taskId"], "s-1");
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
    let gateway = gateway_of_two(&servers.concat()).await;
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
    let gateway = gateway_of_two(&servers.concat()).await;
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
        let answer = ask(&client, json!({}), "tools/call", json!({"name": "work"})).await;
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
        let refused = ask(&client, json!({}), "subscriptions/listen", wanted.clone()).await;
        assert_eq!(refused.status, 400, "{path}");
        assert_eq!(refused.message().await["error"]["code"], -32021, "{path}");

        let mut events = ask(&client, follows(), "subscriptions/listen", wanted)
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
        let answer = ask(&client, follows(), "tools/call", params).await;
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

#[tokio::test]
async fn what_a_task_asks_before_it_is_known_is_asked_of_its_client() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    upstream.reply("tools/call", &[&CREATED.replace("s-1", "s-0")]);
    begin(&client, "work").await;
    let next = sent(&upstream, "tools/call")["id"].as_u64().unwrap() + 1;
    let say = upstream.script_of("tools/call");
    let created = format!(r#"{{"jsonrpc":"2.0","id":{next},{CREATED}}}"#);
    say.send(Push::Raw(QUESTION)).await.unwrap();
    say.send(Push::Raw(created.leak())).await.unwrap();
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let (_, state) = about(&client, "tasks/get", &id).await;
    assert_eq!(state["result"]["status"], "input_required", "{state}");
    assert_eq!(
        state["result"]["inputRequests"]["ask-1"]["method"],
        "elicitation/create"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_that_is_taken_back_on_the_sessions_own_stream_is_shown_no_more() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let session = upstream.called_session();
    upstream.listened_by(&session).await;
    let question: Value = serde_json::from_str(QUESTION).unwrap();
    upstream.say(&session, &question).await;
    let state = async || about(&client, "tasks/get", &id).await.1["result"]["status"].clone();
    eventually("the question is known", async || {
        state().await == "input_required"
    })
    .await;
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 41}});
    upstream.say(&session, &cancelled).await;
    eventually("the question is gone", async || state().await == "working").await;
    gateway.stop().await;
}
