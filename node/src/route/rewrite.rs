//! Answers as clients see them: cut to what the caller may use, and with URIs as they are listed, where a server has a
//! `uri_prefix`: a client must be able to read what it was told of.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{Frame, Span, Splice, decode_str, encode_str, find, find_path};
use lockgate_proto::mcp::{Revision, method};

use crate::config::Server;
use crate::error::CallError;
use crate::policy::Access;
use crate::upstream::catalog::ListKind;

use super::list::kind_of;
use super::merge::versions_list;
use super::skills::Reader;
use super::table::Entry;

/// Adds the prefix to `_meta.ui.resourceUri` (and its flat form) of a tool (MCP Apps).
pub(super) fn ui_resource(server: &Server, tool: &str, splice: &mut Splice<'_>) {
    if server.uri_prefix.is_none() {
        return;
    }
    for path in UI_PATHS {
        if let Some(span) = find_path(tool, path) {
            prefix_at(server, tool, span, splice);
        }
    }
}

/// Where a tool names its interface (MCP Apps): today, and before.
const UI_PATHS: [&[&str]; 2] = [
    &["_meta", "ui", "resourceUri"],
    &["_meta", "ui/resourceUri"],
];

/// URIs of a raw tool's interface.
pub(super) fn ui_uris(tool: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let at = UI_PATHS.into_iter();
    at.filter_map(move |path| decode_str(find_path(tool, path)?.of(tool)))
}

/// The answer to `method` as a caller with these rights sees it where servers are merged: resource URIs as they are
/// listed there, without the files of skills and directories that it may not read. `None` when nothing changes.
///
/// # Errors
///
/// [`CallError::Unwritable`]: it must not be shown as it is, and cannot be changed.
pub fn merged(
    entry: &Entry,
    method: &str,
    access: &Access,
    answer: &Frame,
) -> Result<Option<Frame>, CallError> {
    let Some(result) = answer.body_span() else {
        return Ok(None);
    };
    let text = answer.text();
    let mut splice = Splice::new(text);
    let reader = Reader {
        entry,
        access,
        is_merged: true,
    };
    if !files(&reader, method, (text, result), &mut splice) {
        prefix_contents(&entry.settings, method, (text, result), &mut splice);
    }
    edited(splice)
}

/// Adds the prefix to what carries resources, whole or as links.
fn prefix_contents(
    server: &Server,
    method: &str,
    (text, result): (&str, Span),
    splice: &mut Splice<'_>,
) {
    if server.uri_prefix.is_none() {
        return;
    }
    match method {
        method::TOOLS_CALL | method::TASKS_RESULT => {
            contents(server, text, at(text, result, "content"), splice)
        }
        method::TASKS_GET => {
            // Of a task that has ended, where the result comes with its state.
            if let Some(ended) = at(text, result, "result") {
                contents(server, text, at(text, ended, "content"), splice);
            }
        }
        method::PROMPTS_GET => {
            for message in elements(text, at(text, result, "messages")) {
                content(server, text, at(text, message, "content"), splice);
            }
        }
        method::RESOURCES_READ => {
            for item in elements(text, at(text, result, "contents")) {
                uri_member(server, text, item, splice);
            }
        }
        _ => {}
    }
}

/// Shows what `method` has answered to `reader`. `false` when that is neither a skill nor a directory.
fn files(
    reader: &Reader<'_>,
    method: &str,
    (text, result): (&str, Span),
    splice: &mut Splice<'_>,
) -> bool {
    match method {
        method::SKILLS_GET => {
            if let Some(skill) = at(text, result, "skill") {
                reader.skill(text, skill, splice);
            }
        }
        method::DIRECTORY_READ => {
            if let Some(files) = at(text, result, "resources") {
                reader.files(text, files, splice);
            }
        }
        _ => return false,
    }
    true
}

/// What cannot be edited is refused: as it stands it would show what a caller may not see, or what is not here.
fn edited(splice: Splice<'_>) -> Result<Option<Frame>, CallError> {
    if splice.is_empty() {
        return Ok(None);
    }
    let edited = Frame::edited(splice).map_err(CallError::Unwritable)?;
    Ok(Some(edited))
}

/// `notifications/resources/updated` with its URI as clients see it. `None` when nothing changes.
///
/// # Errors
///
/// [`CallError::Unwritable`]: it must not be shown as it is, and cannot be changed.
pub fn prefix_notification(
    server: &Server,
    notification: &Frame,
) -> Result<Option<Frame>, CallError> {
    if server.uri_prefix.is_none() || notification.method() != method::RESOURCE_UPDATED {
        return Ok(None);
    }
    let Some(params) = notification.params_span() else {
        return Ok(None);
    };
    let text = notification.text();
    let mut splice = Splice::new(text);
    uri_member(server, text, params, &mut splice);
    edited(splice)
}

