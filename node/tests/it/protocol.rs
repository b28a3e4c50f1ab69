//! Rules of the two transports, as clients see them.

use http::Method;
use serde_json::{Value, json};

use crate::support::{DEMO, Gateway, Mode, Push, Upstream, eventually, within};

/// Earliest revision that is served, and the only one with batches.
const FIRST: &str = "2025-03-26";

#[tokio::test]
async fn the_agreed_revision_is_the_asked_one_or_the_latest_with_sessions() {
    let gateway = Gateway::start(DEMO).await;
    for (asked, agreed) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        // At the path of one server, clients that can be asked nothing share its child, whatever revision they speak.
        for path in ["/mcp", "/s/demo/mcp"] {
            let client = gateway.client().at(path);
            let answer = client.initialize(asked, &json!({})).await;
            assert!(answer.header("mcp-session-id").is_some());
            let answer = answer.message().await;
            assert_eq!(answer["result"]["protocolVersion"], agreed, "{path}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_id_in_flight_is_refused_a_second_time() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    let script = upstream.script();
    let call = json!({"jsonrpc": "2.0", "id": "same", "method": "tools/call", "params": {"name": "up_script"}});
    let running = client.post(call.to_string()).await;
    let work = json!({"jsonrpc": "2.0", "id": "same", "method": "tools/call",
        "params": {"name": "up_work", "arguments": {"key": "second"}}});
    let second = client.post(work.to_string()).await;
    assert_eq!(second.status, 400);
    assert_eq!(second.json().await["error"]["code"], -32600);
    assert_eq!(upstream.executions("second"), 0);
    // The number and the text are different ids; the same id in another session is another request.
    let other = gateway.client().open().await;
    let mut answer = other.post(work.to_string()).await.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "done");
    script.send(Push::Answer("first")).await.unwrap();
    answer = running.message().await;
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!("same"), &json!("first"))
    );
    // An id whose request has ended is free again.
    answer = client.post(work.to_string()).await.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "done");
    gateway.stop().await;
}

