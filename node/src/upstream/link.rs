//! What every transport offers, and the words they share.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::Revision;

use crate::error::UpstreamError;

use super::bridge::{BridgedStream, UpListener, UpStream};
use super::guarded::GuardedStream;
use super::transport::channel::{ChannelSession, ChannelStream};
use super::transport::http::{HttpSession, HttpStream, Replay};

/// A message on its way to an upstream.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Complete message with the client's id; transports that share a channel rewrite ids and tokens and undo it.
    pub frame: Frame,
    /// Headers of this message alone (`mcp-method`, `mcp-name`, `mcp-param-*`, `traceparent` …). Channels ignore them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Longest time without any message from the server.
    pub timeout: Duration,
}

impl Outgoing {
    /// A message without headers of its own.
    pub fn plain(frame: Frame, timeout: Duration) -> Self {
        Self {
            frame,
            headers: Vec::new(),
            timeout,
        }
    }
}

/// Longest wait until a server has taken a notification or an answer.
pub const SEND_WAIT: Duration = Duration::from_secs(10);

/// How the server answers a request.
#[derive(Debug)]
pub enum Reply {
    /// One message: the final response.
    Single {
        /// HTTP status as received; on stdio the one that belongs to the error code.
        status: u16,
        /// Response, `Kind::Result` or `Kind::Error`, with the client's id.
        frame: Frame,
    },
    /// Messages, until the final response.
    Stream(MessageStream),
}

/// Messages of one call or of one listening stream, in order. Dropping it gives up the rest.
#[derive(Debug)]
pub enum MessageStream {
    /// From an SSE body.
    Http(Box<HttpStream>),
    /// From a channel that calls share: a child, or an event stream.
    Channel(ChannelStream),
    /// One of these, of a call that holds permits until it ends.
    Guarded(Box<GuardedStream>),
    /// A call of a session at a stateless server.
    Up(Box<UpStream>),
    /// What a stateless server says to a session outside of calls.
    Heard(UpListener),
    /// Of a call that is translated for a client of the stateless era.
    Bridged(Box<BridgedStream>),
}

/// What a listening stream brings.
#[derive(Debug)]
pub enum Heard {
    /// A message.
    Message(Frame),
    /// The stream goes on, but not from where it was: what the server said in between is lost, and it may have been
    /// restarted. Anything may have changed.
    Gap,
}

impl MessageStream {
    /// Next message; `None` when the stream ended in order.
    ///
    /// # Errors
    ///
    /// Fails when the stream broke, went silent for too long or carried something else than MCP.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a message is either returned or still in the stream.
    pub async fn next(&mut self) -> Result<Option<Frame>, UpstreamError> {
        match self {
            Self::Http(stream) => stream.next().await,
            Self::Channel(stream) => stream.next().await,
            Self::Guarded(stream) => stream.next().await,
            Self::Up(stream) => stream.next().await,
            Self::Heard(listener) => Ok(listener.next().await),
            Self::Bridged(stream) => stream.next().await,
        }
    }

    /// As [`Self::next`], for a listener that has to know, too, where something may be missing.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::next`] does.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Self::next`] is.
    pub async fn hear(&mut self) -> Result<Option<Heard>, UpstreamError> {
        match self {
            Self::Http(stream) => stream.hear().await,
            Self::Channel(stream) => stream.hear().await,
            others => Ok(others.next().await?.map(Heard::Message)),
        }
    }

    /// The server may be silent for so long from now on.
    pub(super) fn limit_silence(&mut self, limit: Duration) {
        match self {
            Self::Http(stream) => stream.limit_silence(limit),
            Self::Channel(stream) => stream.limit_silence(limit),
            // Each keeps its own time.
            Self::Guarded(_) | Self::Up(_) | Self::Heard(_) | Self::Bridged(_) => {}
        }
    }

    /// Skips to the final response.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::next`] does, and when the stream ends without a response.
    pub async fn answer(&mut self, server: &ServerName) -> Result<Frame, UpstreamError> {
        while let Some(frame) = self.next().await? {
            if matches!(frame.kind(), Kind::Result | Kind::Error) {
                return Ok(frame);
            }
        }
        Err(UpstreamError::Broken {
            server: server.clone(),
            what: "the stream ended without an answer".to_owned(),
        })
    }
}

/// What a session-era session is opened with.
#[derive(Clone, Debug)]
pub struct SessionInit {
    /// Revision to ask for.
    pub revision: Revision,
    /// Raw `ClientCapabilities` object.
    pub capabilities: Arc<str>,
    /// Raw `Implementation` object of the client.
    pub client_info: Arc<str>,
    /// Milliseconds since 1970 when it is opened. Only bridged sessions tell the time to anybody.
    pub now_ms: u64,
}

/// A session of the session era at one upstream; one owner, cheap to clone.
#[derive(Clone, Debug)]
pub enum UpstreamSession {
    /// Streamable HTTP.
    Http(HttpSession),
    /// A child, shared or own, or an event stream with POSTs.
    Channel(ChannelSession),
}

impl UpstreamSession {
    /// Sends a request. A session that the server forgot (404, or the end of its event stream or child) is opened again once, in single flight, and the
    /// request is sent again; log level and subscriptions are replayed.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn call(&self, out: &Outgoing) -> Result<Reply, UpstreamError> {
        match self {
            Self::Http(session) => session.call(out).await,
            Self::Channel(session) => Box::pin(session.call(out)).await,
        }
    }

    /// Sends a notification, or the answer to a server request.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn send(&self, out: Outgoing) -> Result<(), UpstreamError> {
        match self {
            Self::Http(session) => session.send(out).await,
            Self::Channel(session) => session.send(out).await,
        }
    }

    /// Opens the stream of messages that belong to no call (GET stream, or what a channel says by itself).
    /// `None` when the server offers none (405). One at a time: opening a second ends the first.
    ///
    /// # Errors
    ///
    /// See [`UpstreamError`].
    pub async fn listen(&self) -> Result<Option<MessageStream>, UpstreamError> {
        match self {
            Self::Http(session) => session.listen().await,
            Self::Channel(session) => session.listen().await,
        }
    }

    /// Raw `InitializeResult` that opened it.
    pub fn initialize_result(&self) -> Arc<str> {
        match self {
            Self::Http(session) => session.initialize_result(),
            Self::Channel(session) => session.initialize_result(),
        }
    }

    /// Revision that the server agreed to.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Http(session) => session.revision(),
            Self::Channel(session) => session.revision(),
        }
    }

    /// What the server keeps for the session, for another that takes its place.
    pub fn replay(&self) -> Replay {
        match self {
            Self::Http(session) => session.binding().replay,
            Self::Channel(session) => session.replay(),
        }
    }

    /// Ends it: DELETE, or the end of its event stream or own child.
    pub async fn close(&self) {
        match self {
            Self::Http(session) => session.close().await,
            Self::Channel(session) => session.close().await,
        }
    }
}
