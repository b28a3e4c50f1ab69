//! Many patterns of one kind, matched at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::pattern::Shape;

/// Patterns with the rule that each stands for. Exact names cost one hash, prefixes one binary search, stars in other
/// places one scan each; only wildcards of one character, sets and alternatives run a regular expression.
#[derive(Debug, Default)]
pub(super) struct PatternSet {
    all: Option<Arc<str>>,
    exact: HashMap<Box<str>, Arc<str>>,
    /// Sorted, and none is the start of another: then only the greatest one that is not above a name can be its start.
    prefixes: Vec<(Box<str>, Arc<str>)>,
    others: Vec<(Shape, Arc<str>)>,
}

impl PatternSet {
    /// Builds the set. Of several patterns that match one name, which rule is named is not promised.
    pub(super) fn new(patterns: impl IntoIterator<Item = (Shape, Arc<str>)>) -> Self {
        let mut set = Self::default();
        for (shape, rule) in patterns {
            match shape {
                Shape::All => set.all = set.all.or(Some(rule)),
                Shape::Exact(name) => {
                    set.exact.entry(name).or_insert(rule);
                }
                Shape::Prefix(start) => set.prefixes.push((start, rule)),
                shape @ (Shape::Starred { .. } | Shape::Glob(_)) => set.others.push((shape, rule)),
            }
        }
        set.prefixes.sort_by(|a, b| a.0.cmp(&b.0));
        // Sorted, a start stands right before everything that begins with it.
        set.prefixes
            .dedup_by(|later, kept| later.0.starts_with(&*kept.0));
        set
    }

    /// The rule of a pattern that matches `name`.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        if let Some(rule) = &self.all {
            return Some(rule);
        }
        if !self.exact.is_empty()
            && let Some(rule) = self.exact.get(name)
        {
            return Some(rule);
        }
        let at = self.prefixes.partition_point(|(start, _)| **start <= *name);
        if let Some((start, rule)) = at.checked_sub(1).map(|at| &self.prefixes[at])
            && name.starts_with(&**start)
        {
            return Some(rule);
        }
        self.others
            .iter()
            .find(|(shape, _)| shape.matches(name))
            .map(|(_, rule)| &**rule)
    }
}
