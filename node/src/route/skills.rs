//! Skills (SEP-2640): directories of resources, each named by the URI of its `SKILL.md`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use lockgate_proto::jsonrpc::{Span, Splice, decode_str, elements, encode_str, find};

use crate::config::Server;
use crate::upstream::catalog::ListKind;

use super::table::{Entry, Hidden};

/// Whose skills are whose, by their directories as clients see them.
#[derive(Debug, Default)]
pub(super) struct Skills(HashMap<Box<str>, usize, RandomState>);

impl Skills {
    /// Of all servers. The one that stands first keeps a directory, and what lies in it.
    pub(super) fn new(servers: &[Entry], hidden: &mut Vec<Hidden>) -> Self {
        let mut known = Self::default();
        for (at, entry) in servers.iter().enumerate() {
            for skill in entry.items(ListKind::Skills) {
                let shown = entry.shown(ListKind::Skills, &skill.key);
                match known.server(&shown) {
                    // A skill may lie in another one of its server ("Nested Skills").
                    Some(kept) if kept != at => hidden.push(Hidden {
                        kind: ListKind::Skills,
                        name: shown.into(),
                        kept,
                        hidden: at,
                    }),
                    _ => {
                        let directory = directory(&shown);
                        known.0.insert(directory.into(), at);
                    }
                }
            }
        }
        known
    }

    /// Server of the innermost skill that `uri` is a file or a directory of.
    pub(super) fn server(&self, uri: &str) -> Option<usize> {
        let ends = uri.rmatch_indices('/').map(|(end, _)| end);
        let mut directories = std::iter::once(uri.len()).chain(ends);
        directories.find_map(|end| self.0.get(&uri[..end]).copied())
    }
}

/// The directory that a skill's URI names: "the `SKILL.md` URI with the `/SKILL.md` suffix removed". What is no such
/// URI names itself alone.
fn directory(uri: &str) -> &str {
    uri.strip_suffix("/SKILL.md").unwrap_or(uri)
}

/// Adds the server's prefix to the URIs of the raw skill at `skill` of `text`: its own, and those of its files.
pub(super) fn prefix(server: &Server, text: &str, skill: Span, splice: &mut Splice<'_>) {
    let at = |object: Span, key: &str| Some(find(object.of(text), key)?.shift(object.start));
    let mut prefix = |object: Span| {
        let Some(uri) = at(object, "uri") else { return };
        if let Some(own) = decode_str(uri.of(text)) {
            splice.replace(uri, encode_str(&server.shown_uri(&own)));
        }
    };
    prefix(skill);
    if let Some(files) = at(skill, "resources") {
        // The text "dynamic" has no elements.
        for file in elements(files.of(text)) {
            prefix(file.shift(files.start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(known: &[(&str, usize)], uri: &str, expected: Option<usize>) {
        let known = known.iter().map(|(uri, at)| (directory(uri).into(), *at));
        assert_eq!(Skills(known.collect()).server(uri), expected, "{uri}");
    }

    #[test]
    fn what_lies_in_a_skill_is_its_servers() {
        let known = [
            ("skill://a/SKILL.md", 0),
            ("skill://b/c/SKILL.md", 1),
            ("skill://b/c/d/SKILL.md", 2),
            ("odd:thing", 3),
        ];
        check(&known, "skill://a/SKILL.md", Some(0));
        check(&known, "skill://a", Some(0));
        check(&known, "skill://a/x/y.md", Some(0));
        check(&known, "skill://ab/x", None);
        check(&known, "skill://b/SKILL.md", None);
        check(&known, "skill://b/c/x", Some(1));
        check(&known, "skill://b/c/d/x", Some(2));
        check(&known, "odd:thing", Some(3));
        check(&known, "", None);
    }
}
