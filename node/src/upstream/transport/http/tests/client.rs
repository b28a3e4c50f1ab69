//! The node's side of a test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{Frame, Limits};
use lockgate_proto::mcp::Revision;

use crate::error::UpstreamError;
use crate::upstream::link::{MessageStream, Outgoing, Reply, SessionInit};
use crate::upstream::transport::http::{EndpointSettings, HttpEndpoint};

pub(in crate::upstream::transport) fn settings(url: &str) -> EndpointSettings {
    EndpointSettings {
        server: "fake".into(),
        url: url.parse().unwrap(),
        address: url.into(),
        headers: Arc::new([]),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(30),
        answer_bytes_max: 1 << 20,
    }
}

pub(in crate::upstream::transport) fn endpoint(url: &str) -> HttpEndpoint {
    HttpEndpoint::new(settings(url)).unwrap()
}

pub(in crate::upstream::transport) fn out(text: impl Into<String>) -> Outgoing {
    Outgoing {
        frame: Frame::parse(Bytes::from(text.into()), &Limits::default()).unwrap(),
        headers: Vec::new(),
        timeout: Duration::from_secs(30),
    }
}

/// A `tools/call` with the given id.
pub(in crate::upstream::transport) fn tool_call(id: u64) -> Outgoing {
    out(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x"}}}}"#
    ))
}

pub(in crate::upstream::transport) fn init() -> SessionInit {
    SessionInit {
        revision: Revision::SESSION_LATEST,
        capabilities: "{}".into(),
        client_info: r#"{"name":"t","version":"1"}"#.into(),
        now_ms: 0,
    }
}

/// The one message of an answer that is not a stream.
pub(in crate::upstream::transport) fn single(reply: Result<Reply, UpstreamError>) -> (u16, String) {
    match reply {
        Ok(Reply::Single { status, frame }) => (status, frame.text().to_owned()),
        other => panic!("not a single message: {other:?}"),
    }
}

pub(in crate::upstream::transport) fn stream(reply: Result<Reply, UpstreamError>) -> MessageStream {
    match reply {
        Ok(Reply::Stream(stream)) => stream,
        other => panic!("not a stream: {other:?}"),
    }
}

/// All messages of a stream.
pub(in crate::upstream::transport) async fn all(stream: &mut MessageStream) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(frame) = stream.next().await.unwrap() {
        texts.push(frame.text().to_owned());
    }
    texts
}
