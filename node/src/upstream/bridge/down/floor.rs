//! Whose message it is that a server sends on no call's stream, as data. No channel, no clock.
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
//! Whoever waits for an answer does not end: of several calls it is the last one left. Every question that is asked here
//! and not withdrawn comes out once: given to a call, or as nobody's.

use std::collections::VecDeque;

use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::method;
use serde::{Deserialize, Serialize};

use super::call::is_number;
use super::kept::Kept;

/// Questions that are here: until it is known whose they are, or until they are taken out as nobody's.
const HELD_MAX: usize = 16;

/// The calls of one session that run, and the questions that may be theirs. Its owner numbers the calls, says what time
/// it is, in milliseconds since 1970, and does what comes out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Floor {
    /// Oldest first.
    running: Vec<Running>,
    held: VecDeque<Held>,
    /// Questions that turned out to be nobody's.
    nobodys: Vec<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    n: u64,
    /// Whether it can be answered with a question.
    can_ask: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    question: Kept,
    of: Of,
    until_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Of {
    /// Any call's: all have the same client.
    Any,
    /// One of these.
    One(Vec<u64>),
}

/// A question whose call is known. What the call does not take is nobody's.
#[derive(Debug)]
pub(super) struct Give {
    /// Number of the call.
    pub(super) to: u64,
    pub(super) question: Frame,
}

/// What is known of a held question.
enum Whose {
    Call(u64),
    Nobodys,
    Unclear,
}

impl Held {
    /// `first`: the oldest call that can ask. A question that was held for too long is nobody's: a call that comes later
    /// has nothing to do with it.
    fn whose(&self, first: Option<u64>, now_ms: u64) -> Whose {
        if self.until_ms <= now_ms {
            return Whose::Nobodys;
        }
        match &self.of {
            Of::Any => first.map_or(Whose::Unclear, Whose::Call),
            Of::One(candidates) => match &**candidates {
                [] => Whose::Nobodys,
                [only] => Whose::Call(*only),
                _ => Whose::Unclear,
            },
        }
    }
}

impl Floor {
    /// The call `n` runs. Returns the questions that are known to be some call's now.
    #[must_use]
    pub(super) fn enter(&mut self, n: u64, can_ask: bool, now_ms: u64) -> Vec<Give> {
        self.running.push(Running { n, can_ask });
        self.settle(now_ms)
    }

    /// The call `n` has ended, or waits for its client. Returns the questions that are known to be some call's now.
    #[must_use]
    pub(super) fn leave(&mut self, n: u64, now_ms: u64) -> Vec<Give> {
        self.running.retain(|call| call.n != n);
        for held in &mut self.held {
            if let Of::One(candidates) = &mut held.of {
                candidates.retain(|candidate| *candidate != n);
            }
        }
        self.settle(now_ms)
    }

    /// A question of the server; it is held until `until_ms` at most, and then `None` is returned.
    ///
    /// # Errors
    ///
    /// Gives back what is nobody's.
    pub(super) fn ask(&mut self, question: Frame, until_ms: u64) -> Result<Option<Give>, Frame> {
        let is_anys = question.method() == method::ROOTS_LIST;
        let (first, second) = {
            let mut can_ask = self.can_ask();
            (can_ask.next(), can_ask.next())
        };
        let of = match (first, second) {
            (Some(to), None) => return Ok(Some(Give { to, question })),
            (Some(to), _) if is_anys => return Ok(Some(Give { to, question })),
            (None, _) if is_anys => Of::Any,
            (None, _) => return Err(question),
            (Some(_), Some(_)) => Of::One(self.can_ask().collect()),
        };
        if self.held.len() + self.nobodys.len() >= HELD_MAX {
            return Err(question);
        }
        self.held.push_back(Held {
            question: Kept(question),
            of,
            until_ms,
        });
        Ok(None)
    }

    /// A call that was given this question, which was held, does not read: the question is nobody's.
    pub(super) fn give_back(&mut self, question: Frame) {
        self.nobodys.push(Kept(question));
    }

    /// The server takes its question back, if it is here.
    pub(super) fn withdraw(&mut self, id: &str) {
        self.held.retain(|held| held.question.0.id() != Some(id));
        self.nobodys.retain(|question| question.0.id() != Some(id));
    }

    /// Those that run.
    pub(super) fn calls(&self) -> impl Iterator<Item = u64> {
        self.running.iter().map(|call| call.n)
    }

    /// The call that a message without a question belongs to, if only one runs.
    pub(super) fn only_call(&self) -> Option<u64> {
        match &*self.running {
            [only] => Some(only.n),
            _ => None,
        }
    }

    /// The call that a raw progress token belongs to.
    pub(super) fn call_of_token(&self, raw: &str) -> Option<u64> {
        let mut calls = self.running.iter().map(|call| call.n);
        calls.find(|n| is_number(raw, *n))
    }

    /// When the next held question is too late.
    pub(super) fn next_late(&self) -> Option<u64> {
        self.held.iter().map(|held| held.until_ms).min()
    }

    /// Takes out the questions that are nobody's, or were held for too long.
    pub(super) fn take_nobodys(&mut self, now_ms: u64) -> Vec<Frame> {
        let mut nobodys = std::mem::take(&mut self.nobodys);
        for held in std::mem::take(&mut self.held) {
            if held.until_ms <= now_ms {
                nobodys.push(held.question);
            } else {
                self.held.push_back(held);
            }
        }
        nobodys.into_iter().map(|question| question.0).collect()
    }

    fn can_ask(&self) -> impl Iterator<Item = u64> {
        let can_ask = self.running.iter().filter(|call| call.can_ask);
        can_ask.map(|call| call.n)
    }

    /// Gives each question away whose call is known by now.
    fn settle(&mut self, now_ms: u64) -> Vec<Give> {
        // Nearly every call comes and goes without one.
        if self.held.is_empty() {
            return Vec::new();
        }
        let first = self.can_ask().next();
        let mut given = Vec::new();
        for held in std::mem::take(&mut self.held) {
            match held.whose(first, now_ms) {
                Whose::Call(to) => given.push(Give {
                    to,
                    question: held.question.0,
                }),
                Whose::Nobodys => self.nobodys.push(held.question),
                Whose::Unclear => self.held.push_back(held),
            }
        }
        given
    }
}

#[cfg(test)]
mod tests;
