//! One HTTP answer of the gateway: a JSON body or a stream of events.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use serde_json::Value;

use super::within;

/// The connection that is free for the next request.
pub(super) type Idle = Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>;

/// Status, headers, and a body that is not read yet. Dropping it breaks the connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) idle: Idle,
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// A stream of events. Dropping it breaks the connection.
pub(crate) struct Events {
    body: Incoming,
    buffer: BytesMut,
    _sender: SendRequest<Full<Bytes>>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The whole body; the connection is free again.
    pub(crate) async fn bytes(self) -> Bytes {
        let body = within("body", self.body.collect())
            .await
            .unwrap()
            .to_bytes();
        *self.idle.lock() = Some(self.sender);
        body
    }

    /// The body as one JSON document.
    pub(crate) async fn json(self) -> Value {
        let body = self.bytes().await;
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    /// The message that answers the request, from a plain body or from the end of a stream.
    pub(crate) async fn message(self) -> Value {
        serde_json::from_slice(&self.message_bytes().await).unwrap()
    }

    /// As [`Answer::message`], byte for byte.
    pub(crate) async fn message_bytes(self) -> Bytes {
        if !self.is_stream() {
            return self.bytes().await;
        }
        let mut events = self.events();
        while let Some(event) = events.next().await {
            if event.is_answer() {
                return event.data.into();
            }
        }
        panic!("the stream ended without an answer");
    }

    pub(crate) fn events(self) -> Events {
        assert!(
            self.is_stream(),
            "status {}: {:?}",
            self.status,
            self.headers
        );
        Events {
            body: self.body,
            buffer: BytesMut::new(),
            _sender: self.sender,
        }
    }
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    fn is_answer(&self) -> bool {
        !self.data.is_empty() && {
            let message = self.json();
            message.get("method").is_none() && message.get("id").is_some()
        }
    }
}

impl Events {
    /// Next event, comments left out; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(block) = self.block() {
                if let Some(event) = parse(&block) {
                    return Some(event);
                }
            }
            let frame = within("next event", self.body.frame()).await?;
            if let Ok(data) = frame.ok()?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// Next event that carries a message.
    pub(crate) async fn message(&mut self) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }

    fn block(&mut self) -> Option<BytesMut> {
        let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
        Some(self.buffer.split_to(end + 2))
    }
}

fn parse(block: &[u8]) -> Option<Event> {
    let text = std::str::from_utf8(block).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let (mut event, mut id, mut data) = (None, None, Vec::new());
    for (name, value) in fields {
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event = Some(value.to_owned()),
            "id" => id = Some(value.to_owned()),
            "data" => data.push(value),
            _ => {}
        }
    }
    let empty = id.is_none() && data.is_empty();
    (!empty).then(|| Event {
        name: event,
        id,
        data: data.join("\n"),
    })
}
