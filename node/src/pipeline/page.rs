//! Pages of merged lists, which no server is asked for, and their cursors.

use crate::answer::Answer;
use crate::error::{CallError, Object};
use crate::route::{self, ListKind};
use crate::seal::Sealer;

use super::rights::deniable;
use super::{Incoming, Pipeline, Subject};

impl Pipeline {
    /// One page of a merged list, with its pair of audit lines.
    ///
    /// # Errors
    ///
    /// Fails when a role denies the method, when the cursor is not the caller's for this list, or when the audit log cannot take the record.
    pub fn page(
        &self,
        incoming: &Incoming<'_>,
        kind: ListKind,
        sealer: &Sealer,
    ) -> Result<Answer, CallError> {
        let (access, called) = (&incoming.who.access, kind.method());
        let denial = deniable(called).and_then(|called| access.method_denial(called));
        if let Some(denial) = denial {
            let subject = Subject {
                shown: called,
                object: Object::Method,
                entry: None,
                known: false,
            };
            return Err(self.denied(incoming, &subject, denial));
        }
        let trail = self.received_here(incoming, "")?;
        let page = route::page(sealer, incoming.table, kind, incoming.frame, incoming.who);
        match &page {
            Ok(_) => trail.succeeded(),
            Err(error) => trail.failed(error),
        }
        page
    }

    /// Refuses, at the endpoint of one server, a cursor of the merged lists, whoever it was made for. Any other is the
    /// server's own affair.
    ///
    /// # Errors
    ///
    /// Fails when the cursor is one of ours, or when the audit log cannot take the record of that.
    pub fn keep_cursor(&self, incoming: &Incoming<'_>, sealer: &Sealer) -> Result<(), CallError> {
        if route::kind_of(&incoming.frame.method()).is_none() {
            return Ok(());
        }
        let Some(cursor) = incoming.frame.param_str(&["cursor"]) else {
            return Ok(());
        };
        if !route::is_merged_cursor(sealer, &cursor) {
            return Ok(());
        }
        let trail = self.received_here(incoming, "")?;
        trail.failed(&CallError::CursorRefused);
        Err(CallError::CursorRefused)
    }
}
