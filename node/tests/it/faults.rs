//! Servers that fail in the middle of a call: one definite error, at most one execution, and nobody else is touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lockgate_node::task::spawn_named;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::{Client, DEMO, Gateway, Mode, Push, Upstream, eventually, within};

/// Timeout of a server that hangs. It has to have got the call by then, also on a busy machine.
const SHORT: &str = ", timeout: 2s";

/// A failing server beside a sound one. The breaker stays out of the way of what is tested here.
async fn beside_demo(upstream: &Upstream, more: &str) -> Gateway {
    let settings = format!(
        ", era: session, breaker: {{ failures: 1000, minimum_calls: 1000, sliding_window_size: 1000 }}{more}"
    );
    let entry = upstream.entry("up", &settings);
    Gateway::start(&format!("{DEMO}{entry}")).await
}

async fn is_untouched(client: &Client) {
    let answer = client
        .call("demo_echo", json!({"message": "still here"}))
        .await;
    assert_eq!(
        answer["result"]["content"][0]["text"], "still here",
        "{answer}"
    );
}

/// The client gets one error that says whether the server may have acted, and the server acted at most once.
fn is_definite(answer: &Value, outcome: &str) {
    assert_eq!(answer["error"]["data"]["server"], "up", "{answer}");
    assert_eq!(answer["error"]["data"]["outcome"], outcome, "{answer}");
    assert!(answer.get("result").is_none());
}

