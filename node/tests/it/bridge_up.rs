//! Clients with sessions at a server without.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Client, Events, Gateway, Push, Upstream, eventually};

const LATEST: &str = "2025-11-25";
const STATELESS: &str = ", era: stateless";
const DONE: &str =
    r#""result":{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#;
/// Asks for one form.
const ASKS: &str = r#""result":{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":{"mode":"form","message":"who?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"s\/1"}"#;

async fn client(gateway: &Gateway) -> Client {
    gateway
        .client()
        .open_with(LATEST, json!({"elicitation": {}}))
        .await
}

fn sent(body: Option<Bytes>) -> Value {
    serde_json::from_slice(&body.unwrap()).unwrap()
}

fn work() -> Value {
    json!({"name": "up_work", "arguments": {"key": "k"}})
}

/// Next message on the stream of a call.
async fn heard(events: &mut Events) -> Value {
    events.message().await.unwrap().json()
}

fn answer(question: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string()
}

#[tokio::test]
async fn every_request_carries_what_the_client_declared_once() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    assert_eq!(client.tools().await, ["up_work", "up_other", "up_script"]);
    upstream.answer_with(DONE);
    let answer = client.request("tools/call", work()).await;
    assert_eq!(
        answer["result"],
        json!({"content": [{"type": "text", "text": "done"}]})
    );
    let call = sent(upstream.last_body("tools/call"));
    assert_eq!(call["params"]["name"], "work");
    assert_eq!(
        call["params"]["_meta"],
        json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
            "io.modelcontextprotocol/clientInfo": {"name": "it", "version": "1"}
        })
    );
    let headers = upstream.last_headers("tools/call");
    assert_eq!(headers["mcp-method"], "tools/call");
    assert_eq!(headers["mcp-name"], "work");
    assert_eq!(headers["mcp-protocol-version"], "2026-07-28");
    assert!(!headers.contains_key("mcp-session-id"));
    assert_eq!(upstream.sessions_opened(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_servers_own_route_introduces_it_as_it_introduces_itself() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = gateway.client().at("/s/up/mcp");
    for (asked, agreed) in [(LATEST, LATEST), ("2025-06-18", "2025-06-18")] {
        let answer = client.initialize(asked, &json!({})).await.message().await;
        let result = &answer["result"];
        assert_eq!(result["protocolVersion"], agreed);
        assert_eq!(
            result["capabilities"],
            json!({"tools": {}, "resources": {"subscribe": true}})
        );
        assert_eq!(result["serverInfo"]["name"], "up");
    }
    let client = client.open().await;
    assert_eq!(client.tools().await, ["work", "other", "script"]);
    assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
    for unknown in [
        "server/discover",
        "subscriptions/listen",
        "tasks/list",
        "logging/setLevel",
    ] {
        let answer = client.request(unknown, json!({"level": "info"})).await;
        assert_eq!(answer["error"]["code"], -32601, "{unknown}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_servers_question_is_put_to_the_client_and_its_answer_goes_back() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    upstream.answer_once(ASKS);
    upstream.answer_once(ASKS);
    upstream.answer_once(DONE);
    let call = client.message("tools/call", &work());
    let mut events = client.post(call.to_string()).await.events();
    for round in 1..=2 {
        let question = heard(&mut events).await;
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], "who?");
        let given = json!({"action": "accept", "content": {"n": round}});
        assert_eq!(client.post(answer(&question, &given)).await.status, 202);
        eventually("the request is sent again", async || {
            let retry = sent(upstream.last_body("tools/call"));
            retry["params"]["inputResponses"]["who"] == given
        })
        .await;
        let text = upstream.last_body("tools/call").unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains(r#""requestState":"s\/1""#), "{text}");
        assert!(text.contains(r#""arguments":{"key":"k"}"#), "{text}");
    }
    let last = heard(&mut events).await;
    assert_eq!(last["id"], call["id"]);
    assert_eq!(last["result"]["content"][0]["text"], "done");
    assert_eq!(upstream.executions("k"), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_outlives_the_connection_that_it_was_put_on() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    upstream.answer_once(ASKS);
    upstream.answer_once(DONE);
    let call = client.message("tools/call", &work());
    let mut events = client.post(call.to_string()).await.events();
    let asked = events.message().await.unwrap();
    drop(events);
    let given = json!({"action": "decline"});
    assert_eq!(client.post(answer(&asked.json(), &given)).await.status, 202);
    let mut events = client.listen(asked.id.as_deref()).await;
    let last = heard(&mut events).await;
    assert_eq!(last["result"]["content"][0]["text"], "done");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_refuses_or_cannot_be_asked_gets_a_tool_error() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    upstream.answer_with(ASKS);
    let asked = client(&gateway).await;
    let call = asked.message("tools/call", &work());
    let mut events = asked.post(call.to_string()).await.events();
    let question = heard(&mut events).await;
    let refusal = json!({"jsonrpc": "2.0", "id": question["id"],
        "error": {"code": -1, "message": "not now"}});
    assert_eq!(asked.post(refusal.to_string()).await.status, 202);
    let last = heard(&mut events).await;
    assert_eq!(last["result"]["isError"], true);
    let text = last["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("not now"), "{text}");

    let silent = gateway.client().open().await;
    let answer = silent.request("tools/call", work()).await;
    assert_eq!(answer["result"]["isError"], true);
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("did not declare"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_cancelled_call_asks_the_server_nothing_more() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    upstream.answer_with(ASKS);
    let call = client.message("tools/call", &work());
    let mut events = client.post(call.to_string()).await.events();
    let question = heard(&mut events).await;
    let cancel = json!({"requestId": call["id"]});
    assert_eq!(client.notify("notifications/cancelled", cancel).await, 202);
    assert_eq!(events.message().await, None);
    let late = answer(&question, &json!({"action": "accept"}));
    assert_eq!(client.post(late).await.status, 202);
    let cancelled = |line: &Value| line["event"] == "completed" && line["status"] == "cancelled";
    eventually("the audit log says so", async || {
        gateway.audit().iter().any(cancelled)
    })
    .await;
    assert_eq!(upstream.executions("k"), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_cancel_closes_the_servers_stream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let script = upstream.script();
    let mut call = client.message("tools/call", &json!({"name": "up_script"}));
    call["params"]["_meta"] = json!({"progressToken": "p"});
    script.send(Push::Progress(1)).await.unwrap();
    let mut events = client.post(call.to_string()).await.events();
    let progress = heard(&mut events).await;
    assert_eq!(
        progress["params"],
        json!({"progressToken": "p", "progress": 1})
    );
    let cancel = json!({"requestId": call["id"]});
    assert_eq!(client.notify("notifications/cancelled", cancel).await, 202);
    assert_eq!(events.message().await, None);
    script.closed().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_header_that_the_server_misses_is_made_by_its_present_schema() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    const MISSING: &str = r#""error":{"code":-32020,"message":"`mcp-param-x` is missing"}"#;
    upstream.answer_once(MISSING);
    upstream.answer_once(DONE);
    let answer = client.request("tools/call", work()).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done");
    assert_eq!(upstream.executions("k"), 2);
    // A second refusal is the server's last word, and none that the client could act on.
    upstream.answer_with(MISSING);
    let answer = client.request("tools/call", work()).await;
    assert_eq!(answer["error"]["code"], -31502);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("`mcp-param-x` is missing"), "{message}");
    assert_eq!(upstream.executions("k"), 4);
    gateway.stop().await;
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": uri, "_meta": {"io.modelcontextprotocol/subscriptionId": "lockgate"}}})
}

#[tokio::test]
async fn subscriptions_are_one_listen_that_outlives_the_server() {
    let mut upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let mut events = client.listen(None).await;
    for uri in ["up://one", "up://two"] {
        let answer = client
            .request("resources/subscribe", json!({"uri": uri}))
            .await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    let listen = sent(upstream.last_body("subscriptions/listen"));
    assert_eq!(
        listen["params"]["notifications"],
        json!({"resourceSubscriptions": ["up://one", "up://two"]})
    );
    upstream.say("up://one", &updated("up://two")).await;
    let told = |uri: &str| {
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
            "params": {"uri": uri}})
    };
    assert_eq!(heard(&mut events).await, told("up://two"));
    upstream.kill().await;
    upstream.restart();
    // Both may have changed in the meantime.
    assert_eq!(heard(&mut events).await, told("up://one"));
    assert_eq!(heard(&mut events).await, told("up://two"));
    let answer = client
        .request("resources/unsubscribe", json!({"uri": "up://one"}))
        .await;
    assert_eq!(answer["result"], json!({}));
    upstream.say("up://two", &updated("up://two")).await;
    assert_eq!(heard(&mut events).await, told("up://two"));
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_that_want_to_hear_the_same_share_a_listen() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let (one, two) = (client(&gateway).await, client(&gateway).await);
    let (mut first, mut second) = (one.listen(None).await, two.listen(None).await);
    for client in [&one, &two] {
        let answer = client
            .request("resources/subscribe", json!({"uri": "up://one"}))
            .await;
        assert_eq!(answer["result"], json!({}));
    }
    // Opening a second one would have taken the place of the first in the server's books.
    assert_eq!(upstream.executions("subscriptions/listen"), 1);
    upstream.say("up://one", &updated("up://one")).await;
    for events in [&mut first, &mut second] {
        assert_eq!(heard(events).await["params"], json!({"uri": "up://one"}));
    }
    // The one that stays goes on hearing.
    assert_eq!(one.delete().await, 200);
    upstream.say("up://one", &updated("up://one")).await;
    assert_eq!(
        heard(&mut second).await["params"],
        json!({"uri": "up://one"})
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_subscription_is_granted_only_where_its_news_can_be_heard() {
    let upstream = Upstream::start().await;
    // Not `true`, so there is no stream for them.
    upstream.offer(json!({"resources": {"subscribe": {}}}));
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = gateway.client().at("/s/up/mcp");
    let client = client.open_with(LATEST, json!({})).await;
    let answer = client
        .request("resources/subscribe", json!({"uri": "up://one"}))
        .await;
    assert_eq!(answer["error"]["code"], -32601);
    gateway.stop().await;
}

#[tokio::test]
async fn the_end_of_a_session_ends_what_it_has_open_at_the_server() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    let client = client(&gateway).await;
    let script = upstream.script();
    script.send(Push::Progress(1)).await.unwrap();
    let mut call = client.message("tools/call", &json!({"name": "up_script"}));
    call["params"]["_meta"] = json!({"progressToken": "p"});
    let mut events = client.post(call.to_string()).await.events();
    heard(&mut events).await;
    let subscribed = client
        .request("resources/subscribe", json!({"uri": "up://one"}))
        .await;
    assert_eq!(subscribed["result"], json!({}));
    assert_eq!(client.delete().await, 200);
    script.closed().await;
    upstream.unheard("up://one").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_link_to_a_resource_is_told_in_words_to_those_who_know_none() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(STATELESS)).await;
    upstream.answer_with(
        r#""result":{"resultType":"complete","content":[{"type":"resource_link","uri":"up://one","name":"one"}]}"#,
    );
    for (revision, expected) in [
        (
            "2025-03-26",
            json!([{"type": "text", "text": "one: up://one"}]),
        ),
        (
            "2025-06-18",
            json!([{"type": "resource_link", "uri": "up://one", "name": "one"}]),
        ),
    ] {
        let client = gateway.client().open_with(revision, json!({})).await;
        let answer = client.request("tools/call", work()).await;
        assert_eq!(answer["result"]["content"], expected, "{revision}");
    }
    gateway.stop().await;
}
