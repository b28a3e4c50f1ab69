//! Servers that are child processes: they die, and are waited for, and come back.

use rustix::process::Signal;
use serde_json::json;

use crate::support::{BINARY, Client, DEMO, Gateway, Process, eventually, within};

/// All children, one of which answers `client`.
async fn children(gateway: &Gateway, client: &Client) -> Vec<Process> {
    eventually("a child answers", async || {
        let answer = client.call("demo_echo", json!({"message": "here"})).await;
        answer["result"]["content"][0]["text"] == "here"
    })
    .await;
    gateway.process().children()
}

fn kill(children: &[Process]) {
    for child in children {
        child.signal(Signal::KILL);
    }
}

async fn have_ended(children: &[Process]) {
    let gone = |child: &Process| child.state().is_none();
    eventually("the children are waited for", async || {
        children.iter().all(gone)
    })
    .await;
}

#[tokio::test]
async fn a_killed_child_ends_its_call_and_is_replaced() {
    let gateway = Gateway::start(DEMO).await;
    let (client, other) = (gateway.client().open().await, gateway.client().open().await);
    let running = children(&gateway, &client).await;
    let slow = json!({"name": "demo_countdown", "arguments": {"steps": 1, "pause_ms": 10000}});
    // The answer becomes a stream when the call lasts: then it is at the server.
    let call = client
        .post(client.message("tools/call", &slow).to_string())
        .await;
    assert!(call.is_stream());
    kill(&running);
    let answer = within("end of the call", call.message()).await;
    assert_eq!(answer["error"]["data"]["outcome"], "unknown", "{answer}");
    have_ended(&running).await;
    for client in [&client, &other] {
        children(&gateway, client).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_child_that_keeps_dying_leaves_no_zombie() {
    let gateway = Gateway::start(DEMO).await;
    let client = gateway.client().open().await;
    for _ in 0..3 {
        let running = children(&gateway, &client).await;
        kill(&running);
        have_ended(&running).await;
        gateway.assert_sound().await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_child_that_cannot_start_is_an_error_and_not_the_end() {
    let gateway = Gateway::start(
        "identity: { anonymous: [all] }\nroles: { all: { allow: [\"*\"] } }\n\
         servers: { none: { command: /nonexistent/server }, quits: { command: /bin/true } }\n",
    )
    .await;
    let client = gateway.client().open().await;
    assert_eq!(client.tools().await, [""; 0]);
    // Its tools are not known, which is said of it, and of no other name.
    for (tool, expected) in [
        (
            "none_x",
            "unknown tool `none_x`: server `none` has not said yet what it offers",
        ),
        ("other_x", "unknown tool `other_x`"),
    ] {
        let answer = client.call(tool, json!({})).await;
        assert_eq!(answer["error"]["message"], expected, "{answer}");
    }
    let scoped = gateway
        .client()
        .at("/s/none/mcp")
        .initialize("2025-11-25", &json!({}))
        .await;
    let answer = scoped.message().await;
    assert_eq!(answer["error"]["data"]["server"], "none", "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn children_end_with_the_gateway() {
    let gateway = Gateway::start(DEMO).await;
    let running = children(&gateway, &gateway.client().open().await).await;
    gateway.stop().await;
    have_ended(&running).await;
}

#[tokio::test]
async fn a_child_that_is_slow_to_start_is_listed_when_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let slow = format!(
        "while [ ! -e {} ]; do /bin/sleep 0.05; done; exec {BINARY} demo-server",
        gate.display()
    );
    let gateway = Gateway::start(&format!(
        "identity: {{ anonymous: [all] }}\nroles: {{ all: {{ allow: [\"*\"] }} }}\n\
         servers:\n  demo: {{ command: /bin/sh, args: [-c, \"{slow}\"] }}\n"
    ))
    .await;
    let shared = gateway.process().children();
    // A client that can be asked has a child of its own, as servers offer it other things.
    let client = gateway.client();
    let client = client
        .open_with("2025-11-25", json!({"elicitation": {}}))
        .await;
    let mut heard = client.listen(None).await;
    assert_eq!(client.tools().await, [""; 0]);
    let mut own = gateway.process().children();
    own.retain(|child| !shared.contains(child));
    assert_eq!(own.len(), 1);
    assert_eq!(client.tools().await, [""; 0]);
    std::fs::File::create(&gate).unwrap();
    let changed = within("news of the lists", heard.message()).await;
    let changed = changed.unwrap().json();
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    eventually("its tools are listed", async || {
        client.tools().await.contains(&"demo_echo".to_owned())
    })
    .await;
    assert!(own[0].state().is_some(), "{}", gateway.log());
    gateway.stop().await;
}
