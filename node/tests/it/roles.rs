//! What no role allows is denied: every method, both eras, and the server-scoped paths under the same names.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Client, Gateway, Upstream};

const READER: &str = "lg_0000000000000000000000000000000000000reader";
const NOBODY: &str = "lg_0000000000000000000000000000000000000nobody";
const KEYS: [(&str, &str); 2] = [("KEY_READER", READER), ("KEY_NOBODY", NOBODY)];

/// Two keys: one with a few grants and one with none.
fn config(upstream: &Upstream) -> String {
    format!(
        r#"
identity:
  api_keys:
    - {{ id: reader, key_env: KEY_READER, principal: reader, roles: [reader] }}
    - {{ id: nobody, key_env: KEY_NOBODY, principal: nobody, roles: [nobody] }}
roles:
  reader: {{ allow: ["up_work", "up_other", "up://one", "up_greet"], deny: ["up_other"] }}
  nobody: {{ allow: [] }}
servers:
{}"#,
        upstream.entry("up", ", era: session")
    )
}

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start_with(&config(upstream), &KEYS).await
}

/// Requests that need a grant, as the aggregated endpoint spells them.
fn requests() -> Vec<(&'static str, Value)> {
    vec![
        (
            "tools/call",
            json!({"name": "up_work", "arguments": {"key": "k"}}),
        ),
        ("prompts/get", json!({"name": "up_greet"})),
        ("resources/read", json!({"uri": "up://one"})),
        ("resources/subscribe", json!({"uri": "up://one"})),
        ("resources/unsubscribe", json!({"uri": "up://one"})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "up_greet"}, "argument": {"name": "a", "value": ""}}),
        ),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/resource", "uri": "up://one"}, "argument": {"name": "a", "value": ""}}),
        ),
        ("tasks/get", json!({"taskId": "t"})),
        ("tasks/cancel", json!({"taskId": "t"})),
        ("tasks/result", json!({"taskId": "t"})),
        ("tasks/list", json!({})),
        ("vendor/secret", json!({})),
        ("tools/callx", json!({"name": "up_work"})),
    ]
}

/// The same request as a server-scoped path spells it.
fn scoped(params: &Value) -> Value {
    let text = params.to_string().replace("\"up_", "\"");
    serde_json::from_str(&text).unwrap()
}

fn is_denied(answer: &Value) -> bool {
    answer["error"]["code"] == -31403 && answer["error"]["data"]["reason"] == "policy_rejected"
}

#[tokio::test]
async fn without_a_grant_every_method_is_denied_and_nothing_runs() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let (all, one) = (
        gateway.client().key(NOBODY).open().await,
        gateway.client().key(NOBODY).at("/s/up/mcp").open().await,
    );
    for (method, params) in requests() {
        let answer = all.request(method, params.clone()).await;
        assert!(is_denied(&answer), "{method} {params}: {answer}");
        let answer = one.request(method, scoped(&params)).await;
        assert!(is_denied(&answer), "/s/up {method} {params}: {answer}");
        assert!(
            upstream.last_body(method).is_none(),
            "{method} reached the server"
        );
    }
    assert_eq!(upstream.executions("k"), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn every_denial_is_audited() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client().key(NOBODY).open().await;
    let before = gateway.audit().len();
    for (method, params) in requests() {
        client.request(method, params).await;
    }
    crate::support::eventually("two lines a call", async || {
        let lines = gateway.audit();
        let count = |event: &str, key: &str, value: &str| {
            lines[before..]
                .iter()
                .filter(|line| line["event"] == event && line[key] == value)
                .count()
        };
        let n = requests().len();
        count("received", "decision", "deny") == n && count("completed", "status", "denied") == n
    })
    .await;
    for line in &gateway.audit()[before..] {
        assert_eq!(line["principal"], "nobody", "{line}");
    }
    gateway.stop().await;
}

async fn reads(client: &Client, prefix: &str, key: &str) {
    let name = |own: &str| json!({"name": format!("{prefix}{own}"), "arguments": {"key": key}});
    let allowed = client.request("tools/call", name("work")).await;
    assert!(allowed.get("result").is_some(), "{allowed}");
    for denied in ["other", "script"] {
        let answer = client.request("tools/call", name(denied)).await;
        assert!(is_denied(&answer), "{denied}: {answer}");
    }
    let read = async |uri: &str| client.request("resources/read", json!({"uri": uri})).await;
    assert!(!is_denied(&read("up://one").await));
    for uri in ["up://two", "up://one/../two", "up://%6fne"] {
        let answer = read(uri).await;
        assert!(answer.get("error").is_some(), "{uri}: {answer}");
    }
    let get = client
        .request("prompts/get", json!({"name": format!("{prefix}greet")}))
        .await;
    assert!(!is_denied(&get), "{get}");
}

#[tokio::test]
async fn a_grant_holds_on_both_paths_and_deny_wins() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    reads(&gateway.client().key(READER).open().await, "up_", "all").await;
    reads(
        &gateway.client().key(READER).at("/s/up/mcp").open().await,
        "",
        "one",
    )
    .await;
    assert_eq!(
        (upstream.executions("all"), upstream.executions("one")),
        (1, 1)
    );
    gateway.stop().await;
}

/// Names in the list that a method answers.
async fn listed(client: &Client, kind: &str, key: &str) -> Vec<String> {
    let answer = client.request(&format!("{kind}/list"), json!({})).await;
    let list = answer["result"][kind]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    list.iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn lists_show_what_the_caller_may_use() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    for (path, prefix) in [("/mcp", "up_"), ("/s/up/mcp", "")] {
        let reader = gateway.client().key(READER).at(path).open().await;
        assert_eq!(
            listed(&reader, "tools", "name").await,
            [format!("{prefix}work")],
            "{path}"
        );
        assert_eq!(
            listed(&reader, "prompts", "name").await,
            [format!("{prefix}greet")],
            "{path}"
        );
        assert_eq!(
            listed(&reader, "resources", "uri").await,
            ["up://one"],
            "{path}"
        );
        let nobody = gateway.client().key(NOBODY).at(path).open().await;
        for (kind, key) in [("tools", "name"), ("prompts", "name"), ("resources", "uri")] {
            assert_eq!(listed(&nobody, kind, key).await, [""; 0], "{path} {kind}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_credential_of_the_client_stays_here() {
    let upstream = Upstream::start().await;
    let config = config(&upstream).replace(
        "era: session",
        r#"era: session, headers: { X-Server-Key: "for-the-server" }"#,
    );
    let gateway = Gateway::start_with(&config, &KEYS).await;
    let client = gateway
        .client()
        .key(READER)
        .with("x-server-key", "of-the-client")
        .open()
        .await;
    let body = client
        .message("tools/call", &json!({"name": "up_work"}))
        .to_string();
    let answer = client.send(Method::POST, &[], body).await.bytes().await;
    let headers = upstream.last_headers("tools/call");
    assert!(headers.get("authorization").is_none());
    assert_eq!(headers["x-server-key"], "for-the-server");
    assert!(!String::from_utf8_lossy(&answer).contains("for-the-server"));
    assert!(!gateway.log().contains("for-the-server"));
    gateway.stop().await;
}
