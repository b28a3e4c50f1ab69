//! Why a line ends.

/// Why a line ends. The first reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum End {
    /// The client went away.
    Gone,
    /// The client has said nothing since it came, or does not react any more.
    Silent,
    /// The client takes nothing of what waits for it.
    Stalled,
    /// The client broke a rule of the transport.
    Violation(Violation),
    /// The credential is not good any more.
    Withdrawn,
    /// The session ended elsewhere: by an operator, or of age.
    Session,
    /// This node shuts down; calls in flight have ended, or their time is over.
    Shutdown,
}

/// Which rule of the transport was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum Violation {
    /// A message was over the limit.
    TooLarge,
    /// A message was not text.
    Binary,
    /// Text was not UTF-8.
    Encoding,
    /// The framing could not be read.
    Framing,
}
