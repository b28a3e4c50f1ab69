//! What can go wrong in a benchmark run; one enum, because the binary has one boundary: its caller.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use crate::wire::ReadError;

/// Result of everything here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A run that cannot be counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The machine refused something.
    #[error("cannot {what}")]
    Io {
        /// The attempt, as a verb phrase.
        what: String,
        /// Its cause.
        #[source]
        source: io::Error,
    },
    /// A target did not take the connection.
    #[error("target `{target}` does not accept connections at {address}")]
    Connect {
        /// Target's name.
        target: String,
        /// Its address.
        address: SocketAddr,
        /// Its cause.
        #[source]
        source: io::Error,
    },
    /// A target ended the connection in the middle of a call.
    #[error("target `{target}` closed the connection before it answered")]
    Closed {
        /// Target's name.
        target: String,
    },
    /// A target's answer is not HTTP as we read it.
    #[error("answer of target `{target}` is not readable")]
    Read {
        /// Target's name.
        target: String,
        /// Its cause.
        #[source]
        source: ReadError,
    },
    /// A target gave an answer that does not belong to the call.
    #[error("wrong answer of target `{target}` to {call}: {why}")]
    Wrong {
        /// Target's name.
        target: String,
        /// What was asked.
        call: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// No answer came at all.
    #[error("target `{target}` did not answer within {limit:?}")]
    Silent {
        /// Target's name.
        target: String,
        /// How long we waited.
        limit: Duration,
    },
    /// A value given by the user is not usable.
    #[error("{key} `{value}` is not usable: {why}")]
    Argument {
        /// Option or key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What was expected.
        why: String,
    },
    /// A process that the suite started did not get ready.
    #[error("process `{name}` did not become ready: {why}")]
    NotReady {
        /// Process.
        name: String,
        /// What was seen instead.
        why: String,
    },
    /// A room of the product, or of a library, failed.
    #[error("cannot {what}")]
    Failed {
        /// The attempt, as a verb phrase.
        what: &'static str,
        /// Its cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A line between our own processes is malformed.
    #[error("a line of one of our own processes is not readable")]
    Line(#[source] serde_json::Error),
    /// A JSON document of ours is malformed.
    #[error("JSON of {} is not readable", path.display())]
    Json {
        /// Its file.
        path: PathBuf,
        /// Its cause.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Names the attempt that an I/O error ended.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Names the attempt that another error ended.
    pub(crate) fn caused<E: std::error::Error + Send + Sync + 'static>(
        what: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Failed {
            what,
            source: Box::new(source),
        }
    }
}
