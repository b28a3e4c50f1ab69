//! Sessions: opened, used, forgotten, opened again, closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, Method};
use lockgate_proto::mcp::{Era, Revision};
use parking_lot::Mutex;
use tokio::sync::Barrier;

use super::client::{all, endpoint, init, out, single, stream, tool_call};
use super::server::{Answer, Piece, Seen, Server, bare, json, result_for, sse_of};
use crate::error::UpstreamError;

const INITIALIZE_RESULT: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#;

/// A server of the session era that knows one session at a time, `s1`, `s2`, …
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    n_opened: AtomicUsize,
    current: Mutex<Option<String>>,
    n_executed: AtomicUsize,
}

impl Sessions {
    pub(super) fn forget(&self) {
        *self.0.current.lock() = None;
    }

    pub(super) fn n_opened(&self) -> usize {
        self.0.n_opened.load(Ordering::SeqCst)
    }

    fn n_executed(&self) -> usize {
        self.0.n_executed.load(Ordering::SeqCst)
    }

    /// Whether the request names the session that is known.
    pub(super) fn knows(&self, seen: &Seen) -> bool {
        let current = self.0.current.lock();
        current.is_some() && seen.header("mcp-session-id") == current.as_deref()
    }

    /// Answers everything as a plain server does; `refusal` is for sessions that it does not know.
    pub(super) fn answer(&self, seen: &Seen, refusal: fn() -> Answer) -> Answer {
        if seen.is_call("initialize") {
            let n = self.0.n_opened.fetch_add(1, Ordering::SeqCst) + 1;
            let id = format!("s{n}");
            let mut answer = json(200, result_for(seen, INITIALIZE_RESULT));
            let value = HeaderValue::from_str(&id).unwrap();
            answer.headers_mut().insert("mcp-session-id", value);
            *self.0.current.lock() = Some(id);
            return answer;
        }
        if !self.knows(seen) {
            return refusal();
        }
        if seen.method == Method::DELETE {
            self.forget();
            return bare(204);
        }
        if seen.method == Method::GET {
            return bare(405);
        }
        if !seen.body.contains("\"id\"") {
            return bare(202);
        }
        self.0.n_executed.fetch_add(1, Ordering::SeqCst);
        json(200, result_for(seen, "{}"))
    }
}

pub(super) fn not_found() -> Answer {
    json(
        404,
        r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
    )
}

fn everything_refusal() -> Answer {
    json(
        400,
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
    )
}

async fn serve(refusal: fn() -> Answer) -> (Sessions, Server) {
    let sessions = Sessions::default();
    let answering = sessions.clone();
    let server = Server::start(move |seen| {
        let answer = answering.answer(&seen, refusal);
        async move { answer }
    })
    .await;
    (sessions, server)
}

#[tokio::test]
async fn every_request_after_initialize_names_session_and_revision() {
    let (_, server) = serve(not_found).await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    single(session.call(&tool_call(1)).await);
    session.close().await;
    let log = server.log.lock().clone();
    let headers: Vec<_> = log
        .iter()
        .map(|seen| {
            (
                seen.method.as_str(),
                seen.header("mcp-session-id"),
                seen.header("mcp-protocol-version"),
            )
        })
        .collect();
    assert_eq!(
        headers,
        [
            ("POST", None, None),
            ("POST", Some("s1"), Some("2025-11-25")),
            ("POST", Some("s1"), Some("2025-11-25")),
            ("DELETE", Some("s1"), Some("2025-11-25")),
        ]
    );
    assert!(log[1].is_call("notifications/initialized"));
    assert_eq!(session.revision(), Revision::V2025_11_25);
    assert_eq!(&*session.initialize_result(), INITIALIZE_RESULT);
}

