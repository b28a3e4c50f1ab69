//! What a request means, and why it means nothing.

use crate::error::CallError;
use crate::route::{self, Plan, TaskOwner};

use super::Incoming;

/// [`route::plan`], and where it finds no server, one that the caller may use and that may yet be the one.
pub(super) fn planned<'a>(
    incoming: &Incoming<'a>,
    tasks: TaskOwner<'_>,
) -> Result<Plan<'a>, CallError> {
    let table = incoming.table;
    let planned = route::plan(
        table,
        incoming.scope,
        incoming.frame,
        incoming.revision,
        tasks,
    );
    planned.map_err(|error| match error {
        CallError::Unknown { object, name } => {
            let unheard = table.unheard(&name).map(|entry| &entry.settings.name);
            match unheard.filter(|server| incoming.who.access.allows_server(server)) {
                Some(server) => CallError::Unheard {
                    object,
                    server: server.clone(),
                    name,
                },
                None => CallError::Unknown { object, name },
            }
        }
        other => other,
    })
}
