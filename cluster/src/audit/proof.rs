//! Proofs over a Merkle tree: that a leaf is in it, and that one tree is the beginning of another (RFC 6962, section
//! 2.1; checked as RFC 9162, sections 2.1.3 and 2.1.4, says).

use super::hash::{Hash, empty_root, node_hash};

/// Where the nodes of complete subtrees are kept.
pub trait Nodes {
    /// Why a node can't be had.
    type Error;

    /// Node at `place` of `level`; leaves have level 0. Only complete subtrees are asked for.
    ///
    /// # Errors
    /// When the node can't be read.
    fn node(&self, level: u32, place: u64) -> Result<Hash, Self::Error>;
}

/// Audit path of leaf `index` in the tree of the first `size` leaves, from the leaf up (RFC 6962, section 2.1.1).
/// `None` when the leaf isn't in that tree.
///
/// # Errors
/// When a node can't be read.
pub fn inclusion<N: Nodes>(
    nodes: &N,
    index: u64,
    size: u64,
) -> Result<Option<Vec<Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// Proof that the tree of the first `old` leaves is the beginning of that of the first `new` (RFC 6962, section
/// 2.1.2). Empty when `old` is 0 or `new`; `None` when it is larger.
///
/// # Errors
/// When a node can't be read.
pub fn consistency<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Option<Vec<Hash>>, N::Error> {
    if old > new {
        return Ok(None);
    }
    if old == 0 || old == new {
        return Ok(Some(Vec::new()));
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, new);
    // While this holds, the rest of the old tree begins where the new one does, and its root is known.
    let mut whole = true;
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range_root(nodes, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(nodes, start, middle)?);
            start = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(range_root(nodes, start, end)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// Root of the tree of the first `size` leaves.
///
/// # Errors
/// When a node can't be read.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 {
        return Ok(empty_root());
    }
    range_root(nodes, 0, size)
}

/// Whether `path` leads from `leaf`, at `index`, to `root`, the root of a tree of `size` leaves (RFC 9162, section
/// 2.1.3.2).
#[must_use]
pub fn includes(root: &Hash, size: u64, index: u64, leaf: &Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last) = (index, size - 1);
    let mut node = *leaf;
    for neighbour in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            node = node_hash(neighbour, &node);
            // A node without a right neighbour goes up unchanged until it is a right one itself.
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, neighbour);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && node == *root
}