#[tokio::test]
async fn before_2025_06_18_the_revision_is_not_named() {
    let server = Server::start(|seen| async move {
        if seen.is_call("initialize") {
            let result = INITIALIZE_RESULT.replace("2025-11-25", "2025-03-26");
            return json(200, result_for(&seen, &result));
        }
        bare(202)
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    assert_eq!(session.revision(), Revision::V2025_03_26);
    let log = server.log.lock().clone();
    assert_eq!(log[1].header("mcp-protocol-version"), None);
    assert_eq!(log[1].header("mcp-session-id"), None);
}

#[tokio::test]
async fn initialize_may_be_answered_as_a_stream() {
    let server = Server::start(|seen| async move {
        if seen.is_call("initialize") {
            return sse_of(&[
                Piece::Text("id: 1\ndata:\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"),
                Piece::Text("data: {\"jsonrpc\":\"2.0\",\"id\":\"lockgate-initialize\",\"result\":{\"protocolVersion\":\"2025-06-18\"}}\n\n"),
            ]);
        }
        bare(202)
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    assert_eq!(session.revision(), Revision::V2025_06_18);
    assert_eq!(
        &*session.initialize_result(),
        r#"{"protocolVersion":"2025-06-18"}"#
    );
}

#[tokio::test]
async fn a_refused_initialize_is_no_session_era() {
    let server = Server::start(|seen| async move {
        let id = result_for(&seen, "0")
            .replace("\"result\":0", r#""error":{"code":-32601,"message":"no"}"#);
        json(404, id)
    })
    .await;
    let error = endpoint(&server.url()).open(init()).await.unwrap_err();
    assert!(
        matches!(
            error,
            UpstreamError::NoEra {
                era: Era::Session,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_forgotten_session_is_opened_again_and_the_call_goes_on() {
    for refusal in [not_found, everything_refusal, || bare(404)] {
        let (sessions, server) = serve(refusal).await;
        let session = endpoint(&server.url()).open(init()).await.unwrap();
        sessions.forget();
        assert_eq!(single(session.call(&tool_call(1)).await).0, 200);
        assert_eq!(sessions.n_opened(), 2);
        assert_eq!(sessions.n_executed(), 1);
        assert_eq!(session.binding().session_id.as_deref(), Some("s2"));
    }
}

#[tokio::test]
async fn concurrent_calls_share_one_new_session() {
    const N_CALLS: u64 = 32;
    let sessions = Sessions::default();
    let answering = sessions.clone();
    let barrier = Arc::new(Barrier::new(usize::try_from(N_CALLS).unwrap()));
    let server = Server::start(move |seen| {
        let (answering, barrier) = (answering.clone(), Arc::clone(&barrier));
        async move {
            if seen.is_call("tools/call") && !answering.knows(&seen) {
                // All calls are out before the first is refused.
                barrier.wait().await;
            }
            answering.answer(&seen, not_found)
        }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    sessions.forget();
    let calls = (1..=N_CALLS).map(async |id| session.call(&tool_call(id)).await);
    for reply in futures_util::future::join_all(calls).await {
        assert_eq!(single(reply).0, 200);
    }
    assert_eq!(sessions.n_opened(), 2);
    assert_eq!(sessions.n_executed(), 32);
}

#[tokio::test]
async fn concurrent_calls_share_one_refusal() {
    const N_CALLS: u64 = 16;
    let sessions = Sessions::default();
    let answering = sessions.clone();
    let barrier = Arc::new(Barrier::new(usize::try_from(N_CALLS).unwrap()));
    let server = Server::start(move |seen| {
        let (answering, barrier) = (answering.clone(), Arc::clone(&barrier));
        async move {
            if seen.is_call("tools/call") {
                barrier.wait().await;
            } else if answering.n_opened() == 1 && seen.is_call("initialize") {
                return bare(400);
            }
            answering.answer(&seen, not_found)
        }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    sessions.forget();
    let calls = (1..=N_CALLS).map(async |id| session.call(&tool_call(id)).await);
    for reply in futures_util::future::join_all(calls).await {
        assert!(matches!(reply, Err(UpstreamError::SessionLost { .. })));
    }
    assert_eq!(server.count("\"initialize\""), 2, "one attempt for all");
}

#[tokio::test]
async fn a_session_that_is_forgotten_at_once_is_lost() {
    let sessions = Sessions::default();
    let answering = sessions.clone();
    let server = Server::start(move |seen| {
        if seen.is_call("tools/call") {
            answering.forget();
        }
        let answer = answering.answer(&seen, not_found);
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    let error = session.call(&tool_call(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "server `fake` forgot the session and says so of a new one, too"
    );
    assert_eq!(sessions.n_opened(), 2);
}

#[tokio::test]
async fn a_session_without_id_is_never_opened_again() {
    let server = Server::start(|seen| async move {
        if seen.is_call("initialize") {
            return json(200, result_for(&seen, INITIALIZE_RESULT));
        }
        if seen.is_call("tools/call") {
            return bare(404);
        }
        bare(202)
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    let error = session.call(&tool_call(1)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Status { status: 404, .. }));
    assert_eq!(server.count("\"initialize\""), 1);
    assert_eq!(session.binding().session_id, None);
}

#[tokio::test]
async fn a_new_session_gets_log_level_and_subscriptions() {
    let (sessions, server) = serve(not_found).await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    for (id, method, params) in [
        (1, "logging/setLevel", r#"{"level":"debug"}"#),
        (2, "logging/setLevel", r#"{"level":"error"}"#),
        (3, "resources/subscribe", r#"{"uri":"a:1"}"#),
        (4, "resources/subscribe", r#"{"uri":"a:2"}"#),
        (5, "resources/unsubscribe", r#"{"uri":"a:1"}"#),
    ] {
        let message = out(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
        ));
        single(session.call(&message).await);
    }
    sessions.forget();
    single(session.call(&tool_call(6)).await);
    let log = server.log.lock().clone();
    let replayed: Vec<_> = log
        .iter()
        .filter(|seen| seen.header("mcp-session-id") == Some("s2"))
        .map(|seen| seen.body.as_str())
        .collect();
    assert_eq!(
        replayed,
        [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":"lockgate-replay-0","method":"logging/setLevel","params":{"level":"error"}}"#,
            r#"{"jsonrpc":"2.0","id":"lockgate-replay-1","method":"resources/subscribe","params":{"uri":"a:2"}}"#,
            r#"{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"x"}}"#,
        ]
    );
    let binding = session.binding();
    assert_eq!(binding.url, server.url());
    assert_eq!(
        binding.replay.log_level.as_deref(),
        Some(r#"{"level":"error"}"#)
    );
    assert_eq!(Vec::from_iter(binding.replay.subscriptions), ["a:2"]);
}

#[tokio::test]
async fn what_a_stream_grants_is_remembered_too() {
    let sessions = Sessions::default();
    let answering = sessions.clone();
    let server = Server::start(move |seen| {
        let answer = if seen.is_call("resources/subscribe") && answering.n_opened() == 1 {
            sse_of(&[Piece::Text(
                "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
            )])
        } else {
            answering.answer(&seen, not_found)
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    let message =
        out(r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a:1"}}"#);
    let mut stream = stream(session.call(&message).await);
    assert_eq!(session.binding().replay.subscriptions.len(), 0);
    all(&mut stream).await;
    assert_eq!(session.binding().replay.subscriptions.len(), 1);
}

#[tokio::test]
async fn a_notification_is_sent_again_and_an_answer_is_not() {
    let (sessions, server) = serve(not_found).await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    sessions.forget();
    let answer = out(r#"{"jsonrpc":"2.0","id":1,"result":{"answer":1}}"#);
    let error = session.send(answer).await.unwrap_err();
    assert!(matches!(error, UpstreamError::SessionLost { .. }));
    assert_eq!(sessions.n_opened(), 1);
    let changed = out(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#);
    session.send(changed).await.unwrap();
    assert_eq!(sessions.n_opened(), 2);
    assert_eq!(server.count("roots/list_changed"), 2);
}

#[tokio::test]
async fn a_server_that_restarts_is_unreachable_and_then_forgetful() {
    let (sessions, server) = serve(not_found).await;
    let address = server.address;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    server.stop().await;
    sessions.forget();
    let error = session.call(&tool_call(1)).await.unwrap_err();
    assert!(
        matches!(error, UpstreamError::Unreachable { .. }),
        "{error:?}"
    );
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let answering = sessions.clone();
    let _server = Server::start_on(listener, move |seen| {
        let answer = answering.answer(&seen, not_found);
        async move { answer }
    });
    assert_eq!(single(session.call(&tool_call(1)).await).0, 200);
    assert_eq!(sessions.n_opened(), 2);
    assert_eq!(sessions.n_executed(), 1);
}

#[tokio::test]
async fn a_closed_session_stays_closed() {
    let (sessions, server) = serve(not_found).await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    session.close().await;
    let error = session.call(&tool_call(1)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::SessionLost { .. }));
    assert_eq!(sessions.n_opened(), 1);
}

#[tokio::test]
async fn the_end_of_a_session_is_told_again_where_it_fails() {
    let sessions = Sessions::default();
    let n_told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_told);
    let server = Server::start(move |seen| {
        let answer = match seen.method {
            Method::DELETE if counted.fetch_add(1, Ordering::Relaxed) == 0 => bare(503),
            _ => sessions.answer(&seen, not_found),
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    session.close().await;
    assert_eq!(n_told.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_end_of_a_session_is_told_by_its_status_alone() {
    let sessions = Sessions::default();
    let n_told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_told);
    let server = Server::start(move |seen| {
        let answer = if seen.method == Method::DELETE {
            counted.fetch_add(1, Ordering::Relaxed);
            json(200, "{}")
        } else {
            sessions.answer(&seen, not_found)
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    session.close().await;
    assert_eq!(n_told.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_array_of_messages_is_a_stream() {
    let sessions = Sessions::default();
    let server = Server::start(move |seen| {
        let answer = if seen.is_call("tools/call") {
            json(
                200,
                r#"[{"jsonrpc":"2.0","method":"n"},{"jsonrpc":"2.0","id":1,"result":{}}]"#,
            )
        } else {
            sessions.answer(&seen, not_found)
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    let mut stream = stream(session.call(&tool_call(1)).await);
    assert_eq!(all(&mut stream).await.len(), 2);
}

#[tokio::test]
async fn a_notification_may_be_accepted_with_words() {
    let sessions = Sessions::default();
    let server = Server::start(move |seen| {
        let answer = if seen.is_call("notifications/x") {
            let mut answer = json(202, "Accepted");
            let media = HeaderValue::from_static("text/plain");
            answer.headers_mut().insert("content-type", media);
            answer
        } else {
            sessions.answer(&seen, not_found)
        };
        async move { answer }
    })
    .await;
    let session = endpoint(&server.url()).open(init()).await.unwrap();
    let message = out(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    session.send(message).await.unwrap();
    assert_eq!(server.n_connections(), 1);
}
