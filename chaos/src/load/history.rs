//! What the clients know of a run.

use std::time::Duration;

use serde::Serialize;

/// What a client was told of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The result.
    Done,
    /// An error that says that the server did not act.
    NotSent {
        /// Because the breaker was open.
        breaker: bool,
    },
    /// An error that says that the server may have acted.
    Unknown,
    /// Anything else: not one definite answer.
    Wrong(String),
}

/// One call of one client; moments count from the start of the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
}

/// All calls, by their beginning.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct History {
    pub(crate) calls: Vec<Call>,
}

impl History {
    /// Calls that lie within a span of time.
    pub(crate) fn within(&self, from: Duration, to: Duration) -> impl Iterator<Item = &Call> {
        self.calls
            .iter()
            .filter(move |call| call.began >= from && call.ended <= to)
    }
}