async fn fails_once(mode: Mode, more: &str, code: i64) {
    let upstream = Upstream::start().await;
    let gateway = beside_demo(&upstream, more).await;
    let (client, other) = (gateway.client().open().await, gateway.client().open().await);
    is_untouched(&other).await;
    upstream.set(mode);
    for n in 0..3 {
        let key = format!("call-{n}");
        let answer = within("failing call", client.call("up_work", json!({"key": key}))).await;
        is_definite(&answer, "unknown");
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(upstream.executions(&key), 1, "{mode:?}");
        is_untouched(&other).await;
    }
    upstream.set(Mode::Serve);
    let answer = client.call("up_work", json!({"key": "healed"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_after_executing_ran_once() {
    fails_once(Mode::DieAfterExecuting, "", -31502).await;
}

#[tokio::test]
async fn a_hung_server_times_out() {
    fails_once(Mode::Hang, SHORT, -31504).await;
}

#[tokio::test]
async fn garbage_is_told_as_such() {
    fails_once(Mode::Garbage, "", -31502).await;
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    fails_once(Mode::Flood, "", -31502).await;
}

#[tokio::test]
async fn a_stateless_call_that_dies_ran_once() {
    for (mode, more, code) in [
        (Mode::DieAfterExecuting, "", -31502),
        (Mode::Hang, SHORT, -31504),
        (Mode::Garbage, "", -31502),
        (Mode::Flood, "", -31502),
    ] {
        let upstream = Upstream::start().await;
        let config = upstream.config(&format!(", era: stateless{more}"));
        let gateway = Gateway::start(&config).await;
        upstream.set(mode);
        let client = gateway.client();
        let params = json!({"name": "up_work", "arguments": {"key": "k"}});
        let answer = within("failing call", client.stateless("tools/call", params)).await;
        let answer = answer.message().await;
        is_definite(&answer, "unknown");
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(upstream.executions("k"), 1, "{mode:?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_by_status_is_no_execution_and_no_second_attempt_of_ours() {
    let upstream = Upstream::start().await;
    let gateway = beside_demo(&upstream, "").await;
    let (client, other) = (gateway.client().open().await, gateway.client().open().await);
    for code in [500, 502, 503] {
        upstream.set(Mode::Refuse(code));
        let key = format!("status-{code}");
        let answer = client.call("up_work", json!({"key": key})).await;
        is_definite(&answer, "unknown");
        assert_eq!(upstream.executions(&key), 0);
        is_untouched(&other).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn calls_in_flight_at_a_killed_server_all_end() {
    let mut upstream = Upstream::start().await;
    let gateway = beside_demo(&upstream, "").await;
    let client = gateway.client().open().await;
    upstream.set(Mode::Hang);
    let calls = (0..16).map(|n| client.call("up_work", json!({"key": format!("k{n}")})));
    let all = futures_util::future::join_all(calls);
    let kill = async {
        eventually("all calls run", async || {
            (0..16).all(|n| upstream.executions(&format!("k{n}")) == 1)
        })
        .await;
        upstream.kill().await;
    };
    let (answers, ()) = within("ends of all calls", futures_util::future::join(all, kill)).await;
    for answer in &answers {
        is_definite(answer, "unknown");
    }
    assert!((0..16).all(|n| upstream.executions(&format!("k{n}")) == 1));
    is_untouched(&client).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_of_a_killed_server_ends_in_one_error() {
    let mut upstream = Upstream::start().await;
    let gateway = beside_demo(&upstream, "").await;
    let client = gateway.client().open().await;
    let script = upstream.script();
    script.send(Push::Progress(1)).await.unwrap();
    let params = json!({"name": "up_script", "_meta": {"progressToken": 1}});
    let call = client.message("tools/call", &params);
    let mut events = client.post(call.to_string()).await.events();
    assert_eq!(
        events.message().await.unwrap().json()["params"]["progress"],
        1
    );
    upstream.kill().await;
    let answer = events.message().await.unwrap().json();
    assert_eq!(answer["id"], call["id"]);
    is_definite(&answer, "unknown");
    assert!(events.next().await.is_none(), "one error, and the end");
    is_untouched(&client).await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_open_breaker_answers_at_once_and_closes_again() {
    let upstream = Upstream::start().await;
    let breaker = ", era: session, breaker: { failures: 3, open_for: 200ms, open_for_max: 400ms, half_open_calls: 1 }";
    let gateway = Gateway::start(&upstream.config(breaker)).await;
    let client = gateway.client().open().await;
    upstream.set(Mode::DieAfterExecuting);
    eventually("the breaker opens", async || {
        let answer = client.call("up_work", json!({"key": "k"})).await;
        answer["error"]["data"]["outcome"] == "not_sent"
    })
    .await;
    upstream.set(Mode::Serve);
    eventually("the breaker closes", async || {
        client
            .call("up_work", json!({"key": "k"}))
            .await
            .get("result")
            .is_some()
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn lists_come_from_the_servers_that_answer() {
    let mut upstream = Upstream::start().await;
    let gateway = beside_demo(&upstream, "").await;
    let all = gateway.client().open().await.tools().await;
    assert!(all.contains(&"up_work".to_owned()) && all.contains(&"demo_echo".to_owned()));
    upstream.kill().await;
    let client = gateway.client().open().await;
    let left = within("list", client.tools()).await;
    assert!(left.contains(&"demo_echo".to_owned()), "{left:?}");
    gateway.stop().await;
}

/// A list that waits for a server takes five seconds.
async fn lists_at_once(client: &Client) {
    let began = Instant::now();
    let tools = client.tools().await;
    assert!(began.elapsed() < Duration::from_secs(4), "it waited");
    assert!(tools.contains(&"demo_echo".to_owned()), "{tools:?}");
}

#[tokio::test]
async fn a_session_waits_for_a_server_that_hangs_once() {
    let upstream = Upstream::start().await;
    let gateway = beside_demo(&upstream, "").await;
    // What it offers to everybody is known.
    gateway.client().open().await.tools().await;
    upstream.offer_to("elicitation", "own");
    upstream.hold_openings(true);
    let client = gateway.client();
    let client = client
        .open_with("2025-06-18", json!({"elicitation": {}}))
        .await;
    let mut heard = client.listen(None).await;
    assert!(client.tools().await.contains(&"up_work".to_owned()));
    let opened = upstream.sessions_opened();
    lists_at_once(&client).await;
    lists_at_once(&client).await;
    assert_eq!(upstream.sessions_opened(), opened, "it is being asked");
    upstream.hold_openings(false);
    let changed = within("news of the lists", heard.message()).await;
    let changed = changed.unwrap().json();
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert!(client.tools().await.contains(&"up_own".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn no_list_waits_for_a_server_that_is_down() {
    let upstream = Upstream::start().await;
    upstream.hold_openings(true);
    let gateway = beside_demo(&upstream, ", timeout: 6s").await;
    eventually("the server is down", async || {
        let servers = gateway.admin("/api/v1/servers").await;
        let up = &servers["servers"][1];
        up["settled"] == true && up["up"] == false
    })
    .await;
    for _session in 0..2 {
        let client = gateway.client();
        let client = client
            .open_with("2025-06-18", json!({"elicitation": {}}))
            .await;
        lists_at_once(&client).await;
        lists_at_once(&client).await;
    }
    let (client, began) = (gateway.client(), Instant::now());
    let listed = client.ask(json!({"elicitation": {}}), "tools/list", json!({}));
    let listed = listed.await.json().await;
    assert!(began.elapsed() < Duration::from_secs(4), "it waited");
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    gateway.stop().await;
}

/// Answers a GET with an event stream that says nothing, which it counts, and all else with 405.
async fn say_nothing(mut socket: TcpStream, streams: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let answer = if head.starts_with(b"GET ") {
        streams.fetch_add(1, Ordering::SeqCst);
        "200 OK\r\ncontent-type: text/event-stream\r\n\r\n: nothing\n\n"
    } else {
        "405 Method Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    };
    let answer = format!("HTTP/1.1 {answer}");
    if socket.write_all(answer.as_bytes()).await.is_ok() && head.starts_with(b"GET ") {
        // Until the client goes.
        let _gone = socket.read_to_end(&mut head).await;
    }
}

#[tokio::test]
async fn an_event_stream_without_an_endpoint_is_told_once_and_tried_ever_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let streams = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&streams);
    let server = spawn_named("silent server", async move {
        while let Ok((socket, _)) = listener.accept().await {
            // Ends with its connection.
            drop(spawn_named(
                "silent stream",
                say_nothing(socket, Arc::clone(&opened)),
            ));
        }
    });
    let entry =
        format!("  up: {{ url: \"http://{address}/sse\", transport: sse, timeout: 300ms }}\n");
    let gateway = Gateway::start(&format!("{DEMO}{entry}")).await;
    eventually("it is tried some times", async || {
        streams.load(Ordering::SeqCst) >= 6
    })
    .await;
    let servers = gateway.admin("/api/v1/servers").await;
    let error = servers["servers"][1]["last_error"].as_str().unwrap();
    assert!(
        error.ends_with("its stream named no `endpoint` within 300ms"),
        "{error}"
    );
    let log = gateway.log();
    assert!(!log.contains("health of endpoint changed"), "{log}");
    assert_eq!(log.matches("server is down").count(), 1, "{log}");
    gateway.stop().await;
    server.abort();
}
