//! What servers that have sessions ask stateless clients.

use serde_json::{Value, json};

use crate::bridge_down::{ELICIT, SESSION_ONLY, accept, code, script};
use crate::support::{Gateway, Push, Upstream, eventually};

const ROOTS: &str = r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#;

#[tokio::test]
async fn a_question_in_mid_call_is_answered_by_the_retry() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    for path in ["/mcp", "/s/up/mcp"] {
        let name = if path == "/mcp" {
            "up_script"
        } else {
            "script"
        };
        let client = gateway.client().at(path);
        let say = upstream.script();
        say.send(Push::Raw(ELICIT)).await.unwrap();
        let asked = script(&client, json!({"name": name})).await.message().await;
        let asked = &asked["result"];
        assert_eq!(asked["resultType"], "input_required");
        assert_eq!(
            asked["inputRequests"]["ask-1"],
            json!({"method": "elicitation/create", "params": {"mode": "form", "message": "who?",
                "requestedSchema": {"type": "object", "properties": {}}}})
        );
        // Without the answer, or with one of another shape, nothing has changed.
        let mut retry = json!({"name": name, "requestState": asked["requestState"]});
        let again = script(&client, retry.clone()).await.message().await;
        assert_eq!(again["result"]["inputRequests"], asked["inputRequests"]);
        retry["inputResponses"] = json!({"ask-1": {"action": "perhaps"}});
        assert_eq!(
            code(script(&client, retry.clone()).await).await,
            (400, -32602)
        );
        say.send(Push::Answer("thanks")).await.unwrap();
        retry["inputResponses"] = accept(&json!(0))["inputResponses"].clone();
        let done = script(&client, retry.clone()).await.message().await;
        assert_eq!(done["result"]["content"][0]["text"], "thanks");
        // The answer carries no method.
        let sent: Value = serde_json::from_slice(&upstream.last_body("").unwrap()).unwrap();
        assert_eq!(
            sent,
            json!({"jsonrpc": "2.0", "id": 1,
            "result": {"action": "accept", "content": {}}})
        );
        // A client that has lost the answer gets it again, and nothing runs again.
        let n_calls = upstream.received("tools/call");
        let again = script(&client, retry).await.message().await;
        assert_eq!(again["result"], done["result"]);
        assert_eq!(upstream.received("tools/call"), n_calls);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_may_ask_nine_forms_one_after_the_other() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let say = upstream.script();
    say.send(Push::Raw(ELICIT)).await.unwrap();
    let mut asked = script(&client, json!({})).await.message().await;
    for n in 1..=9 {
        let next = if n < 9 {
            Push::Raw(ELICIT)
        } else {
            Push::Answer("thanks")
        };
        say.send(next).await.unwrap();
        let mut retry = accept(&asked["result"]["requestState"]);
        let answer = retry["inputResponses"]["ask-1"].take();
        retry["inputResponses"] = json!({format!("ask-{n}"): answer});
        asked = script(&client, retry).await.message().await;
    }
    assert_eq!(asked["result"]["content"][0]["text"], "thanks");
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_client_did_not_declare_is_not_asked() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let say = upstream.script();
    say.send(Push::Raw(ELICIT)).await.unwrap();
    say.send(Push::Answer("without")).await.unwrap();
    let params = json!({"name": "script", "arguments": {}});
    let done = client.ask(json!({"roots": {}}), "tools/call", params).await;
    assert_eq!(
        done.message().await["result"]["content"][0]["text"],
        "without"
    );
    let sent: Value = serde_json::from_slice(&upstream.last_body("").unwrap()).unwrap();
    assert_eq!(sent["error"]["code"], -32601);
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_on_the_stream_of_the_session_is_about_the_only_call() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let say = upstream.script();
    let asking = async {
        eventually("the call is under way", async || {
            upstream.last_body("tools/call").is_some()
        })
        .await;
        let session = upstream.called_session();
        upstream.listened_by(&session).await;
        let question: Value = serde_json::from_str(ELICIT).unwrap();
        upstream.say(&session, &question).await;
    };
    let (asked, ()) = tokio::join!(script(&client, json!({})), asking);
    let asked = asked.message().await;
    say.send(Push::Answer("thanks")).await.unwrap();
    let done = script(&client, accept(&asked["result"]["requestState"])).await;
    assert_eq!(
        done.message().await["result"]["content"][0]["text"],
        "thanks"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_on_the_stream_of_the_session_is_about_the_last_call_left() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let mut calls = Vec::new();
    for _ in 0..2 {
        let say = upstream.script();
        say.send(Push::Progress(1)).await.unwrap();
        let params = json!({"_meta": {"progressToken": "mine"}});
        let mut events = script(&client, params).await.events();
        let progress = events.message().await.unwrap().json();
        assert_eq!(progress["method"], "notifications/progress");
        calls.push((say, events));
    }
    let session = upstream.called_session();
    upstream.listened_by(&session).await;
    let question: Value = serde_json::from_str(ELICIT).unwrap();
    upstream.say(&session, &question).await;
    let (say, mut events) = calls.remove(0);
    say.send(Push::Answer("without")).await.unwrap();
    let done = events.message().await.unwrap().json();
    assert_eq!(done["result"]["content"][0]["text"], "without");
    let (say, mut events) = calls.remove(0);
    let asked = events.message().await.unwrap().json();
    assert_eq!(asked["result"]["resultType"], "input_required");
    say.send(Push::Answer("thanks")).await.unwrap();
    let done = script(&client, accept(&asked["result"]["requestState"])).await;
    let done = done.message().await;
    assert_eq!(done["result"]["content"][0]["text"], "thanks");
    gateway.stop().await;
}

#[tokio::test]
async fn roots_asked_for_in_no_call_are_the_next_calls_question() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let roots = || json!({"roots": {}});
    // Opens the session.
    client.ask(roots(), "tools/list", json!({})).await;
    let session = upstream.last_session("tools/list").unwrap();
    upstream.listened_by(&session).await;
    let question = json!({"jsonrpc": "2.0", "id": "r", "method": "roots/list"});
    upstream.say(&session, &question).await;
    // Lists cannot be answered with a question.
    let listed = client.ask(roots(), "prompts/list", json!({})).await;
    assert!(listed.message().await["result"]["prompts"].is_array());
    let say = upstream.script();
    let mut params = json!({"name": "script", "arguments": {}});
    let asked = client.ask(roots(), "tools/call", params.clone()).await;
    let asked = asked.message().await["result"].clone();
    assert_eq!(
        asked["inputRequests"],
        json!({"ask-1": {"method": "roots/list"}})
    );
    let answer = json!({"roots": [{"uri": "file:///srv"}]});
    params["requestState"] = asked["requestState"].clone();
    params["inputResponses"] = json!({"ask-1": answer});
    say.send(Push::Answer("thanks")).await.unwrap();
    let done = client.ask(roots(), "tools/call", params).await;
    let done = done.message().await;
    assert_eq!(done["result"]["content"][0]["text"], "thanks");
    let sent: Value = serde_json::from_slice(&upstream.last_body("").unwrap()).unwrap();
    assert_eq!(sent, json!({"jsonrpc": "2.0", "id": "r", "result": answer}));
    gateway.stop().await;
}

