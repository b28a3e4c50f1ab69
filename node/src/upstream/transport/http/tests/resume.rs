//! POST streams that break and go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;

use super::client::{all, endpoint, init, stream, tool_call};
use super::server::{Answer, Piece, Seen, Server, bare, sse_of};
use super::session::{Sessions, not_found};
use crate::error::UpstreamError;
use crate::upstream::transport::http::HttpSession;

const PRIMING: Piece = Piece::Text("id: 0\nretry: 10\ndata:\n\n");
const FIRST: Piece = Piece::Text("id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n\n");
const SECOND: Piece = Piece::Text("id: 2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"b\"}\n\n");
const HALF: Piece = Piece::Text("id: 3\ndata: {\"jsonrpc\":\"2.0\",\"met");
const ANSWER: Piece = Piece::Text("id: 4\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n");

/// A session at a server that answers `tools/call` and GET with what `streams` says, by the position asked for.
async fn serve(
    streams: impl Fn(Option<&str>) -> Answer + Clone + Send + Sync + 'static,
) -> (Server, HttpSession) {
    let sessions = Sessions::default();
    let server = Server::start(move |seen: Seen| {
        let answer = match seen.method {
            Method::GET => streams(seen.header("last-event-id")),
            _ if seen.is_call("tools/call") => streams(None),
            _ => sessions.answer(&seen, not_found),
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    (server, session)
}

fn texts() -> [String; 3] {
    [
        r#"{"jsonrpc":"2.0","method":"a"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"b"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(),
    ]
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_whole_event() {
    let (server, session) = serve(|position| match position {
        None => sse_of(&[PRIMING, FIRST, HALF, Piece::Break]),
        Some("1") => sse_of(&[SECOND, Piece::Break]),
        Some("2") => sse_of(&[ANSWER]),
        Some(_) => bare(400),
    })
    .await;
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert_eq!(all(&mut stream).await, texts());
    assert_eq!(server.count("tools/call"), 1);
    let gets = server.log.lock().clone();
    let gets: Vec<_> = gets
        .iter()
        .filter(|seen| seen.method == Method::GET)
        .collect();
    assert_eq!(gets.len(), 2);
    assert_eq!(gets[0].header("mcp-session-id"), Some("s1"));
    assert_eq!(gets[0].header("accept"), Some("text/event-stream"));
    assert_eq!(gets[0].header("content-type"), None);
}

#[tokio::test]
async fn a_server_may_end_a_stream_that_it_has_numbered() {
    let (_server, session) = serve(|position| match position {
        None => sse_of(&[PRIMING]),
        Some("0") => sse_of(&[FIRST, SECOND, ANSWER]),
        Some(_) => bare(400),
    })
    .await;
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert_eq!(all(&mut stream).await, texts());
}

#[tokio::test]
async fn a_stream_without_ids_is_broken() {
    let (server, session) = serve(|_| {
        sse_of(&[
            Piece::Text("data: {\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n\n"),
            Piece::Break,
        ])
    })
    .await;
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert!(stream.next().await.unwrap().is_some());
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    assert!(
        server
            .log
            .lock()
            .iter()
            .all(|seen| seen.method != Method::GET)
    );
}

#[tokio::test]
async fn a_refused_resume_is_broken_and_never_nothing_sent() {
    let (server, session) = serve(|position| match position {
        None => sse_of(&[PRIMING, FIRST, Piece::Break]),
        Some(_) => bare(404),
    })
    .await;
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert!(stream.next().await.unwrap().is_some());
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    assert!(stream.next().await.unwrap().is_none());
    // The call was executed in the lost session; a new one must not be opened for it.
    assert_eq!(server.count("\"initialize\""), 1);
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn a_server_that_has_not_noticed_the_break_is_asked_again() {
    let n_gets = Arc::new(AtomicUsize::new(0));
    let (_server, session) = serve(move |position| match position {
        None => sse_of(&[PRIMING, FIRST, Piece::Break]),
        Some(_) if n_gets.fetch_add(1, Ordering::SeqCst) < 2 => bare(409),
        Some(_) => sse_of(&[SECOND, ANSWER]),
    })
    .await;
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert_eq!(all(&mut stream).await, texts());
}

#[tokio::test]
async fn a_server_that_died_during_a_call_leaves_it_broken() {
    let (server, session) = serve(|_| sse_of(&[PRIMING, FIRST])).await;
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert!(stream.next().await.unwrap().is_some());
    server.stop().await;
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    assert!(!error.nothing_sent());
}

#[tokio::test]
async fn streams_that_bring_nothing_end_with_the_silence_limit() {
    let (_server, session) = serve(|position| match position {
        None => sse_of(&[PRIMING]),
        Some(_) => sse_of(&[Piece::Text(": nothing\n\n")]),
    })
    .await;
    let mut out = tool_call(1);
    out.timeout = Duration::from_millis(200);
    let mut stream = stream(session.call(&out).await);
    let error = stream.next().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
}
