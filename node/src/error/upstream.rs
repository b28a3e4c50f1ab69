//! Failures of the far side, as the node sees them.

use std::io;
use std::time::Duration;

use http::Uri;
use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::ParseError;
use lockgate_proto::mcp::Era;

use super::call::whole_secs;

/// Why an upstream gave no answer. An answer that *is* a JSON-RPC error is not a failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No connection, or the child could not be started: nothing was sent.
    #[error("server `{server}` cannot be reached")]
    Unreachable {
        /// Which.
        server: ServerName,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The breaker is open: nothing was sent.
    #[error("server `{server}` is failing; calls pass again in at most {} s", whole_secs(*retry_after))]
    BreakerOpen {
        /// Which.
        server: ServerName,
        /// Time until trial calls pass.
        retry_after: Duration,
    },
    /// Too many calls in flight, or of what else a call takes up: nothing was sent.
    #[error("server `{server}` has {limit} {what}, its limit")]
    AtLimit {
        /// Which.
        server: ServerName,
        /// Limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// The server said nothing for too long. It may have acted.
    #[error("no answer from server `{server}` within {limit:?}")]
    Timeout {
        /// Which.
        server: ServerName,
        /// Limit.
        limit: Duration,
    },
    /// The server did not answer this request of our own; it may have answered others.
    #[error("server `{server}` does not answer `{method}` within {limit:?}")]
    Unanswered {
        /// Which.
        server: ServerName,
        /// Method of the request.
        method: &'static str,
        /// Limit.
        limit: Duration,
    },
    /// The connection broke after the request was written. The server may have acted.
    #[error("server `{server}` broke off during the call: {what}")]
    Broken {
        /// Which.
        server: ServerName,
        /// What happened.
        what: String,
    },
    /// The server answered, but not in MCP.
    #[error("server `{server}` sent something that is not MCP: {what}")]
    Garbage {
        /// Which.
        server: ServerName,
        /// What was wrong, and where.
        what: String,
    },
    /// An HTTP status without a JSON-RPC body.
    #[error("server `{server}` answered with HTTP status {status}{}", asked_wait(*retry_after))]
    Status {
        /// Which.
        server: ServerName,
        /// Status.
        status: u16,
        /// How long it asks to stay away.
        retry_after: Option<Duration>,
        /// Where a redirect leads. Not for callers: it may hold what the operator keeps to himself.
        location: Option<Box<Uri>>,
    },
    /// The upstream session is gone and could not be opened again.
    #[error("server `{server}` forgot the session and {and}")]
    SessionLost {
        /// Which.
        server: ServerName,
        /// What else is so.
        and: &'static str,
    },
    /// A `requestState` that continues no call here: forged, cut, used, expired, or of somebody else.
    #[error("`requestState` is refused: {why}")]
    StateRefused {
        /// Which.
        server: ServerName,
        /// Why.
        why: &'static str,
        /// Whether it was tried where it must not be of use, rather than too late.
        is_offence: bool,
    },
    /// Answers that do not fit what the client was asked.
    #[error("{what}")]
    InputRefused {
        /// Which.
        server: ServerName,
        /// What is wrong with them.
        what: String,
    },
    /// The server does not speak the client's era.
    #[error("server `{server}` does not speak the {era:?} era of MCP")]
    NoEra {
        /// Which.
        server: ServerName,
        /// Era that was wanted.
        era: Era,
    },
    /// Somebody answers there, but not as a server of any era of MCP.
    #[error("server `{server}` does not speak MCP: {what}")]
    NoMcp {
        /// Which.
        server: ServerName,
        /// Who answers, and how.
        what: String,
    },
    /// The server takes a request that was translated from the other era for wrong.
    #[error("server `{server}` does not understand the translated request: {what}")]
    Refused {
        /// Which.
        server: ServerName,
        /// What it says.
        what: String,
    },
    /// A request that must not go on as it stands could not be written as this server must have it: it was not sent.
    #[error("the request to server `{server}` cannot be written as it must be passed on")]
    Unwritable {
        /// Which.
        server: ServerName,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// The client gave up the call; nothing is wrong with the server.
    #[error("the call at server `{server}` was cancelled")]
    Cancelled {
        /// Which.
        server: ServerName,
    },
}

fn asked_wait(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| {
        format!("; it asks to wait {} s", whole_secs(wait))
    })
}

impl UpstreamError {
    /// When it is worth trying again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BreakerOpen { retry_after, .. } => Some(*retry_after),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether it is certain that the server did not act, so that a second attempt is safe for any tool.
    pub fn nothing_sent(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::BreakerOpen { .. }
                | Self::AtLimit { .. }
                | Self::NoEra { .. }
        )
    }

    /// Whether it is the server that failed, with a request that may have reached it.
    pub fn is_of_server(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. }
                | Self::Unanswered { .. }
                | Self::Broken { .. }
                | Self::Garbage { .. }
                | Self::Status { .. }
                | Self::SessionLost { .. }
                | Self::NoMcp { .. }
                | Self::Refused { .. }
        )
    }

    /// Which server.
    pub fn server(&self) -> &ServerName {
        match self {
            Self::Unreachable { server, .. }
            | Self::BreakerOpen { server, .. }
            | Self::AtLimit { server, .. }
            | Self::Timeout { server, .. }
            | Self::Unanswered { server, .. }
            | Self::Broken { server, .. }
            | Self::Garbage { server, .. }
            | Self::Status { server, .. }
            | Self::SessionLost { server, .. }
            | Self::NoEra { server, .. }
            | Self::NoMcp { server, .. }
            | Self::StateRefused { server, .. }
            | Self::InputRefused { server, .. }
            | Self::Refused { server, .. }
            | Self::Unwritable { server, .. }
            | Self::Cancelled { server } => server,
        }
    }
}
