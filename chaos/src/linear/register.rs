//! The model: one register that is read, written, and compared and set.

use serde::{Deserialize, Serialize};

/// What a register holds; nothing before the first write.
pub(crate) type State = Option<u64>;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Input {
    /// The value.
    Read,
    /// A new value, whatever the old one is.
    Write(u64),
    /// A new value, if the old one is `expected`.
    Cas {
        /// What the client believes is there.
        expected: State,
        /// What it wants there.
        new: u64,
    },
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// To a read.
    Value(State),
    /// To a write.
    Written,
    /// To a compare and set: whether the old value was the expected one.
    Set(bool),
}

/// State after `input`, if a register in `state` may give `answer` to it. A call whose answer is not known may have had
/// any outcome.
pub(super) fn step(state: State, input: Input, answer: Option<Answer>) -> Option<State> {
    match (input, answer) {
        (Input::Read, None) => Some(state),
        (Input::Read, Some(Answer::Value(seen))) => (seen == state).then_some(state),
        (Input::Write(value), None | Some(Answer::Written)) => Some(Some(value)),
        (Input::Cas { expected, new }, None) => {
            Some(if expected == state { Some(new) } else { state })
        }
        (Input::Cas { expected, new }, Some(Answer::Set(is_set))) => {
            match (is_set, expected == state) {
                (true, true) => Some(Some(new)),
                (false, false) => Some(state),
                _ => None,
            }
        }
        // An answer of another kind explains nothing.
        _ => None,
    }
}