/// Whether `path` shows that the tree of `old` leaves with `old_root` is the beginning of that of `new` leaves with
/// `new_root` (RFC 9162, section 2.1.4.2).
#[must_use]
pub fn is_consistent(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    path: &[Hash],
) -> bool {
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    if old > new {
        return false;
    }
    // An old tree that is one complete subtree is the first node of the path itself.
    let (first, path) = match path.split_first() {
        _ if old.is_power_of_two() => (old_root, path),
        Some((first, path)) => (first, path),
        None => return false,
    };
    let mut place = old - 1;
    let mut last = new - 1;
    let complete = place.trailing_ones();
    place >>= complete;
    last >>= complete;
    let (mut in_old, mut in_new) = (*first, *first);
    for neighbour in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            in_old = node_hash(neighbour, &in_old);
            in_new = node_hash(neighbour, &in_new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            in_new = node_hash(&in_new, neighbour);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && in_old == *old_root && in_new == *new_root
}

/// Largest power of two below `size`, which is at least 2 (the `k` of RFC 6962, section 2.1).
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Root over the leaves from `start` to `end`. `start` is where a complete subtree of that size could begin, so that
/// the range falls into complete subtrees, largest first.
fn range_root<N: Nodes>(nodes: &N, start: u64, end: u64) -> Result<Hash, N::Error> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        parts.push(nodes.node(level, at >> level)?);
        at += 1 << level;
    }
    let mut root = parts.pop().unwrap_or_else(empty_root);
    while let Some(left) = parts.pop() {
        root = node_hash(&left, &root);
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::hash::leaf_hash;
    use super::super::tree::Frontier;
    use super::super::tree::tests::{LEAVES, ROOTS};
    use super::*;

    impl Nodes for HashMap<(u32, u64), Hash> {
        type Error = Infallible;

        fn node(&self, level: u32, place: u64) -> Result<Hash, Infallible> {
            Ok(self[&(level, place)])
        }
    }

    fn hash(hex: &str) -> Hash {
        Hash::from_hex(hex.as_bytes()).unwrap()
    }

    fn tree(leaves: impl Iterator<Item = Vec<u8>>) -> (HashMap<(u32, u64), Hash>, Vec<Hash>) {
        let mut frontier = Frontier::default();
        let mut nodes = HashMap::new();
        let mut roots = vec![frontier.root()];
        for leaf in leaves {
            frontier.append_with(leaf_hash(&leaf), |level, place, node| {
                nodes.insert((level, place), *node);
            });
            roots.push(frontier.root());
        }
        (nodes, roots)
    }

    #[track_caller]
    fn check_inclusion(index: u64, size: u64, path: &[&str]) {
        let (nodes, _) = tree(LEAVES.iter().map(|leaf| leaf.to_vec()));
        let path: Vec<Hash> = path.iter().map(|node| hash(node)).collect();
        assert_eq!(inclusion(&nodes, index, size), Ok(Some(path.clone())));
        let index_of = usize::try_from(index).unwrap();
        let root = hash(ROOTS[usize::try_from(size).unwrap()]);
        assert!(includes(
            &root,
            size,
            index,
            &leaf_hash(LEAVES[index_of]),
            &path
        ));
    }

    #[track_caller]
    fn check_consistency(old: u64, new: u64, path: &[&str]) {
        let (nodes, _) = tree(LEAVES.iter().map(|leaf| leaf.to_vec()));
        let path: Vec<Hash> = path.iter().map(|node| hash(node)).collect();
        assert_eq!(consistency(&nodes, old, new), Ok(Some(path.clone())));
        let root = |size: u64| hash(ROOTS[usize::try_from(size).unwrap()]);
        assert!(is_consistent((old, &root(old)), (new, &root(new)), &path));
    }

    // The vectors of the reference implementation (certificate-transparency `merkle_tree_test.cc`).
    const L1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const L2: &str = "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7";
    const L4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const N01: &str = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
    const N23: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const N45: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    const N67: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const N03: &str = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    const N47: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";

    #[test]
    fn inclusion_proofs_are_those_of_the_reference_implementation() {
        check_inclusion(0, 1, &[]);
        check_inclusion(0, 8, &[L1, N23, N47]);
        check_inclusion(5, 8, &[L4, N67, N03]);
        check_inclusion(2, 3, &[N01]);
        check_inclusion(
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                N23,
                L4,
            ],
        );
    }

    #[test]
    fn consistency_proofs_are_those_of_the_reference_implementation() {
        check_consistency(1, 1, &[]);
        check_consistency(1, 8, &[L1, N23, N47]);
        check_consistency(6, 8, &[N45, N67, N03]);
        check_consistency(2, 5, &[N23, L4]);
        check_consistency(
            6,
            7,
            &[
                N45,
                "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
                N03,
            ],
        );
        check_consistency(
            3,
            4,
            &[
                L2,
                "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
                N01,
            ],
        );
    }

    #[test]
    fn proofs_of_what_is_not_there_are_refused() {
        let (nodes, roots) = tree(LEAVES.iter().map(|leaf| leaf.to_vec()));
        assert_eq!(inclusion(&nodes, 8, 8), Ok(None));
        assert_eq!(consistency(&nodes, 8, 7), Ok(None));
        assert!(!includes(&roots[8], 8, 8, &leaf_hash(b""), &[]));
        assert!(!is_consistent((8, &roots[8]), (7, &roots[7]), &[]));
        assert!(!is_consistent((3, &roots[3]), (8, &roots[8]), &[]));
        assert!(is_consistent((0, &roots[0]), (8, &roots[8]), &[]));
    }

    proptest! {
        #[test]
        fn every_proof_holds_and_no_changed_one(size in 1_u64..200, pick: prop::sample::Index, flip in 0..256_usize) {
            let leaf = |at: u64| at.to_be_bytes().to_vec();
            let (nodes, roots) = tree((0..size).map(leaf));
            let root_of = |size: u64| &roots[usize::try_from(size).unwrap()];
            let index = pick.index(usize::try_from(size).unwrap()) as u64;
            prop_assert_eq!(&root(&nodes, size).unwrap(), root_of(size));

            let path = inclusion(&nodes, index, size).unwrap().unwrap();
            let hash = leaf_hash(&leaf(index));
            prop_assert!(includes(root_of(size), size, index, &hash, &path));
            prop_assert!(!includes(root_of(size), size, index ^ 1, &hash, &path));
            let mut changed = path.clone();
            if !changed.is_empty() {
                let at = flip % changed.len();
                changed[at].0[flip / 8] ^= 1 << (flip % 8);
                prop_assert!(!includes(root_of(size), size, index, &hash, &changed));
                prop_assert!(!includes(root_of(size), size, index, &hash, &path[1..]));
            }

            let old = (index + 1, root_of(index + 1));
            let path = consistency(&nodes, index + 1, size).unwrap().unwrap();
            prop_assert!(is_consistent(old, (size, root_of(size)), &path));
            let mut changed = path;
            if !changed.is_empty() {
                let at = flip % changed.len();
                changed[at].0[flip / 8] ^= 1 << (flip % 8);
                prop_assert!(!is_consistent(old, (size, root_of(size)), &changed));
            }
        }
    }
}
