//! SIGTERM: what runs is finished, what is new goes elsewhere.

use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{DEMO, Gateway, Mode, Push, Upstream, eventually, within};

async fn refuses_connections(gateway: &Gateway) {
    eventually("new connections are refused", async || {
        TcpStream::connect(gateway.address).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_three_second_call_survives_sigterm() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    let call = json!({"name": "up_work", "arguments": {"key": "long", "wait_ms": 3000}});
    let answer = client
        .post(client.message("tools/call", &call).to_string())
        .await;
    assert!(answer.is_stream(), "the call lasts");
    gateway.signal(Signal::TERM);
    refuses_connections(&gateway).await;
    let answer = answer.message().await;
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    assert_eq!(upstream.executions("long"), 1);
    assert!(gateway.ended().await.success());
    assert!(!gateway.log().contains("panicked"));
}

#[tokio::test]
async fn a_call_of_a_child_and_one_without_session_survive_sigterm() {
    let mut gateway = Gateway::start(DEMO).await;
    let (client, stateless) = (gateway.client().open().await, gateway.client());
    let call = json!({"name": "demo_countdown", "arguments": {"steps": 3, "pause_ms": 1000},
        "_meta": {"progressToken": 1}});
    let answer = client
        .post(client.message("tools/call", &call).to_string())
        .await;
    let other = stateless.stateless("tools/call", call);
    let end = async {
        eventually("both calls run", async || {
            let received = |line: &serde_json::Value| {
                line["event"] == "received" && line["method"] == "tools/call"
            };
            gateway.audit().iter().filter(|line| received(line)).count() == 2
        })
        .await;
        gateway.signal(Signal::TERM);
        refuses_connections(&gateway).await;
    };
    let (other, ()) = within("call", futures_util::future::join(other, end)).await;
    for answer in [answer, other] {
        let answer = answer.message().await;
        assert_eq!(
            answer["result"]["content"][0]["text"], "lift-off",
            "{answer}"
        );
    }
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn listening_streams_end_and_do_not_hold_the_process() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    let mut events = client.listen(None).await;
    gateway.signal(Signal::TERM);
    within("end of the stream", async {
        while events.next().await.is_some() {}
    })
    .await;
    assert!(gateway.ended().await.success());
    // What the gateway had opened at the server is closed.
    eventually("the server has no session left", async || {
        upstream.sessions_open() == 0
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_a_running_call_is_told_to_its_end() {
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    let script = upstream.script();
    script.send(Push::Progress(1)).await.unwrap();
    let params = json!({"name": "up_script", "_meta": {"progressToken": 1}});
    let mut events = client
        .post(client.message("tools/call", &params).to_string())
        .await
        .events();
    events.message().await.unwrap();
    gateway.signal(Signal::TERM);
    refuses_connections(&gateway).await;
    script.send(Push::Progress(2)).await.unwrap();
    script.send(Push::Answer("end")).await.unwrap();
    assert_eq!(
        events.message().await.unwrap().json()["params"]["progress"],
        2
    );
    assert_eq!(
        events.message().await.unwrap().json()["result"]["content"][0]["text"],
        "end"
    );
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn an_idle_keep_alive_connection_holds_nobody_up() {
    let upstream = Upstream::start().await;
    upstream.set(Mode::Serve);
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    client.tools().await;
    let _half_open = TcpStream::connect(gateway.address).await.unwrap();
    gateway.signal(Signal::TERM);
    assert!(gateway.ended().await.success());
}

/// Neither a result nor an error.
const NO_ANSWER: &str = r#""nothing":0"#;

#[tokio::test]
async fn a_server_whose_lists_fail_is_left_no_session() {
    let upstream = Upstream::start().await;
    upstream.reply("tools/list", &[NO_ANSWER]);
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    eventually("the lists are asked for again", async || {
        upstream.sessions_opened() > 1
    })
    .await;
    gateway.stop().await;
    assert_eq!(upstream.sessions_open(), 0);
}

#[tokio::test]
async fn a_session_that_is_being_opened_is_not_left_to_its_server() {
    let upstream = Upstream::start().await;
    upstream.reply("tools/list", &[NO_ANSWER]);
    let mut gateway = Gateway::start(&upstream.config(", era: session")).await;
    upstream.hold_openings(true);
    let before = upstream.sessions_opened();
    eventually("the gateway opens another session", async || {
        upstream.sessions_opened() > before
    })
    .await;
    gateway.signal(Signal::TERM);
    refuses_connections(&gateway).await;
    upstream.hold_openings(false);
    assert!(gateway.ended().await.success());
    assert_eq!(upstream.sessions_open(), 0);
}
