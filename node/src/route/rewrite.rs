//! URIs in answers, where a server has a `uri_prefix`: a client must be able to read what it was told of.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{Frame, Span, Splice, decode_str, encode_str, find, find_path};
use lockgate_proto::mcp::{Revision, method};

use crate::config::Server;
use crate::policy::Access;

use super::list::kind_of;
use super::merge::versions_list;
use super::skills;
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

/// The answer to `method` with its resource URIs as clients see them. `None` when nothing changes.
pub fn prefix_result(server: &Server, method: &str, answer: &Frame) -> Option<Frame> {
    server.uri_prefix.as_ref()?;
    let text = answer.text();
    let result = answer.body_span()?;
    let mut splice = Splice::new(text);
    match method {
        method::TOOLS_CALL | method::TASKS_RESULT => {
            contents(server, text, at(text, result, "content"), &mut splice)
        }
        method::TASKS_GET => {
            // Of a task that has ended, where the result comes with its state.
            if let Some(ended) = at(text, result, "result") {
                contents(server, text, at(text, ended, "content"), &mut splice);
            }
        }
        method::PROMPTS_GET => {
            for message in elements(text, at(text, result, "messages")) {
                content(server, text, at(text, message, "content"), &mut splice);
            }
        }
        method::RESOURCES_READ => {
            for item in elements(text, at(text, result, "contents")) {
                uri_member(server, text, item, &mut splice);
            }
        }
        method::DIRECTORY_READ => {
            for item in elements(text, at(text, result, "resources")) {
                uri_member(server, text, item, &mut splice);
            }
        }
        method::SKILLS_GET => {
            if let Some(skill) = at(text, result, "skill") {
                skills::prefix(server, text, skill, &mut splice);
            }
        }
        _ => {}
    }
    if splice.is_empty() {
        None
    } else {
        Frame::edited(splice).ok()
    }
}

/// `notifications/resources/updated` with its URI as clients see it. `None` when nothing changes.
pub fn prefix_notification(server: &Server, notification: &Frame) -> Option<Frame> {
    server.uri_prefix.as_ref()?;
    if notification.method() != method::RESOURCE_UPDATED {
        return None;
    }
    let text = notification.text();
    let mut splice = Splice::new(text);
    uri_member(server, text, notification.params_span()?, &mut splice);
    if splice.is_empty() {
        None
    } else {
        Frame::edited(splice).ok()
    }
}

/// The answer to a list method, cut to what a caller with these rights may use, and to what can be used at all: a tool
/// that wants headers that cannot be is left out of the catalog, so it is left out here. `None` when nothing is cut.
pub fn permitted(entry: &Entry, method: &str, access: &Access, answer: &Frame) -> Option<Frame> {
    let kind = kind_of(method)?;
    let text = answer.text();
    let list = at(text, answer.body_span()?, kind.member())?;
    let allowed = |item: &Span| {
        let key = at(text, *item, kind.key()).and_then(|span| decode_str(span.of(text)));
        key.is_some_and(|key| {
            !entry.is_unfit(kind, &key)
                && entry.allows(access, kind, &key, &entry.shown(kind, &key))
        })
    };
    let items = elements(text, Some(list));
    let kept: Vec<&str> = items
        .iter()
        .filter(|item| allowed(item))
        .map(|item| item.of(text))
        .collect();
    if kept.len() == items.len() {
        return None;
    }
    let mut splice = Splice::new(text);
    splice.replace(list, format!("[{}]", kept.join(",")));
    Frame::edited(splice).ok()
}

/// A server's `DiscoverResult` with the revisions that are served here, which are the gateway's: clients compare them
/// with those that a refused one is told of. `None` for what names none.
pub fn own_versions(answer: &Frame) -> Option<Frame> {
    let text = answer.text();
    let versions = at(text, answer.body_span()?, "supportedVersions")?;
    let mut splice = Splice::new(text);
    splice.replace(versions, versions_list(&Revision::STREAMABLE_HTTP));
    Frame::edited(splice).ok()
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

    use super::*;

    fn own(answer: &str) -> Option<String> {
        let frame = Frame::parse(answer.to_owned().into(), &Limits::default()).unwrap();
        own_versions(&frame).map(|frame| frame.text().to_owned())
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
