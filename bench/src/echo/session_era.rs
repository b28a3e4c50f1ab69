//! Streamable HTTP with sessions: 2025-03-26, 2025-06-18, 2025-11-25.

use http::request;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{
    Echo, SESSION_ID,
    answers::{self, Era},
    body::EchoBody,
    json,
    message::{Message, ProgressArguments},
    refuse, status,
};

/// Revisions with sessions, newest last.
const REVISIONS: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// Answers one message.
pub(super) fn answer(
    echo: &Echo,
    head: &request::Parts,
    message: &Message<'_>,
) -> Response<EchoBody> {
    let Some(id) = message.id.map(|id| id.get()) else {
        return status(StatusCode::ACCEPTED);
    };
    if message.method == "initialize" {
        return open(echo, id, message);
    }
    if let Some(refusal) = refusal_of(echo, &head.headers) {
        return refusal;
    }
    match &*message.method {
        "tools/call" => call(echo, Era::Session, id, message),
        "tools/list" => json(echo.answers.list(Era::Session, id, head.uri.path())),
        "ping" => json(answers::result(id, "{}")),
        _ => refuse(StatusCode::OK, id, -32601, "method is not known"),
    }
}

/// `tools/call`, which both eras answer alike.
pub(super) fn call(echo: &Echo, era: Era, id: &str, message: &Message<'_>) -> Response<EchoBody> {
    let Some(call) = message.call() else {
        return refuse(StatusCode::OK, id, -32602, "params are not those of a call");
    };
    match &*call.name {
        "blob" => json(echo.answers.blob(era, id)),
        "progress" => {
            let Ok(ProgressArguments { n }) = serde_json::from_str(call.arguments()) else {
                return refuse(StatusCode::OK, id, -32602, "argument `n` is missing");
            };
            events(answers::progress(era, id, call.progress_token(), n))
        }
        _ => json(answers::echo(era, id, &call)),
    }
}

/// Opens the stream that carries what no call asked for.
pub(super) fn stream(echo: &Echo, headers: &HeaderMap) -> Response<EchoBody> {
    refusal_of(echo, headers).unwrap_or_else(|| events(EchoBody::open()))
}

/// Ends the session.
pub(super) fn end(echo: &Echo, headers: &HeaderMap) -> Response<EchoBody> {
    let Some(id) = session_id(headers) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let ended = echo.sessions.borrow_mut().close(id);
    status(if ended {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    })
}

fn open(echo: &Echo, id: &str, message: &Message<'_>) -> Response<EchoBody> {
    let asked = message.revision();
    let revision = REVISIONS
        .into_iter()
        .find(|revision| asked.as_deref() == Some(revision))
        .unwrap_or(REVISIONS[REVISIONS.len() - 1]);
    let mut response = json(answers::result(
        id,
        &format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"lockgate-echo","version":"1"}}}}"#
        ),
    ));
    let session = echo.sessions.borrow_mut().open();
    if let Ok(session) = HeaderValue::try_from(session) {
        response.headers_mut().insert(SESSION_ID, session);
    }
    response
}

/// What a request gets that names no open session.
fn refusal_of(echo: &Echo, headers: &HeaderMap) -> Option<Response<EchoBody>> {
    match session_id(headers) {
        None => Some(refuse(
            StatusCode::BAD_REQUEST,
            "null",
            -32600,
            "Mcp-Session-Id is missing",
        )),
        Some(id) if echo.sessions.borrow().contains(id) => None,
        Some(_) => Some(refuse(
            StatusCode::NOT_FOUND,
            "null",
            -32600,
            "session is not known",
        )),
    }
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID)?.to_str().ok()
}

fn events(body: EchoBody) -> Response<EchoBody> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}