#[tokio::test]
async fn roots_that_a_call_did_not_wait_for_are_the_next_calls_question() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let call = async |more: Value| {
        let mut params = json!({"name": "script", "arguments": {}});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        let capabilities = json!({"roots": {}, "elicitation": {}});
        let answer = client.ask(capabilities, "tools/call", params).await;
        answer.message().await["result"].clone()
    };
    let say = upstream.script();
    say.send(Push::Raw(ROOTS)).await.unwrap();
    say.send(Push::Raw(ELICIT)).await.unwrap();
    say.send(Push::Answer("without")).await.unwrap();
    assert_eq!(call(json!({})).await["content"][0]["text"], "without");
    // The form was this call's and nobody's else.
    eventually("the form is refused", async || {
        upstream.last_body("").is_some()
    })
    .await;
    let refused: Value = serde_json::from_slice(&upstream.last_body("").unwrap()).unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(1), &json!(-32603))
    );
    let say = upstream.script();
    let asked = call(json!({})).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let roots = asked["inputRequests"].as_object().unwrap();
    let (key, question) = roots.iter().next().unwrap();
    assert_eq!(question, &json!({"method": "roots/list"}));
    // The server has not seen the call yet.
    say.send(Push::Answer("thanks")).await.unwrap();
    let answers = json!({key: {"roots": []}});
    let done =
        call(json!({"requestState": asked["requestState"], "inputResponses": answers})).await;
    assert_eq!(done["content"][0]["text"], "thanks");
    let sent: Value = serde_json::from_slice(&upstream.last_body("").unwrap()).unwrap();
    assert_eq!(
        sent,
        json!({"jsonrpc": "2.0", "id": "r", "result": {"roots": []}})
    );
    gateway.stop().await;
}
