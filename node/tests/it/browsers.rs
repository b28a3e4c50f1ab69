//! Pages in browsers: those of a listed origin may ask and read, others are told nothing.

use http::Method;
use serde_json::json;

use crate::support::{ANN, Answer, BINARY, Client, Gateway, LATEST};

const PAGE: (&str, &str) = ("origin", "https://app.example");
const METHOD: &str = "access-control-request-method";
const HEADERS: &str = "access-control-request-headers";

async fn start() -> Gateway {
    let demo = format!("  demo: {{ command: {BINARY:?}, args: [demo-server] }}\n");
    Gateway::of_two(&format!(
        "{demo}allowed_origins: [\"https://App.example\"]\n"
    ))
    .await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

async fn asked(client: &Client, headers: &[(&str, &str)]) -> Answer {
    client.send(Method::OPTIONS, headers, "").await
}

#[tokio::test]
async fn a_page_of_a_listed_origin_asks_first_and_needs_no_key_for_that() {
    let gateway = start().await;
    for (path, methods) in [
        ("/mcp", "GET, POST, DELETE"),
        ("/s/any/mcp", "GET, POST, DELETE"),
        ("/messages", "POST"),
        ("/sse", "GET"),
    ] {
        let client = gateway.client().at(path);
        let wanted = "authorization,content-type,mcp-param-x";
        let answer = asked(&client, &[PAGE, (METHOD, "POST"), (HEADERS, wanted)]).await;
        assert_eq!((answer.status, allowed(&answer)), (204, Some(PAGE.1)));
        let header = |name: &str| answer.header(name);
        assert_eq!(header("access-control-allow-methods"), Some(methods));
        assert_eq!(header("access-control-allow-headers"), Some(wanted));
        assert_eq!(header("vary"), Some("origin"));
    }
    let nowhere = gateway.client().at("/nowhere");
    let answer = asked(&nowhere, &[PAGE, (METHOD, "POST")]).await;
    assert_eq!(answer.status, 404);
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_of_a_listed_origin_reads_answers_of_any_kind() {
    let gateway = start().await;
    let page = gateway.client().with(PAGE.0, PAGE.1);
    let params = json!({ "protocolVersion": LATEST, "capabilities": {}, "clientInfo": { "name": "p", "version": "1" } });
    let first = page.message("initialize", &params).to_string();
    let refused = page.post(first.clone()).await;
    assert_eq!((refused.status, allowed(&refused)), (401, Some(PAGE.1)));
    let page = page.key(ANN);
    let begun = page.post(first).await;
    assert_eq!((begun.status, allowed(&begun)), (200, Some(PAGE.1)));
    let exposed = begun.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("mcp-session-id"), "{exposed}");
    let session = begun.header("mcp-session-id").unwrap().to_owned();
    let page = page.with("mcp-session-id", &session);
    let stream = page
        .send(Method::GET, &[("accept", "text/event-stream")], "")
        .await;
    assert_eq!((stream.status, allowed(&stream)), (200, Some(PAGE.1)));
    gateway.stop().await;
}

#[tokio::test]
async fn other_pages_are_told_nothing() {
    let gateway = start().await;
    let client = gateway.client().key(ANN);
    // The second one is ours and yet has to be listed to read.
    for origin in ["https://evil.example", "http://localhost:6274", "null"] {
        let answer = asked(&client, &[("origin", origin), (METHOD, "POST")]).await;
        assert!(answer.status >= 400, "{origin}: {}", answer.status);
        assert_eq!(allowed(&answer), None, "{origin}");
        // A cache must not give it to a page that may read.
        assert_eq!(answer.header("vary"), Some("origin"), "{origin}");
    }
    let nobody = client.send(Method::PUT, &[], "").await;
    assert_eq!(
        (nobody.status, nobody.header("vary")),
        (405, Some("origin"))
    );
    let foreign = [PAGE, (METHOD, "POST"), ("host", "evil.example")];
    assert_eq!(asked(&client, &foreign).await.status, 403);
    gateway.stop().await;
}
