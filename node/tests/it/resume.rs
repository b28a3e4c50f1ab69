//! Streams that go on after the connection broke: nothing lost, nothing doubled.

use serde_json::{Value, json};

use crate::support::{Client, Events, Gateway, LATEST, Push, Upstream, eventually, within};

fn changed(n: usize) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": n}})
}

/// Takes messages until one satisfies `last`; returns them all and the id of the last event.
async fn take(events: &mut Events, n: usize) -> (Vec<Value>, String) {
    let (mut messages, mut last) = (Vec::new(), None);
    while messages.len() < n {
        let event = events.message().await.unwrap();
        messages.push(event.json());
        last = event.id;
    }
    (messages, last.unwrap())
}

/// A session that is bound to the server, where it has a session of its own.
async fn bound(upstream: &Upstream) -> (Gateway, Client, String) {
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client().open().await;
    client.call("up_work", json!({"key": "bind"})).await;
    (gateway, client, upstream.called_session())
}

#[tokio::test]
async fn a_get_stream_goes_on_after_its_connection_broke() {
    let upstream = Upstream::start().await;
    let (gateway, client, session) = bound(&upstream).await;
    let mut events = client.listen(None).await;
    upstream.listened_by(&session).await;
    for n in 0..3 {
        upstream.say(&session, &changed(n)).await;
    }
    let (mut got, last) = take(&mut events, 2).await;
    drop(events);
    // Said while nobody listens.
    for n in 3..6 {
        upstream.say(&session, &changed(n)).await;
    }
    let mut events = client.listen(Some(&last)).await;
    for n in 6..9 {
        upstream.say(&session, &changed(n)).await;
    }
    got.extend(take(&mut events, 7).await.0);
    let said: Vec<Value> = (0..9).map(changed).collect();
    assert_eq!(got, said);
    gateway.stop().await;
}

