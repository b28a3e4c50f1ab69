//! What passes in an open session.

use http::Method;

use super::*;
use crate::upstream::transport::http::tests::server::Seen;

#[tokio::test]
async fn a_session_opens_calls_and_closes() {
    let mut peer = Peer::start().await;
    let session = open(&peer).await;
    assert!(session.initialize_result().contains(r#""name":"old""#));
    for id in ["1", "\"a\"", "12345678901234567890"] {
        let answer = ask(&session, tool(id, "echo")).await.unwrap();
        assert_eq!(
            answer,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"session":0}}}}"#)
        );
    }
    assert_eq!(peer.n_requests(&Method::GET, "/sse"), 1);
    assert_eq!(peer.n_requests(&Method::POST, "/message?sessionId=0"), 5);
    // One for the stream, one for all the POSTs.
    assert_eq!(peer.server.n_connections(), 2);
    soon(session.close()).await;
    // The other waits for its next request.
    soon(peer.server.open_connections(1)).await;
    assert!(ask(&session, tool("1", "echo")).await.is_err());
}

#[tokio::test]
async fn the_last_clone_takes_the_stream_along() {
    let mut peer = Peer::start().await;
    let session = open(&peer).await;
    soon(peer.server.open_connections(2)).await;
    drop(session);
    soon(peer.server.open_connections(0)).await;
}

#[tokio::test]
async fn every_message_carries_the_credentials_and_all_but_the_first_the_revision() {
    let peer = Peer::start().await;
    let mut with_key = settings(&peer.url());
    let key = (
        http::HeaderName::from_static("x-key"),
        "planted".to_owned().into(),
    );
    with_key.headers = [key].into();
    let session = soon(endpoint_with(with_key).open(init())).await.unwrap();
    ask(&session, tool("1", "echo")).await.unwrap();
    let log = peer.server.log.lock().clone();
    assert!(
        log.iter()
            .all(|seen| seen.header("x-key") == Some("planted"))
    );
    let revision = |seen: &Seen| seen.header("mcp-protocol-version").map(str::to_owned);
    let told: Vec<Option<String>> = log.iter().map(revision).collect();
    let agreed = Some("2025-06-18".to_owned());
    assert_eq!(told, [None, None, agreed.clone(), agreed]);
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let slow = tool("1", "hang");
    let slow = session.call(&slow);
    let fast = async {
        let hung = peer.hears("\"hang\"").await;
        let fast = ask(&session, tool("2", "echo")).await;
        let n = Frame::parse(hung.into(), &Limits::default()).unwrap();
        let id = n.id().unwrap();
        peer.world
            .say(
                0,
                &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"slow"}}"#),
            )
            .await;
        fast.unwrap()
    };
    let (slow, fast) = soon(async { tokio::join!(slow, fast) }).await;
    assert_eq!(fast, r#"{"jsonrpc":"2.0","id":2,"result":{"session":0}}"#);
    assert_eq!(
        all(slow).await.unwrap(),
        [r#"{"jsonrpc":"2.0","id":1,"result":"slow"}"#]
    );
}

#[tokio::test]
async fn progress_comes_under_the_clients_token() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let params = r#"{"name":"progress","_meta":{"progressToken":"mine"}}"#;
    let reply = session.call(&request("7", "tools/call", params)).await;
    assert_eq!(
        soon(all(reply)).await.unwrap(),
        [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":1.0}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":1}"#,
        ]
    );
}

#[tokio::test]
async fn a_question_in_mid_call_reaches_the_caller_and_the_answer_the_server() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let Reply::Stream(mut stream) = soon(session.call(&tool("1", "ask"))).await.unwrap() else {
        panic!("a question makes a stream");
    };
    let question = next(&mut stream).await.unwrap().unwrap();
    assert!(question.contains("elicitation/create"));
    let answer = r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}"#;
    session.send(out(answer)).await.unwrap();
    let result = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(
        result,
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{answer}}}"#)
    );
    assert_eq!(next(&mut stream).await.unwrap(), None);
}

#[tokio::test]
async fn what_belongs_to_no_call_goes_to_the_listener() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let mut stream = soon(session.listen()).await.unwrap().unwrap();
    let news = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    peer.world.say(0, news).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), news);
    soon(session.close()).await;
    assert_eq!(next(&mut stream).await.unwrap(), None);
}

#[tokio::test]
async fn a_ping_of_the_server_is_answered() {
    let peer = Peer::start().await;
    let _session = open(&peer).await;
    peer.world
        .say(0, r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#)
        .await;
    let pong = peer.hears("\"p\"").await;
    assert_eq!(pong, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_one_ping() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    ask(&session, tool("1", "echo")).await.unwrap();
    for n_pings in 1..=3 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        soon(async {
            // Its answer is a sign of life, after which silence counts anew.
            while peer.said(r#""method":"ping""#).len() < n_pings {
                tokio::task::yield_now().await;
            }
        })
        .await;
        ask(&session, tool("2", "echo")).await.unwrap();
    }
    assert_eq!(peer.said(r#""method":"ping""#).len(), 3);
}

#[tokio::test]
async fn a_cancel_follows_its_request_under_its_number() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let call = tool("\"mine\"", "hang");
    let call = session.call(&call);
    let cancel = async {
        let request = peer.hears("\"hang\"").await;
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"mine"}}"#;
        session.send(out(cancel)).await.unwrap();
        let cancel = peer.hears("cancelled").await;
        let frame = |text: String| Frame::parse(text.into(), &Limits::default()).unwrap();
        let (request, cancel) = (frame(request), frame(cancel));
        let named = cancel.param(&["requestId"]).unwrap().of(cancel.text());
        assert_eq!(Some(named), request.id());
    };
    tokio::select! {
        reply = call => panic!("answered: {reply:?}"),
        () = soon(cancel) => {}
    }
}

#[tokio::test]
async fn a_server_that_answers_posts_late_does_not_hold_up_the_others() {
    let peer = Peer::start().await;
    let session = open(&peer).await;
    let late = tool("1", "late");
    let late = session.call(&late);
    let others = async {
        peer.hears("\"late\"").await;
        ask(&session, tool("2", "echo")).await.unwrap();
        let cancel =
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        session.send(out(cancel)).await.unwrap();
        peer.hears("cancelled").await;
        ask(&session, tool("3", "echo")).await.unwrap();
    };
    tokio::select! {
        reply = late => panic!("answered: {reply:?}"),
        () = soon(others) => {}
    }
    peer.world.release.notify_one();
}
