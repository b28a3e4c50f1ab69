//! Composite cursors: sealed, so that nobody can forge one or use another principal's.

use lockgate_proto::mcp::Era;
use serde::{Deserialize, Serialize};

use crate::call::Caller;
use crate::error::CallError;
use crate::seal::Sealer;
use crate::upstream::catalog::ListKind;

use super::list::Rendered;

/// The one thing that the seal itself is bound to. Whose cursor it is stands inside, so that one is known for ours
/// wherever it turns up.
const PURPOSE: &[u8] = b"lockgate-cursor/v1";

/// What a cursor says.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    of: Subject,
    at: u32,
    last: String,
}

/// The list that a cursor goes on with, and for whom.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    era: Era,
    list: String,
    tenant: Option<String>,
    principal: String,
}

impl Subject {
    /// This caller's list of this kind.
    pub(super) fn of(caller: &Caller, era: Era, kind: ListKind) -> Self {
        let tenant = caller.tenant.as_ref();
        Self {
            era,
            list: kind.member().to_owned(),
            tenant: tenant.map(|tenant| tenant.as_str().to_owned()),
            principal: caller.principal.as_str().to_owned(),
        }
    }
}

/// Seals "continue after item `to - 1` of `list`".
pub(super) fn seal(sealer: &Sealer, of: Subject, list: &Rendered, to: usize) -> String {
    let last = list
        .names()
        .get(to.wrapping_sub(1))
        .map(|name| name.to_string())
        .unwrap_or_default();
    let position = Position {
        of,
        at: u32::try_from(to).unwrap_or(u32::MAX),
        last,
    };
    let plain = serde_json::to_vec(&position).unwrap_or_default();
    sealer.seal(PURPOSE, &plain)
}

/// Opens a cursor and finds its place in the list as it is now.
///
/// # Errors
///
/// [`CallError::CursorRefused`] when it was not made here for this caller and this list.
pub(super) fn open(
    sealer: &Sealer,
    of: &Subject,
    list: &Rendered,
    cursor: &str,
) -> Result<usize, CallError> {
    let plain = sealer
        .open(PURPOSE, cursor)
        .ok_or(CallError::CursorRefused)?;
    let position: Position =
        serde_json::from_slice(&plain).map_err(|_| CallError::CursorRefused)?;
    if position.of != *of {
        return Err(CallError::CursorRefused);
    }
    Ok(list.position_after(position.at as usize, &position.last))
}

/// Whether a cursor was made here: of whatever list and for whomever, no single server can know it.
pub fn is_merged_cursor(sealer: &Sealer, cursor: &str) -> bool {
    sealer.open(PURPOSE, cursor).is_some()
}
