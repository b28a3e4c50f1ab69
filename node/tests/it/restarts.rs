//! Servers that restart or forget: their clients go on.

use std::time::Duration;

use serde_json::json;

use crate::support::{Gateway, Upstream, eventually};

/// The server of these tests is probed once, so that its era is settled.
const SESSION_ERA: &str = ", era: session";
/// Time for a message that was said to be heard, before it is said again.
const SOON: Duration = Duration::from_millis(200);

fn text(message: &serde_json::Value) -> &str {
    message["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{message}"))
}

#[tokio::test]
async fn a_restarted_server_serves_the_next_call_of_an_old_session() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ERA)).await;
    let client = gateway.client().open().await;
    assert_eq!(
        text(&client.call("up_work", json!({"key": "before"})).await),
        "done"
    );
    upstream.kill().await;
    upstream.restart();
    for round in 0..5 {
        let key = format!("after-{round}");
        let answer = client.call("up_work", json!({"key": key})).await;
        assert_eq!(text(&answer), "done");
        assert_eq!(upstream.executions(&key), 1);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_once_for_all_waiting_calls() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ERA)).await;
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "before"})).await;
    let opened = upstream.sessions_opened();
    upstream.forget();
    let calls = (0..8).map(|n| client.call("up_work", json!({"key": format!("after-{n}")})));
    let answers = futures_util::future::join_all(calls).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(text(answer), "done");
        assert_eq!(upstream.executions(&format!("after-{n}")), 1);
    }
    // One for the client's session, at most one for the gateway's own.
    let again = upstream.sessions_opened() - opened;
    assert!((1..=2).contains(&again), "{again} sessions");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_with_other_settings_serves_sessions_that_are_open() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ERA)).await;
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "before"})).await;
    let old = upstream.called_session();
    let uri = json!({"uri": "up://one"});
    let subscribed = client.request("resources/subscribe", uri).await;
    assert!(subscribed.get("result").is_some(), "{subscribed}");
    assert_eq!(upstream.executions("resources/subscribe"), 1);

    gateway.reconfigure(&upstream.config(", era: session, timeout: 20s"));
    // Calls are served by the old one until the change is applied.
    eventually("the old session has ended", async || {
        client.call("up_work", json!({"key": "during"})).await;
        !upstream.is_open(&old)
    })
    .await;
    eventually("the changed server is used", async || {
        let answer = client.call("up_work", json!({"key": "after"})).await;
        answer.get("result").is_some()
    })
    .await;
    assert_eq!(upstream.executions("resources/subscribe"), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a_dead_server_is_a_definite_error_and_comes_back() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ERA)).await;
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "before"})).await;
    upstream.kill().await;
    let answer = client.call("up_work", json!({"key": "dead"})).await;
    assert_eq!(answer["error"]["data"]["outcome"], "not_sent", "{answer}");
    assert_eq!(upstream.executions("dead"), 0);
    upstream.restart();
    eventually("the server is used again", async || {
        client
            .call("up_work", json!({"key": "back"}))
            .await
            .get("result")
            .is_some()
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_listening_client_hears_a_restarted_server() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ERA)).await;
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "bind"})).await;
    let before = upstream.called_session();
    let mut events = client.listen(None).await;
    upstream.listened_by(&before).await;
    upstream.kill().await;
    upstream.restart();
    assert_eq!(
        text(&client.call("up_work", json!({"key": "after"})).await),
        "done"
    );
    // The gateway's own session may come back, too; the client's is one of those that are listened to.
    eventually("the client hears the server", async || {
        let message = json!({"jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "info", "data": "back"}});
        upstream.say_to_all(&message).await;
        let heard = tokio::time::timeout(SOON, events.message()).await;
        heard.is_ok_and(|event| event.unwrap().json() == message)
    })
    .await;
    gateway.stop().await;
}

/// What the server lists to callers with roots alone is another tool after its restart.
async fn own_lists_follow_a_restart(upstream: &mut Upstream, calls_meanwhile: bool) {
    upstream.offer_to("roots", "old");
    let gateway = Gateway::start(&upstream.config(SESSION_ERA)).await;
    let client = gateway.client();
    let ask = async |method: &str, params| {
        let answer = client.ask(json!({"roots": {}}), method, params).await;
        answer.message().await
    };
    let lists = async |tool: &str| {
        let listed = ask("tools/list", json!({})).await["result"]["tools"].clone();
        let tools = listed.as_array().unwrap();
        tools.iter().any(|listed| listed["name"] == tool)
    };
    let call = async |tool: &str| {
        let params = json!({"name": tool, "arguments": {"key": tool}});
        ask("tools/call", params).await
    };
    assert!(lists("up_old").await);
    upstream.kill().await;
    upstream.offer_to("roots", "new");
    upstream.restart();
    if calls_meanwhile {
        assert_eq!(text(&call("up_work").await), "done");
    }
    eventually("the new tool is listed", async || lists("up_new").await).await;
    assert!(!lists("up_old").await);
    assert_eq!(text(&call("up_new").await), "done");
    assert_eq!(call("up_old").await["error"]["code"], -32602);
    gateway.stop().await;
}

#[tokio::test]
async fn a_callers_own_lists_are_renewed_when_its_server_restarts() {
    let mut upstream = Upstream::start().await;
    own_lists_follow_a_restart(&mut upstream, false).await;
}

#[tokio::test]
async fn a_callers_own_lists_are_renewed_by_the_call_that_finds_its_session_forgotten() {
    let mut upstream = Upstream::start().await;
    upstream.mute();
    own_lists_follow_a_restart(&mut upstream, true).await;
}
