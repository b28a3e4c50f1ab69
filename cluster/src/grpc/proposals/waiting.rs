//! `Waiting`: who waits for an answer on a stream of proposals.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lockgate_proto::peer::v1 as pb;
use tokio::sync::oneshot;

use super::super::peers::malformed;
use crate::raft::PeerError;

/// Those who wait, by the serials of their proposals.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    open: HashMap<u64, Open>,
    end: Option<End>,
}

/// One proposal without an answer.
#[derive(Debug)]
struct Open {
    /// Whether it was given away to be written, so that the member may have it.
    is_written: bool,
    answer: oneshot::Sender<Result<Bytes, Lost>>,
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The member does not know such streams.
    Unimplemented,
    /// This is known of what was written and not answered.
    Failed(PeerError),
}

/// Why there is no outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The member does not know such streams, so it did nothing.
    Unimplemented,
    /// The member said so, or the stream ended.
    Failed(PeerError),
}

impl End {
    fn lost(&self, is_written: bool) -> Lost {
        match self {
            Self::Unimplemented => Lost::Unimplemented,
            Self::Failed(PeerError::Unknown(why)) if !is_written => {
                Lost::Failed(PeerError::Unreachable(why.clone()))
            }
            Self::Failed(error) => Lost::Failed(error.clone()),
        }
    }
}

impl Waiting {
    /// Begins to wait for the answer to one proposal.
    pub(super) fn enter(&self) -> Result<Ticket<'_>, Lost> {
        let mut state = self.state();
        if let Some(end) = &state.end {
            return Err(end.lost(false));
        }
        let (answer, answered) = oneshot::channel();
        state.last += 1;
        let serial = state.last;
        let is_written = false;
        state.open.insert(serial, Open { is_written, answer });
        Ok(Ticket {
            waiting: self,
            serial,
            answered,
        })
    }

    /// The proposal is about to be written. False when nobody waits for its answer any more.
    pub(super) fn on_write(&self, serial: u64) -> bool {
        let mut state = self.state();
        let open = state.open.get_mut(&serial);
        open.map(|open| open.is_written = true).is_some()
    }

    /// The member has answered.
    pub(super) fn on_answer(&self, answer: pb::ProposalAnswer) {
        let open = self.state().open.remove(&answer.serial);
        if let Some(open) = open {
            // Who has gone needs none.
            let _gone = open.answer.send(outcome(answer).map_err(Lost::Failed));
        }
    }

    /// The stream has ended. Only its first end counts.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        if state.end.is_some() {
            return;
        }
        for (_serial, open) in state.open.drain() {
            // Who has gone needs none.
            let _gone = open.answer.send(Err(end.lost(open.is_written)));
        }
        state.end = Some(end);
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere can't leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    waiting: &'a Waiting,
    serial: u64,
    answered: oneshot::Receiver<Result<Bytes, Lost>>,
}

impl Ticket<'_> {
    /// Serial of its proposal.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Waits for the answer.
    pub(super) async fn answer(mut self) -> Result<Bytes, Lost> {
        let answered = (&mut self.answered).await;
        // The sender is only dropped with the whole of `Waiting`, which this borrows.
        answered.unwrap_or_else(|_| Err(Lost::Failed(malformed())))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.waiting.state().open.remove(&self.serial);
    }
}

fn outcome(answer: pb::ProposalAnswer) -> Result<Bytes, PeerError> {
    use pb::proposal_answer::Result as Answer;

    match answer.result {
        Some(Answer::Outcome(outcome)) => Ok(outcome),
        Some(Answer::NotLeader(it)) => Err(PeerError::NotLeader { leader: it.leader }),
        Some(Answer::Refused(why)) => Err(PeerError::Refused(why)),
        Some(Answer::Unknown(why)) => Err(PeerError::Unknown(why)),
        None => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(serial: u64, text: &'static str) -> pb::ProposalAnswer {
        let outcome = Bytes::from_static(text.as_bytes());
        pb::ProposalAnswer {
            serial,
            result: Some(pb::proposal_answer::Result::Outcome(outcome)),
        }
    }

    #[tokio::test]
    async fn an_answer_goes_to_whom_it_is_for() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.enter().unwrap(), waiting.enter().unwrap());
        waiting.on_answer(answer(second.serial(), "second"));
        waiting.on_answer(answer(first.serial(), "first"));
        // Twice, and to nobody.
        waiting.on_answer(answer(first.serial(), "again"));
        waiting.on_answer(answer(99, "nobody"));
        assert_eq!(first.answer().await.unwrap(), "first");
        assert_eq!(second.answer().await.unwrap(), "second");
    }

    #[tokio::test]
    async fn an_empty_answer_says_nothing() {
        let waiting = Waiting::default();
        let asked = waiting.enter().unwrap();
        let serial = asked.serial();
        let result = None;
        waiting.on_answer(pb::ProposalAnswer { serial, result });
        let lost = asked.answer().await.unwrap_err();
        assert!(matches!(lost, Lost::Failed(PeerError::Unknown(_))));
    }

    #[test]
    fn who_goes_leaves_nothing_and_is_not_written_any_more() {
        let waiting = Waiting::default();
        let gone = waiting.enter().unwrap();
        let serial = gone.serial();
        drop(gone);
        assert!(!waiting.on_write(serial));
        assert!(waiting.state().open.is_empty());
        assert_ne!(waiting.enter().unwrap().serial(), serial);
    }

    /// What two who wait hear of an end, the first of whom was written, and a third that comes behind it.
    async fn check(end: End, expected: [Lost; 3]) {
        let waiting = Waiting::default();
        let (written, queued) = (waiting.enter().unwrap(), waiting.enter().unwrap());
        assert!(waiting.on_write(written.serial()));
        waiting.end(end);
        waiting.end(End::Unimplemented);
        let late = waiting.enter().unwrap_err();
        let heard = [
            written.answer().await.unwrap_err(),
            queued.answer().await.unwrap_err(),
            late,
        ];
        assert_eq!(heard, expected);
        assert!(waiting.state().open.is_empty());
    }

    #[tokio::test]
    async fn an_end_tells_each_whether_its_proposal_may_be_done() {
        let unknown = || PeerError::Unknown("x".to_owned());
        let undone = || PeerError::Unreachable("x".to_owned());
        let failed = Lost::Failed;
        check(
            End::Failed(unknown()),
            [failed(unknown()), failed(undone()), failed(undone())],
        )
        .await;
        check(
            End::Failed(undone()),
            [failed(undone()), failed(undone()), failed(undone())],
        )
        .await;
        let unimplemented = [(); 3].map(|()| Lost::Unimplemented);
        check(End::Unimplemented, unimplemented).await;
    }
}
