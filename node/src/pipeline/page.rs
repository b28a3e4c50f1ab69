//! Pages of merged lists, which no server is asked for.

use crate::answer::Answer;
use crate::error::CallError;
use crate::route::{self, ListKind};
use crate::seal::Sealer;

use super::{Incoming, Pipeline};

impl Pipeline {
    /// One page of a merged list, with its pair of audit lines.
    ///
    /// # Errors
    ///
    /// Fails when the cursor is not the caller's for this list, or when the audit log cannot take the record.
    pub fn page(
        &self,
        incoming: &Incoming<'_>,
        kind: ListKind,
        sealer: &Sealer,
    ) -> Result<Answer, CallError> {
        let trail = self.received_here(incoming, "")?;
        let page = route::page(sealer, incoming.table, kind, incoming.frame, incoming.who);
        match &page {
            Ok(_) => trail.succeeded(),
            Err(error) => trail.failed(error),
        }
        page
    }
}
