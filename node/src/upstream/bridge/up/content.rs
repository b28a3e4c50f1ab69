//! Blocks of content that a client's revision does not know yet.

use lockgate_proto::jsonrpc::{Span, Splice, decode_str, elements, encode_str, find};
use lockgate_proto::mcp::Revision;

/// Whether clients of `revision` read links to resources, which came with 2025-06-18.
pub(super) fn knows_links(revision: Revision) -> bool {
    revision >= Revision::V2025_06_18
}

/// Turns the links in the array at `blocks` into text: nothing else of earlier revisions names a resource without its
/// contents, and an unknown `type` fails the whole result at a client that checks it.
pub(super) fn links_as_text(splice: &mut Splice<'_>, text: &str, blocks: Span) {
    for block in elements(blocks.of(text)) {
        link_as_text(splice, text, block.shift(blocks.start));
    }
}

/// The same in the messages of a prompt, which have one block each.
pub(super) fn links_in_messages(splice: &mut Splice<'_>, text: &str, messages: Span) {
    for message in elements(messages.of(text)) {
        let message = message.shift(messages.start);
        if let Some(content) = find(message.of(text), "content") {
            link_as_text(splice, text, content.shift(message.start));
        }
    }
}

fn link_as_text(splice: &mut Splice<'_>, text: &str, at: Span) {
    let block = at.of(text);
    let is_link = find(block, "type").is_some_and(|kind| kind.of(block) == r#""resource_link""#);
    if !is_link {
        return;
    }
    let piece = |key| find(block, key).and_then(|at| decode_str(at.of(block)));
    let mut said = String::new();
    if let Some(name) = piece("title").or_else(|| piece("name")) {
        said.push_str(&name);
        said.push_str(": ");
    }
    said.push_str(&piece("uri").unwrap_or_default());
    if let Some(description) = piece("description") {
        said.push('\n');
        said.push_str(&description);
    }
    let annotations = find(block, "annotations").map(|at| at.of(block));
    let annotations = annotations.map(|raw| format!(r#","annotations":{raw}"#));
    splice.replace(
        at,
        format!(
            r#"{{"type":"text","text":{}{}}}"#,
            encode_str(&said),
            annotations.unwrap_or_default()
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(blocks: &str, expected: &str) {
        let mut splice = Splice::new(blocks);
        links_as_text(&mut splice, blocks, Span::new(0, blocks.len()));
        assert_eq!(String::from_utf8_lossy(&splice.finish()), expected);
    }

    #[test]
    fn a_link_is_told_in_words() {
        check(
            r#"[{"type":"resource_link","uri":"a:b","name":"n","description":"d\"","annotations":{"priority":1.0},"size":5}]"#,
            r#"[{"type":"text","text":"n: a:b\nd\"","annotations":{"priority":1.0}}]"#,
        );
        check(
            r#"[{"type":"resource_link","uri":"a:b","name":"n","title":"t"},{"type":"resource_link","uri":"c:d"}]"#,
            r#"[{"type":"text","text":"t: a:b"},{"type":"text","text":"c:d"}]"#,
        );
    }

    #[test]
    fn prompts_have_links_in_their_messages() {
        let messages = r#"[{"role":"user","content":{"type":"resource_link","uri":"a:b","name":"n"}},{"role":"user"}]"#;
        let mut splice = Splice::new(messages);
        links_in_messages(&mut splice, messages, Span::new(0, messages.len()));
        assert_eq!(
            String::from_utf8_lossy(&splice.finish()),
            r#"[{"role":"user","content":{"type":"text","text":"n: a:b"}},{"role":"user"}]"#
        );
    }

    #[test]
    fn everything_else_stays() {
        let kept = r#"[{"type":"text","text":"a"},{"type":"resource","resource":{"uri":"a:b","text":""}},1,{}]"#;
        check(kept, kept);
    }

    #[test]
    fn links_came_with_2025_06_18() {
        assert!(!knows_links(Revision::V2025_03_26));
        assert!(knows_links(Revision::V2025_06_18));
    }
}
