//! Stateless calls and their answers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::client::{all, endpoint, out, settings, single, stream, tool_call};
use super::server::{Piece, Server, bare, json, result_for, sse, sse_of};
use crate::error::{CallError, UpstreamError};
use crate::upstream::transport::http::HttpEndpoint;

/// What one call to a server with one fixed answer comes to.
async fn error_of(status: u16, media: &'static str, text: &'static str) -> UpstreamError {
    let server = Server::start(move |_| async move {
        let mut answer = json(status, text);
        let media = HeaderValue::from_static(media);
        answer.headers_mut().insert("content-type", media);
        answer
    })
    .await;
    endpoint(&server.url())
        .call(&tool_call(1))
        .await
        .expect_err("the answer was taken")
}

#[tokio::test]
async fn a_json_answer_keeps_its_bytes() {
    let server = Server::start(|seen| async move {
        json(
            200,
            result_for(&seen, r#"{"a" : 1.0,"big":12345678901234567890}"#),
        )
    })
    .await;
    let reply = endpoint(&server.url()).call(&tool_call(7)).await;
    assert_eq!(
        single(reply),
        (
            200,
            r#"{"jsonrpc":"2.0","id":7,"result":{"a" : 1.0,"big":12345678901234567890}}"#
                .to_owned()
        )
    );
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let text = "x".repeat(700_000);
    let server = Server::start(move |seen| {
        let answer = json(200, result_for(&seen, &format!("\"{text}\"")));
        async move { answer }
    })
    .await;
    let (_, answer) = single(endpoint(&server.url()).call(&tool_call(7)).await);
    assert_eq!(
        answer.len(),
        700_000 + r#"{"jsonrpc":"2.0","id":7,"result":""}"#.len()
    );
}

#[tokio::test]
async fn an_error_status_with_a_message_is_an_answer() {
    let server = Server::start(|_| async {
        json(
            404,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}"#,
        )
    })
    .await;
    let (status, text) = single(endpoint(&server.url()).call(&tool_call(1)).await);
    assert_eq!(status, 404);
    assert!(text.contains("-32601"));
}

