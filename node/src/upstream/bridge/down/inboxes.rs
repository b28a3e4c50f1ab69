//! The inboxes of one session's running calls.

use std::sync::Arc;

use lockgate_proto::jsonrpc::Frame;

use super::floor::{Floor, Give};
use super::inbox::Inbox;

/// Puts each message into the inbox of the call whose it is, as the floor says.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    floor: Floor,
    /// Of the calls on the floor.
    running: Vec<Arc<Inbox>>,
}

impl Inboxes {
    /// The call runs.
    pub(super) fn enter(&mut self, inbox: &Arc<Inbox>, now_ms: u64) {
        self.running.push(Arc::clone(inbox));
        let given = self.floor.enter(inbox.n, inbox.can_ask, now_ms);
        self.hand_out(given);
    }

    /// The call has ended, or waits for its client.
    pub(super) fn leave(&mut self, inbox: &Inbox, now_ms: u64) {
        self.running.retain(|other| other.n != inbox.n);
        let given = self.floor.leave(inbox.n, now_ms);
        self.hand_out(given);
    }

    /// A question of the server; it is held until `until_ms` at most.
    ///
    /// # Errors
    ///
    /// Gives back what is nobody's. A call that does not read is not asked.
    pub(super) fn ask(&mut self, question: Frame, until_ms: u64) -> Result<(), Frame> {
        match self.floor.ask(question, until_ms)? {
            Some(Give { to, question }) => self.put(to, question),
            None => Ok(()),
        }
    }

    /// The server takes a question back, which may be any call's.
    pub(super) fn withdraw(&mut self, cancelled: &Frame) {
        let id = cancelled.param(&["requestId"]);
        self.floor
            .withdraw(id.map_or("", |span| span.of(cancelled.text())));
        for inbox in &self.running {
            // The answer of a call that does not read comes too late, as it may for any that is taken back.
            let _full = inbox.put(cancelled.clone());
        }
    }

    /// Progress is its call's. A slow reader misses some of it.
    pub(super) fn tell_progress(&self, progress: Frame) {
        let token = progress.param(&["progressToken"]);
        let token = token.map_or("", |span| span.of(progress.text()));
        if let Some(n) = self.floor.call_of_token(token) {
            let _full = self.put(n, progress);
        }
    }

    /// What says by nothing whose it is is nobody's, unless one call runs alone.
    pub(super) fn tell_only(&self, frame: Frame) {
        if let Some(n) = self.floor.only_call() {
            let _full = self.put(n, frame);
        }
    }

    /// See [`Floor::next_late`].
    pub(super) fn next_late(&self) -> Option<u64> {
        self.floor.next_late()
    }

    /// See [`Floor::take_nobodys`].
    pub(super) fn take_nobodys(&mut self, now_ms: u64) -> Vec<Frame> {
        self.floor.take_nobodys(now_ms)
    }

    fn hand_out(&mut self, given: Vec<Give>) {
        for Give { to, question } in given {
            if let Err(question) = self.put(to, question) {
                self.floor.give_back(question);
            }
        }
    }

    fn put(&self, to: u64, frame: Frame) -> Result<(), Frame> {
        match self.running.iter().find(|inbox| inbox.n == to) {
            Some(inbox) => inbox.put(frame),
            None => Err(frame),
        }
    }
}
