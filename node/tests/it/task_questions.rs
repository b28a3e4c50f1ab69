//! What a task at a server of the session era asks its client, who shows it, and who may answer.

use serde_json::{Value, json};

use crate::bridge_down::{ELICIT, accept};
use crate::support::{ANN, BOB, Client, Gateway, Push, eventually};
use crate::tasks_down::{CREATED, RELATED, SESSION, about, begin, follows, sent, upstream};

const ASKING: &str = r#""result":{"taskId":"s-1","status":"input_required","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:02Z","ttl":60000}"#;
const QUESTION: &str = r#"{"jsonrpc":"2.0","id":41,"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"s-1"}}}}"#;

#[tokio::test]
async fn questions_of_a_task_are_shown_with_its_state_and_answered_by_updates() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let say = upstream.script_of("tasks/result");
    say.send(Push::Raw(QUESTION)).await.unwrap();
    let mut asked = Value::Null;
    eventually("the question is known", async || {
        asked = about(&client, "tasks/get", &id).await.1["result"].clone();
        asked["status"] == "input_required"
    })
    .await;
    assert_eq!(
        asked["inputRequests"],
        json!({"ask-1": {"method": "elicitation/create",
            "params": {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}}})
    );
    let update = async |responses: Value| {
        let params = json!({"taskId": id, "inputResponses": responses});
        let answer = client.ask(follows(), "tasks/update", params).await;
        (answer.status, answer.message().await)
    };
    let (status, refused) = update(json!({"ask-1": {"action": "perhaps"}})).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!(-32602)));
    let given = json!({"action": "accept", "content": {"name": "x"}});
    let (status, taken) = update(json!({"ask-1": given, "ask-9": {"action": "cancel"}})).await;
    assert_eq!(status, 200);
    assert_eq!(taken["result"]["resultType"], "complete");
    let answer = sent(&upstream, "");
    assert_eq!(answer["id"], 41);
    assert_eq!(answer["result"]["action"], "accept");
    assert_eq!(answer["result"]["_meta"][RELATED]["taskId"], "s-1");
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_task_asks_before_it_is_known_is_asked_of_its_client() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    upstream.reply("tools/call", &[&CREATED.replace("s-1", "s-0")]);
    begin(&client, "work").await;
    let next = sent(&upstream, "tools/call")["id"].as_u64().unwrap() + 1;
    let say = upstream.script_of("tools/call");
    let created = format!(r#"{{"jsonrpc":"2.0","id":{next},{CREATED}}}"#);
    say.send(Push::Raw(QUESTION)).await.unwrap();
    say.send(Push::Raw(created.leak())).await.unwrap();
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let (_, state) = about(&client, "tasks/get", &id).await;
    assert_eq!(state["result"]["status"], "input_required", "{state}");
    assert_eq!(
        state["result"]["inputRequests"]["ask-1"]["method"],
        "elicitation/create"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_that_is_taken_back_on_the_sessions_own_stream_is_shown_no_more() {
    let upstream = upstream().await;
    let gateway = Gateway::start(&upstream.config(SESSION)).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let session = upstream.called_session();
    upstream.listened_by(&session).await;
    let question: Value = serde_json::from_str(QUESTION).unwrap();
    upstream.say(&session, &question).await;
    let state = async || about(&client, "tasks/get", &id).await.1["result"]["status"].clone();
    eventually("the question is known", async || {
        state().await == "input_required"
    })
    .await;
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 41}});
    upstream.say(&session, &cancelled).await;
    eventually("the question is gone", async || state().await == "working").await;
    gateway.stop().await;
}

/// A question about the task that the server calls `task`, under the server's own `id`.
fn question(task: &str, id: u64) -> &'static str {
    let question = QUESTION.replace("s-1", task);
    question.replace("41", &id.to_string()).leak()
}

