//! The bench as a user runs it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod chain;
mod writes;
