//! The growing edge of a Merkle tree: enough to add leaves and to tell the root, and no more.

use serde::{Deserialize, Serialize};

use super::hash::{Hash, empty_root, node_hash};

/// Roots of the complete subtrees of a tree, largest first: one for each bit that is set in its size.
///
/// A million leaves need 20 hashes at most. Adding one costs one hash on average, the root one for each subtree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// Levels of the tree that a file of nodes spans, as C2SP tlog-tiles has them.
    pub const TILE_LEVELS: u32 = 8;

    /// Takes over a frontier that was stored. `None` when there are not as many subtrees as the size demands.
    #[must_use]
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Option<Self> {
        (subtrees.len() == size.count_ones() as usize).then_some(Self { size, subtrees })
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first.
    #[must_use]
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: Hash) {
        self.append_with(leaf, |_, _, _| {});
    }

    /// Adds a leaf and names every node that is complete with it: its level (leaves have 0), its place in that level,
    /// and its hash.
    pub fn append_with(&mut self, leaf: Hash, mut completed: impl FnMut(u32, u64, &Hash)) {
        let mut node = leaf;
        let mut place = self.size;
        completed(0, place, &node);
        // Every trailing one in the size is a subtree that waits for a neighbour of its size.
        for level in 1..=self.size.trailing_ones() {
            let Some(left) = self.subtrees.pop() else {
                break;
            };
            node = node_hash(&left, &node);
            place >>= 1;
            completed(level, place, &node);
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// Root of the tree (RFC 6962, section 2.1): the subtrees joined from the right.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.subtrees.iter().rev().copied();
        joined
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::hash::leaf_hash;
    use super::*;

    /// Leaves of the test vectors of the Certificate Transparency reference implementation.
    pub(in crate::audit) const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    /// Roots of the trees of the first 0 to 8 of these leaves.
    pub(in crate::audit) const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_the_reference_implementation() {
        let mut frontier = Frontier::default();
        assert_eq!(frontier.root().to_string(), ROOTS[0]);
        for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            frontier.append(leaf_hash(leaf));
            assert_eq!(frontier.root().to_string(), *root);
        }
    }

    #[test]
    fn nodes_are_named_when_they_are_complete() {
        let mut frontier = Frontier::default();
        let mut named = Vec::new();
        for leaf in LEAVES {
            frontier.append_with(leaf_hash(leaf), |level, place, _| {
                named.push((level, place));
            });
        }
        let levels: Vec<_> = named.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [0, 0, 1, 0, 0, 1, 2, 0, 0, 1, 0, 0, 1, 2, 3]);
        assert_eq!(named.last(), Some(&(3, 0)));
        assert!(named.contains(&(1, 3)) && named.contains(&(2, 1)));
    }

    #[test]
    fn a_frontier_of_another_size_is_refused() {
        assert_eq!(Frontier::from_parts(3, vec![Hash::default()]), None);
        assert!(Frontier::from_parts(4, vec![Hash::default()]).is_some());
    }
}