#[tokio::test]
async fn a_cancelled_call_ends_its_stream_and_is_told_to_the_server() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    let _silent = upstream.script();
    let call = client.message("tools/call", &json!({"name": "up_script"}));
    let mut events = client.post(call.to_string()).await.events();
    // One that is not at the server yet would never get there.
    upstream.got("tools/call").await;
    let cancel = json!({"requestId": call["id"], "reason": "enough"});
    assert_eq!(client.notify("notifications/cancelled", cancel).await, 202);
    while let Some(event) = events.next().await {
        assert!(event.data.is_empty(), "{event:?}");
    }
    let told = upstream.got("notifications/cancelled").await;
    assert_eq!(told["params"]["reason"], "enough");
    let cancelled = |line: &Value| line["event"] == "completed" && line["status"] == "cancelled";
    eventually("the audit log says so", async || {
        gateway.audit().iter().any(cancelled)
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_cancel_that_overtakes_its_request_prevents_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    assert_eq!(
        client
            .notify("notifications/cancelled", json!({"requestId": 77}))
            .await,
        202
    );
    let call = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call",
        "params": {"name": "up_work", "arguments": {"key": "cancelled"}}});
    let mut events = client.post(call.to_string()).await.events();
    assert!(events.next().await.is_none());
    assert_eq!(upstream.executions("cancelled"), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn deleting_a_session_ends_its_calls_streams_and_far_ends() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let own = upstream.sessions_open();
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "bind"})).await;
    assert_eq!(upstream.sessions_open(), own + 1);
    let mut get = client.listen(None).await;
    upstream.set(Mode::Hang);
    let call = json!({"name": "up_work", "arguments": {"key": "hangs"}});
    let request = client.message("tools/call", &call);
    let mut post = client.post(request.to_string()).await.events();
    eventually("the call is at the server", async || {
        upstream.executions("hangs") == 1
    })
    .await;
    assert_eq!(client.delete().await, 200);
    let answer = post.message().await.unwrap().json();
    assert_eq!(answer["id"], request["id"]);
    assert_eq!(answer["error"]["code"], -31404);
    for events in [&mut get, &mut post] {
        within("end of the stream", async {
            while events.next().await.is_some() {}
        })
        .await;
    }
    let told = upstream.got("notifications/cancelled").await;
    assert_eq!(told["params"]["requestId"], request["id"]);
    eventually("the far end is closed", async || {
        upstream.sessions_open() == own
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn batches_exist_in_one_revision() {
    let gateway = Gateway::start(DEMO).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "demo_add", "arguments": {"a": 1, "b": 2}}},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {"jsonrpc": "2.0", "id": "x", "method": "ping"},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "no_such_tool"}}
    ])
    .to_string();
    let client = gateway.client().open_with(FIRST, json!({})).await;
    let answers = client.post(batch.clone()).await.json().await;
    let answer = |id: Value| {
        answers
            .as_array()
            .unwrap()
            .iter()
            .find(|a| a["id"] == id)
            .unwrap()
    };
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!(answer(json!(1))["result"]["content"][0]["text"], "3");
    assert_eq!(answer(json!("x"))["result"], json!({}));
    assert_eq!(answer(json!(3))["error"]["code"], -32602);
    let with_strays = r#"[1, {"jsonrpc":"2.0","id":7,"method":"ping"}, {"jsonrpc":"2.0","id":8,"method":"ping","params":null}]"#;
    let answer = client.post(with_strays.to_owned()).await;
    assert_eq!(answer.status, 200);
    let answers = answer.json().await;
    let told: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|a| (&a["id"], &a["error"]["code"]))
        .collect();
    assert_eq!(
        told,
        [
            (&Value::Null, &json!(-32600)),
            (&json!(7), &Value::Null),
            (&json!(8), &json!(-32600))
        ]
    );
    assert_eq!(
        client.post("[1]".to_owned()).await.json().await[0]["error"]["code"],
        -32600
    );
    assert_eq!(client.post("[1, {]".to_owned()).await.status, 400);
    let only_notifications =
        json!([{"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}]);
    assert_eq!(
        client.post(only_notifications.to_string()).await.status,
        202
    );
    let with_initialize =
        json!([{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}]);
    assert_eq!(client.post(with_initialize.to_string()).await.status, 400);
    for revision in ["2025-06-18", "2025-11-25"] {
        let later = gateway.client().open_with(revision, json!({})).await;
        let answer = later.post(batch.clone()).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json().await["error"]["code"], -32600);
    }
    let header = [("mcp-protocol-version", "2026-07-28")];
    assert_eq!(
        gateway
            .client()
            .send(Method::POST, &header, batch)
            .await
            .status,
        400
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_batch_with_a_long_call_is_answered_as_a_stream() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client().open_with(FIRST, json!({})).await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "demo_countdown",
            "arguments": {"steps": 2, "pause_ms": 150}, "_meta": {"progressToken": "t"}}},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    ]);
    let mut events = client.post(batch.to_string()).await.events();
    let mut answered = Vec::new();
    while let Some(event) = events.message().await {
        answered.extend(event.json()["id"].as_u64());
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2]);
    gateway.stop().await;
}

#[tokio::test]
async fn the_version_header_must_name_a_revision_with_sessions() {
    let gateway = Gateway::start(DEMO).await;
    let mut client = gateway.client().open().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (version, status) in [
        ("2025-03-26", 200),
        ("2025-06-18", 200),
        ("2025-11-25", 200),
        ("1.0.0", 400),
        ("2199-01-01", 400),
    ] {
        client.set("mcp-protocol-version", version);
        assert_eq!(client.post(ping.clone()).await.status, status, "{version}");
    }
    client.unset("mcp-protocol-version");
    assert_eq!(client.post(ping.clone()).await.status, 200);
    // The header of the stateless era makes a stateless request, which lacks everything else.
    client.set("mcp-protocol-version", "2026-07-28");
    let answer = client.post(ping).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json().await["error"]["code"], -32602);
    gateway.stop().await;
}

