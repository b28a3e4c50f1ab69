//! How a session begins, or does not.

use http::Method;

use super::*;
use crate::upstream::transport::http::tests::server::{Piece, Server, bare, json, sse_of};

/// Debug text of the error that opening ends with, and the peer.
async fn refused(first: &str) -> (String, Peer) {
    let peer = Peer::beginning_with(first).await;
    let error = soon(endpoint(&peer).open(init())).await.unwrap_err();
    assert_eq!(peer.n_requests(&Method::POST, "/"), 0);
    (error.to_string(), peer)
}

#[tokio::test]
async fn the_target_may_be_relative_or_whole() {
    for first in [
        "event: endpoint\ndata: message?sessionId={n}\n\n",
        "event: endpoint\ndata:/message?sessionId={n}\n\n",
        ": hello\n\nevent:endpoint\r\ndata: /message?sessionId={n}\r\n\r\n",
    ] {
        let peer = Peer::beginning_with(first).await;
        ask(&open(&peer).await, tool("1", "echo")).await.unwrap();
    }
    let peer = Peer::start().await;
    let whole = format!(
        "event: endpoint\ndata: http://{}/message?sessionId={{n}}\n\n",
        peer.server.address
    );
    *peer.world.first.lock() = whole;
    ask(&open(&peer).await, tool("1", "echo")).await.unwrap();
}

#[tokio::test]
async fn a_target_of_another_origin_gets_nothing() {
    let other = Server::start(|_| async { bare(202) }).await;
    let first = format!(
        "event: endpoint\ndata: http://{}/message\n\n",
        other.address
    );
    let (error, mut peer) = refused(&first).await;
    assert!(error.contains("another origin"), "{error}");
    assert_eq!(other.n_connections(), 0);
    soon(peer.server.open_connections(0)).await;
}

#[tokio::test]
async fn a_target_that_cannot_be_read_is_garbage() {
    for first in [
        "event: endpoint\ndata: a b\n\n",
        "event: endpoint\ndata:  \n\n",
        "event: endpoint\ndata: http://\n\n",
    ] {
        let (error, _) = refused(first).await;
        assert!(error.contains("not MCP"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_begins_otherwise_is_garbage() {
    let (error, _) = refused("event: message\ndata: {}\n\n").await;
    assert!(error.contains("does not begin"), "{error}");
}

#[tokio::test]
async fn a_silent_stream_is_left_in_time() {
    let peer = Peer::beginning_with(": nothing\n\n").await;
    let hasty = EndpointSettings {
        timeout: Duration::from_millis(50),
        ..settings(&peer.url())
    };
    let error = soon(endpoint_with(hasty).open(init())).await.unwrap_err();
    assert!(error.nothing_sent(), "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "its stream named no `endpoint` within 50ms");
}

#[tokio::test]
async fn a_silent_initialize_is_left_in_time() {
    let peer = Peer::beginning_with("event: endpoint\ndata: /silent\n\n").await;
    let hasty = EndpointSettings {
        timeout: Duration::from_millis(50),
        ..settings(&peer.url())
    };
    let error = soon(endpoint_with(hasty).open(init())).await.unwrap_err();
    assert!(error.nothing_sent(), "{error:?}");
}

#[tokio::test]
async fn what_is_no_event_stream_is_told_apart() {
    let status = |status| async move {
        let server = Server::start(move |_| async move { bare(status) }).await;
        soon(endpoint_with(settings(&server.url())).open(init()))
            .await
            .unwrap_err()
    };
    for refusal in [401, 404, 405, 500] {
        let error = status(refusal).await;
        assert!(
            matches!(error, UpstreamError::Status { status, .. } if status == refusal),
            "{error:?}"
        );
    }
    let server = Server::start(|_| async { json(200, "{}") }).await;
    let error = soon(endpoint_with(settings(&server.url())).open(init())).await;
    assert!(matches!(error, Err(UpstreamError::Garbage { .. })));
    let server = Server::start(|_| async { sse_of(&[Piece::Text(": bye\n\n")]) }).await;
    let error = soon(endpoint_with(settings(&server.url())).open(init())).await;
    assert!(matches!(error, Err(UpstreamError::Unreachable { .. })));
}
