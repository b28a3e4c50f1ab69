//! A changed file: grants that are taken away bite at once, and a bad file changes nothing.

use serde_json::{Value, json};

use crate::support::{BINARY, Gateway, eventually};

fn config(allow: &str, more: &str) -> String {
    format!(
        r#"
identity: {{ anonymous: [some] }}
roles: {{ some: {{ allow: [{allow}] }} }}
servers:
  demo: {{ command: "{BINARY}", args: [demo-server] }}
{more}"#
    )
}

fn is_denied(answer: &Value) -> bool {
    answer["error"]["code"] == -31403
}

#[tokio::test]
async fn a_revoked_grant_bites_in_sessions_that_are_open() {
    let gateway = Gateway::start(&config("\"demo_*\"", "")).await;
    let client = gateway.client().open().await;
    let echo = async || client.call("demo_echo", json!({"message": "x"})).await;
    assert!(!is_denied(&echo().await));
    gateway.reconfigure(&config("\"demo_add\"", ""));
    eventually("the grant is gone", async || is_denied(&echo().await)).await;
    assert_eq!(client.tools().await, ["demo_add"]);
    let scoped = gateway.client().at("/s/demo/mcp").open().await;
    assert!(is_denied(
        &scoped.call("echo", json!({"message": "x"})).await
    ));
    gateway.stop().await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_reported() {
    let gateway = Gateway::start(&config("\"demo_*\"", "")).await;
    let client = gateway.client().open().await;
    for (bad, named) in [
        ("servers: [", "unclosed bracket"),
        (
            &*config("\"demo_add\"", "  demo: { command: x }\n"),
            "twice",
        ),
        (&*config("\"demo_add\"", "nonsense: 1\n"), "nonsense"),
        (
            &*config(
                "\"demo_add\"",
                "  x: { url: \"http://${NO_SUCH_VARIABLE}/\" }\n",
            ),
            "NO_SUCH_VARIABLE",
        ),
    ] {
        let from = gateway.log().len();
        gateway.reconfigure(bad);
        eventually("the problem is reported", async || {
            gateway.log()[from..].contains(named)
        })
        .await;
        let answer = client.call("demo_echo", json!({"message": "x"})).await;
        assert!(answer.get("result").is_some(), "{answer}");
    }
    // The next good file is taken, whatever came between.
    gateway.reconfigure(&config("\"demo_add\"", ""));
    let echo = async || client.call("demo_echo", json!({"message": "x"})).await;
    eventually("the good file holds", async || is_denied(&echo().await)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn servers_come_and_go_while_sessions_stay() {
    let gateway = Gateway::start(&config("\"*\"", "")).await;
    let client = gateway.client().open().await;
    assert!(
        client
            .call("demo_add", json!({"a": 1, "b": 1}))
            .await
            .get("result")
            .is_some()
    );
    let children = gateway.process().children().len();
    let more = format!("  more: {{ command: \"{BINARY}\", args: [demo-server] }}\n");
    gateway.reconfigure(&config("\"*\"", &more));
    eventually("the new server is listed", async || {
        client.tools().await.contains(&"more_add".to_owned())
    })
    .await;
    let answer = client.call("more_add", json!({"a": 1, "b": 1})).await;
    assert_eq!(answer["result"]["content"][0]["text"], "2");
    gateway.reconfigure(&config("\"*\"", ""));
    eventually("the server is gone", async || {
        !client.tools().await.contains(&"more_add".to_owned())
    })
    .await;
    let answer = client.call("more_add", json!({"a": 1, "b": 1})).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(
        client
            .call("demo_add", json!({"a": 1, "b": 1}))
            .await
            .get("result")
            .is_some()
    );
    eventually("its child has ended", async || {
        gateway.process().children().len() <= children
    })
    .await;
    gateway.stop().await;
}
