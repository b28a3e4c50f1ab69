//! An ordered map in parts that clones share, so that a change after a clone copies one part and not all.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parts of one map. Enough that a part of the largest map is copied in well under a millisecond.
pub(super) const N_PARTS: usize = 64;

/// Chooses the part that a key belongs to. The same on every node, since it decides what a sweep looks at.
pub(super) trait Part {
    /// Any number that spreads.
    fn spread(&self) -> u32;
}

/// An ordered map in parts that clones share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parted<K, V> {
    parts: Vec<Arc<BTreeMap<K, V>>>,
    n_entries: usize,
}

impl<K: Ord + Clone + Part, V: Clone> Parted<K, V> {
    pub(super) fn len(&self) -> usize {
        self.n_entries
    }

    pub(super) fn get<Q: Ord + Part + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts[index(key)].get(key)
    }

    pub(super) fn get_mut<Q: Ord + Part + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let part = &mut self.parts[index(key)];
        // A miss must not copy the part.
        if !part.contains_key(key) {
            return None;
        }
        Arc::make_mut(part).get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        let part = Arc::make_mut(&mut self.parts[index(&key)]);
        if part.insert(key, value).is_none() {
            self.n_entries += 1;
        }
    }

    pub(super) fn remove<Q: Ord + Part + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let part = &mut self.parts[index(key)];
        if !part.contains_key(key) {
            return None;
        }
        let removed = Arc::make_mut(part).remove(key);
        self.n_entries -= usize::from(removed.is_some());
        removed
    }

    /// All entries, part by part, in order within each.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Changes or drops entries of part `at` and keeps those for which `keep` says so. The part is not copied when
    /// nothing is dropped.
    pub(super) fn sweep(&mut self, at: usize, drop: impl Fn(&K, &V) -> bool) {
        let part = &mut self.parts[at % N_PARTS];
        if part.iter().any(|(key, value)| drop(key, value)) {
            Arc::make_mut(part).retain(|key, value| !drop(key, value));
            self.n_entries = self.parts.iter().map(|part| part.len()).sum();
        }
    }
}

impl<K, V> Default for Parted<K, V> {
    fn default() -> Self {
        Self {
            parts: (0..N_PARTS).map(|_| Arc::default()).collect(),
            n_entries: 0,
        }
    }
}

impl<K: Ord + Clone + Part, V: Clone> FromIterator<(K, V)> for Parted<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut all = Self::default();
        for (key, value) in entries {
            all.insert(key, value);
        }
        all
    }
}

fn index<Q: Part + ?Sized>(key: &Q) -> usize {
    key.spread() as usize % N_PARTS
}

impl Part for u64 {
    fn spread(&self) -> u32 {
        // Leases are numbered in turn: the low bits spread.
        (*self & 0xffff) as u32
    }
}

impl Part for super::Key {
    fn spread(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        hash.update(self.rule.as_bytes());
        hash.update(&[0]);
        hash.update(self.subject.as_bytes());
        hash.finalize()
    }
}
