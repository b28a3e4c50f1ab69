//! The wait of one call for its record.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Ledger;
use super::waiters::Place;
use crate::error::CallError;

/// A call that waits for its record.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    ledger: &'a Ledger,
    local_seq: u64,
    /// `None` before the first poll, and when it was woken because its wait is over.
    place: Option<Place>,
}

impl<'a> Waiting<'a> {
    /// Waits for this record.
    pub(super) fn new(ledger: &'a Ledger, local_seq: u64) -> Self {
        Self {
            ledger,
            local_seq,
            place: None,
        }
    }
}

impl Future for Waiting<'_> {
    type Output = Result<(), CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (ledger, local_seq) = (self.ledger, self.local_seq);
        if ledger.is_settled(local_seq) {
            self.place = None;
            return Poll::Ready(Ok(()));
        }
        let mut state = ledger.state.lock();
        // While there was no lock, it may have been.
        if ledger.is_settled(local_seq) {
            self.place = None;
            return Poll::Ready(Ok(()));
        }
        if state.refuses(local_seq) {
            return Poll::Ready(Err(CallError::AuditUnavailable));
        }
        let waiters = &mut state.waiters;
        let place = *self.place.get_or_insert_with(|| waiters.place(local_seq));
        let replaced = waiters.wait(place, context.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let left = self.ledger.state.lock().waiters.leave(place);
            drop(left);
        }
    }
}
