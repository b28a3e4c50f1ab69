//! Why a text is refused as a message.

/// Why a text is not a message that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not JSON (RFC 8259): JSON-RPC code -32700.
    #[error("not JSON: {what} at byte {at}")]
    Syntax {
        /// What was found or missing.
        what: &'static str,
        /// Byte offset.
        at: usize,
    },
    /// JSON, but not a JSON-RPC message: code -32600.
    #[error("not a JSON-RPC message: {what}")]
    Envelope {
        /// Which rule was broken.
        what: &'static str,
    },
    /// Larger than [`Limits::body_bytes_max`](super::Limits::body_bytes_max).
    #[error("message of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Size found.
        bytes: usize,
        /// Limit.
        max: usize,
    },
    /// Nested deeper than [`Limits::depth_max`](super::Limits::depth_max).
    #[error("nesting at byte {at} is deeper than {max}")]
    TooDeep {
        /// Byte offset.
        at: usize,
        /// Limit.
        max: u16,
    },
    /// More messages than [`Limits::batch_max`](super::Limits::batch_max), or none.
    #[error("batch of {n} messages, allowed are 1 to {max}")]
    Batch {
        /// Messages found.
        n: usize,
        /// Limit.
        max: usize,
    },
}

impl ParseError {
    /// JSON-RPC error code: -32700 for text that is not JSON, -32600 for the rest.
    pub fn code(&self) -> i32 {
        match self {
            Self::Syntax { .. } => -32700,
            _ => -32600,
        }
    }
}
