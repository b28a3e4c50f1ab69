//! What a door gives back to the transport that asked.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use lockgate_proto::jsonrpc::Legible;
use lockgate_proto::mcp::Era;
use smallvec::{SmallVec, smallvec};

use crate::error::CallError;

/// Pieces of one body, written in order without being joined.
pub type Chunks = SmallVec<[Bytes; 3]>;

/// Answer to one client message.
#[derive(Debug)]
pub enum Answer {
    /// Taken; nothing to say (202).
    Accepted,
    /// One JSON body.
    Json {
        /// HTTP status.
        status: u16,
        /// Body.
        chunks: Chunks,
        /// Seconds for `Retry-After`.
        retry_after: Option<u64>,
    },
    /// A stream of events.
    Events(Events),
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `id:`; absent in the stateless era.
    pub id: Option<String>,
    /// `retry:` in milliseconds.
    pub retry_ms: Option<u64>,
    /// One JSON-RPC message; empty for a priming event.
    pub data: Bytes,
}

/// Events in order; ends when the stream is complete. Dropping it means that the client went away.
pub struct Events(pub Pin<Box<dyn Stream<Item = Event> + Send>>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Answer {
    /// A JSON body in one piece, status 200.
    pub fn json(body: impl Into<Bytes>) -> Self {
        Self::with_status(200, body)
    }

    /// A JSON body in one piece.
    pub fn with_status(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Json {
            status,
            chunks: smallvec![body.into()],
            retry_after: None,
        }
    }

    /// `{"jsonrpc":"2.0","id":ID,"result":RESULT}`; the result is not copied.
    pub fn result(id: &str, result: Bytes) -> Self {
        let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#);
        let chunks = smallvec![Bytes::from(head), result, Bytes::from_static(b"}")];
        Self::Json {
            status: 200,
            chunks,
            retry_after: None,
        }
    }

    /// The error as a JSON-RPC answer; `id` is raw, or absent when the request could not be read.
    pub fn error(id: Option<&str>, error: &CallError, era: Era) -> Self {
        Self::Json {
            status: error.wire().status(era),
            chunks: smallvec![error_message(id, error, era)],
            retry_after: error.retry_after_secs(),
        }
    }

    /// The error as an answer to `text`, from which no message was read: under the id of the request that it was to be,
    /// where that is legible.
    pub fn refused(text: &[u8], error: &CallError, era: Era) -> Self {
        Self::error(asked(text).as_deref(), error, era)
    }
}

/// The raw id of the request that `text` was to be, from which no message was read.
pub fn asked(text: &[u8]) -> Option<Box<str>> {
    match Legible::read(text)? {
        Legible::Request(id) => Some(id),
        Legible::Answer(_) => None,
    }
}

/// A JSON-RPC error message. Up to 2025-11-25 an unreadable id is `null`; from 2026-07-28 it is left out.
pub fn error_message(id: Option<&str>, error: &CallError, era: Era) -> Bytes {
    let body = error.body();
    let text = match (id, era) {
        (Some(id), _) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{body}}}"#),
        (None, Era::Session) => format!(r#"{{"jsonrpc":"2.0","id":null,"error":{body}}}"#),
        (None, Era::Stateless) => format!(r#"{{"jsonrpc":"2.0","error":{body}}}"#),
    };
    text.into()
}
