//! What is known of a channel's callers.

use std::collections::HashMap;
use std::sync::Arc;

use super::mux::{Mux, Owner};
use super::queue::Queue;

/// What [`super::hub::Hub`] guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mux: Mux,
    pub(super) up: u64,
    pub(super) calls: HashMap<u64, Pending>,
    pub(super) mailboxes: HashMap<Owner, Arc<Queue>>,
    pub(super) ended: Option<Arc<str>>,
}

/// A call that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) queue: Arc<Queue>,
    /// [`super::line::Up::n`] of the request.
    pub(super) up: u64,
    /// The far end gave the request back: it was not looked at.
    pub(super) returned: bool,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            mux: Mux::new(),
            up: 0,
            calls: HashMap::new(),
            mailboxes: HashMap::new(),
            ended: None,
        }
    }

    /// The call that line `n` began.
    pub(super) fn call_of(&self, n: u64) -> Option<u64> {
        let mut calls = self.calls.iter();
        calls
            .find(|(_, pending)| pending.up == n)
            .map(|(call, _)| *call)
    }
}
