//! What dropping does.

use std::future::pending;

use super::client::{all, endpoint, stream, tool_call};
use super::server::{Piece, Server, json, result_for, sse, sse_of};

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let mut server = Server::start(|_| pending()).await;
    let endpoint = endpoint(&server.url());
    let out = tool_call(1);
    let mut call = Box::pin(endpoint.call(&out));
    tokio::select! {
        _ = &mut call => panic!("nothing was answered"),
        () = server.open_connections(1) => {}
    }
    drop(call);
    server.open_connections(0).await;
    assert_eq!(endpoint.n_idle(), 0);
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection() {
    let mut server = Server::start(|_| async {
        let (answer, feed) = sse();
        let text = "data: {\"jsonrpc\":\"2.0\",\"method\":\"a\"}\n\n";
        feed.try_send(Ok(text.into())).unwrap();
        std::mem::forget(feed);
        answer
    })
    .await;
    let endpoint = endpoint(&server.url());
    let mut stream = stream(endpoint.call(&tool_call(1)).await);
    assert!(stream.next().await.unwrap().is_some());
    drop(stream);
    server.open_connections(0).await;
    assert_eq!(endpoint.n_idle(), 0);
}

#[tokio::test]
async fn a_wait_for_the_next_message_can_be_given_up_and_taken_up_again() {
    let (answers, mut feeds) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_| {
        let (answer, feed) = sse();
        answers.try_send(feed).unwrap();
        async move { answer }
    })
    .await;
    let mut stream = stream(endpoint(&server.url()).call(&tool_call(1)).await);
    let feed = feeds.recv().await.unwrap();
    let pieces = [
        "data: {\"jsonrpc\":\"2.0\",",
        "\"method\":\"a\"}\n\ndata: {\"jsonrpc\"",
        ":\"2.0\",\"id\":1,\"result\":{}}\n\n",
    ];
    let mut texts = Vec::new();
    for piece in pieces {
        feed.send(Ok(piece.into())).await.unwrap();
        // Polled a few times and dropped, wherever it stands then.
        for _ in 0..3 {
            tokio::select! {
                biased;
                frame = stream.next() => texts.extend(frame.unwrap().map(|f| f.text().to_owned())),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    texts.extend(all(&mut stream).await);
    assert_eq!(
        texts,
        [
            r#"{"jsonrpc":"2.0","method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
        ]
    );
}

#[tokio::test]
async fn a_stream_dropped_after_its_answer_leaves_the_connection_to_the_next_call() {
    let server = Server::start(|seen| async move {
        if seen.body.contains("\"id\":1,") {
            return sse_of(&[Piece::Text(
                "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
            )]);
        }
        json(200, result_for(&seen, "{}"))
    })
    .await;
    let endpoint = endpoint(&server.url());
    let mut stream = stream(endpoint.call(&tool_call(1)).await);
    assert!(stream.next().await.unwrap().is_some());
    drop(stream);
    // The end of the body may come a moment after the answer.
    while endpoint.n_idle() == 0 {
        tokio::task::yield_now().await;
    }
    endpoint.call(&tool_call(2)).await.unwrap();
    assert_eq!(server.n_connections(), 1);
}
