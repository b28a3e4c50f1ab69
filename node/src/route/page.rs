//! One page of a merged list, and what changed between two tables.

use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::jsonrpc::Frame;
use lockgate_proto::mcp::{Era, method};
use smallvec::smallvec;

use crate::answer::Answer;
use crate::error::CallError;
use crate::identity::Authenticated;
use crate::seal::Sealer;
use crate::upstream::catalog::ListKind;

use super::clear::check_clear;
use super::cursor;
use super::list::TTL_MS;
use super::merge::server_info;
use super::table::{Scope, Table};

/// One page of a merged list, as pieces of a result that are not joined.
///
/// # Errors
///
/// Fails when the cursor is not ours or can be read in two ways, or when no server has the extension that the list is of.
pub fn page(
    sealer: &Sealer,
    table: &Table,
    kind: ListKind,
    frame: &Frame,
    who: &Arc<Authenticated>,
) -> Result<Answer, CallError> {
    check_clear(frame)?;
    if kind == ListKind::Skills && !table.has_skills() {
        return Err(CallError::MethodNotFound {
            method: kind.method().to_owned(),
        });
    }
    let list = table.list(kind, Scope::All, &who.access);
    let from = match frame.param_str(&["cursor"]) {
        Some(cursor) => cursor::open(sealer, &who.caller, table.era, kind, &list, &cursor)?,
        None => 0,
    };
    let (items, to) = list.page(from);
    let id = frame.id().unwrap_or("null");
    let head = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"{}":["#,
        kind.member()
    );
    let next = if to < list.len() {
        let cursor = cursor::seal(sealer, &who.caller, table.era, kind, &list, to);
        format!(r#","nextCursor":"{cursor}""#)
    } else {
        String::new()
    };
    let tail = tail(table.era);
    let chunks = smallvec![
        Bytes::from(head),
        items,
        Bytes::from(format!("]{next}{tail}}}}}"))
    ];
    Ok(Answer::Json {
        status: 200,
        chunks,
        retry_after: None,
    })
}

/// Servers and capabilities whose lists differ.
pub fn changes<'t>(old: &'t Table, new: &'t Table) -> Vec<(&'t str, &'static str)> {
    debug_assert!(old.era == new.era, "tables of one era are compared");
    let names = old
        .servers
        .iter()
        .chain(&new.servers)
        .map(|entry| entry.settings.name.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        for kind in ListKind::ALL {
            let items =
                |table: &'t Table| table.server(name).map(|at| table.servers[at].items(kind));
            let (before, after) = (
                items(old).unwrap_or_default(),
                items(new).unwrap_or_default(),
            );
            let same = std::ptr::eq(before, after)
                || (before.len() == after.len()
                    && before.iter().zip(after).all(|(a, b)| a.raw == b.raw));
            if !same && !found.contains(&(name, kind.capability())) {
                found.push((name, kind.capability()));
            }
        }
    }
    found
}

/// Notification of a changed list.
pub fn changed_method(capability: &str) -> &'static str {
    match capability {
        "tools" => method::TOOLS_CHANGED,
        "prompts" => method::PROMPTS_CHANGED,
        _ => method::RESOURCES_CHANGED,
    }
}

/// Rest of a list result in the given era.
fn tail(era: Era) -> String {
    match era {
        Era::Session => String::new(),
        Era::Stateless => format!(
            r#","resultType":"complete","ttlMs":{},"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#,
            TTL_MS,
            server_info(),
        ),
    }
}
