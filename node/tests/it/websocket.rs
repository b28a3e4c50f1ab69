//! MCP over WebSocket: both eras on one connection, and every end with its code.

use std::collections::BTreeSet;

use futures_util::future::join;
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    ANN, BOB, DEMO, Gateway, Push, Socket, Upstream, eventually, text_frame, within,
};

fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}})
}

fn stateless(mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    params
}

async fn sessions(gateway: &Gateway) -> usize {
    let listed = gateway.admin("/api/v1/sessions").await;
    listed["sessions"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_session_lives_on_a_connection() {
    let gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::connect(gateway.address).await;
    let opened = socket.initialize(json!({})).await;
    assert_eq!(opened["result"]["protocolVersion"], "2025-11-25");
    let tools = socket.ask("tools/list", json!({})).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "demo_echo");
    let params = json!({"name": "demo_countdown", "arguments": {"steps": 2, "pause_ms": 120},
        "_meta": {"progressToken": "p"}});
    socket
        .say(&json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}))
        .await;
    for step in 1..=2 {
        assert_eq!(socket.hear().await["params"]["progress"], step);
    }
    let answer = socket.hear().await;
    assert_eq!(answer["id"], 9);
    assert_eq!(answer["result"]["content"][0]["text"], "lift-off");
    let listed = gateway.admin("/api/v1/sessions").await;
    assert_eq!(listed["sessions"][0]["route"], "/ws");
    socket.send(Message::Close(None)).await;
    within("end", async { while socket.frame().await.is_some() {} }).await;
    eventually("the session has ended", async || {
        sessions(&gateway).await == 0
    })
    .await;
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn the_first_answer_comes_before_anything_that_servers_say() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let mut socket = Socket::connect(gateway.address).await;
    let opened = socket.initialize(json!({"roots": {}})).await;
    assert!(opened["result"].is_object(), "{opened}");
    socket
        .ask(
            "tools/call",
            json!({"name": "up_work", "arguments": {"key": "bind"}}),
        )
        .await;
    let session = upstream.called_session();
    upstream.listened_by(&session).await;
    let said = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": 1}});
    upstream.say(&session, &said).await;
    assert_eq!(socket.hear().await, said);
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_asks_the_client_and_is_answered() {
    let gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::connect(gateway.address).await;
    socket.initialize(json!({"elicitation": {}})).await;
    socket.say(&call(5, "demo_ask", &json!({}))).await;
    let question = socket.hear().await;
    assert_eq!(question["method"], "elicitation/create", "{question}");
    // Others are served meanwhile.
    assert_eq!(socket.ask("ping", json!({})).await["result"], json!({}));
    let told = json!({"action": "accept", "content": {"name": "Ada"}});
    socket
        .say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": told}))
        .await;
    let answer = socket.hear().await;
    assert_eq!(answer["id"], 5);
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("Ada"), "{answer}");
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn both_eras_live_on_one_connection() {
    let gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::connect(gateway.address).await;
    let add = json!({"name": "demo_add", "arguments": {"a": 2, "b": 2}});
    let alone = socket.ask("tools/call", stateless(add.clone())).await;
    assert_eq!(alone["result"]["content"][0]["text"], "4", "{alone}");
    assert_eq!(alone["result"]["resultType"], "complete");
    // A request of the session era needs its session.
    let early = socket.ask("tools/call", add.clone()).await;
    assert_eq!(early["error"]["code"], -32600, "{early}");
    socket.initialize(json!({})).await;
    let inside = socket.ask("tools/call", add.clone()).await;
    assert_eq!(inside["result"]["content"][0]["text"], "4", "{inside}");
    let beside = socket.ask("tools/call", stateless(add)).await;
    assert_eq!(beside["result"]["resultType"], "complete", "{beside}");
    // One session a connection.
    let again = socket.initialize(json!({})).await;
    assert_eq!(again["error"]["code"], -32600, "{again}");
    assert_eq!(sessions(&gateway).await, 1);
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stateless_call_is_cancelled_by_its_id() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: stateless")).await;
    let mut socket = Socket::connect(gateway.address).await;
    let script = upstream.script();
    let params = stateless(json!({"name": "up_script", "arguments": {}}));
    let request = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": params});
    socket.say(&request).await;
    // One that is not at the server yet would never get there.
    upstream.got("tools/call").await;
    socket
        .say(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": "a"}}),
        )
        .await;
    within("the server sees the end of its call", script.closed()).await;
    assert!(socket.is_silent().await);
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_cancel_finds_the_request_that_came_right_before_it() {
    let upstream = Upstream::start().await;
    let limits = "limits: { session_calls_max: 2 }\n";
    let gateway = Gateway::start(&(limits.to_owned() + &upstream.config(", era: stateless"))).await;
    let mut socket = Socket::connect(gateway.address).await;
    // None of these calls would ever end; more than fit on one connection.
    let scripts: Vec<_> = (0..40).map(|_| upstream.script()).collect();
    let params = stateless(json!({"name": "up_script", "arguments": {}}));
    for n in 0..scripts.len() {
        let id = format!("b{n}");
        socket
            .say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
            .await;
        let cancel = json!({"requestId": id});
        socket
            .say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel}))
            .await;
        let next = socket.ask("tools/list", stateless(json!({}))).await;
        assert!(next["result"].is_object(), "{next}");
    }
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_listen_is_acknowledged_and_ended_by_shutdown() {
    let mut gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::connect(gateway.address).await;
    let params = stateless(json!({"notifications": {"toolsListChanged": true}}));
    let listen =
        json!({"jsonrpc": "2.0", "id": 4, "method": "subscriptions/listen", "params": params});
    socket.say(&listen).await;
    let acknowledged = socket.hear().await;
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    gateway.signal(Signal::TERM);
    let ended = socket.hear().await;
    assert_eq!(
        (&ended["id"], &ended["result"]["resultType"]),
        (&json!(4), &json!("complete"))
    );
    assert_eq!(socket.closed().await.0, 1001);
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_call_in_flight_is_answered_before_the_node_leaves() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    let mut socket = Socket::connect(gateway.address).await;
    socket.initialize(json!({})).await;
    let script = upstream.script();
    socket.say(&call(7, "up_script", &json!({}))).await;
    script.send(Push::Progress(1)).await.unwrap();
    assert_eq!(socket.hear().await["params"]["progress"], 1);
    gateway.signal(Signal::TERM);
    // What is new goes elsewhere.
    eventually("new calls are refused", async || {
        let answer = socket.ask("tools/list", json!({})).await;
        answer["error"]["code"] == -31503
    })
    .await;
    script.send(Push::Answer("end")).await.unwrap();
    let answer = socket.hear().await;
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"]["content"][0]["text"], "end");
    assert_eq!(
        socket.closed().await,
        (1001, "this node is shutting down".to_owned())
    );
    assert!(gateway.ended().await.success());
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn a_server_has_a_path_of_its_own() {
    let gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::shake(gateway.address, "/s/demo/ws", &[])
        .await
        .unwrap();
    socket.initialize(json!({})).await;
    let tools = socket.ask("tools/list", json!({})).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "echo");
    let refused = Socket::shake(gateway.address, "/s/demo/other/ws", &[]).await;
    assert!(refused.err().unwrap().contains(" 404 "));
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn garbage_is_answered_and_passed_over() {
    let gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::connect(gateway.address).await;
    for garbage in ["{\"jsonrpc\":", "", "[]", "7", "{}"] {
        socket.send(Message::text(garbage)).await;
        let refusal = socket.hear().await;
        let code = refusal["error"]["code"].as_i64().unwrap();
        assert!([-32700, -32600].contains(&code), "{garbage}: {refusal}");
    }
    let null_params = r#"{"jsonrpc":"2.0","id":13,"method":"ping","params":null}"#;
    socket.send(Message::text(null_params)).await;
    assert_eq!(socket.hear().await["id"], 13);
    assert!(socket.initialize(json!({})).await["result"].is_object());
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn what_breaks_the_framing_ends_the_connection_with_its_code() {
    let gateway = Gateway::start(DEMO).await;
    let large = vec![b' '; (4 << 20) + 1];
    let cases: [(&[u8], u16); 5] = [
        // A binary frame.
        (&[0x82, 0x80, 0, 0, 0, 0], 1003),
        (&text_frame(&large), 1009),
        (&text_frame(b"\xff\xfe"), 1007),
        // No mask.
        (&[0x81, 0x01, b'x'], 1002),
        // A reserved bit.
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002),
    ];
    for (bytes, code) in cases {
        let mut socket = Socket::connect(gateway.address).await;
        socket.initialize(json!({})).await;
        socket.send_raw(bytes).await;
        assert_eq!(socket.closed().await.0, code);
    }
    eventually("their sessions have ended", async || {
        sessions(&gateway).await == 0
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let gateway = Gateway::start(DEMO).await;
    for (headers, status) in [
        ([("host", "evil.example")], "403"),
        ([("origin", "http://evil.example")], "403"),
        ([("connection", "keep-alive")], "426"),
        ([("sec-websocket-version", "8")], "426"),
        ([("sec-websocket-key", "short")], "400"),
        ([("sec-websocket-protocol", "soap")], "400"),
        ([("authorization", "Bearer lg_nobody")], "401"),
    ] {
        let refused = Socket::shake(gateway.address, "/ws", &headers)
            .await
            .err()
            .unwrap();
        assert!(
            refused.starts_with(&format!("http/1.1 {status} ")),
            "{headers:?}: {refused}"
        );
    }
    let path = gateway.client().at("/ws");
    assert_eq!(path.post("{}").await.status, 405);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_session_with_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let mut socket = Socket::connect(gateway.address).await;
    socket.initialize(json!({})).await;
    let script = upstream.script();
    socket.say(&call(7, "up_script", &json!({}))).await;
    script.send(Push::Progress(1)).await.unwrap();
    socket.hear().await;
    drop(socket.into_inner());
    eventually("the session has ended", async || {
        sessions(&gateway).await == 0
    })
    .await;
    let cancelled = upstream.got("notifications/cancelled").await;
    assert!(
        cancelled["params"]["requestId"].is_number()
            || cancelled["params"]["requestId"].is_string()
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_an_operator_ends_closes_its_connection() {
    let gateway = Gateway::start(DEMO).await;
    let mut socket = Socket::connect(gateway.address).await;
    socket.initialize(json!({})).await;
    let listed = gateway.admin("/api/v1/sessions").await;
    let id = listed["sessions"][0]["id"].as_str().unwrap();
    gateway
        .admin_delete(&format!("/api/v1/sessions/{id}"))
        .await;
    assert_eq!(
        socket.closed().await,
        (1000, "the session ended".to_owned())
    );
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn more_requests_than_fit_are_refused_one_by_one() {
    let upstream = Upstream::start().await;
    let limits = "limits: { session_calls_max: 2 }\n";
    let gateway = Gateway::start(&(limits.to_owned() + &upstream.config(", era: stateless"))).await;
    let mut socket = Socket::connect(gateway.address).await;
    // As many as fit: the calls of a session, and the places beside them.
    let scripts: Vec<_> = (0..18).map(|_| upstream.script()).collect();
    let params = stateless(json!({"name": "up_script", "arguments": {}}));
    for id in 0..40 {
        socket
            .say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
            .await;
    }
    for _ in 0..22 {
        let refusal = socket.hear().await;
        assert_eq!(refusal["error"]["code"], -31503, "{refusal}");
    }
    for script in &scripts {
        script.send(Push::Answer("end")).await.unwrap();
    }
    for _ in 0..18 {
        let answer = socket.hear().await;
        assert_eq!(answer["result"]["content"][0]["text"], "end", "{answer}");
    }
    drop(socket);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_late_holds_nobody_up_and_loses_nothing() {
    /// With their texts more than the connection and the gateway hold for one client.
    const N_CALLS: u64 = 600;
    let gateway = Gateway::start(DEMO).await;
    let mut lazy = Socket::connect(gateway.address).await;
    lazy.initialize(json!({})).await;
    let (mut sink, mut source) = lazy.into_stream().split();
    let text = "x".repeat(64 << 10);
    let say = async {
        for id in 0..N_CALLS {
            let message = call(id, "demo_echo", &json!({"text": text}));
            sink.send(Message::text(message.to_string())).await.unwrap();
        }
    };
    let hear = async {
        // Another one is served before it reads anything.
        let mut other = Socket::connect(gateway.address).await;
        assert!(other.initialize(json!({})).await["result"].is_object());
        let mut answered = BTreeSet::new();
        while answered.len() < N_CALLS.try_into().unwrap() {
            let Message::Text(text) = source.next().await.unwrap().unwrap() else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).unwrap();
            let refused = answer["error"]["code"] == -31503;
            assert!(refused || answer["result"].is_object(), "{answer}");
            assert!(answered.insert(answer["id"].as_u64().unwrap()), "twice");
        }
    };
    within("all answers", join(say, hear)).await;
    drop((sink, source));
    eventually("both sessions have ended", async || {
        sessions(&gateway).await == 0
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_credential_that_is_taken_away_closes_its_connections() {
    let key = |id: &str, env: &str| {
        format!("{{ id: {id}, key_env: {env}, principal: {id}, roles: [all] }}")
    };
    let config = |keys: &[String]| {
        let roles = "roles: { all: { allow: [\"*\"] } }";
        let keys = keys.join(", ");
        let servers = DEMO.split_once("servers:").unwrap().1;
        format!("identity: {{ api_keys: [{keys}] }}\n{roles}\nservers:{servers}")
    };
    let keys = [("KEY_ANN", ANN), ("KEY_BOB", BOB)];
    let (ann, bob) = (key("ann", "KEY_ANN"), key("bob", "KEY_BOB"));
    let gateway = Gateway::start_with(&config(&[ann, bob.clone()]), &keys).await;
    let bearer = |key: &str| format!("Bearer {key}");
    let connect = async |key: &str| {
        let headers = [("authorization", bearer(key))];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let socket = Socket::shake(gateway.address, "/ws", &headers).await;
        let mut socket = socket.unwrap();
        socket.initialize(json!({})).await;
        socket
    };
    let (mut anns, mut bobs) = (connect(ANN).await, connect(BOB).await);
    let stream = gateway.client().at("/sse").key(ANN);
    let mut events = stream.send(http::Method::GET, &[], "").await.events();
    assert!(events.next().await.is_some());
    gateway.reconfigure(&config(&[bob]));
    assert_eq!(anns.closed().await.0, 1008);
    assert!(events.next().await.is_none());
    assert_eq!(bobs.ask("ping", json!({})).await["result"], json!({}));
    drop((anns, bobs));
    gateway.stop().await;
}