/// The answer of one server at its own endpoint, cut to what a caller with these rights may use: lists, skills and
/// directories. What can't be used at all goes, too: a tool that wants headers that cannot be is left out of the catalog,
/// so it is left out here. `None` when nothing is cut.
///
/// # Errors
///
/// [`CallError::Unwritable`]: it must not be shown as it is, and cannot be cut.
pub fn permitted(
    entry: &Entry,
    method: &str,
    access: &Access,
    answer: &Frame,
) -> Result<Option<Frame>, CallError> {
    let Some(result) = answer.body_span() else {
        return Ok(None);
    };
    let text = answer.text();
    let mut splice = Splice::new(text);
    let reader = Reader {
        entry,
        access,
        is_merged: false,
    };
    if files(&reader, method, (text, result), &mut splice) {
        return edited(splice);
    }
    let found = kind_of(method).and_then(|kind| Some((kind, at(text, result, kind.member())?)));
    let Some((kind, list)) = found else {
        return Ok(None);
    };
    let allowed = |item: &&Span| {
        let key = at(text, **item, kind.key()).and_then(|span| decode_str(span.of(text)));
        key.is_some_and(|key| {
            !entry.is_unfit(kind, &key)
                && entry.allows(access, kind, &key, &entry.shown(kind, &key))
        })
    };
    let shown = |item: &Span| match kind {
        ListKind::Skills => reader.skill_alone(item.of(text)),
        _ => Cow::Borrowed(item.of(text)),
    };
    let items = elements(text, Some(list));
    let kept: Vec<Cow<'_, str>> = items.iter().filter(allowed).map(shown).collect();
    let is_whole = kept.iter().all(|item| matches!(item, Cow::Borrowed(_)));
    if is_whole && kept.len() == items.len() {
        return Ok(None);
    }
    splice.replace(list, format!("[{}]", kept.join(",")));
    edited(splice)
}

/// A server's `DiscoverResult` with the revisions that are served here, which are the gateway's: clients compare them
/// with those that a refused one is told of. `None` for what names none.
///
/// # Errors
///
/// [`CallError::Unwritable`]: it must not be shown as it is, and cannot be changed.
pub fn own_versions(answer: &Frame) -> Result<Option<Frame>, CallError> {
    let text = answer.text();
    let mut splice = Splice::new(text);
    let result = answer.body_span();
    if let Some(versions) = result.and_then(|result| at(text, result, "supportedVersions")) {
        splice.replace(versions, versions_list(&Revision::STREAMABLE_HTTP));
    }
    edited(splice)
}

fn contents(server: &Server, text: &str, list: Option<Span>, splice: &mut Splice<'_>) {
    for item in elements(text, list) {
        content(server, text, Some(item), splice);
    }
}

/// One content block: a `resource_link` carries its URI itself, an embedded `resource` one level down.
fn content(server: &Server, text: &str, block: Option<Span>, splice: &mut Splice<'_>) {
    let Some(block) = block else { return };
    let kind = at(text, block, "type").and_then(|span| decode_str(span.of(text)));
    match kind.as_deref() {
        Some("resource_link") => uri_member(server, text, block, splice),
        Some("resource") => {
            if let Some(resource) = at(text, block, "resource") {
                uri_member(server, text, resource, splice);
            }
        }
        _ => {}
    }
}

fn uri_member(server: &Server, text: &str, object: Span, splice: &mut Splice<'_>) {
    if let Some(span) = at(text, object, "uri") {
        prefix_at(server, text, span, splice);
    }
}

fn prefix_at(server: &Server, text: &str, span: Span, splice: &mut Splice<'_>) {
    if let Some(uri) = decode_str(span.of(text)) {
        splice.replace(span, encode_str(&server.shown_uri(&uri)));
    }
}

fn at(text: &str, object: Span, key: &str) -> Option<Span> {
    Some(find(object.of(text), key)?.shift(object.start))
}

fn elements(text: &str, array: Option<Span>) -> Vec<Span> {
    let Some(array) = array else {
        return Vec::new();
    };
    lockgate_proto::jsonrpc::elements(array.of(text))
        .map(|span| span.shift(array.start))
        .collect()
}

#[cfg(test)]
mod tests {
    use lockgate_proto::jsonrpc::Limits;
    use lockgate_proto::mcp::code;

    use super::*;

    fn own(answer: &str) -> Option<String> {
        let frame = Frame::parse(answer.to_owned().into(), &Limits::default()).unwrap();
        let changed = own_versions(&frame).unwrap();
        changed.map(|frame| frame.text().to_owned())
    }

    #[test]
    fn what_cannot_be_edited_is_refused_and_not_shown_as_it_is() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}"#;
        let mut splice = Splice::new(text);
        assert!(matches!(edited(Splice::new(text)), Ok(None)));
        splice.replace(find_path(text, &["result", "tools"]).unwrap(), "[");
        let error = edited(splice).unwrap_err();
        assert!(matches!(error, CallError::Unwritable(_)));
        assert_eq!(error.wire().code, code::INTERNAL_ERROR);
    }

    #[test]
    fn what_a_server_says_of_its_revisions_becomes_what_is_served_here() {
        let answer =
            r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"x":1.0}}"#;
        let served = r#"["2026-07-28","2025-11-25","2025-06-18","2025-03-26"]"#;
        assert_eq!(
            own(answer),
            Some(answer.replace(r#"["2026-07-28"]"#, served))
        );
    }

    #[test]
    fn an_error_has_no_revisions_to_change() {
        let answer = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}"#;
        assert_eq!(own(answer), None);
    }
}
