//! Idle sessions sleep and wake, and their clients never know.

use serde_json::json;

use crate::support::{Gateway, Upstream, eventually};

const SLEEPY: &str = "session: { passivate_after: 1s, resume_window: 1s }\n";

async fn sleeps(gateway: &Gateway) {
    eventually("the session sleeps", async || {
        let live = gateway.admin("/api/v1/runtime").await;
        live["sessions"] == json!({"active": 0, "passive": 1}) && live["session_actors"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_sleeping_session_wakes_with_its_far_end() {
    let upstream = Upstream::start().await;
    let config = format!("{SLEEPY}{}", upstream.config(", era: session"));
    let gateway = Gateway::start(&config).await;
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "before"})).await;
    let opened = upstream.sessions_opened();
    for round in 0..2 {
        sleeps(&gateway).await;
        let key = format!("after-{round}");
        let answer = client.call("up_work", json!({"key": key})).await;
        assert!(answer.get("result").is_some(), "{answer}");
        assert_eq!(upstream.executions(&key), 1);
    }
    assert_eq!(upstream.sessions_opened(), opened);
    gateway.stop().await;
}

#[tokio::test]
async fn request_ids_are_free_again_after_sleep() {
    let upstream = Upstream::start().await;
    let config = format!("{SLEEPY}{}", upstream.config(", era: session"));
    let gateway = Gateway::start(&config).await;
    let client = gateway.client().open().await;
    let call = json!({"jsonrpc": "2.0", "id": "same", "method": "tools/call",
        "params": {"name": "up_work", "arguments": {"key": "again"}}});
    for n in 1..=2 {
        let answer = client.post(call.to_string()).await.message().await;
        assert!(answer.get("result").is_some(), "{answer}");
        assert_eq!(upstream.executions("again"), n);
        sleeps(&gateway).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_listens_keeps_its_session_awake() {
    let upstream = Upstream::start().await;
    let config = format!("{SLEEPY}{}", upstream.config(", era: session"));
    let gateway = Gateway::start(&config).await;
    let (client, other) = (gateway.client().open().await, gateway.client().open().await);
    client.call("up_work", json!({"key": "bind"})).await;
    let session = upstream.called_session();
    let mut events = client.listen(None).await;
    upstream.listened_by(&session).await;
    // The other session falls asleep; the listening one must not.
    drop(other);
    eventually("the other session sleeps", async || {
        let live = gateway.admin("/api/v1/runtime").await;
        live["sessions"] == json!({"active": 1, "passive": 1})
    })
    .await;
    let message = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": "awake"}});
    upstream.say(&session, &message).await;
    assert_eq!(events.message().await.unwrap().json(), message);
    gateway.stop().await;
}
