//! Rights that are taken away end what goes on under them, and nothing else.

use serde_json::{Value, json};

use crate::support::{Client, Events, Gateway, Push, Upstream, eventually};

const ALICE: &str = "lg_00000000000000000000000000000000000000alice";
const SPARE: &str = "lg_00000000000000000000000000000000000000spare";
const BOB: &str = "lg_0000000000000000000000000000000000000000bob";
const ENV: [(&str, &str); 3] = [("ALICE", ALICE), ("SPARE", SPARE), ("BOB", BOB)];

const ALICES: &str = "{ id: alice, key_env: ALICE, principal: alice, tenant: acme, roles: [user] }";
const SPARES: &str = "{ id: spare, key_env: SPARE, principal: alice, tenant: acme, roles: [user] }";
const BOBS: &str = "{ id: bob, key_env: BOB, principal: bob, tenant: other, roles: [user] }";

/// What Alice's side may be cut to.
struct Rights {
    keys: &'static [&'static str],
    allow: &'static str,
    servers: &'static str,
}

const ALL: Rights = Rights {
    keys: &[ALICES, BOBS],
    allow: "\"*\"",
    servers: "up, more",
};

impl Rights {
    fn config(&self, upstream: &Upstream, era: &str) -> String {
        let era = format!(", era: {era}");
        format!(
            "identity:\n  api_keys: [{}]\nroles: {{ user: {{ allow: [{}] }} }}\n\
             tenants: {{ acme: {{ servers: [{}] }}, other: {{ servers: [up] }} }}\nservers:\n{}{}",
            self.keys.join(", "),
            self.allow,
            self.servers,
            upstream.entry("up", &era),
            upstream.entry("more", &era),
        )
    }
}

async fn gateway(upstream: &Upstream, era: &str, rights: &Rights) -> Gateway {
    Gateway::start_with(&rights.config(upstream, era), &ENV).await
}

async fn session(gateway: &Gateway, key: &str) -> Client {
    gateway.client().key(key).open().await
}

/// A call of `script` that has said something already.
async fn streaming(
    upstream: &Upstream,
    client: &Client,
) -> (Events, tokio::sync::mpsc::Sender<Push>) {
    let script = upstream.script();
    script.send(Push::Progress(1)).await.unwrap();
    let params = json!({"name": "up_script", "_meta": {"progressToken": "p"}});
    let request = client.message("tools/call", &params).to_string();
    let mut events = client.post(request).await.events();
    assert_eq!(
        events.message().await.unwrap().json()["params"]["progress"],
        1
    );
    (events, script)
}

/// What the rest of the stream says.
async fn rest(mut events: Events) -> Vec<Value> {
    let mut messages = Vec::new();
    while let Some(event) = events.message().await {
        messages.push(event.json());
    }
    messages
}

/// A call that the server keeps to itself for a minute and more.
fn long(client: &Client) -> Value {
    let arguments = json!({"key": "long", "wait_ms": 120_000});
    client.message(
        "tools/call",
        &json!({"name": "up_work", "arguments": arguments}),
    )
}

