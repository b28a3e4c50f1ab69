//! A call's hold on its session, and what becomes of the messages that it has not read.

use std::sync::Arc;

use lockgate_proto::jsonrpc::{Frame, Kind};
use lockgate_proto::mcp::{code, method};
use tokio::sync::OwnedSemaphorePermit;

use crate::task::spawn_named;

use super::answer;
use super::call::Call;
use super::inbox::Inbox;
use super::owned::Owned;
use super::tasks::Place;

/// A call's hold on its session. Dropped before the call has ended, it tells the server that nobody waits any more.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) owned: Arc<Owned>,
    turn: Option<OwnedSemaphorePermit>,
    /// Number of the call, while it runs.
    running: Option<u64>,
    /// For what comes on the session's own stream.
    pub(super) inbox: Option<Box<Inbox>>,
    /// For the task that the call may become.
    pub(super) place: Option<Box<Place>>,
}

impl Hold {
    /// For a call that was not sent yet.
    pub(super) fn new(owned: Arc<Owned>, turn: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            owned,
            turn,
            running: None,
            inbox: None,
            place: None,
        }
    }

    /// The call is on its way. `can_ask`: it can be answered with a question.
    pub(super) fn begin(&mut self, n: u64, can_ask: bool) {
        self.running = Some(n);
        let hub = &self.owned.hub;
        if !self.owned.asks_in_place() || hub.is_followed() {
            self.inbox = Some(Box::new(Inbox::open(hub, n, can_ask)));
        }
    }

    /// Whether others wait for the call to end.
    pub(super) fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// The call waits for its client: what the server asks meanwhile is about another.
    pub(super) fn pause(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.leave();
        }
        self.set_parked(true);
    }

    /// The call goes on.
    pub(super) fn go_on(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.enter();
        }
        self.set_parked(false);
    }

    /// The call waits for its client no more, and does not go on: nothing new is about it.
    pub(super) fn stop_waiting(&self) {
        self.set_parked(false);
    }

    /// Whoever waits for the turn goes elsewhere meanwhile. A call that began before calls took turns has none, and
    /// says nothing about the one that has it.
    fn set_parked(&self, parked: bool) {
        if self.has_turn() {
            self.owned.set_parked(parked);
        }
    }

    /// The call has ended.
    pub(super) fn end(&mut self) {
        self.running = None;
        self.leave();
        self.place = None;
        self.turn = None;
        self.owned.touch();
    }

    /// Nothing is about the call from now on, nor is what it has not read.
    fn leave(&mut self) {
        if let Some(inbox) = self.inbox.take() {
            pass_on(&self.owned, inbox.close());
        }
    }
}

/// Questions that a call has left: they may be those of the task that it became; roots are asked of the next call, and
/// of the rest the server learns that it asks in vain.
pub(super) fn pass_on(owned: &Arc<Owned>, left: Vec<Frame>) {
    let is_request = |frame: &Frame| frame.kind() == Kind::Request;
    let questions: Vec<Frame> = left.into_iter().filter(is_request).collect();
    // Without a runtime there is nobody left to tell.
    if questions.is_empty() || tokio::runtime::Handle::try_current().is_err() {
        return;
    }
    owned.follow();
    // At once: whoever asks for the task next sees its questions.
    let answers: Vec<Frame> = questions
        .into_iter()
        .filter_map(|question| answer_left(owned, question))
        .collect();
    if answers.is_empty() {
        return;
    }
    let owned = Arc::clone(owned);
    // Ends when the server has taken them, within the limit of every notification.
    drop(spawn_named("questions of an ended call", async move {
        for answer in answers {
            let _server_gone = owned.send(answer).await;
        }
    }));
}

fn answer_left(owned: &Owned, question: Frame) -> Option<Frame> {
    if let Some(task) = owned.hub.task_of(&question) {
        return task.hear(&question);
    }
    if question.method() == method::ROOTS_LIST {
        return owned.hub.hear(question);
    }
    let id = question.id().unwrap_or("null");
    let message = "the call has ended";
    Some(answer::refusal(id, code::INTERNAL_ERROR, message, None))
}

/// Disconnection is cancellation in the stateless era (2026-07-28, "Cancellation"), and a dropped call is how a
/// disconnection shows: there is no other place to see it.
impl Drop for Hold {
    fn drop(&mut self) {
        self.leave();
        let Some(n) = self.running.take() else {
            return;
        };
        let (owned, turn) = (Arc::clone(&self.owned), self.turn.take());
        if tokio::runtime::Handle::try_current().is_ok() {
            // Ends when the server has taken it, within the limit of every notification.
            drop(spawn_named("cancel of a bridged call", async move {
                let _server_gone = owned.send(Call::cancelled(n, "client left")).await;
                owned.touch();
                drop(turn);
            }));
        }
    }
}
