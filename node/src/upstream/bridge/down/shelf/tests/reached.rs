//! What the runs are about. A test that never comes to it shows nothing, so it is counted.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Something that has to happen in some of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Goal {
    /// A call asks its client a second time.
    SecondRound,
    /// A client that may have lost its answer gets it again.
    AnsweredAgain,
    /// A call is given up because its client does not come back.
    Expired,
    /// One is given up because its caller goes on.
    Abandoned,
    /// A running call's client goes away.
    Left,
    /// A running call's server says nothing for too long.
    Silent,
    /// There is no room to wait.
    Crowded,
    /// Somebody brings another's state.
    Stranger,
    /// Somebody brings a state after its time.
    Late,
    /// Two calls run in one session.
    AtOnce,
    /// A question that may be of several calls is put to the client of the one that is left.
    LastLeft,
    /// A client is asked before its call is sent.
    Unsent,
    /// A question is no call's.
    Nobodys,
    /// A call ends with a question.
    LeftOver,
}

impl Goal {
    pub(super) const ALL: [Self; 14] = [
        Self::SecondRound,
        Self::AnsweredAgain,
        Self::Expired,
        Self::Abandoned,
        Self::Left,
        Self::Silent,
        Self::Crowded,
        Self::Stranger,
        Self::Late,
        Self::AtOnce,
        Self::LastLeft,
        Self::Unsent,
        Self::Nobodys,
        Self::LeftOver,
    ];

    /// What the server is told tells why.
    pub(super) fn of_words(words: &str) -> Option<Self> {
        let known = [
            ("the client did not answer in time", Self::Expired),
            ("the client went on", Self::Abandoned),
            ("client left", Self::Left),
            ("wait for their client", Self::Crowded),
            ("belongs to no call of a client", Self::Nobodys),
            ("the call has ended", Self::LeftOver),
        ];
        let found = known.into_iter().find(|(part, _)| words.contains(part));
        found.map(|(_, goal)| goal)
    }
}

/// What one run has come to. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Rc<RefCell<BTreeSet<Goal>>>);

impl Reached {
    pub(super) fn note(&self, goal: impl Into<Option<Goal>>) {
        let goal: Option<Goal> = goal.into();
        self.0.borrow_mut().extend(goal);
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        self.0.borrow().iter().copied().collect()
    }
}