#[tokio::test]
async fn an_answer_reaches_the_question_of_its_own_task_from_its_own_caller_alone() {
    let upstream = upstream().await;
    let gateway = Gateway::of_two(&upstream.entry("up", SESSION)).await;
    let ann = gateway.client().at("/s/up/mcp").key(ANN);
    let bob = gateway.client().at("/s/up/mcp").key(BOB);
    let mut ids = Vec::new();
    for (task, id) in [("s-1", 41), ("s-2", 42)] {
        upstream.reply("tools/call", &[&CREATED.replace("s-1", task)]);
        let own = begin(&ann, "work").await;
        upstream.reply("tasks/get", &[&ASKING.replace("s-1", task)]);
        let say = upstream.script_of("tasks/result");
        say.send(Push::Raw(question(task, id))).await.unwrap();
        eventually("the question is known", async || {
            about(&ann, "tasks/get", &own).await.1["result"]["status"] == "input_required"
        })
        .await;
        // Dropped, the server's stream would end.
        ids.push((own, say));
    }
    let update = async |client: &Client, id: &str, action: &str| {
        let responses = json!({"ask-1": {"action": action}});
        let params = json!({"taskId": id, "inputResponses": responses});
        client.ask(follows(), "tasks/update", params).await.status
    };
    // Both tasks call their question the same, and so would one of Bob's.
    let [(first, _), (second, _)] = &ids[..] else {
        panic!("two tasks");
    };
    for id in [first, second] {
        assert_eq!(update(&bob, id, "accept").await, 400);
    }
    assert_eq!(upstream.last_body(""), None);
    assert_eq!(update(&ann, second, "decline").await, 200);
    let answer = sent(&upstream, "");
    assert_eq!(
        (&answer["id"], &answer["result"]["action"]),
        (&json!(42), &json!("decline"))
    );
    assert_eq!(answer["result"]["_meta"][RELATED]["taskId"], "s-2");
    // Once is enough.
    assert_eq!(update(&ann, second, "accept").await, 200);
    assert_eq!(sent(&upstream, "")["id"], 42);
    assert_eq!(update(&ann, first, "accept").await, 200);
    let answer = sent(&upstream, "");
    assert_eq!(
        (&answer["id"], &answer["result"]["action"]),
        (&json!(41), &json!("accept"))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_of_a_task_has_its_place_among_its_callers_calls() {
    let upstream = upstream().await;
    let bridge = "bridge: { waiting_principal_max: 1 }\n";
    let gateway = Gateway::start(&format!("{bridge}{}", upstream.config(SESSION))).await;
    let client = gateway.client().at("/s/up/mcp");
    let id = begin(&client, "work").await;
    upstream.reply("tasks/get", &[ASKING]);
    let state = async || about(&client, "tasks/get", &id).await.1["result"]["status"].clone();
    let say = upstream.script_of("tools/call");
    say.send(Push::Raw(ELICIT)).await.unwrap();
    let params = json!({"name": "script", "arguments": {}});
    let parked = client.ask(follows(), "tools/call", params.clone()).await;
    let parked = parked.message().await["result"].clone();
    assert_eq!(parked["resultType"], "input_required");
    // The only place is taken: the server learns that nobody can be asked.
    let questions = upstream.script_of("tasks/result");
    questions.send(Push::Raw(QUESTION)).await.unwrap();
    assert_eq!(state().await, "working");
    let refused = upstream.got("").await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!(41), &json!(-32603))
    );
    // And free when that call goes on.
    say.send(Push::Answer("thanks")).await.unwrap();
    let mut retry = params;
    for (key, value) in accept(&parked["requestState"]).as_object().unwrap() {
        retry[key] = value.clone();
    }
    let done = client.ask(follows(), "tools/call", retry).await;
    assert_eq!(done.message().await["result"]["resultType"], "complete");
    questions
        .send(Push::Raw(question("s-1", 42)))
        .await
        .unwrap();
    eventually("the next question is shown", async || {
        state().await == "input_required"
    })
    .await;
    gateway.stop().await;
}
