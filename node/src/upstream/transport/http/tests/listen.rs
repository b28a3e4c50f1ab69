//! The GET stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;

use super::client::{endpoint, init, single, tool_call};
use super::server::{Answer, Piece, Seen, Server, bare, json, result_for, sse, sse_of};
use super::session::{Sessions, not_found};
use crate::error::UpstreamError;
use crate::upstream::link::{Heard, MessageStream};
use crate::upstream::transport::http::HttpSession;

const FIRST: Piece =
    Piece::Text("id: 1\nretry: 10\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n\n");
const SECOND: Piece = Piece::Text("id: 2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"b\"}\n\n");

/// A session at a server that answers a GET of a known session with what `streams` says, by the number of the GET.
async fn serve(
    streams: impl Fn(usize) -> Answer + Clone + Send + Sync + 'static,
) -> (Sessions, Server, HttpSession) {
    let sessions = Sessions::default();
    let answering = sessions.clone();
    let n_gets = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |seen: Seen| {
        let answer = if seen.method == Method::GET && answering.knows(&seen) {
            streams(n_gets.fetch_add(1, Ordering::SeqCst) + 1)
        } else {
            answering.answer(&seen, not_found)
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    (sessions, server, session)
}

/// An event stream that stays open.
fn open(pieces: &[Piece]) -> Answer {
    let (answer, feed) = sse();
    for piece in pieces {
        if let Piece::Text(text) = piece {
            feed.try_send(Ok((*text).into())).unwrap();
        }
    }
    std::mem::forget(feed);
    answer
}

async fn next(stream: &mut MessageStream) -> String {
    stream.next().await.unwrap().unwrap().text().to_owned()
}

/// What comes next: a message by its method, or a gap.
async fn heard(stream: &mut MessageStream) -> String {
    match stream.hear().await.unwrap().unwrap() {
        Heard::Message(frame) => frame.method().into_owned(),
        Heard::Gap => "gap".to_owned(),
    }
}

fn positions(server: &Server) -> Vec<(Option<String>, Option<String>)> {
    let log = server.log.lock();
    let header = |seen: &Seen, name: &str| seen.header(name).map(str::to_owned);
    log.iter()
        .filter(|seen| seen.method == Method::GET)
        .map(|seen| {
            (
                header(seen, "mcp-session-id"),
                header(seen, "last-event-id"),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_server_without_a_stream_offers_none() {
    let (_, _, session) = serve(|_| bare(405)).await;
    assert!(session.listen().await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_does_not_know_get_offers_none() {
    let server = Server::start(|seen| async move {
        if seen.is_call("initialize") {
            return json(
                200,
                result_for(&seen, r#"{"protocolVersion":"2025-11-25"}"#),
            );
        }
        bare(if seen.method == Method::GET { 404 } else { 202 })
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    assert!(session.listen().await.unwrap().is_none());
}

#[tokio::test]
async fn a_refused_stream_is_an_error() {
    let (_, _, session) = serve(|_| bare(403)).await;
    let error = session.listen().await.unwrap_err();
    assert!(matches!(error, UpstreamError::Status { status: 403, .. }));
}

#[tokio::test]
async fn a_stream_that_ends_or_breaks_is_attached_again() {
    let (_, server, session) = serve(|n| match n {
        1 => sse_of(&[FIRST, Piece::Break]),
        2 => sse_of(&[]),
        3 => bare(503),
        _ => open(&[SECOND]),
    })
    .await;
    let mut stream = session.listen().await.unwrap().unwrap();
    assert!(next(&mut stream).await.contains("\"a\""));
    assert_eq!(session.binding().last_event_id.as_deref(), Some("1"));
    assert!(next(&mut stream).await.contains("\"b\""));
    assert_eq!(session.binding().last_event_id.as_deref(), Some("2"));
    let (id, last) = (Some("s1".to_owned()), Some("1".to_owned()));
    assert_eq!(
        positions(&server),
        [
            (id.clone(), None),
            (id.clone(), last.clone()),
            (id.clone(), last.clone()),
            (id, last),
        ]
    );
}

#[tokio::test]
async fn answers_on_a_stream_of_no_call_are_dropped() {
    let (_, _, session) = serve(|_| {
        open(&[
            Piece::Text("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"),
            FIRST,
        ])
    })
    .await;
    let mut stream = session.listen().await.unwrap().unwrap();
    assert!(next(&mut stream).await.contains("\"a\""));
}

#[tokio::test]
async fn a_second_stream_ends_the_first() {
    let (_, _, session) = serve(|_| open(&[FIRST])).await;
    let mut first = session.listen().await.unwrap().unwrap();
    next(&mut first).await;
    let mut second = session.listen().await.unwrap().unwrap();
    assert!(first.next().await.unwrap().is_none());
    next(&mut second).await;
}

#[tokio::test]
async fn closing_the_session_ends_the_stream() {
    let (_, mut server, session) = serve(|_| open(&[FIRST])).await;
    let mut stream = session.listen().await.unwrap().unwrap();
    next(&mut stream).await;
    let (message, ()) = tokio::join!(stream.next(), session.close());
    assert!(message.unwrap().is_none());
    // The one that carried the DELETE waits for another request.
    server.open_connections(1).await;
}

#[tokio::test]
async fn a_stream_follows_its_session_into_a_new_one() {
    let (sessions, server, session) = serve(|n| match n {
        1 => open(&[FIRST]),
        _ => open(&[SECOND]),
    })
    .await;
    let mut stream = session.listen().await.unwrap().unwrap();
    next(&mut stream).await;
    sessions.forget();
    single(session.call(&tool_call(1)).await);
    assert!(next(&mut stream).await.contains("\"b\""));
    assert_eq!(
        positions(&server),
        [(Some("s1".to_owned()), None), (Some("s2".to_owned()), None),]
    );
}

#[tokio::test]
async fn a_stream_that_finds_its_session_forgotten_opens_it_again() {
    let (sessions, server, session) = serve(|n| match n {
        1 => sse_of(&[FIRST, Piece::Break]),
        _ => open(&[SECOND]),
    })
    .await;
    let mut stream = session.listen().await.unwrap().unwrap();
    next(&mut stream).await;
    sessions.forget();
    assert!(next(&mut stream).await.contains("\"b\""));
    assert_eq!(sessions.n_opened(), 2);
    assert_eq!(
        positions(&server),
        [
            (Some("s1".to_owned()), None),
            (Some("s1".to_owned()), Some("1".to_owned())),
            (Some("s2".to_owned()), None),
        ]
    );
}

#[tokio::test]
async fn a_stream_that_goes_on_in_a_new_session_says_that_it_missed_something() {
    let (sessions, _server, session) = serve(|n| match n {
        1 => sse_of(&[FIRST, Piece::Break]),
        2 => open(&[SECOND]),
        _ => open(&[FIRST]),
    })
    .await;
    let mut stream = session.listen().await.unwrap().unwrap();
    assert_eq!(heard(&mut stream).await, "a");
    // Found forgotten by the stream itself, and by a call.
    sessions.forget();
    assert_eq!(heard(&mut stream).await, "gap");
    assert_eq!(heard(&mut stream).await, "b");
    sessions.forget();
    single(session.call(&tool_call(1)).await);
    assert_eq!(heard(&mut stream).await, "gap");
    assert_eq!(heard(&mut stream).await, "a");
}

#[tokio::test]
async fn a_stream_that_cannot_say_where_it_broke_says_that_it_missed_something() {
    const NAMELESS: Piece =
        Piece::Text("retry: 10\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"n\"}\n\n");
    let (_sessions, server, session) = serve(|n| match n {
        1 => sse_of(&[NAMELESS, Piece::Break]),
        2 => sse_of(&[FIRST, Piece::Break]),
        _ => open(&[SECOND]),
    })
    .await;
    let mut stream = session.listen().await.unwrap().unwrap();
    for expected in ["n", "gap", "a", "b"] {
        assert_eq!(heard(&mut stream).await, expected);
    }
    let id = Some("s1".to_owned());
    assert_eq!(
        positions(&server),
        [
            (id.clone(), None),
            (id.clone(), None),
            (id, Some("1".to_owned())),
        ]
    );
}
