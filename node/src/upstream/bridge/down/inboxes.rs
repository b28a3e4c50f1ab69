//! What comes for the running calls of one session beside their own streams, as data. No channel, no clock.
//!
//! ```text
//! ask, tell_… ─► floor: whose? ─► unread of that call ─► take
//!                     └► nobody's ─► refused
//! ```

use std::collections::{BTreeMap, VecDeque};

use lockgate_proto::jsonrpc::{Frame, Kind};
use serde::{Deserialize, Serialize};

use super::floor::{Floor, Give};
use super::kept::Kept;

/// Messages that wait for one call: a bound on memory, not a measured need.
pub(super) const INBOX_MAX: usize = 64;

/// Puts each message where the call reads whose it is, as the floor says. Whatever delivers returns the calls that have
/// something to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inboxes {
    floor: Floor,
    /// What calls were given and have not read; also that of calls which wait for their clients, and read on later.
    unread: BTreeMap<u64, VecDeque<Kept>>,
}

impl Inboxes {
    /// The call runs, for the first time or again.
    #[must_use]
    pub(super) fn enter(&mut self, n: u64, can_ask: bool, now_ms: u64) -> Vec<u64> {
        self.unread.entry(n).or_default();
        let given = self.floor.enter(n, can_ask, now_ms);
        self.hand_out(given)
    }

    /// The call has ended, or waits for its client.
    #[must_use]
    pub(super) fn leave(&mut self, n: u64, now_ms: u64) -> Vec<u64> {
        let given = self.floor.leave(n, now_ms);
        self.hand_out(given)
    }

    /// The call, which has left, reads no more. Returns what it has not read.
    pub(super) fn close(&mut self, n: u64) -> Vec<Frame> {
        let unread = self.unread.remove(&n).unwrap_or_default();
        unread.into_iter().map(|kept| kept.0).collect()
    }

    /// Next message for the call.
    pub(super) fn take(&mut self, n: u64) -> Option<Frame> {
        let kept = self.unread.get_mut(&n)?.pop_front()?;
        Some(kept.0)
    }

    /// A question of the server; it is held until `until_ms` at most.
    ///
    /// # Errors
    ///
    /// Gives back what is nobody's. A call that does not read is not asked.
    pub(super) fn ask(&mut self, question: Frame, until_ms: u64) -> Result<Option<u64>, Frame> {
        match self.floor.ask(question, until_ms)? {
            Some(Give { to, question }) => self.put(to, question).map(|()| Some(to)),
            None => Ok(None),
        }
    }

    /// The server takes a question back, which may be any running call's, or wait to be read.
    #[must_use]
    pub(super) fn withdraw(&mut self, cancelled: &Frame) -> Vec<u64> {
        let id = cancelled.param(&["requestId"]);
        let id = id.map_or("", |span| span.of(cancelled.text()));
        self.floor.withdraw(id);
        for unread in self.unread.values_mut() {
            unread.retain(|kept| kept.0.kind() != Kind::Request || kept.0.id() != Some(id));
        }
        let running: Vec<u64> = self.floor.calls().collect();
        for n in &running {
            // The answer of a call that does not read comes too late, as it may for any that is taken back.
            let _full = self.put(*n, cancelled.clone());
        }
        running
    }

    /// Progress is its call's. A slow reader misses some of it.
    pub(super) fn tell_progress(&mut self, progress: Frame) -> Option<u64> {
        let token = progress.param(&["progressToken"]);
        let token = token.map_or("", |span| span.of(progress.text()));
        let n = self.floor.call_of_token(token)?;
        self.put(n, progress).ok().map(|()| n)
    }

    /// What says by nothing whose it is is nobody's, unless one call runs alone.
    pub(super) fn tell_only(&mut self, frame: Frame) -> Option<u64> {
        let n = self.floor.only_call()?;
        self.put(n, frame).ok().map(|()| n)
    }

    /// See [`Floor::next_late`].
    pub(super) fn next_late(&self) -> Option<u64> {
        self.floor.next_late()
    }

    /// See [`Floor::take_nobodys`].
    pub(super) fn take_nobodys(&mut self, now_ms: u64) -> Vec<Frame> {
        self.floor.take_nobodys(now_ms)
    }

    #[cfg(test)]
    pub(super) fn n_unread(&self, n: u64) -> usize {
        self.unread.get(&n).map_or(0, VecDeque::len)
    }

    fn hand_out(&mut self, given: Vec<Give>) -> Vec<u64> {
        let mut calls = Vec::new();
        for Give { to, question } in given {
            match self.put(to, question) {
                Ok(()) => calls.push(to),
                Err(question) => self.floor.give_back(question),
            }
        }
        calls
    }

    fn put(&mut self, to: u64, frame: Frame) -> Result<(), Frame> {
        match self.unread.get_mut(&to) {
            Some(unread) if unread.len() < INBOX_MAX => {
                unread.push_back(Kept(frame));
                Ok(())
            }
            _ => Err(frame),
        }
    }
}

#[cfg(test)]
mod tests;