#[tokio::test]
async fn an_error_without_id_gets_that_of_its_request() {
    for id in ["", r#""id":null,"#, r#""id":"server-error","#] {
        let text = format!(r#"{{"jsonrpc":"2.0",{id}"error":{{"code":-32000,"message":"no"}}}}"#);
        let server = Server::start(move |_| {
            let text = text.clone();
            async move { json(400, text) }
        })
        .await;
        let reply = endpoint(&server.url())
            .call(&out(r#"{"jsonrpc":"2.0","id":"a\u0062","method":"x"}"#))
            .await;
        let (_, text) = single(reply);
        assert!(text.contains(r#""id":"a\u0062""#), "{text}");
    }
}

#[tokio::test]
async fn an_id_comes_back_as_the_client_spelled_it() {
    let server =
        Server::start(|_| async { json(200, r#"{"jsonrpc":"2.0","id":"ab","result":{}}"#) }).await;
    let reply = endpoint(&server.url())
        .call(&out(r#"{"jsonrpc":"2.0","id":"a\u0062","method":"x"}"#))
        .await;
    assert_eq!(
        single(reply).1,
        r#"{"jsonrpc":"2.0","id":"a\u0062","result":{}}"#
    );
}

#[tokio::test]
async fn an_answer_to_another_request_is_garbage() {
    let error = error_of(
        200,
        "application/json",
        r#"{"jsonrpc":"2.0","id":2,"result":{}}"#,
    )
    .await;
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
}

#[tokio::test]
async fn html_is_garbage() {
    let error = error_of(200, "text/html", "<html>").await;
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
}

#[tokio::test]
async fn a_compressed_answer_is_refused_by_its_name() {
    for media in ["application/json", "text/event-stream"] {
        let server = Server::start(move |_| async move {
            let mut answer = json(200, "\u{1f}\u{8b}\u{8}");
            let headers = answer.headers_mut();
            headers.insert("content-type", HeaderValue::from_static(media));
            headers.insert("content-encoding", HeaderValue::from_static("gzip"));
            answer
        })
        .await;
        let error = endpoint(&server.url())
            .call(&tool_call(1))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "server `fake` sent something that is not MCP: its answer is compressed (gzip), which it was asked not to do"
        );
        let seen = server.log.lock()[0].clone();
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
    }
}

#[tokio::test]
async fn broken_json_is_garbage() {
    let error = error_of(200, "application/json", r#"{"jsonrpc":"2.0","id":1,"#).await;
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
}

#[tokio::test]
async fn a_status_without_message_is_a_status() {
    for (media, text) in [
        ("text/plain", "Bad Gateway"),
        ("application/json", r#"{"detail":"bad gateway"}"#),
    ] {
        let error = error_of(502, media, text).await;
        assert!(
            matches!(error, UpstreamError::Status { status: 502, .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_heard() {
    let server = Server::start(|_| async {
        let mut answer = bare(429);
        let wait = HeaderValue::from_static("17");
        answer.headers_mut().insert("retry-after", wait);
        answer
    })
    .await;
    let error = endpoint(&server.url())
        .call(&tool_call(1))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "server `fake` answered with HTTP status 429; it asks to wait 17 s"
    );
    let error = CallError::from(error);
    assert_eq!(error.retry_after_secs(), Some(17));
    assert_eq!(
        error.body(),
        concat!(
            r#"{"code":-31502,"message":"server `fake` answered with HTTP status 429; it asks to wait 17 s","#,
            r#""data":{"server":"fake","outcome":"unknown","status":429,"retry_after_ms":17000}}"#
        )
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(|_| async {
        let mut answer = bare(307);
        let location = HeaderValue::from_static("http://127.0.0.1:1/elsewhere");
        answer.headers_mut().insert("location", location);
        answer
    })
    .await;
    let error = endpoint(&server.url())
        .call(&tool_call(1))
        .await
        .unwrap_err();
    assert!(matches!(error, UpstreamError::Status { status: 307, .. }));
    assert_eq!(server.n_connections(), 1);
}

#[tokio::test]
async fn whoever_looks_for_the_server_is_told_where_a_redirect_leads() {
    let server = Server::start(|_| async {
        let mut answer = bare(308);
        let location =
            HeaderValue::from_static("https://u:planted@there.example:8443/mcp/?k=planted");
        answer.headers_mut().insert("location", location);
        answer
    })
    .await;
    let mut own = settings(&server.url());
    let error = HttpEndpoint::new(own.clone()).unwrap().probe().await;
    let told = error.unwrap_err().to_string();
    let leads = "308, which leads to https://there.example:8443/mcp/ and is not followed";
    assert!(told.contains(leads) && !told.contains("planted"), "{told}");
    own.address = "https://${HOST}/mcp".into();
    let error = HttpEndpoint::new(own).unwrap().probe().await;
    let told = error.unwrap_err().to_string();
    assert!(
        told.contains("308, which leads elsewhere") && !told.contains("there"),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_over_the_limit_is_garbage() {
    let server = Server::start(|seen| async move {
        json(200, result_for(&seen, &format!("\"{}\"", "x".repeat(5000))))
    })
    .await;
    let mut settings = settings(&server.url());
    settings.answer_bytes_max = 4000;
    let endpoint = HttpEndpoint::new(settings).unwrap();
    let error = endpoint.call(&tool_call(1)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
    assert_eq!(endpoint.n_idle(), 0);
}

#[tokio::test]
async fn an_event_over_the_limit_is_garbage() {
    let server = Server::start(|_| async {
        let (answer, feed) = sse();
        feed.try_send(Ok(format!("data: {}", "x".repeat(5000)).into()))
            .unwrap();
        // Kept open: the refusal must not wait for the end.
        std::mem::forget(feed);
        answer
    })
    .await;
    let mut settings = settings(&server.url());
    settings.answer_bytes_max = 4000;
    let endpoint = HttpEndpoint::new(settings).unwrap();
    let mut stream = stream(endpoint.call(&tool_call(1)).await);
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_ends_with_its_answer() {
    let server = Server::start(|_| async {
        sse_of(&[
            Piece::Text("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n: still here\n\n"),
            Piece::Text("event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,"),
            Piece::Text("\"result\":{}}\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"too/late\"}\n\n"),
        ])
    })
    .await;
    let mut stream = stream(endpoint(&server.url()).call(&tool_call(1)).await);
    assert_eq!(
        all(&mut stream).await,
        [
            r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
        ]
    );
}

#[tokio::test]
async fn a_stream_that_answers_another_request_is_garbage() {
    let server = Server::start(|_| async {
        sse_of(&[Piece::Text(
            "data: {\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n\n",
        )])
    })
    .await;
    let mut stream = stream(endpoint(&server.url()).call(&tool_call(1)).await);
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_breaks_is_broken() {
    for last in [Piece::Text(": bye\n\n"), Piece::Break] {
        let server = Server::start(move |_| async move {
            sse_of(&[
                Piece::Text("data: {\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n\n"),
                last,
            ])
        })
        .await;
        let mut stream = stream(endpoint(&server.url()).call(&tool_call(1)).await);
        assert!(stream.next().await.unwrap().is_some());
        let error = stream.next().await.unwrap_err();
        assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
        assert!(!error.nothing_sent());
    }
}

#[tokio::test]
async fn silence_before_the_head_is_a_timeout() {
    let server = Server::start(|_| std::future::pending()).await;
    let mut out = tool_call(1);
    out.timeout = Duration::from_millis(50);
    let error = endpoint(&server.url()).call(&out).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn silence_between_messages_is_a_timeout() {
    let server = Server::start(|_| async {
        let (answer, feed) = sse();
        let text = "data: {\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n\n";
        feed.try_send(Ok(text.into())).unwrap();
        std::mem::forget(feed);
        answer
    })
    .await;
    let mut out = tool_call(1);
    out.timeout = Duration::from_millis(50);
    let mut stream = stream(endpoint(&server.url()).call(&out).await);
    assert!(stream.next().await.unwrap().is_some());
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn injected_headers_win_and_no_other_authorization_leaves() {
    let server = Server::start(|seen| async move { json(200, result_for(&seen, "{}")) }).await;
    let mut settings = settings(&server.url());
    settings.headers = Arc::new([(
        HeaderName::from_static("x-key"),
        SecretString::from("secret"),
    )]);
    let mut message = tool_call(1);
    for (name, value) in [
        ("x-key", "client"),
        ("authorization", "Bearer client"),
        ("mcp-name", "x"),
        ("accept", "text/html"),
    ] {
        message.headers.push((
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        ));
    }
    single(HttpEndpoint::new(settings).unwrap().call(&message).await);
    let seen = server.log.lock()[0].clone();
    assert_eq!(seen.header("x-key"), Some("secret"));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("mcp-name"), Some("x"));
    assert_eq!(
        seen.header("accept"),
        Some("application/json, text/event-stream")
    );
    assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(seen.headers.get_all("accept").iter().count(), 1);
    assert_eq!(seen.header("host"), Some(&*server.address.to_string()));
}

#[tokio::test]
async fn an_injected_authorization_is_sent_in_place_of_the_clients() {
    let server = Server::start(|seen| async move { json(200, result_for(&seen, "{}")) }).await;
    let mut settings = settings(&server.url());
    settings.headers = Arc::new([(
        HeaderName::from_static("authorization"),
        SecretString::from("Bearer ours"),
    )]);
    let endpoint = HttpEndpoint::new(settings).unwrap();
    let mut message = tool_call(1);
    message.headers.push((
        HeaderName::from_static("authorization"),
        HeaderValue::from_static("Bearer client"),
    ));
    single(endpoint.call(&message).await);
    let seen = server.log.lock()[0].clone();
    let sent: Vec<_> = seen.headers.get_all("authorization").iter().collect();
    assert_eq!(sent, ["Bearer ours"]);
    assert!(!format!("{endpoint:?}").contains("ours"));
}