async fn executed(upstream: &Upstream, n: usize) {
    eventually("the call has arrived", async || {
        upstream.executions("long") == n
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams_and_calls_and_nobody_elses() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "session", &ALL).await;
    let (alice, bob) = (session(&gateway, ALICE).await, session(&gateway, BOB).await);
    let (mut bobs, bobs_script) = streaming(&upstream, &bob).await;
    let listening = alice.listen(None).await;
    let (calling, _script) = streaming(&upstream, &alice).await;
    let silent = async { alice.post(long(&alice).to_string()).await.message().await };
    let revoked = async {
        executed(&upstream, 1).await;
        let rights = Rights {
            keys: &[BOBS],
            ..ALL
        };
        gateway.reconfigure(&rights.config(&upstream, "session"));
    };
    let (answer, ()) = tokio::join!(silent, revoked);
    let is_end = |message: &Value| {
        let code = message["error"]["code"].as_i64();
        // Refused for the key, or because the session ended, whichever is heard first.
        matches!(code, Some(-31401 | -31404))
    };
    assert!(is_end(&answer), "{answer}");
    assert_eq!(rest(listening).await, [Value::Null; 0]);
    let said = rest(calling).await;
    assert!(said.len() == 1 && is_end(&said[0]), "{said:?}");
    upstream.got("notifications/cancelled").await;
    eventually("the session is gone", async || {
        let list = gateway.admin("/api/v1/sessions").await;
        list["sessions"].as_array().unwrap().len() == 1
    })
    .await;
    let ended = |line: &Value| line["what"] == "session_ended" && line["principal"] == "alice";
    eventually("the end is audited", async || {
        gateway.audit().iter().any(ended)
    })
    .await;
    bobs_script.send(Push::Answer("end")).await.unwrap();
    let answer = bobs.message().await.unwrap().json();
    assert_eq!(answer["result"]["content"][0]["text"], "end");
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_outlives_one_of_its_owners_keys() {
    let upstream = Upstream::start().await;
    let both = Rights {
        keys: &[ALICES, SPARES],
        ..ALL
    };
    let gateway = gateway(&upstream, "session", &both).await;
    let mut alice = session(&gateway, ALICE).await;
    let listening = alice.listen(None).await;
    let one = Rights {
        keys: &[SPARES],
        ..ALL
    };
    gateway.reconfigure(&one.config(&upstream, "session"));
    assert_eq!(rest(listening).await, [Value::Null; 0]);
    alice.set("authorization", &format!("Bearer {SPARE}"));
    let answer = alice.call("up_work", json!({"key": "k"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_listen_of_a_revoked_key_is_completed() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "stateless", &ALL).await;
    let mut streams = Vec::new();
    for (key, path, uri) in [
        (ALICE, "/mcp", "up://one"),
        (ALICE, "/s/up/mcp", "up://scoped"),
        (BOB, "/mcp", "up://two"),
    ] {
        let client = gateway.client().key(key).at(path);
        let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": [uri]});
        let wanted = json!({"notifications": wanted});
        let answer = client.stateless("subscriptions/listen", wanted).await;
        let mut events = answer.events();
        let first = events.message().await.unwrap().json();
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        streams.push(events);
    }
    let client = gateway.client().key(ALICE);
    let arguments = json!({"key": "long", "wait_ms": 120_000});
    let params = json!({"name": "up_work", "arguments": arguments});
    let silent = async { client.stateless("tools/call", params).await.message().await };
    let revoked = async {
        executed(&upstream, 1).await;
        let rights = Rights {
            keys: &[BOBS],
            ..ALL
        };
        gateway.reconfigure(&rights.config(&upstream, "stateless"));
    };
    let (answer, ()) = tokio::join!(silent, revoked);
    assert_eq!(answer["error"]["code"], -31401, "{answer}");
    let mut bobs = streams.pop().unwrap();
    for events in streams {
        let said = rest(events).await;
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0]["result"]["resultType"], "complete");
    }
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
        "params": {"uri": "up://two"}});
    upstream.say("up://two", &updated).await;
    assert_eq!(
        bobs.message().await.unwrap().json()["params"]["uri"],
        "up://two"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_grant_that_is_taken_away_ends_the_call_that_needs_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "session", &ALL).await;
    let alice = session(&gateway, ALICE).await;
    let mut listening = alice.listen(None).await;
    alice
        .request("resources/subscribe", json!({"uri": "up://one"}))
        .await;
    alice
        .request("resources/subscribe", json!({"uri": "up://two"}))
        .await;
    let (mut calling, script) = streaming(&upstream, &alice).await;
    let silent = async { alice.post(long(&alice).to_string()).await.message().await };
    let taken = async {
        executed(&upstream, 1).await;
        let rights = Rights {
            allow: "up_script, \"up://two\"",
            ..ALL
        };
        gateway.reconfigure(&rights.config(&upstream, "session"));
    };
    let (answer, ()) = tokio::join!(silent, taken);
    assert_eq!(answer["error"]["code"], -31403, "{answer}");
    // What is still allowed goes on.
    script.send(Push::Answer("end")).await.unwrap();
    let answer = calling.message().await.unwrap().json();
    assert_eq!(answer["result"]["content"][0]["text"], "end");
    for uri in ["up://one", "up://two"] {
        let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated",
            "params": {"uri": uri}});
        upstream.say_to_all(&updated).await;
    }
    assert_eq!(
        listening.message().await.unwrap().json()["params"]["uri"],
        "up://two"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_tenant_that_loses_a_server_hears_no_more_of_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "session", &ALL).await;
    let alice = session(&gateway, ALICE).await;
    let answer = alice.call("more_work", json!({"key": "k"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    let at_more = upstream.called_session();
    let scoped = gateway.client().key(ALICE).at("/s/more/mcp").open().await;
    let listening = scoped.listen(None).await;
    let rights = Rights {
        servers: "up",
        ..ALL
    };
    gateway.reconfigure(&rights.config(&upstream, "session"));
    assert_eq!(rest(listening).await, [Value::Null; 0]);
    eventually("the session at the server is closed", async || {
        !upstream.is_open(&at_more)
    })
    .await;
    let answer = alice.call("up_work", json!({"key": "k"})).await;
    assert!(answer.get("result").is_some(), "{answer}");
    let answer = alice.call("more_work", json!({"key": "k"})).await;
    assert!(answer.get("error").is_some(), "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn the_url_of_another_tenant_is_forbidden_and_that_is_audited() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream, "session", &ALL).await;
    let initialize = async |key: &str, path: &str| {
        let client = gateway.client().at(path);
        let client = if key.is_empty() {
            client
        } else {
            client.key(key)
        };
        client.initialize("2025-11-25", &json!({})).await.status
    };
    assert_eq!(initialize(ALICE, "/t/acme/mcp").await, 200);
    // Whether there is such a tenant is not told.
    for path in ["/t/other/mcp", "/t/nobody/mcp", "/t/other/s/up/mcp"] {
        assert_eq!(initialize(ALICE, path).await, 403, "{path}");
        assert_eq!(initialize("", path).await, 401, "{path}");
    }
    let refused = |line: &Value| {
        line["what"] == "tenant_refused"
            && line["principal"] == "alice"
            && line["detail"] == "/t/other/s/up/mcp"
    };
    eventually("the refusal is audited", async || {
        gateway.audit().iter().any(refused)
    })
    .await;
    gateway.stop().await;
}
