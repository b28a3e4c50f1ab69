//! Sessions on own and shared children.

use super::*;

async fn listen(session: &ChannelSession) -> MessageStream {
    session.listen().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_session_opens_and_calls() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    assert_eq!(session.revision(), Revision::V2025_11_25);
    assert!(session.initialize_result().contains(r#""name":"sh""#));
    assert_eq!(
        ask(&session, tool("\"7\"", "last")).await,
        r#"{"jsonrpc":"2.0","id":"7","result":{"jsonrpc":"2.0","method":"notifications/initialized"}}"#
    );
    soon(session.close()).await;
    assert!(child.has_ended());
}

#[tokio::test]
async fn a_refused_handshake_is_an_error_that_says_why() {
    let child = start(
        r#"read_line; say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32022,\"message\":\"too old\"}}"; read_line"#,
    )
    .await;
    let error = soon(child.open(init())).await.unwrap_err();
    assert!(error.to_string().contains("too old"), "{error}");
}

#[tokio::test]
async fn an_unknown_revision_is_no_agreement() {
    let child =
        start(r#"read_line; result "$id" '{"protocolVersion":"1999-01-01"}'; read_line"#).await;
    let error = soon(child.open(init())).await.unwrap_err();
    assert!(error.to_string().contains("1999-01-01"), "{error}");
}

#[tokio::test]
async fn a_cancel_reaches_the_server_under_its_number() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    let reply = soon(session.call(&tool("\"c\"", "hang"))).await.unwrap();
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}"#;
    session.send(out(cancel)).await.unwrap();
    // `initialize` was 1, the call 2.
    assert_eq!(
        ask(&session, tool("1", "last")).await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}}"#
    );
    drop(reply);
}

#[tokio::test]
async fn leaving_a_call_of_a_session_tells_the_server_nothing() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    drop(soon(session.call(&tool("1", "hang"))).await.unwrap());
    let last = ask(&session, tool("2", "last")).await;
    assert!(last.contains(r#""name":"hang""#), "{last}");
}

#[tokio::test]
async fn what_the_server_asked_before_anybody_listened_waits_for_the_listener() {
    let child = start(
        r#"
        read_line; agree; read_line
        say '{"jsonrpc":"2.0","id":0,"method":"roots/list"}'
        read_line; result "$id" "1"; read_line; say "$line"; read_line
        "#,
    )
    .await;
    let session = soon(child.open(init())).await.unwrap();
    let mut listener = listen(&session).await;
    assert_eq!(
        next(&mut listener).await.unwrap().unwrap(),
        r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#
    );
}

#[tokio::test]
async fn what_the_server_asked_before_anybody_listened_goes_with_the_next_call() {
    let child = start(
        r#"
        read_line; agree; read_line
        say '{"jsonrpc":"2.0","id":0,"method":"ping"}'
        say '{"jsonrpc":"2.0","id":1,"method":"roots/list"}'
        read_line
        read_line; result "$id" "1"; read_line
        "#,
    )
    .await;
    let session = soon(child.open(init())).await.unwrap();
    // The server has heard the answer to its ping: its question was read before.
    becomes_true(|| session_has_mail(&session)).await;
    let reply = soon(session.call(&tool("1", "a"))).await.unwrap();
    let Reply::Stream(mut stream) = reply else {
        panic!("answered at once");
    };
    assert!(
        next(&mut stream)
            .await
            .unwrap()
            .unwrap()
            .contains("roots/list")
    );
    assert!(next(&mut stream).await.unwrap().unwrap().contains("result"));
    assert!(next(&mut stream).await.unwrap().is_none());
}

fn session_has_mail(session: &ChannelSession) -> bool {
    !session.mailbox().is_empty()
}

#[tokio::test]
async fn a_second_listener_ends_the_first() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    let mut first = listen(&session).await;
    let mut second = listen(&session).await;
    assert!(next(&mut first).await.unwrap().is_none());
    drop(first);
    ask(&session, tool("1", "change")).await;
    assert!(
        next(&mut second)
            .await
            .unwrap()
            .unwrap()
            .contains("tools/list_changed")
    );
}

#[tokio::test]
async fn every_session_of_a_shared_child_hears_of_changes() {
    let child = start(SERVER).await;
    let one = soon(child.open_shared(init())).await.unwrap();
    let two = child.attach().unwrap();
    let (mut first, mut second) = (listen(&one).await, listen(&two).await);
    ask(&one, tool("1", "change")).await;
    for stream in [&mut first, &mut second] {
        assert!(
            next(stream)
                .await
                .unwrap()
                .unwrap()
                .contains("tools/list_changed")
        );
    }
    one.close().await;
    assert!(next(&mut first).await.unwrap().is_none());
    assert!(!child.has_ended(), "others may use it");
    assert_eq!(
        ask(&two, tool("1", "pid")).await.matches("result").count(),
        1
    );
}

#[tokio::test]
async fn an_own_child_takes_no_second_session() {
    let child = start(SERVER).await;
    let _session = soon(child.open(init())).await.unwrap();
    assert!(child.attach().is_none());
    let error = soon(child.open(init())).await.unwrap_err();
    assert!(error.nothing_sent());
}

#[tokio::test]
async fn two_sessions_that_are_asked_at_once_each_get_their_own() {
    let mut answers = Vec::new();
    let children = [start(SERVER).await, start(SERVER).await];
    for (child, word) in children.iter().zip(["one", "two"]) {
        let session = soon(child.open(init())).await.unwrap();
        let reply = soon(session.call(&tool("1", "ask"))).await.unwrap();
        let Reply::Stream(stream) = reply else {
            panic!("answered at once");
        };
        answers.push((session, stream, word));
    }
    for (session, stream, word) in &mut answers {
        assert!(next(stream).await.unwrap().unwrap().contains(r#""id":"q""#));
        let text = format!(r#"{{"jsonrpc":"2.0","id":"q","result":"{word}"}}"#);
        session.send(out(&text)).await.unwrap();
    }
    for (_session, stream, word) in &mut answers {
        let last = next(stream).await.unwrap().unwrap();
        assert!(last.contains(&format!(r#""result":"{word}""#)), "{last}");
    }
}
