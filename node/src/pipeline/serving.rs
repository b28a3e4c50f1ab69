//! Whether this node may begin a call, and what it has begun.

use std::sync::Arc;

use lockgate_cluster::Serving;

use super::Pipeline;
use crate::error::CallError;

impl Pipeline {
    /// Refuses everything while `serving` is off.
    #[must_use]
    pub fn while_serving(mut self, serving: Serving) -> Self {
        self.serving = serving;
        self
    }

    pub(super) fn check_lease(&self) -> Result<(), CallError> {
        if !self.serving.is_on() {
            return Err(CallError::NoLease);
        }
        if self.serving.is_draining() {
            return Err(CallError::Draining);
        }
        Ok(())
    }

    /// Lets the other nodes see, before this one leaves, how much is not finished.
    pub fn report_unfinished(self: &Arc<Self>) {
        // What is held by `serving` must not hold it.
        let counted = Arc::downgrade(self);
        let unfinished = move || counted.upgrade().map_or(0, |counted| counted.unfinished());
        self.serving.report_unfinished(unfinished);
    }

    /// Calls in flight, and records of others that the log does not have yet.
    fn unfinished(&self) -> u64 {
        let waiting = self.audit.ledger().map_or(0, |ledger| {
            let status = ledger.status();
            status.last.saturating_sub(status.committed)
        });
        waiting + self.calls_in_flight() as u64
    }
}
