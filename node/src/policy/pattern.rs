//! One pattern of a role, read.

use globset::{GlobBuilder, GlobMatcher};
use memchr::memmem::Finder;

use crate::error::Object;

/// Kinds of names that patterns are about, in the order in which `Access` keeps them.
pub(super) const KINDS: [Object; 4] = [
    Object::Tool,
    Object::Prompt,
    Object::Resource,
    Object::Method,
];

/// A pattern that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("pattern `{pattern}` of role `{role}` is not a glob")]
pub struct PatternError {
    /// Role it stands in.
    pub role: String,
    /// As it stands in the configuration.
    pub pattern: String,
    /// What the glob parser says.
    #[source]
    pub source: globset::Error,
}

/// A pattern: the kind it is limited to, and the shape of its glob.
#[derive(Debug)]
pub(super) struct Pattern {
    /// `None`: any kind.
    pub(super) kind: Option<Object>,
    pub(super) shape: Shape,
}

/// Shape of a glob, from the cheapest to match to the dearest.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// `*`
    All,
    /// No wildcard at all.
    Exact(Box<str>),
    /// `start*`
    Prefix(Box<str>),
    /// Stars and text only: what stands before the first star, between the stars, and after the last.
    Starred {
        start: Box<str>,
        middle: Box<[Finder<'static>]>,
        end: Box<str>,
    },
    /// `?`, `[..]`, `{..}` or `\`.
    Glob(GlobMatcher),
}

impl Pattern {
    /// Reads `text`: `tool:`, `prompt:`, `resource:` or `method:` in front limits it to that kind.
    pub(super) fn parse(text: &str) -> Result<Self, globset::Error> {
        let typed = KINDS.into_iter().find_map(|kind| {
            let rest = text.strip_prefix(kind.as_str())?.strip_prefix(':')?;
            Some((kind, rest))
        });
        let (kind, glob) = match typed {
            Some((kind, rest)) => (Some(kind), rest),
            None => (None, text),
        };
        Ok(Self {
            kind,
            shape: Shape::parse(glob)?,
        })
    }
}

impl Shape {
    fn parse(glob: &str) -> Result<Self, globset::Error> {
        if glob.contains(['?', '[', ']', '{', '}', '\\']) {
            // `**` means what `*` means: a star crosses `/` and `:` anyway.
            let glob = GlobBuilder::new(&collapse_stars(glob))
                .literal_separator(false)
                .backslash_escape(true)
                .build();
            return Ok(Self::Glob(glob?.compile_matcher()));
        }
        let Some((start, rest)) = glob.split_once('*') else {
            return Ok(Self::Exact(glob.into()));
        };
        let rest = rest.trim_start_matches('*');
        if rest.is_empty() {
            return Ok(if start.is_empty() {
                Self::All
            } else {
                Self::Prefix(start.into())
            });
        }
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let parts = middle.split('*').filter(|part| !part.is_empty());
        let middle = parts.map(|part| Finder::new(part).into_owned()).collect();
        Ok(Self::Starred {
            start: start.into(),
            middle,
            end: end.into(),
        })
    }

    /// Whether `name` matches. `PatternSet` answers the first three shapes without asking here.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(text) => **text == *name,
            Self::Prefix(start) => name.starts_with(&**start),
            Self::Starred { start, middle, end } => starred_matches(name, start, middle, end),
            Self::Glob(glob) => glob.is_match(name),
        }
    }
}

/// Taking the first place for each part is enough: a later one leaves less for the parts that follow.
fn starred_matches(name: &str, start: &str, middle: &[Finder<'static>], end: &str) -> bool {
    // An empty end is a dangling pointer, which `memcmp` on AVX-512 machines loads from under an empty mask: correct, but
    // the suppressed fault costs 70 ns each time.
    let mut rest = name.as_bytes();
    if !start.is_empty() {
        let Some(after) = rest.strip_prefix(start.as_bytes()) else {
            return false;
        };
        rest = after;
    }
    if !end.is_empty() {
        let Some(before) = rest.strip_suffix(end.as_bytes()) else {
            return false;
        };
        rest = before;
    }
    for part in middle {
        match part.find(rest) {
            Some(at) => rest = &rest[at + part.needle().len()..],
            None => return false,
        }
    }
    true
}

fn collapse_stars(glob: &str) -> String {
    let mut collapsed = String::with_capacity(glob.len());
    let mut escaped = false;
    for c in glob.chars() {
        if c == '*' && !escaped && collapsed.ends_with('*') && !collapsed.ends_with("\\*") {
            continue;
        }
        escaped = c == '\\' && !escaped;
        collapsed.push(c);
    }
    collapsed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, matches: bool) {
        let got = Pattern::parse(pattern).unwrap().shape.matches(name);
        assert_eq!(got, matches, "{pattern:?} on {name:?}");
    }

    #[test]
    fn stars_cross_every_separator() {
        check("file://*", "file:///a/b:c", true);
        check("*/secret", "file:///a/b/secret", true);
        check("a*c*e", "a/b:c/d:e", true);
        check("**", "anything/at:all", true);
        check("a**b", "a/x/b", true);
    }

    #[test]
    fn parts_must_come_in_order_and_not_overlap() {
        check("a*bc*cd", "abccd", true);
        check("a*bc*cd", "abcd", false);
        check("ab*ba", "aba", false);
        check("*x*", "axb", true);
        check("*x*", "ab", false);
    }

    #[test]
    fn long_names_are_matched_like_short_ones() {
        let long = "x".repeat(100);
        check("a*needle*z", &format!("a{long}needle{long}z"), true);
        check("a*needle*z", &format!("a{long}nedle{long}z"), false);
    }

    #[test]
    fn wildcards_of_one_character_and_sets_work() {
        check("db_?", "db_1", true);
        check("db_?", "db_12", false);
        check("db_[ab]*", "db_a/x", true);
        check("{get,list}_*", "list_repos", true);
        check("{get,list}_*", "drop_repos", false);
        check(r"a\*b", "a*b", true);
        check(r"a\*b", "axb", false);
        check("?**/x", "a/b/x", true);
    }

    #[test]
    fn names_are_compared_as_they_are_written() {
        check("Get_*", "get_x", false);
        check("get", "get ", false);
        check("", "", true);
        check("", "a", false);
    }

    #[test]
    fn a_kind_in_front_limits_the_pattern() {
        assert_eq!(Pattern::parse("tool:a*").unwrap().kind, Some(Object::Tool));
        assert_eq!(
            Pattern::parse("resource:tool:x").unwrap().kind,
            Some(Object::Resource)
        );
        assert_eq!(Pattern::parse("toolbox").unwrap().kind, None);
        assert_eq!(Pattern::parse("https://x").unwrap().kind, None);
    }

    #[test]
    fn a_broken_set_is_an_error() {
        assert!(Pattern::parse("a[").is_err());
        assert!(Pattern::parse("{a,b").is_err());
    }
}
