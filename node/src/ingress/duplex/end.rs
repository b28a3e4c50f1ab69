//! Why a line ends.

/// Why a line ends. The first reason counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingress) enum End {
    /// The client went away.
    Gone,
    /// The client takes nothing of what waits for it.
    Stalled,
    /// The credential is not good any more.
    Withdrawn,
    /// The session ended elsewhere: by an operator, or of age.
    Session,
    /// This node shuts down; calls in flight have ended, or their time is over.
    Shutdown,
}
