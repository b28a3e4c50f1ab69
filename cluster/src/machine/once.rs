//! Part of the machine: what was answered to proposals that may be sent again, so that each takes effect once.
//!
//! A node that does not learn what became of a proposal (the leader died, the answer was lost) sends it again under
//! the same origin. Memory is bounded twice: the node says which proposals are settled, and of a node that settles
//! nothing the oldest answers go first. What is forgotten is refused, never done again.

use std::collections::BTreeMap;

use lockgate_proto::id::NodeId;

use super::Refusal;
use crate::command::{Origin, Outcome};

/// Answers that are kept for one node. A node has fewer proposals under way.
pub(super) const ANSWERS_MAX: usize = 4096;

/// Answers by node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Once {
    pub(super) windows: BTreeMap<NodeId, Window>,
}

/// Answers to one life of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) boot: u64,
    /// Serials below it are forgotten.
    pub(super) floor: u64,
    pub(super) answers: BTreeMap<u64, Outcome>,
}

/// What is known of an origin.
#[derive(Debug)]
pub(super) enum Seen {
    /// It is to be carried out.
    Never,
    /// It was, with this outcome.
    Answered(Outcome),
    /// It comes from a life that is over, or was settled.
    Refused(Refusal),
}

impl Once {
    /// Looks an origin up, whose node has started `life` times; `None` when it is no member.
    pub(super) fn seen(&mut self, origin: Origin, life: Option<u64>) -> Seen {
        let Some(life) = life else {
            self.windows.remove(&origin.node);
            return Seen::Refused(Refusal::UnknownNode { node: origin.node });
        };
        if origin.boot != life {
            return Seen::Refused(Refusal::StaleBoot { boot: life });
        }
        let window = self.windows.entry(origin.node).or_default();
        if window.boot != life {
            *window = Window {
                boot: life,
                ..Window::default()
            };
        }
        if let Some(outcome) = window.answers.get(&origin.serial) {
            return Seen::Answered(outcome.clone());
        }
        if origin.serial < window.floor {
            return Seen::Refused(Refusal::Settled {
                serial: origin.serial,
            });
        }
        Seen::Never
    }

    /// Keeps the outcome of a proposal that was [`Seen::Never`], and forgets what its node has settled. A command may
    /// have ended the membership of its own proposer; then there is nobody to answer again.
    pub(super) fn keep(&mut self, origin: Origin, outcome: Outcome) {
        let Some(window) = self.windows.get_mut(&origin.node) else {
            return;
        };
        window.answers.insert(origin.serial, outcome);
        window.floor = window.floor.max(origin.settled);
        window.answers = window.answers.split_off(&window.floor);
        while window.answers.len() > ANSWERS_MAX {
            if let Some((serial, _)) = window.answers.pop_first() {
                window.floor = serial + 1;
            }
        }
    }

    /// Forgets a node that is no member any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.windows.remove(&node);
    }
}
