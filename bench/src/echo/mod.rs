//! The upstream of every measurement: an MCP server of both eras that costs a few microseconds a call.
//!
//! `/{anything}/mcp` and `/mcp` answer alike; `/sized/{bytes}/mcp` answers `tools/list` with
//! exactly that many bytes (for ids of ten digits), so that a proxy can be measured with a given payload.

mod answers;
mod body;
mod message;
mod session_era;
mod sessions;
mod stateless_era;

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
};

pub(crate) use self::answers::blob_text;
use self::{answers::Answers, body::EchoBody, message::Message, sessions::Sessions};
use crate::serve::Service;

/// Header of the session era.
const SESSION_ID: &str = "mcp-session-id";
/// Header that tells the eras apart.
const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// The stateless revision.
const STATELESS: &str = "2026-07-28";

/// Echo server.
#[derive(Debug)]
pub(crate) struct Echo {
    answers: Answers,
    sessions: RefCell<Sessions>,
}

impl Echo {
    /// A server with `tools` tools, of which three are `echo`, `blob` and `progress`.
    pub(crate) fn new(tools: usize) -> Self {
        Self {
            answers: Answers::new(tools),
            sessions: RefCell::default(),
        }
    }

    async fn post(&self, request: Request<Incoming>) -> Response<EchoBody> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "null",
                -32700,
                "body is incomplete",
            );
        };
        let body = body.to_bytes();
        let Ok(message) = serde_json::from_slice::<Message<'_>>(&body) else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "null",
                -32700,
                "body is not JSON-RPC",
            );
        };
        let stateless = head
            .headers
            .get(PROTOCOL_VERSION)
            .is_some_and(|version| version == STATELESS);
        if stateless {
            stateless_era::answer(self, &head, &message)
        } else {
            session_era::answer(self, &head, &message)
        }
    }
}

impl Service for Echo {
    type Body = EchoBody;

    async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<EchoBody> {
        if !request.uri().path().ends_with("/mcp") {
            return status(StatusCode::NOT_FOUND);
        }
        match *request.method() {
            Method::POST => self.post(request).await,
            Method::GET => session_era::stream(&self, request.headers()),
            Method::DELETE => session_era::end(&self, request.headers()),
            _ => status(StatusCode::METHOD_NOT_ALLOWED),
        }
    }
}

/// An answer in JSON, its body in parts that are written without being joined.
fn json(parts: EchoBody) -> Response<EchoBody> {
    let mut response = Response::new(parts);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
fn status(status: StatusCode) -> Response<EchoBody> {
    let mut response = Response::new(EchoBody::empty());
    *response.status_mut() = status;
    response
}

/// A JSON-RPC error.
fn refuse(status: StatusCode, id: &str, code: i32, why: &str) -> Response<EchoBody> {
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{why}"}}}}"#);
    let mut response = json(EchoBody::one(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