#[tokio::test]
async fn a_get_stream_can_be_resumed_at_any_event_more_than_once() {
    let upstream = Upstream::start().await;
    let (gateway, client, session) = bound(&upstream).await;
    let mut events = client.listen(None).await;
    upstream.listened_by(&session).await;
    for n in 0..4 {
        upstream.say(&session, &changed(n)).await;
    }
    let first = events.message().await.unwrap();
    for _ in 0..3 {
        events.message().await.unwrap();
    }
    drop(events);
    for _ in 0..3 {
        let mut again = client.listen(first.id.as_deref()).await;
        let (got, _) = take(&mut again, 3).await;
        assert_eq!(got, (1..4).map(changed).collect::<Vec<_>>());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_goes_on_without_its_client_and_its_stream_is_resumed() {
    let upstream = Upstream::start().await;
    let (gateway, client, _session) = bound(&upstream).await;
    let script = upstream.script();
    let params = json!({"name": "up_script", "_meta": {"progressToken": "p"}});
    let request = client.message("tools/call", &params);
    script.send(Push::Progress(1)).await.unwrap();
    let mut events = client.post(request.to_string()).await.events();
    let (mut got, last) = take(&mut events, 1).await;
    // The client goes away in the middle of the call.
    drop(events);
    for n in 2..5 {
        script.send(Push::Progress(n)).await.unwrap();
    }
    let mut events = client.listen(Some(&last)).await;
    script.send(Push::Progress(5)).await.unwrap();
    script.send(Push::Answer("end")).await.unwrap();
    got.extend(take(&mut events, 5).await.0);
    let progress: Vec<u64> = got
        .iter()
        .filter_map(|m| m["params"]["progress"].as_u64())
        .collect();
    assert_eq!(progress, [1, 2, 3, 4, 5]);
    let answer = got.last().unwrap();
    assert_eq!(answer["id"], request["id"]);
    assert_eq!(answer["result"]["content"][0]["text"], "end");
    assert!(
        events.next().await.is_none(),
        "the stream ends with the answer"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_chatty_call_comes_to_its_end_without_its_client() {
    let upstream = Upstream::start().await;
    let (gateway, client, _session) = bound(&upstream).await;
    let script = upstream.script();
    let params = json!({"name": "up_script", "_meta": {"progressToken": "p"}});
    let request = client.message("tools/call", &params);
    script.send(Push::Progress(0)).await.unwrap();
    let mut events = client.post(request.to_string()).await.events();
    let (_, first) = take(&mut events, 1).await;
    drop(events);
    // More than a stream keeps.
    within("the server is heard", async {
        for n in 1..2_000 {
            script.send(Push::Progress(n)).await.unwrap();
        }
        script.send(Push::Answer("end")).await.unwrap();
    })
    .await;
    eventually("the call has ended", async || {
        // The id is free again.
        let again = json!({"jsonrpc": "2.0", "id": request["id"], "method": "tools/call",
            "params": {"name": "up_work", "arguments": {"key": "again"}}});
        let answer = client.post(again.to_string()).await.message().await;
        answer["result"].is_object()
    })
    .await;
    let headers = [("last-event-id", first.as_str())];
    let answer = client.send(http::Method::GET, &headers, "").await;
    assert_eq!(answer.status, 400, "a gap is told");
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_ended_without_its_client_is_still_answered() {
    let upstream = Upstream::start().await;
    let (gateway, client, _session) = bound(&upstream).await;
    let script = upstream.script();
    let request = client.message("tools/call", &json!({"name": "up_script"}));
    // Silence turns the call into a stream, whose first event carries an id and nothing else.
    let mut events = client.post(request.to_string()).await.events();
    let primed = events.next().await.unwrap();
    assert!(primed.data.is_empty());
    drop(events);
    script.send(Push::Answer("late")).await.unwrap();
    let mut events = client.listen(primed.id.as_deref()).await;
    let answer = events.message().await.unwrap().json();
    assert_eq!(answer["id"], request["id"]);
    assert_eq!(answer["result"]["content"][0]["text"], "late");
    gateway.stop().await;
}

#[tokio::test]
async fn an_event_of_another_session_resumes_nothing() {
    let upstream = Upstream::start().await;
    let (gateway, client, _session) = bound(&upstream).await;
    let other = gateway.client().open().await;
    let script = upstream.script();
    let request = client.message("tools/call", &json!({"name": "up_script"}));
    let mut events = client.post(request.to_string()).await.events();
    let event = events.next().await.unwrap().id.unwrap();
    for id in [
        event.as_str(),
        "1-99-1",
        "0-0-99",
        "x",
        "1-0",
        "99999999999999999999-0-0",
    ] {
        let answer = other
            .send(http::Method::GET, &[("last-event-id", id)], "")
            .await;
        assert_eq!(answer.status, 400, "{id}");
        assert_eq!(answer.json().await["error"]["code"], -32600);
    }
    script.send(Push::Answer("end")).await.unwrap();
    assert!(events.message().await.is_some());
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_on_one_stream_is_not_asked_again_on_another_of_the_same_client() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = gateway.client();
    let client = client.open_with(LATEST, json!({"sampling": {}})).await;
    client.call("up_work", json!({"key": "bind"})).await;
    let session = upstream.called_session();
    let mut first = client.listen(None).await;
    upstream.listened_by(&session).await;
    upstream.say(&session, &changed(0)).await;
    let (_, last_of_first) = take(&mut first, 1).await;
    // Takes the place of the first, whose client goes on with that one, too.
    let mut second = client.listen(None).await;
    let ended = async { while first.next().await.is_some() {} };
    within("end of the first", ended).await;
    let question = json!({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage",
        "params": {"messages": [], "maxTokens": 1}});
    upstream.say(&session, &question).await;
    let asked = second.message().await.unwrap();
    assert_eq!(asked.json()["method"], question["method"]);
    let mut first = client.listen(Some(&last_of_first)).await;
    upstream.say(&session, &changed(1)).await;
    assert_eq!(take(&mut first, 1).await.0, [changed(1)]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_a_cancel_has_ended_is_not_gone_on_with() {
    let upstream = Upstream::start().await;
    let (gateway, client, _session) = bound(&upstream).await;
    let script = upstream.script();
    let params = json!({"name": "up_script", "_meta": {"progressToken": "p"}});
    let request = client.message("tools/call", &params);
    script.send(Push::Progress(1)).await.unwrap();
    let mut events = client.post(request.to_string()).await.events();
    let (_, last) = take(&mut events, 1).await;
    let cancel = json!({"requestId": request["id"]});
    assert_eq!(client.notify("notifications/cancelled", cancel).await, 202);
    drop(script);
    let ended = async { while events.next().await.is_some() {} };
    within("end of the stream", ended).await;
    // An empty stream would be taken for a broken one, again and again.
    let headers = [("last-event-id", last.as_str())];
    let answer = client.send(http::Method::GET, &headers, "").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), Some("POST, DELETE"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_gone_on_with_tells_its_place_first() {
    let upstream = Upstream::start().await;
    let (gateway, client, session) = bound(&upstream).await;
    let mut events = client.listen(None).await;
    upstream.listened_by(&session).await;
    upstream.say(&session, &changed(0)).await;
    let (_, last) = take(&mut events, 1).await;
    let primed = client.listen(Some(&last)).await.next().await.unwrap();
    assert_eq!((primed.id, primed.data), (Some(last), String::new()));
    gateway.stop().await;
}
