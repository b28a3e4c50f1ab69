//! Stateless clients at a server that has sessions only.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use crate::audit_tail::metric;
use crate::support::{ANN, Answer, BOB, Client, DEMO, Gateway, Push, Upstream, eventually};

pub(crate) const SESSION_ONLY: &str = ", era: session";
pub(crate) const ELICIT: &str = r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"_meta":{"k":1},"mode":"form","message":"who?","requestedSchema":{"type":"object","properties":{}}}}"#;

pub(crate) fn forms() -> Value {
    json!({"elicitation": {}})
}

pub(crate) async fn script(client: &Client, more: Value) -> Answer {
    let mut params = json!({"name": "script", "arguments": {"a": 1}});
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    client.ask(forms(), "tools/call", params).await
}

pub(crate) fn accept(state: &Value) -> Value {
    json!({"requestState": state, "inputResponses": {"ask-1": {"action": "accept", "content": {}}}})
}

pub(crate) async fn code(answer: Answer) -> (u16, i64) {
    let status = answer.status;
    (
        status,
        answer.message().await["error"]["code"].as_i64().unwrap(),
    )
}

#[tokio::test]
async fn a_call_is_translated_both_ways() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let params = json!({"name": "work", "arguments": {"key": "k"}, "_meta": {"v/x": 1}});
    let answer = client.ask(json!({}), "tools/call", params).await;
    assert_eq!(answer.status, 200);
    let result = answer.message().await["result"].clone();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(
        result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "up"
    );
    let sent: Value = serde_json::from_slice(&upstream.last_body("tools/call").unwrap()).unwrap();
    assert_eq!(sent["params"]["_meta"], json!({"v/x": 1}));
    assert_eq!(upstream.last_headers("tools/call").get("mcp-method"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn every_endpoint_serves_every_revision() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let all = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]);
    for path in ["/mcp", "/s/up/mcp"] {
        let client = gateway.client().at(path);
        let discovered = client.ask(json!({}), "server/discover", json!({})).await;
        let result = discovered.message().await["result"].clone();
        assert_eq!(result["supportedVersions"], all, "{path}");
        assert_eq!(result["cacheScope"], "private");
        assert_eq!(
            result["capabilities"].get("tasks"),
            None,
            "{path}: {result}"
        );
        let listed = client.ask(json!({}), "tools/list", json!({})).await;
        let listed = listed.message().await["result"].clone();
        assert_eq!(listed["resultType"], "complete");
        assert_eq!(listed["tools"].as_array().unwrap().len(), 3);
        client.open().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_state_is_of_use_to_its_caller_and_request_alone() {
    let upstream = Upstream::start().await;
    let servers = [("up", SESSION_ONLY), ("other", SESSION_ONLY)];
    let servers = servers.map(|(name, more)| upstream.entry(name, more));
    let gateway = Gateway::of_two(&servers.concat()).await;
    let ann = gateway.client().at("/s/up/mcp").key(ANN);
    let say = upstream.script();
    say.send(Push::Raw(ELICIT)).await.unwrap();
    let asked = script(&ann, json!({})).await.message().await;
    let state = asked["result"]["requestState"].as_str().unwrap().to_owned();

    let bob = gateway.client().at("/s/up/mcp").key(BOB);
    let elsewhere = gateway.client().at("/s/other/mcp").key(ANN);
    let merged = gateway.client().key(ANN);
    let right = accept(&json!(state));
    let mut attacks = vec![
        ("another principal", script(&bob, right.clone()).await),
        ("another server", script(&elsewhere, right.clone()).await),
    ];
    let mut through_all = right.clone();
    through_all["name"] = json!("up_script");
    attacks.push(("another route", script(&merged, through_all).await));
    let mut changed = right.clone();
    changed["arguments"] = json!({"a": 2});
    attacks.push(("other parameters", script(&ann, changed).await));
    let mut prompt = right.clone();
    prompt["name"] = json!("script");
    prompt["arguments"] = json!({"a": "1"});
    attacks.push((
        "another method",
        ann.ask(forms(), "prompts/get", prompt).await,
    ));
    attacks.push((
        "a cut state",
        script(&ann, accept(&json!(state[..state.len() - 1]))).await,
    ));
    let mut forged = state.clone().into_bytes();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    attacks.push(("a forged state", script(&ann, accept(&json!(forged))).await));
    attacks.push(("no text", script(&ann, accept(&json!(7))).await));
    let n_attacks = attacks.len();
    for (what, answer) in attacks {
        assert_eq!(code(answer).await, (400, -32602), "{what}");
    }
    // None of them has touched the call.
    say.send(Push::Answer("thanks")).await.unwrap();
    let done = script(&ann, right).await.message().await;
    assert_eq!(done["result"]["content"][0]["text"], "thanks");
    let audited = |line: &Value| line["event"] == "completed" && line["status"] == "bad_state";
    let accused = |line: &Value| line["event"] == "security" && line["what"] == "state_refused";
    for is_told in [&audited as &dyn Fn(&Value) -> bool, &accused] {
        eventually("all refusals are audited", async || {
            gateway.audit().iter().filter(|line| is_told(line)).count() == n_attacks
        })
        .await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn principals_share_no_session() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::of_two(&upstream.entry("up", SESSION_ONLY)).await;
    let own = upstream.sessions_opened();
    let call = async |key: &str, capabilities: Value| {
        let client = gateway.client().at("/s/up/mcp").key(key);
        let params = json!({"name": "work", "arguments": {"key": "k"}});
        let answer = client.ask(capabilities, "tools/call", params).await;
        assert_eq!(answer.message().await["result"]["resultType"], "complete");
        upstream.sessions_opened() - own
    };
    assert_eq!(call(ANN, json!({})).await, 1);
    assert_eq!(call(ANN, json!({})).await, 1);
    assert_eq!(call(BOB, json!({})).await, 2);
    assert_eq!(call(ANN, json!({"roots": {}})).await, 3);
    assert_eq!(call(ANN, json!({"roots": { }})).await, 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_has_cancelled() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let say = upstream.script();
    say.send(Push::Progress(1)).await.unwrap();
    let params = json!({"_meta": {"progressToken": "mine"}});
    let mut events = script(&client, params).await.events();
    let progress = events.message().await.unwrap().json();
    assert_eq!(progress["params"]["progressToken"], "mine");
    drop(events);
    let cancelled = upstream.got("notifications/cancelled").await;
    let called = upstream.got("tools/call").await;
    assert_eq!(cancelled["params"]["requestId"], called["id"]);
    gateway.stop().await;
}

#[tokio::test]
async fn listens_share_subscriptions_and_hear_what_they_asked_for() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let filter = |uri: &str| {
        json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true,
            "resourceSubscriptions": [uri]}})
    };
    let listen = async |uri: &str| {
        let answer = client
            .ask(json!({}), "subscriptions/listen", filter(uri))
            .await;
        let mut events = answer.events();
        let first = events.message().await.unwrap().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        // The server says nothing of changed prompts.
        assert_eq!(
            first["params"]["notifications"],
            json!({"toolsListChanged": true, "resourceSubscriptions": [uri]})
        );
        (events, first["params"]["_meta"].clone())
    };
    let (mut one, one_meta) = listen("up://one").await;
    let (mut two, two_meta) = listen("up://one").await;
    assert_eq!(upstream.executions("resources/subscribe"), 1);
    let note =
        |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
    let updated = note(
        "notifications/resources/updated",
        json!({"uri": "up://one"}),
    );
    upstream.say_to_all(&updated).await;
    for (events, meta) in [(&mut one, &one_meta), (&mut two, &two_meta)] {
        let heard = events.message().await.unwrap().json();
        assert_eq!(heard["params"]["uri"], "up://one");
        assert_eq!(heard["params"]["_meta"], *meta);
    }
    // A burst is told once.
    for _ in 0..5 {
        upstream
            .say_to_all(&note("notifications/tools/list_changed", json!({})))
            .await;
    }
    upstream
        .say_to_all(&note("notifications/prompts/list_changed", json!({})))
        .await;
    let heard = one.message().await.unwrap().json();
    assert_eq!(heard["method"], "notifications/tools/list_changed");
    assert_eq!(heard["params"]["_meta"], one_meta);
    drop(two);
    // The other still listens. That nothing is said is what is tested, so there is nothing to wait for.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(upstream.executions("resources/unsubscribe"), 0);
    upstream.say_to_all(&updated).await;
    let heard = one.message().await.unwrap().json();
    assert_eq!(heard["method"], "notifications/resources/updated");
    drop(one);
    eventually(
        "the last listener takes the subscription back",
        async || upstream.executions("resources/unsubscribe") == 1,
    )
    .await;
    gateway.stop().await;
}

