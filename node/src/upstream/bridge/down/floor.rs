//! Whose question it is that a server asks on no call's stream. No channel, no clock.
//!
//! ```text
//! question ─┬─ one call that can ask runs ──────────► that call's
//!           ├─ several do ─► held ─┬─ one is left ──► that call's
//!           │                      └─ none, too late ► refused
//!           ├─ roots, of any call's client ─┬─ one runs ─► the first one's
//!           │                               └─ none ─► held ─┬─ the next call's
//!           │                                                └─ too late ► refused
//!           └─ anything else with no call ─► refused
//! ```
//! Whoever waits for an answer does not end: of several calls it is the last one left.

use std::collections::VecDeque;
use std::sync::Arc;

use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::method;
use tokio::time::Instant;

use super::inbox::Inbox;

/// Questions that wait until it is known whose they are.
const HELD_MAX: usize = 16;

/// The calls of one session that run, and the questions that may be theirs.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Oldest first.
    running: Vec<Arc<Inbox>>,
    held: VecDeque<Held>,
    /// Questions that turned out to be nobody's.
    nobodys: Vec<Frame>,
}

#[derive(Debug)]
struct Held {
    question: Frame,
    of: Of,
    until: Instant,
}

#[derive(Debug)]
enum Of {
    /// Any call's: all have the same client.
    Any,
    /// One of these.
    One(Vec<Arc<Inbox>>),
}

impl Floor {
    /// The call runs.
    pub(super) fn enter(&mut self, inbox: &Arc<Inbox>, now: Instant) {
        self.running.push(Arc::clone(inbox));
        self.settle(now);
    }

    /// The call has ended, or waits for its client.
    pub(super) fn leave(&mut self, inbox: &Arc<Inbox>, now: Instant) {
        let stays = |other: &Arc<Inbox>| !Arc::ptr_eq(other, inbox);
        self.running.retain(stays);
        for held in &mut self.held {
            if let Of::One(candidates) = &mut held.of {
                candidates.retain(stays);
            }
        }
        self.settle(now);
    }

    /// A question of the server; it is held until `until` at most.
    ///
    /// # Errors
    ///
    /// Gives back what is nobody's.
    pub(super) fn ask(&mut self, question: Frame, until: Instant) -> Result<(), Frame> {
        let can_ask = self.running.iter().filter(|inbox| inbox.can_ask);
        let candidates: Vec<_> = can_ask.cloned().collect();
        let is_anys = question.method() == method::ROOTS_LIST;
        let of = match &*candidates {
            [only] => return put(only, question),
            [first, ..] if is_anys => return put(first, question),
            [] if is_anys => Of::Any,
            [] => return Err(question),
            _ => Of::One(candidates),
        };
        if self.held.len() >= HELD_MAX {
            return Err(question);
        }
        self.held.push_back(Held {
            question,
            of,
            until,
        });
        Ok(())
    }

    /// The server takes its question back, if it is held.
    pub(super) fn withdraw(&mut self, id: &str) {
        self.held.retain(|held| held.question.id() != Some(id));
    }

    /// The call that a message without a question belongs to, if only one runs.
    pub(super) fn only_call(&self) -> Option<&Arc<Inbox>> {
        match &*self.running {
            [only] => Some(only),
            _ => None,
        }
    }

    /// All calls that run.
    pub(super) fn running(&self) -> &[Arc<Inbox>] {
        &self.running
    }

    /// When the next held question is too late.
    pub(super) fn next_late(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.until).min()
    }

    /// Takes out the questions that are nobody's, or were held for too long.
    pub(super) fn take_nobodys(&mut self, now: Instant) -> Vec<Frame> {
        let mut nobodys = std::mem::take(&mut self.nobodys);
        for held in std::mem::take(&mut self.held) {
            if held.until <= now {
                nobodys.push(held.question);
            } else {
                self.held.push_back(held);
            }
        }
        nobodys
    }

    /// Gives each question away whose call is known by now. One that was held for too long is nobody's: a call that
    /// comes later has nothing to do with it.
    fn settle(&mut self, now: Instant) {
        let first = self.running.iter().find(|inbox| inbox.can_ask).cloned();
        for held in std::mem::take(&mut self.held) {
            if held.until <= now {
                self.nobodys.push(held.question);
                continue;
            }
            let to = match &held.of {
                Of::Any => first.clone(),
                Of::One(candidates) => match &**candidates {
                    [] => {
                        self.nobodys.push(held.question);
                        continue;
                    }
                    [only] => Some(Arc::clone(only)),
                    _ => None,
                },
            };
            match to {
                Some(inbox) => self.nobodys.extend(put(&inbox, held.question).err()),
                None => self.held.push_back(held),
            }
        }
    }
}

/// A call that does not read is not asked.
fn put(inbox: &Inbox, question: Frame) -> Result<(), Frame> {
    match inbox.put(question.clone()) {
        true => Ok(()),
        false => Err(question),
    }
}

#[cfg(test)]
mod tests;
