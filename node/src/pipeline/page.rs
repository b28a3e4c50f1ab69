//! Pages of merged lists, which no server is asked for, and what of the gateway's no server is to see.

use lockgate_proto::mcp::Era;

use crate::answer::Answer;
use crate::error::{CallError, Object, UpstreamError};
use crate::route::{self, ListKind, Scope};
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
        self.permit_method(incoming)?;
        let trail = self.received_here(incoming, "")?;
        let page = route::page(sealer, incoming.table, kind, incoming.frame, incoming.who);
        match &page {
            Ok(_) => trail.succeeded(),
            Err(error) => trail.failed(error),
        }
        page
    }

    /// Refuses a method that a role denies by its name. For what never becomes a call.
    ///
    /// # Errors
    ///
    /// Fails when a role denies it.
    pub fn permit_method(&self, incoming: &Incoming<'_>) -> Result<(), CallError> {
        match deniable(&incoming.frame.method()) {
            Some(called) => self.permit(incoming, called),
            None => Ok(()),
        }
    }

    /// The same of one that the request stands for.
    ///
    /// # Errors
    ///
    /// Fails when a role denies it.
    pub fn permit(&self, incoming: &Incoming<'_>, method: &str) -> Result<(), CallError> {
        let Some(denial) = incoming.who.access.method_denial(method) else {
            return Ok(());
        };
        let subject = Subject {
            shown: method,
            object: Object::Method,
            entry: None,
            known: false,
        };
        Err(self.denied(incoming, &subject, denial))
    }

    /// Refuses a request that goes to a server and carries what this cluster has sealed, whatever it was and whoever it
    /// was made for, as its cursor, or as a `requestState` that only a client without a session has. Any other text is
    /// the server's own affair.
    ///
    /// # Errors
    ///
    /// Fails when one of the two is ours, or when the audit log cannot take the record of that.
    pub fn keep_sealed(&self, incoming: &Incoming<'_>, sealer: &Sealer) -> Result<(), CallError> {
        let Some(error) = misplaced(incoming, sealer) else {
            return Ok(());
        };
        let trail = self.received_here(incoming, "")?;
        trail.failed(&error);
        Err(error)
    }
}

/// Why a request must not go to a server.
fn misplaced(incoming: &Incoming<'_>, sealer: &Sealer) -> Option<CallError> {
    let frame = incoming.frame;
    let is_own = |key| {
        let text = frame.param_str(&[key]);
        text.is_some_and(|text| sealer.is_own(&text))
    };
    if route::is_paged(&frame.method()) && is_own("cursor") {
        return Some(CallError::CursorRefused);
    }
    // Where there is no session, the bridge looks at the states: some go on with calls that wait there.
    let Scope::Server(at) = incoming.scope else {
        return None;
    };
    if incoming.table.era == Era::Stateless || !is_own("requestState") {
        return None;
    }
    let server = incoming.table.servers.get(at)?.settings.name.clone();
    Some(CallError::Upstream(UpstreamError::StateRefused {
        server,
        why: "a client with a session has none",
        is_offence: true,
    }))
}