#[tokio::test]
async fn content_types_are_checked() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client().open().await;
    let ping = || json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (name, value, status) in [
        ("accept", "application/json, text/event-stream", 200),
        (
            "accept",
            "text/event-stream;q=0.5, application/json;q=0.9",
            200,
        ),
        ("accept", "*/*", 200),
        ("accept", "", 200),
        ("accept", "application/json", 406),
        ("accept", "text/event-stream", 406),
        ("accept", "text/html", 406),
        ("content-type", "application/json; charset=utf-8", 200),
        ("content-type", "Application/JSON", 200),
        ("content-type", "text/plain", 415),
        ("content-type", "", 415),
        ("content-encoding", "identity", 200),
        ("content-encoding", "gzip", 415),
    ] {
        let answer = client.send(Method::POST, &[(name, value)], ping()).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        if status != 200 {
            assert_eq!(answer.json().await["error"]["code"], -32600, "{value}");
        }
    }
    let answer = client
        .send(Method::GET, &[("accept", "application/json")], "")
        .await;
    assert_eq!(answer.status, 406);
    let message = &answer.json().await["error"]["message"];
    assert_eq!(message, "`Accept` has to name text/event-stream");
    gateway.stop().await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_before_anything_else() {
    let gateway = Gateway::start(DEMO).await;
    let port = gateway.address.port();
    let local = format!("localhost:{port}");
    let foreign = format!("evil.example:{port}");
    for (name, value, status) in [
        ("host", local.as_str(), 200),
        ("host", foreign.as_str(), 403),
        ("host", "169.254.169.254", 403),
        ("origin", "http://localhost:3000", 200),
        ("origin", "http://127.0.0.1", 200),
        ("origin", "http://evil.example", 403),
        ("origin", "http://localhost.evil.example", 403),
        ("origin", "null", 403),
    ] {
        let mut client = gateway.client();
        client.set(name, value);
        let answer = client.initialize("2025-11-25", &json!({})).await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn other_paths_and_methods_do_not_exist() {
    let gateway = Gateway::start(DEMO).await;
    for path in [
        "/",
        "/mcp/",
        "/s/demo",
        "/s//mcp",
        "/api/v1/sessions",
        "/metrics",
        "/%6dcp",
    ] {
        assert_eq!(
            gateway.client().at(path).post("{}").await.status,
            404,
            "{path}"
        );
    }
    let answer = gateway.client().send(Method::PUT, &[], "{}").await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, POST, DELETE"))
    );
    let message = &answer.json().await["error"]["message"];
    assert_eq!(message, "only GET, POST, DELETE exist here");
    let header = [("mcp-protocol-version", "2026-07-28")];
    for method in [Method::GET, Method::DELETE] {
        let answer = gateway.client().send(method, &header, "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn both_eras_are_served_side_by_side() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client();
    let answer = client.stateless("server/discover", json!({})).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("mcp-session-id").is_none());
    let found = answer.json().await;
    assert_eq!(
        found["result"]["supportedVersions"][0], "2026-07-28",
        "{found}"
    );
    let add = json!({"name": "demo_add", "arguments": {"a": 2, "b": 3}});
    let answer = client
        .stateless("tools/call", add.clone())
        .await
        .message()
        .await;
    assert_eq!(answer["result"]["content"][0]["text"], "5");
    assert_eq!(answer["result"]["resultType"], "complete");
    for removed in [
        "ping",
        "initialize",
        "logging/setLevel",
        "resources/subscribe",
    ] {
        let answer = client.stateless(removed, json!({"uri": "x"})).await;
        assert_eq!(answer.status, 404, "{removed}");
        assert_eq!(answer.json().await["error"]["code"], -32601);
    }
    let mut lying = gateway.client();
    lying.set("mcp-method", "tools/list");
    let params = json!({"name": "demo_add", "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}});
    let body = lying.message("tools/call", &params).to_string();
    let header = [("mcp-protocol-version", "2026-07-28")];
    let answer = lying.send(Method::POST, &header, body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json().await["error"]["code"], -32020);
    let session = gateway.client().open().await;
    let answer = session.request("tools/call", add).await;
    assert_eq!(answer["result"]["content"][0]["text"], "5");
    assert!(answer["result"].get("resultType").is_none());
    gateway.stop().await;
}
