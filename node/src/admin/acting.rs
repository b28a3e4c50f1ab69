//! An operator at work, and what that leaves in the audit log.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;

use super::access::Operator;
use super::answer::Answer;
use super::error::ApiError;
use super::parts::Parts;
use crate::audit::{Audit, Deed, Intent};

/// An operator at work.
pub(super) struct Acting<'a> {
    pub(super) parts: &'a Parts,
    pub(super) operator: Operator,
    /// Begun, and not yet told to have ended.
    open: Mutex<Vec<Open>>,
}

/// What is told once more when it has ended.
struct Open {
    action: &'static str,
    target: String,
    intent: Option<Intent>,
}

impl<'a> Acting<'a> {
    pub(super) fn new(parts: &'a Parts, operator: Operator) -> Self {
        Self {
            parts,
            operator,
            open: Mutex::default(),
        }
    }

    /// Writes down what is about to be done; without that it must not be done.
    pub(super) fn record(&self, action: &'static str, target: &str) -> Result<(), ApiError> {
        let deed = Deed {
            who: &self.operator.to_string(),
            action,
            target,
        };
        let intent = self.audit().admin(&deed)?;
        self.open.lock().push(Open {
            action,
            target: target.to_owned(),
            intent,
        });
        Ok(())
    }

    /// Writes down how everything ended that was recorded.
    pub(super) fn ended(&self, answered: &Result<Answer, ApiError>) {
        self.close(match answered {
            Ok(_) => "ok",
            Err(error) => error.code,
        });
    }

    /// What was recorded is done, whatever still comes.
    pub(super) fn is_done(&self) {
        self.close("ok");
    }

    fn close(&self, status: &str) {
        let open = mem::take(&mut *self.open.lock());
        for open in open {
            let deed = Deed {
                who: &self.operator.to_string(),
                action: open.action,
                target: &open.target,
            };
            self.audit().admin_ended(&deed, open.intent, status);
        }
    }

    fn audit(&self) -> &Arc<Audit> {
        &self.parts.pipeline.audit
    }

    /// Makes what is stored now effective on this node.
    pub(super) async fn apply(&self) -> Result<(), ApiError> {
        (self.parts.apply)().await.map_err(|cause| {
            tracing::error!(cause, "a change could not be applied");
            ApiError::not_applied(&cause)
        })
    }

    /// Waits until the entry at `index` binds every node that serves.
    pub(super) async fn settle(&self, index: u64) -> Result<(), ApiError> {
        let settled = self.parts.cluster.settled(index).await;
        settled.map_err(|error| {
            let message = format!("the change is made, and not yet certain on every node: {error}");
            ApiError::unavailable("not_settled", message, "see `lockgate cluster health`")
        })
    }
}

/// Work that is dropped on its way (the operator has gone, or the answer took too long) may have been done, and still
/// owes its second record.
impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.close("abandoned");
    }
}
