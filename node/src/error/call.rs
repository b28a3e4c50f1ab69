//! `CallError` and the table that maps each case to HTTP status, JSON-RPC code and audit verdict.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::id::ServerName;
use lockgate_proto::jsonrpc::{ParseError, encode_str};
use lockgate_proto::mcp::{Era, Revision, code};

use super::UpstreamError;

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A tool, by its prefixed name.
    Tool,
    /// A prompt, by its prefixed name.
    Prompt,
    /// A resource, by its URI.
    Resource,
    /// A method.
    Method,
    /// A server.
    Server,
}

impl Object {
    /// Word used in messages and rule prefixes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Method => "method",
            Self::Server => "server",
        }
    }
}

/// Why a call was not answered by its server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Unreadable message.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// A rule of the transport or of the protocol was broken.
    #[error("{what}")]
    InvalidRequest {
        /// Which rule.
        what: Cow<'static, str>,
    },
    /// Bad parameters.
    #[error("{what}")]
    InvalidParams {
        /// What is wrong with them.
        what: Cow<'static, str>,
    },
    /// Routing header missing, malformed or unlike the body (2026-07-28).
    #[error("{what}")]
    HeaderMismatch {
        /// Which header and why.
        what: Cow<'static, str>,
    },
    /// Version not spoken here (2026-07-28).
    #[error("unsupported protocol version `{requested}`")]
    UnsupportedVersion {
        /// What the client asked for.
        requested: String,
        /// What this endpoint serves.
        supported: Vec<Revision>,
    },
    /// A request about tasks of a client that does not say that it can follow them (2026-07-28, "Tasks").
    #[error("the client did not declare the tasks extension")]
    TasksUndeclared,
    /// No valid credential.
    #[error("{what}")]
    Unauthenticated {
        /// What is missing or wrong; never repeats the credential.
        what: &'static str,
    },
    /// A valid credential, on the URL of a tenant that its caller does not belong to.
    #[error("the caller does not belong to the tenant of this URL")]
    ForeignTenant,
    /// Policy says no.
    #[error("policy does not allow {} `{name}`", object.as_str())]
    Denied {
        /// Kind.
        object: Object,
        /// Name as the client wrote it.
        name: String,
        /// Rule that decided; `default` when none matched.
        rule: String,
    },
    /// `Host` or `Origin` is not one of ours.
    #[error("{header} `{value}` is not accepted here")]
    ForeignOrigin {
        /// `Host` or `Origin`.
        header: &'static str,
        /// Value received.
        value: String,
    },
    /// The HTTP method is none of those of the path.
    #[error("only {methods} exist here")]
    MethodNotAllowed {
        /// Those that are, as in `Allow`.
        methods: &'static str,
    },
    /// The client does not take what is answered.
    #[error("`Accept` has to name {kinds}")]
    NotAcceptable {
        /// What is answered.
        kinds: &'static str,
    },
    /// The body says of itself that it is no JSON.
    #[error("`Content-Type` has to be application/json")]
    UnsupportedMedia,
    /// The body says of itself that it is compressed.
    #[error("`Content-Encoding` is `{coding}`: bodies are taken as they are only")]
    EncodedBody {
        /// How.
        coding: Box<str>,
    },
    /// No such tool, prompt or server.
    #[error("unknown {} `{name}`", object.as_str())]
    Unknown {
        /// Kind.
        object: Object,
        /// Name as the client wrote it.
        name: String,
    },
    /// No such tool or prompt so far: the server that its name points at has not said yet what it offers.
    #[error("unknown {} `{name}`: server `{server}` has not said yet what it offers", object.as_str())]
    Unheard {
        /// Kind.
        object: Object,
        /// Name as the client wrote it.
        name: String,
        /// Server with the prefix of that name.
        server: ServerName,
    },
    /// No server has this resource.
    #[error("resource not found")]
    ResourceNotFound {
        /// URI as the client wrote it.
        uri: String,
        /// Decides the code: -32002 up to 2025-11-25, -32602 after.
        revision: Revision,
    },
    /// A cursor that continues no list here: forged, cut, of another list, or of somebody else.
    #[error("invalid cursor")]
    CursorRefused,
    /// No such method, or not one that a single server can be meant by.
    #[error("method `{method}` not found")]
    MethodNotFound {
        /// Method as the client wrote it.
        method: String,
    },
    /// Session id unknown, ended, or of somebody else.
    #[error("session not found")]
    UnknownSession,
    /// The stream that a client wants to go on with has ended and said all. 405 says that there is no stream here,
    /// and ends the attempts of clients; an empty stream would make them come back again and again.
    #[error("the stream has ended, and nothing comes after this event")]
    StreamOver,
    /// A quota has no more; nothing was started.
    #[error("quota `{quota}` is used up")]
    QuotaExceeded {
        /// Which one.
        quota: Arc<str>,
        /// What it counts apart.
        per: &'static str,
        /// When it is worth trying again. `None`: the call costs more than the whole quota.
        retry_after: Option<Duration>,
    },
    /// What this node held of a quota is spent and nobody can grant it more; nothing was started.
    #[error("quota `{quota}` cannot be drawn on now")]
    QuotaUnavailable {
        /// Which one.
        quota: Arc<str>,
        /// What it counts apart.
        per: &'static str,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// Too much at once; nothing was started.
    #[error("{what}")]
    Overloaded {
        /// Which bound.
        what: &'static str,
    },
    /// This node is going away; nothing was started.
    #[error("this node is going away")]
    Draining,
    /// This node has lost the cluster, so it can't know what was taken away meanwhile.
    #[error("this node is cut off from its cluster and serves nothing until it is back")]
    NoLease,
    /// Without an audit line no call is made.
    #[error("the audit log cannot take another record")]
    AuditUnavailable,
    /// A message that must not go on as it stands could not be written as it must.
    #[error("the message cannot be written as it must be passed on")]
    Unwritable(#[source] ParseError),
    /// The client cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The session ended while the call was running.
    #[error("the session ended during the call")]
    SessionEnded,
    /// The server failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// HTTP status towards a client of the stateless era.
    pub stateless: u16,
    /// HTTP status towards a client of the session era.
    pub session: u16,
    /// JSON-RPC error code.
    pub code: i32,
    /// Word in audit lines and metrics.
    pub verdict: &'static str,
}

impl Wire {
    /// Status towards a client of `era`.
    pub fn status(&self, era: Era) -> u16 {
        match era {
            Era::Session => self.session,
            Era::Stateless => self.stateless,
        }
    }
}

/// Ours, outside the range that JSON-RPC and MCP reserve (MCP 2026-07-28, "Error codes").
pub(crate) mod own_code {
    pub(crate) const DENIED: i32 = -31_403;
    pub(crate) const UNAUTHENTICATED: i32 = -31_401;
    pub(crate) const QUOTA: i32 = -31_429;
    pub(crate) const OVERLOADED: i32 = -31_503;
    pub(crate) const UPSTREAM: i32 = -31_502;
    pub(crate) const TIMEOUT: i32 = -31_504;
    pub(crate) const SESSION: i32 = -31_404;
    pub(crate) const CANCELLED: i32 = -31_499;
}

/// Word in `data` that tells refusals of one status and code apart.
pub(crate) mod reason {
    pub(crate) const FOREIGN_HOST: &str = "foreign_host";
    pub(crate) const FOREIGN_ORIGIN: &str = "foreign_origin";
    pub(crate) const FOREIGN_TENANT: &str = "foreign_tenant";
}

impl CallError {
    /// The one table.
    ///
    /// A failure of the transport has a status of its own. A failure of one call travels in band (200), because
    /// clients give up the connection, or start an authorization flow, on any other status: in the session era
    /// always, in the stateless era but for the codes that its specification ties to a status.
    pub fn wire(&self) -> Wire {
        let (stateless, session, code, verdict) = match self {
            Self::Parse(ParseError::TooLarge { .. }) => {
                (413, 413, code::INVALID_REQUEST, "invalid")
            }
            Self::Parse(error) => (400, 400, error.code(), "invalid"),
            Self::InvalidRequest { .. } => (400, 400, code::INVALID_REQUEST, "invalid"),
            Self::InvalidParams { .. } | Self::Unknown { .. } | Self::Unheard { .. } => {
                (400, 200, code::INVALID_PARAMS, "invalid")
            }
            Self::HeaderMismatch { .. } => (400, 400, code::HEADER_MISMATCH, "invalid"),
            Self::UnsupportedVersion { .. } => (400, 400, code::UNSUPPORTED_VERSION, "invalid"),
            Self::TasksUndeclared => (400, 200, code::MISSING_CAPABILITY, "invalid"),
            Self::Unauthenticated { .. } => {
                (401, 401, own_code::UNAUTHENTICATED, "unauthenticated")
            }
            Self::Denied { .. } => (200, 200, own_code::DENIED, "denied"),
            Self::ForeignTenant | Self::ForeignOrigin { .. } => {
                (403, 403, own_code::DENIED, "denied")
            }
            Self::ResourceNotFound { revision, .. } => {
                (400, 200, resource_code(*revision), "invalid")
            }
            Self::CursorRefused => (400, 200, code::INVALID_PARAMS, "bad_cursor"),
            Self::MethodNotFound { .. } => (404, 200, code::METHOD_NOT_FOUND, "invalid"),
            Self::StreamOver | Self::MethodNotAllowed { .. } => {
                (405, 405, code::INVALID_REQUEST, "invalid")
            }
            Self::NotAcceptable { .. } => (406, 406, code::INVALID_REQUEST, "invalid"),
            Self::UnsupportedMedia | Self::EncodedBody { .. } => {
                (415, 415, code::INVALID_REQUEST, "invalid")
            }
            Self::UnknownSession => (404, 404, own_code::SESSION, "no_session"),
            Self::QuotaExceeded { .. } | Self::QuotaUnavailable { .. } => {
                (429, 200, own_code::QUOTA, "rate_limited")
            }
            Self::Overloaded { .. } | Self::Draining => {
                (503, 503, own_code::OVERLOADED, "overloaded")
            }
            Self::NoLease => (503, 503, own_code::OVERLOADED, "no_lease"),
            Self::AuditUnavailable => (503, 503, own_code::OVERLOADED, "no_audit"),
            Self::Unwritable(_) => (200, 200, code::INTERNAL_ERROR, "internal"),
            Self::Cancelled => (200, 200, own_code::CANCELLED, "cancelled"),
            Self::SessionEnded => (200, 200, own_code::SESSION, "no_session"),
            Self::Upstream(error) => upstream_row(error),
        };
        Wire {
            stateless,
            session,
            code,
            verdict,
        }
    }

    /// `error` member of the JSON-RPC answer, raw.
    pub fn body(&self) -> String {
        let message = encode_str(&self.to_string());
        let code = self.wire().code;
        match self.data() {
            Some(data) => format!(r#"{{"code":{code},"message":{message},"data":{data}}}"#),
            None => format!(r#"{{"code":{code},"message":{message}}}"#),
        }
    }

    /// Whether the caller is refused for who they are.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Unauthenticated { .. })
    }

    /// Word in the audit log for a thing of ours that was forged, is somebody else's, or was meant for something else or
    /// for one time: such attempts are recorded apart. What has merely grown too old is none.
    pub fn offence(&self) -> Option<&'static str> {
        match self {
            Self::CursorRefused => Some("cursor_refused"),
            Self::Upstream(UpstreamError::StateRefused {
                is_offence: true, ..
            }) => Some("state_refused"),
            _ => None,
        }
    }

    /// Seconds for `Retry-After`.
    pub fn retry_after_secs(&self) -> Option<u64> {
        match self {
            Self::QuotaExceeded { retry_after, .. } => retry_after.map(whole_secs),
            Self::QuotaUnavailable { retry_after, .. } => Some(whole_secs(*retry_after)),
            Self::Overloaded { .. } | Self::Draining | Self::NoLease | Self::AuditUnavailable => {
                Some(1)
            }
            Self::Upstream(UpstreamError::AtLimit { .. }) => Some(1),
            Self::Upstream(error) => error.retry_after().map(whole_secs),
            _ => None,
        }
    }

    fn data(&self) -> Option<String> {
        match self {
            Self::UnsupportedVersion {
                requested,
                supported,
            } => {
                let list: Vec<String> = supported.iter().map(|r| format!("\"{r}\"")).collect();
                Some(format!(
                    r#"{{"supported":[{}],"requested":{}}}"#,
                    list.join(","),
                    encode_str(requested)
                ))
            }
            Self::TasksUndeclared => Some(
                r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#
                    .to_owned(),
            ),
            Self::ResourceNotFound { uri, .. } => Some(format!(r#"{{"uri":{}}}"#, encode_str(uri))),
            Self::ForeignTenant => Some(refusal_data(reason::FOREIGN_TENANT)),
            Self::ForeignOrigin { header, .. } => Some(refusal_data(match *header {
                "Host" => reason::FOREIGN_HOST,
                _ => reason::FOREIGN_ORIGIN,
            })),
            Self::Denied { object, name, .. } => Some(format!(
                r#"{{"reason":"policy_rejected","status":403,"{}":{}}}"#,
                object.as_str(),
                encode_str(name)
            )),
            Self::QuotaExceeded {
                quota, retry_after, ..
            } => Some(quota_data("quota_exceeded", quota, *retry_after)),
            Self::QuotaUnavailable {
                quota, retry_after, ..
            } => Some(quota_data("quota_unavailable", quota, Some(*retry_after))),
            Self::Upstream(error) => {
                let outcome = if error.nothing_sent() {
                    "not_sent"
                } else {
                    "unknown"
                };
                let status = match error {
                    UpstreamError::Status { status, .. } => format!(r#","status":{status}"#),
                    _ => String::new(),
                };
                Some(format!(
                    r#"{{"server":{},"outcome":"{outcome}"{status}{}}}"#,
                    encode_str(error.server().as_str()),
                    retry_member(error.retry_after())
                ))
            }
            _ => None,
        }
    }
}

fn refusal_data(reason: &str) -> String {
    format!(r#"{{"reason":"{reason}","status":403}}"#)
}

fn quota_data(reason: &str, quota: &str, retry_after: Option<Duration>) -> String {
    let quota = encode_str(quota);
    let retry = retry_member(retry_after);
    format!(r#"{{"reason":"{reason}","status":429,"quota":{quota}{retry}}}"#)
}

fn retry_member(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| {
        format!(r#","retry_after_ms":{}"#, wait.as_millis().max(1))
    })
}

/// Rounded up: who comes back earlier comes in vain.
pub(super) fn whole_secs(wait: Duration) -> u64 {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    secs.max(1)
}

fn resource_code(revision: Revision) -> i32 {
    if revision >= Revision::V2026_07_28 {
        code::INVALID_PARAMS
    } else {
        code::RESOURCE_NOT_FOUND
    }
}

fn upstream_row(error: &UpstreamError) -> (u16, u16, i32, &'static str) {
    let (stateless, code, verdict) = match error {
        UpstreamError::Timeout { .. } => (200, own_code::TIMEOUT, "timeout"),
        UpstreamError::BreakerOpen { .. } => (200, own_code::OVERLOADED, "breaker_open"),
        UpstreamError::AtLimit { .. } => (200, own_code::OVERLOADED, "overloaded"),
        UpstreamError::Cancelled { .. } => (200, own_code::CANCELLED, "cancelled"),
        UpstreamError::StateRefused { .. } => (400, code::INVALID_PARAMS, "bad_state"),
        UpstreamError::InputRefused { .. } => (400, code::INVALID_PARAMS, "invalid"),
        UpstreamError::Unwritable { .. } => (200, code::INTERNAL_ERROR, "internal"),
        _ => (200, own_code::UPSTREAM, "upstream_error"),
    };
    (stateless, 200, code, verdict)
}
