//! Requests of servers to a client of the session era: answers and progress find the one who asked.

use serde_json::{Value, json};

use crate::support::{Client, DEMO, Events, Gateway, Push, Upstream, eventually};

/// Both servers count for themselves, and so use the same id and the same token.
const QUESTION: &str = r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1,"_meta":{"progressToken":"t"}}}"#;

async fn client(gateway: &Gateway) -> Client {
    let capabilities = json!({"sampling": {}});
    gateway.client().open_with("2025-11-25", capabilities).await
}

/// A call whose server asks a question before it answers.
async fn asked(
    upstream: &Upstream,
    client: &Client,
    tool: &str,
) -> (Value, Events, tokio::sync::mpsc::Sender<Push>) {
    let script = upstream.script();
    script.send(Push::Raw(QUESTION)).await.unwrap();
    let request = client.message("tools/call", &json!({"name": tool}));
    let mut events = client.post(request.to_string()).await.events();
    let question = events.message().await.unwrap().json();
    assert_eq!(question["method"], "sampling/createMessage");
    (question, events, script)
}

fn body(upstream: &Upstream, method: &str) -> Option<Value> {
    let body = upstream.last_body(method)?;
    Some(serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn progress_on_equal_tokens_of_two_servers_is_not_mixed_up() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let config = one.config(", era: session") + &two.entry("two", ", era: session");
    let gateway = Gateway::start(&config).await;
    let client = client(&gateway).await;
    let (first, mut events_one, script_one) = asked(&one, &client, "up_script").await;
    let (second, mut events_two, script_two) = asked(&two, &client, "two_script").await;
    let token = |question: &Value| question["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token(&first), token(&second));
    for (question, upstream, n) in [(&second, &two, 2), (&first, &one, 1)] {
        let params = json!({"progressToken": token(question), "progress": n});
        client.notify("notifications/progress", params).await;
        let told = upstream.got("notifications/progress").await;
        assert_eq!(told["params"], json!({"progressToken": "t", "progress": n}));
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"n": n}});
        assert_eq!(client.post(answer.to_string()).await.status, 202);
        let told = upstream.got("").await;
        assert_eq!(told, json!({"jsonrpc": "2.0", "id": 1, "result": {"n": n}}));
    }
    // Once a question is answered there is nothing to tell of.
    let late = json!({"progressToken": token(&first), "progress": 9});
    client.notify("notifications/progress", late).await;
    client.call("up_work", json!({"key": "k"})).await;
    let told = body(&one, "notifications/progress").unwrap();
    assert_eq!(told["params"]["progress"], 1);
    for (events, script) in [(&mut events_one, script_one), (&mut events_two, script_two)] {
        script.send(Push::Answer("end")).await.unwrap();
        assert!(events.message().await.is_some());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_answered_question_is_not_asked_again_on_a_resumed_stream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(", era: session")).await;
    let client = client(&gateway).await;
    let script = upstream.script();
    script.send(Push::Progress(1)).await.unwrap();
    script.send(Push::Raw(QUESTION)).await.unwrap();
    let params = json!({"name": "up_script", "_meta": {"progressToken": "p"}});
    let request = client.message("tools/call", &params);
    let mut events = client.post(request.to_string()).await.events();
    let first = events.message().await.unwrap();
    let question = events.message().await.unwrap().json();
    assert_eq!(question["method"], "sampling/createMessage");
    drop(events);
    // As long as nobody has answered, it is.
    let mut again = client.listen(first.id.as_deref()).await;
    assert_eq!(again.message().await.unwrap().json(), question);
    drop(again);
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {}});
    assert_eq!(client.post(answer.to_string()).await.status, 202);
    script.send(Push::Answer("end")).await.unwrap();
    let mut again = client.listen(first.id.as_deref()).await;
    let next = again.message().await.unwrap().json();
    assert_eq!(next["result"]["content"][0]["text"], "end");
    gateway.stop().await;
}

#[tokio::test]
async fn what_belongs_to_a_call_on_a_replaced_server_goes_to_the_old_session() {
    let upstream = Upstream::start().await;
    let config = |n: usize| {
        upstream.config(&format!(
            ", era: session, headers: {{ X-Generation: \"{n}\" }}"
        ))
    };
    let gateway = Gateway::start(&config(0)).await;
    let client = client(&gateway).await;
    let (question, mut events, script) = asked(&upstream, &client, "up_script").await;
    let session = |method: &str| upstream.last_session(method).unwrap();
    let old = session("tools/call");
    gateway.reconfigure(&config(1));
    eventually("the session has moved", async || {
        client.call("up_work", json!({"key": "k"})).await;
        session("tools/call") != old
    })
    .await;
    let token = &question["params"]["_meta"]["progressToken"];
    let params = json!({"progressToken": token, "progress": 1});
    client.notify("notifications/progress", params).await;
    upstream.got("notifications/progress").await;
    assert_eq!(session("notifications/progress"), old);
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {}});
    client.post(answer.to_string()).await;
    upstream.got("").await;
    assert_eq!(session(""), old);
    script.send(Push::Answer("end")).await.unwrap();
    let answer = events.message().await.unwrap().json();
    assert_eq!(answer["result"]["content"][0]["text"], "end");
    gateway.stop().await;
}

#[tokio::test]
async fn the_demo_asks_clients_of_either_era() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client();
    let ask = async |more: Value| {
        let mut params = json!({"name": "demo_ask", "arguments": {}});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        let capabilities = json!({"elicitation": {}});
        let answer = client.ask(capabilities, "tools/call", params).await;
        answer.message().await["result"].clone()
    };
    let asked = ask(json!({})).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert_eq!(asked["inputRequests"]["name"]["params"]["mode"], "form");
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    let done = ask(json!({"inputResponses": {"name": answer}})).await;
    assert_eq!(done["resultType"], "complete");
    let text = done["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), answer);
    gateway.stop().await;
}
