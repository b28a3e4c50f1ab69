//! Severity of log messages (RFC 5424), as `logging/setLevel` knows it.

use lockgate_proto::jsonrpc::{Frame, decode_str};
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

/// From the most verbose to the most severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// Name on the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// Reads a raw JSON string.
    pub(super) fn read(raw: &str) -> Option<Self> {
        let text = decode_str(raw)?;
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    /// Severity of a log message. One that names none that we know is as severe as can be: it is not ours to hide.
    pub(super) fn of(message: &Frame) -> Self {
        let span = message.param(&["level"]);
        let level = span.and_then(|span| Self::read(span.of(message.text())));
        level.unwrap_or(Self::Emergency)
    }
}

/// Whether `frame` is a log message that a caller with this `wanted` level does not want.
pub(super) fn is_unwanted(frame: &Frame, wanted: Option<Level>) -> bool {
    *frame.method() == *method::LOG_MESSAGE && wanted.is_none_or(|wanted| Level::of(frame) < wanted)
}