/// Lets so many calls wait, and gives what keeps their servers' answers open.
async fn park(upstream: &Upstream, client: &Client, n_calls: usize) -> Vec<Sender<Push>> {
    // Each call gathers questions for a while; so many do at the same time.
    const ABREAST: usize = 16;
    let calls = stream::iter(0..n_calls).map(async |n| {
        let say = upstream.script();
        say.send(Push::Raw(ELICIT)).await.unwrap();
        let asked = script(client, json!({})).await.message().await;
        let state = asked["result"]["requestState"].as_str();
        assert!(state.is_some(), "{n}: {asked}");
        say
    });
    calls.buffer_unordered(ABREAST).collect().await
}

/// Measures what a call takes on the average that asks one short question, by the memory of the whole process. No bound
/// holds for one call alone but `question_max` (1 MiB by default): what a server asks is kept as it was asked, and
/// `memory_max` and `memory_principal_max` bound the sum. All that were measured then wait in vain.
#[tokio::test]
async fn a_thousand_parked_calls_are_small_and_all_of_them_expire() {
    const FIRST: usize = 20;
    const CALLS: usize = 1_000;
    const ALL: usize = FIRST + CALLS;
    let upstream = Upstream::start().await;
    // Longer than it takes to park them all, and the least that the test takes.
    let config = upstream.config(SESSION_ONLY) + "bridge: { wait: 30s }\n";
    let gateway = Gateway::start(&config).await;
    let waiting = async || metric(&gateway.metrics().await, "mcp_gateway_waiting_calls") as usize;
    let client = gateway.client().at("/s/up/mcp");
    // The first ones set up what all share.
    let mut scripts = park(&upstream, &client, FIRST).await;
    let before = gateway.process().rss_kib();
    scripts.extend(park(&upstream, &client, CALLS).await);
    let grown = gateway.process().rss_kib().saturating_sub(before);
    assert_eq!(waiting().await, ALL, "what was measured waits");
    let each = grown as f64 / CALLS as f64;
    assert!(each <= 32.0, "{each:.1} KiB for each parked call");

    eventually("nothing waits", async || waiting().await == 0).await;
    // Each question has an answer at the server, and each call its end. Answers have no method.
    eventually("the server is told of all", async || {
        upstream.received("") >= ALL && upstream.received("notifications/cancelled") >= ALL
    })
    .await;
    let told = ["tools/call", "", "notifications/cancelled"].map(|what| upstream.received(what));
    assert_eq!(told, [ALL; 3], "once");
    let waiting_bytes = metric(&gateway.metrics().await, "mcp_gateway_waiting_size_bytes");
    assert_eq!(waiting_bytes, 0.0);
    drop(scripts);
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_whose_client_does_not_come_back_ends_at_the_server() {
    let upstream = Upstream::start().await;
    let config = upstream.config(SESSION_ONLY) + "bridge: { wait: 1s }\n";
    let gateway = Gateway::start(&config).await;
    let client = gateway.client().at("/s/up/mcp");
    let say = upstream.script();
    say.send(Push::Raw(ELICIT)).await.unwrap();
    let asked = script(&client, json!({})).await.message().await;
    let called = upstream.got("tools/call").await;
    let cancelled = upstream.got("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], called["id"]);
    let answered = upstream.got("").await;
    assert_eq!(
        (&answered["id"], &answered["error"]["code"]),
        (&json!(1), &json!(-32603))
    );
    let late = accept(&asked["result"]["requestState"]);
    assert_eq!(code(script(&client, late).await).await, (400, -32602));
    // Who comes late has done no wrong.
    let ended = |line: &Value| line["event"] == "completed" && line["status"] == "bad_state";
    eventually("the late answer is recorded", async || {
        gateway.audit().iter().any(ended)
    })
    .await;
    assert!(
        gateway
            .audit()
            .iter()
            .all(|line| line["event"] != "security")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn log_messages_come_as_far_as_the_request_wants_them() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client().at("/s/up/mcp");
    let log = |level: &'static str| {
        Push::Raw(match level {
            "info" => {
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#
            }
            _ => {
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":2}}"#
            }
        })
    };
    for (wanted, told) in [(None, 0), (Some("error"), 1), (Some("debug"), 2)] {
        let say = upstream.script();
        for level in ["info", "error"] {
            say.send(log(level)).await.unwrap();
        }
        say.send(Push::Answer("done")).await.unwrap();
        let mut params = json!({"_meta": {}});
        if let Some(level) = wanted {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        }
        let answer = script(&client, params).await;
        let mut n_told = 0;
        if answer.is_stream() {
            let mut events = answer.events();
            while let Some(event) = events.message().await {
                n_told += usize::from(event.json()["method"] == "notifications/message");
            }
        }
        assert_eq!(n_told, told, "{wanted:?}");
    }
    let sent: Value =
        serde_json::from_slice(&upstream.last_body("logging/setLevel").unwrap()).unwrap();
    assert_eq!(sent["params"], json!({"level": "debug"}));
    gateway.stop().await;
}

#[tokio::test]
async fn lists_follow_the_capabilities_that_a_request_declares() {
    let upstream = Upstream::start().await;
    upstream.offer_to("roots", "roots_tool");
    let gateway = Gateway::start(&upstream.config(SESSION_ONLY)).await;
    let client = gateway.client();
    let listed = async |capabilities: Value| {
        let answer = client.ask(capabilities, "tools/list", json!({})).await;
        let tools = answer.message().await["result"]["tools"].clone();
        tools
            .as_array()
            .unwrap()
            .iter()
            .any(|tool| tool["name"] == "up_roots_tool")
    };
    assert!(!listed(json!({})).await);
    assert!(listed(json!({"roots": {}})).await);
    assert!(!listed(json!({"sampling": {}})).await);
    let params = json!({"name": "up_roots_tool", "arguments": {"key": "k"}});
    let known = client
        .ask(json!({"roots": {}}), "tools/call", params.clone())
        .await;
    assert_eq!(known.message().await["result"]["resultType"], "complete");
    let unknown = client.ask(json!({}), "tools/call", params).await;
    assert_eq!(code(unknown).await, (400, -32602));
    gateway.stop().await;
}

#[tokio::test]
async fn calls_of_a_caller_who_can_be_asked_run_at_once() {
    const CHILDREN_MAX: usize = 16;
    let session_only = "args: [demo-server], era: session, timeout: 3s }";
    let servers = DEMO.replace("args: [demo-server] }", session_only);
    let gateway = Gateway::start(&servers).await;
    let client = gateway.client();
    // Each says so often that it goes on that the server is never silent for too long.
    let params = json!({"name": "demo_countdown", "arguments": {"steps": 100_000, "pause_ms": 100},
        "_meta": {"progressToken": "p"}});
    let mut running = Vec::new();
    while running.len() < CHILDREN_MAX {
        let answer = client.ask(forms(), "tools/call", params.clone()).await;
        let mut events = answer.events();
        let first = events.message().await.unwrap().json();
        assert_eq!(first["params"]["progress"], 1, "{first}");
        running.push(events);
    }
    let echo = json!({"name": "demo_echo", "arguments": {"message": "here"}});
    let full = client.ask(forms(), "tools/call", echo.clone()).await;
    let full = full.message().await;
    assert_eq!(
        full["error"]["message"], "server `demo` has 16 sessions of this caller, its limit",
        "{full}"
    );
    assert_eq!(full["error"]["data"]["outcome"], "not_sent");
    running.pop();
    let next = client
        .ask(forms(), "tools/call", echo)
        .await
        .message()
        .await;
    assert_eq!(next["result"]["content"][0]["text"], "here", "{next}");
    drop(running);
    gateway.stop().await;
}
