//! A session id is worth something to its owner, on its route, and to nobody else.

use http::Method;
use serde_json::json;

use crate::support::{ANN, BINARY, BOB, Client, Gateway, eventually};

async fn gateway() -> Gateway {
    let server = |name| format!("  {name}: {{ command: \"{BINARY}\", args: [demo-server] }}\n");
    Gateway::of_two(&["demo", "more"].map(server).concat()).await
}

/// The id is unknown for every method of HTTP, and nothing says why.
pub(crate) async fn is_unknown(client: &Client, id: &str) {
    let header = [("mcp-session-id", id)];
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let answer = client.send(Method::POST, &header, ping).await;
    assert_eq!(answer.status, 404, "{id}");
    let message = answer.json().await;
    assert_eq!(message["error"]["message"], "session not found");
    assert_eq!(message["id"], 1);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(client.send(method, &header, "").await.status, 404, "{id}");
    }
}

#[tokio::test]
async fn another_principal_and_another_route_know_no_such_session() {
    let gateway = gateway().await;
    let ann = gateway.client().key(ANN).open().await;
    let id = ann.session_id().to_owned();
    is_unknown(&gateway.client().key(BOB), &id).await;
    for path in ["/s/demo/mcp", "/s/more/mcp"] {
        is_unknown(&gateway.client().key(ANN).at(path), &id).await;
    }
    let scoped = gateway.client().key(ANN).at("/s/demo/mcp").open().await;
    is_unknown(&gateway.client().key(ANN), scoped.session_id()).await;
    is_unknown(
        &gateway.client().key(ANN).at("/s/more/mcp"),
        scoped.session_id(),
    )
    .await;
    // Nothing of that touched the sessions.
    assert_eq!(ann.request("ping", json!({})).await["result"], json!({}));
    assert_eq!(scoped.request("ping", json!({})).await["result"], json!({}));
    let told = |line: &serde_json::Value| line.to_string().contains("session_id_refused");
    eventually("the audit log says so", async || {
        gateway.audit().iter().any(told)
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_forged_or_cut_id_is_unknown() {
    let gateway = gateway().await;
    let client = gateway.client().key(ANN).open().await;
    let id = client.session_id().to_owned();
    let stranger = gateway.client().key(ANN);
    let flipped = |at: usize| {
        let mut text = id.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).unwrap()
    };
    for at in [0, 1, id.len() / 2, id.len() - 2] {
        is_unknown(&stranger, &flipped(at)).await;
    }
    for forged in [
        &id[..id.len() - 1],
        &id[1..],
        &format!("{id}A"),
        "x",
        "../../etc/passwd",
    ] {
        is_unknown(&stranger, forged).await;
    }
    assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
    gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_has_shown_a_session_shows_it_to_nobody_else() {
    let gateway = gateway().await;
    let ann = gateway.client().key(ANN).open().await;
    let id = ann.session_id().to_owned();
    // One after the other on the same connection, as behind a proxy that pools them.
    let bob = format!("Bearer {BOB}");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for _ in 0..2 {
        assert_eq!(ann.request("ping", json!({})).await["result"], json!({}));
        let header = [("authorization", bob.as_str())];
        let refused = ann.send(Method::POST, &header, ping.clone()).await;
        assert_eq!(refused.status, 404);
        let refused = refused.json().await;
        assert_eq!(refused["error"]["message"], "session not found");
    }
    let mut elsewhere = ann.at("/s/demo/mcp");
    is_unknown(&elsewhere, &id).await;
    elsewhere.set("authorization", &bob);
    is_unknown(&elsewhere, &id).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stateless_request_takes_no_notice_of_an_id() {
    let gateway = gateway().await;
    let ann = gateway.client().key(ANN).open().await;
    let id = ann.session_id().to_owned();
    let bob = gateway.client().key(BOB).with("mcp-session-id", &id);
    let listed = bob.stateless("tools/list", json!({})).await;
    assert_eq!(
        (listed.status, listed.header("mcp-session-id")),
        (200, None)
    );
    let listed = listed.message().await;
    assert_eq!(listed["result"]["resultType"], "complete");
    assert_eq!(ann.request("ping", json!({})).await["result"], json!({}));
    gateway.stop().await;
}

#[tokio::test]
async fn an_id_of_another_gateway_is_unknown() {
    let (here, there) = (gateway().await, gateway().await);
    let client = there.client().key(ANN).open().await;
    is_unknown(&here.client().key(ANN), client.session_id()).await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_deleted_session_is_unknown() {
    let gateway = gateway().await;
    let client = gateway.client().key(ANN).open().await;
    assert_eq!(client.delete().await, 200);
    is_unknown(&gateway.client().key(ANN), client.session_id()).await;
    // It was hers: only who tries it after her is accused.
    is_unknown(&gateway.client().key(BOB), client.session_id()).await;
    let told = |line: &serde_json::Value| line.to_string().contains("session_id_refused");
    eventually("all that Bob tried is in the audit log", async || {
        gateway.audit().into_iter().filter(told).count() == 3
    })
    .await;
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_session_there_is_a_hint_and_without_a_key_nothing() {
    let gateway = gateway().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let answer = gateway.client().key(ANN).post(ping.clone()).await;
    assert_eq!(answer.status, 400);
    let message = answer.json().await;
    assert!(
        message["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Mcp-Session-Id")
    );
    for stranger in [gateway.client(), gateway.client().key("lg_wrong")] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            assert_eq!(stranger.send(method, &[], ping.clone()).await.status, 401);
        }
    }
    gateway.stop().await;
}
