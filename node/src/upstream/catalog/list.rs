//! The items of one kind.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::Item;

/// Items in the server's order, each key once.
#[derive(Debug, Default)]
pub struct List {
    items: Box<[Item]>,
    /// Positions in `items`, sorted by key.
    by_key: Box<[u32]>,
    /// Keys of what the server lists and nobody can use.
    unfit: Box<[Box<str>]>,
    /// What was wrong with entries.
    flaws: Box<[Box<str>]>,
    content_hash: u64,
}

impl List {
    /// Of items in the server's order. Of two with one key the first stays.
    pub fn new(items: Vec<Item>) -> Self {
        Self::with_unfit(items, Vec::new())
    }

    /// The same, beside the keys of what was left out because nobody can use it.
    pub(super) fn with_unfit(items: Vec<Item>, unfit: Vec<Box<str>>) -> Self {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by(|a, b| items[*a].key.cmp(&items[*b].key));
        let mut keep = vec![true; items.len()];
        for pair in order.windows(2) {
            // The sort is stable, so the later of two equal keys comes second.
            keep[pair[1]] = items[pair[0]].key != items[pair[1]].key;
        }
        let items: Box<[Item]> = items
            .into_iter()
            .zip(keep)
            .filter_map(|(item, keep)| keep.then_some(item))
            .collect();
        let mut by_key: Box<[u32]> = (0_u32..).take(items.len()).collect();
        by_key.sort_by(|a, b| items[*a as usize].key.cmp(&items[*b as usize].key));
        let mut hasher = DefaultHasher::new();
        for item in &items {
            item.raw.hash(&mut hasher);
        }
        unfit.hash(&mut hasher);
        Self {
            unfit: unfit.into(),
            flaws: Box::default(),
            content_hash: hasher.finish(),
            items,
            by_key,
        }
    }

    /// The same, found to have had these flaws.
    #[must_use]
    pub(super) fn with_flaws(self, flaws: Vec<Box<str>>) -> Self {
        Self {
            flaws: flaws.into(),
            ..self
        }
    }

    /// What was wrong with entries that the server lists, a sentence each.
    pub fn flaws(&self) -> impl Iterator<Item = &str> {
        self.flaws.iter().map(|flaw| &**flaw)
    }

    /// All items, in the server's order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Other items in the place of these; what is unfit stays so.
    #[must_use]
    pub fn with_items(&self, items: Vec<Item>) -> Self {
        Self::with_unfit(items, self.unfit.to_vec()).with_flaws(self.flaws.to_vec())
    }

    /// Whether the server lists `key` and nobody can use it: a tool that wants headers that cannot be.
    pub fn is_unfit(&self, key: &str) -> bool {
        self.unfit.iter().any(|unfit| **unfit == *key)
    }

    /// The item named `key`.
    pub fn get(&self, key: &str) -> Option<&Item> {
        let at = self
            .by_key
            .binary_search_by(|at| (*self.items[*at as usize].key).cmp(key))
            .ok()?;
        self.items.get(self.by_key[at] as usize)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Hash of the raw items, for [`super::Interner`]; equal lists have equal hashes within one process.
    pub(super) fn content_hash(&self) -> u64 {
        self.content_hash
    }

    /// Bytes of the raw items.
    pub fn raw_bytes(&self) -> usize {
        self.items.iter().map(|item| item.raw.len()).sum()
    }
}

/// Lists are equal that offer the same, whatever was said of the entries that they are made of.
impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.content_hash == other.content_hash
            && self.items == other.items
            && self.unfit == other.unfit
    }
}

impl Eq for List {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::mcp::Era;
    use proptest::prelude::*;

    use super::super::ListKind;
    use super::*;

    fn list(names: &[String]) -> List {
        let items = names.iter().enumerate().map(|(n, name)| {
            let raw = Bytes::from(format!(r#"{{"n":{n},"name":"{name}"}}"#));
            Item::read(ListKind::Tools, Era::Session, raw).unwrap()
        });
        List::new(items.collect())
    }

    proptest! {
        #[test]
        fn the_first_of_each_name_is_found(names in prop::collection::vec("[a-d]{1,2}", 0..12)) {
            let list = list(&names);
            for name in &names {
                let item = list.get(name).unwrap();
                let first = names.iter().position(|n| n == name).unwrap();
                prop_assert_eq!(&item.raw, &format!(r#"{{"n":{first},"name":"{name}"}}"#));
            }
            prop_assert!(list.get("z").is_none());
            let mut distinct = names;
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(list.len(), distinct.len());
        }
    }
}
