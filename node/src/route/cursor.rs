//! Composite cursors: sealed, so that nobody can forge one or use another principal's.

use lockgate_proto::mcp::Era;
use serde::{Deserialize, Serialize};

use crate::call::Caller;
use crate::error::CallError;
use crate::seal::Sealer;
use crate::upstream::catalog::ListKind;

use super::list::Rendered;

/// What a cursor says.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    at: u32,
    last: String,
}

/// Seals "continue after item `to - 1` of `list`" for this caller.
pub(super) fn seal(
    sealer: &Sealer,
    caller: &Caller,
    era: Era,
    kind: ListKind,
    list: &Rendered,
    to: usize,
) -> String {
    let last = list
        .names()
        .get(to.wrapping_sub(1))
        .map(|name| name.to_string())
        .unwrap_or_default();
    let position = Position {
        at: u32::try_from(to).unwrap_or(u32::MAX),
        last,
    };
    let plain = serde_json::to_vec(&position).unwrap_or_default();
    sealer.seal(&bound_to(caller, era, kind), &plain)
}

/// Opens a cursor and finds its place in the list as it is now.
///
/// # Errors
///
/// [`CallError::CursorRefused`] when it was not made here for this caller and this list.
pub(super) fn open(
    sealer: &Sealer,
    caller: &Caller,
    era: Era,
    kind: ListKind,
    list: &Rendered,
    cursor: &str,
) -> Result<usize, CallError> {
    let plain = sealer
        .open(&bound_to(caller, era, kind), cursor)
        .ok_or(CallError::CursorRefused)?;
    let position: Position =
        serde_json::from_slice(&plain).map_err(|_| CallError::CursorRefused)?;
    Ok(list.position_after(position.at as usize, &position.last))
}

/// What a cursor is bound to. Nodes of other versions open it, too: the label goes with this layout and that of
/// [`Position`].
fn bound_to(caller: &Caller, era: Era, kind: ListKind) -> Vec<u8> {
    let tenant = caller.tenant.as_ref().map_or("", |tenant| tenant.as_str());
    let kind = kind.member();
    format!(
        "lockgate-cursor/v1\n{era:?}\n{kind}\n{tenant}\n{}",
        caller.principal
    )
    .into_bytes()
}
