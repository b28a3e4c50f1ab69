//! What happens when the stream breaks, or a POST fails.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use http::Method;

use super::*;

#[tokio::test]
async fn a_stream_that_is_cut_ends_its_calls_once_and_the_next_one_opens_it_again() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let hanging = tool("1", "hang");
    let hanging = session.call(&hanging);
    let cutting = async {
        peer.hears("\"hang\"").await;
        ask(&session, tool("2", "cut")).await
    };
    let (hung, cut) = soon(async { tokio::join!(hanging, cutting) }).await;
    for error in [hung.map(drop).unwrap_err(), cut.unwrap_err()] {
        assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    }
    let answer = ask(&session, tool("3", "echo")).await.unwrap();
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":3,"result":{"session":1}}"#);
    assert_eq!(peer.said("\"hang\"").len(), 1);
}

#[tokio::test]
async fn many_calls_that_find_the_stream_gone_open_one_and_the_server_is_told_again() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    for (id, method, params) in [
        ("1", "logging/setLevel", r#"{"level":"debug"}"#),
        ("2", "resources/subscribe", r#"{"uri":"a:1"}"#),
        ("3", "resources/subscribe", r#"{"uri":"a:2"}"#),
        ("4", "resources/unsubscribe", r#"{"uri":"a:1"}"#),
    ] {
        ask(&session, request(id, method, params)).await.unwrap();
    }
    peer.world.cut(0);
    soon(session.ended()).await;
    let calls = (0..10).map(|id| ask(&session, tool(&id.to_string(), "echo")));
    // Boxed one by one: ten calls are too much for a stack frame.
    let calls: Vec<_> = calls.map(Box::pin).collect();
    for answer in soon(join_all(calls)).await {
        assert!(answer.unwrap().contains(r#"{"session":1}"#));
    }
    assert_eq!(peer.n_requests(&Method::GET, "/sse"), 2);
    assert_eq!(peer.said("\"initialize\"").len(), 2);
    assert_eq!(peer.said("setLevel").len(), 2);
    assert_eq!(peer.said(r#""uri":"a:1""#).len(), 2);
    assert_eq!(peer.said(r#""uri":"a:2""#).len(), 2);
}

#[tokio::test]
async fn a_listener_outlives_the_stream() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let mut stream = soon(session.listen()).await.unwrap().unwrap();
    peer.world.cut(0);
    // The lists of the server behind the new stream may be others.
    let news = next(&mut stream).await.unwrap().unwrap();
    assert!(news.contains("tools/list_changed"), "{news}");
    // And so may be all else.
    let heard = soon(stream.hear()).await.unwrap().unwrap();
    assert!(matches!(heard, Heard::Gap), "{heard:?}");
    let updated =
        r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}"#;
    peer.world.say(1, updated).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), updated);
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_opened_again_for_the_same_call() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    peer.world.status.store(404, Ordering::SeqCst);
    let forgotten = tool("1", "echo");
    let forgotten = session.call(&forgotten);
    let restored = async {
        peer.hears("\"echo\"").await;
        peer.world.status.store(202, Ordering::SeqCst);
    };
    let (reply, ()) = soon(async { tokio::join!(forgotten, restored) }).await;
    let texts = all(reply).await.unwrap();
    assert_eq!(
        texts,
        [r#"{"jsonrpc":"2.0","id":1,"result":{"session":1}}"#]
    );
}

#[tokio::test]
async fn a_message_that_is_refused_fails_alone() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    for refusal in [400, 401, 500, 503] {
        peer.world.status.store(refusal, Ordering::SeqCst);
        let error = ask(&session, tool("1", "echo")).await.unwrap_err();
        assert!(
            matches!(error, UpstreamError::Status { status, .. } if status == refusal),
            "{error:?}"
        );
    }
    peer.world.status.store(202, Ordering::SeqCst);
    ask(&session, tool("1", "echo")).await.unwrap();
    assert_eq!(peer.n_requests(&Method::GET, "/sse"), 1);
}

#[tokio::test]
async fn an_event_over_the_limit_ends_the_stream() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let error = ask(&session, tool("1", "huge")).await.unwrap_err();
    assert!(error.to_string().contains("over the limit"), "{error}");
    ask(&session, tool("2", "echo")).await.unwrap();
}

#[tokio::test]
async fn what_is_no_message_is_passed_over() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let answer = ask(&session, tool("1", "garbage")).await.unwrap();
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":1,"result":2}"#);
}

#[tokio::test]
async fn a_silent_call_is_given_up_and_cancelled() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let mut hasty = tool("1", "hang");
    hasty.timeout = Duration::from_millis(50);
    let error = ask(&session, hasty).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
    peer.hears("notifications/cancelled").await;
    ask(&session, tool("2", "echo")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_drops_every_stream_is_not_stormed() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    peer.world.n_short.store(usize::MAX, Ordering::SeqCst);
    peer.world.cut(0);
    soon(session.ended()).await;
    let error = soon(async {
        // Each attempt waits for longer than the one before, until a caller would wait for too long.
        loop {
            let error = ask(&session, tool("1", "echo")).await.unwrap_err();
            assert!(error.nothing_sent(), "{error:?}");
            let what = format!("{error:?}");
            if what.contains("in a row") {
                return what;
            }
        }
    })
    .await;
    let n = peer.n_requests(&Method::GET, "/sse");
    assert!((3..=10).contains(&n), "{n} streams: {error}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unreachable_until_it_is_back() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    peer.server.stop().await;
    soon(session.ended()).await;
    let error = ask(&session, tool("1", "echo")).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Unreachable { .. }),
        "{error:?}"
    );
}
