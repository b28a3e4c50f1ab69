//! Skills (SEP-2640): directories of resources, each named by the URI of its `SKILL.md`.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use lockgate_proto::jsonrpc::{Span, Splice, decode_str, elements, encode_str, find};

use crate::policy::Access;
use crate::upstream::catalog::ListKind;

use super::table::{Entry, Hidden};

/// Whose skills are whose, by their URIs as clients see them.
#[derive(Debug, Default)]
pub(super) struct Skills {
    /// By directory: all that lies in one is its server's.
    directories: ByUri,
    /// By whole URI, where that names no directory.
    others: ByUri,
}

type ByUri = HashMap<Box<str>, usize, RandomState>;

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
                    _ => known.insert(&shown, at),
                }
            }
        }
        known
    }

    fn insert(&mut self, uri: &str, server: usize) {
        match directory(uri) {
            Some(directory) => self.directories.insert(directory.into(), server),
            None => self.others.insert(uri.into(), server),
        };
    }

    /// Server of the innermost skill that `uri` is a file or a directory of.
    pub(super) fn server(&self, uri: &str) -> Option<usize> {
        if let Some(server) = self.others.get(uri) {
            return Some(*server);
        }
        let ends = uri.rmatch_indices('/').map(|(end, _)| end);
        let mut directories = std::iter::once(uri.len()).chain(ends);
        directories.find_map(|end| self.directories.get(&uri[..end]).copied())
    }
}

/// The directory that a skill's URI names: "the `SKILL.md` URI with the `/SKILL.md` suffix removed". `None` where nothing
/// but a scheme is left, which would be the place of all servers' skills, and for what is no such URI.
fn directory(uri: &str) -> Option<&str> {
    let directory = uri.strip_suffix("/SKILL.md")?;
    let (_, place) = directory.split_once("://")?;
    let is_place = !place.trim_matches('/').is_empty();
    is_place.then_some(directory)
}

/// How one caller sees the skills and directories of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) entry: &'a Entry,
    pub(super) access: &'a Access,
    /// URIs are shown with the server's prefix.
    pub(super) is_merged: bool,
}

impl Reader<'_> {
    /// Of the raw skill at `skill` of `text`: its own URI and those of its files as they are listed, and only
    /// the files that the caller may read.
    pub(super) fn skill(&self, text: &str, skill: Span, splice: &mut Splice<'_>) {
        self.prefix(text, skill, splice);
        if let Some(files) = at(text, skill, "resources") {
            // The text "dynamic" has no elements.
            self.files(text, files, splice);
        }
    }

    /// The same of a raw skill by itself.
    pub(super) fn skill_alone<'t>(&self, raw: &'t str) -> Cow<'t, str> {
        self.edited(raw, |reader, whole, splice| {
            reader.skill(raw, whole, splice)
        })
    }

    /// Of the raw resources at `list` of `text` those that the caller may read, as they are listed. What has
    /// no URI can't be read.
    pub(super) fn files(&self, text: &str, list: Span, splice: &mut Splice<'_>) {
        let files: Vec<Span> = elements(list.of(text))
            .map(|file| file.shift(list.start))
            .collect();
        let kept = files.iter().filter(|file| self.allows(text, **file));
        let kept: Vec<Span> = kept.copied().collect();
        if kept.len() == files.len() {
            kept.iter()
                .for_each(|file| self.prefix(text, *file, splice));
            return;
        }
        let shown = |file: &Span| {
            let raw = file.of(text);
            self.edited(raw, |reader, whole, splice| {
                reader.prefix(raw, whole, splice)
            })
        };
        let kept: Vec<Cow<'_, str>> = kept.iter().map(shown).collect();
        splice.replace(list, format!("[{}]", kept.join(",")));
    }

    fn allows(&self, text: &str, file: Span) -> bool {
        let kind = ListKind::Skills;
        let own = at(text, file, "uri").and_then(|uri| decode_str(uri.of(text)));
        own.is_some_and(|own| {
            let shown = self.entry.shown(kind, &own);
            self.entry.allows(self.access, kind, &own, &shown)
        })
    }

    /// Adds the server's prefix to the URI of the object at `object`.
    fn prefix(&self, text: &str, object: Span, splice: &mut Splice<'_>) {
        let server = &self.entry.settings;
        if !self.is_merged || server.uri_prefix.is_none() {
            return;
        }
        let uri = at(text, object, "uri");
        if let Some((uri, own)) = uri.and_then(|uri| Some((uri, decode_str(uri.of(text))?))) {
            splice.replace(uri, encode_str(&server.shown_uri(&own)));
        }
    }

    fn edited<'t>(
        &self,
        raw: &'t str,
        edit: impl FnOnce(&Self, Span, &mut Splice<'t>),
    ) -> Cow<'t, str> {
        let mut splice = Splice::new(raw);
        edit(self, Span::new(0, raw.len()), &mut splice);
        if splice.is_empty() {
            return Cow::Borrowed(raw);
        }
        let edited = splice.finish();
        // Text with texts in it stays text.
        Cow::Owned(String::from_utf8_lossy(&edited).into_owned())
    }
}

fn at(text: &str, object: Span, key: &str) -> Option<Span> {
    Some(find(object.of(text), key)?.shift(object.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(known: &[(&str, usize)], uri: &str, expected: Option<usize>) {
        let mut skills = Skills::default();
        for (uri, server) in known {
            skills.insert(uri, *server);
        }
        assert_eq!(skills.server(uri), expected, "{uri}");
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
        check(&known, "odd:thing/x", None);
        check(&known, "", None);
    }

    #[test]
    fn no_skill_is_a_whole_scheme() {
        for uri in [
            "skill:",
            "skill:/",
            "skill://",
            "skill:///",
            "skill:/SKILL.md",
            "skill://SKILL.md",
            "skill:///SKILL.md",
            "skill:////SKILL.md",
            "/SKILL.md",
            "SKILL.md",
            "",
        ] {
            let known = [(uri, 0)];
            check(&known, uri, Some(0));
            check(&known, "skill://a/SKILL.md", None);
            check(&known, "skill:///a/SKILL.md", None);
            check(&known, "skill:a/SKILL.md", None);
            check(&known, "/a", None);
        }
        check(&[("skill:///a/SKILL.md", 0)], "skill:///a/x", Some(0));
    }
}
