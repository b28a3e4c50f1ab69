//! Fair shares: how many of so many things each of some nodes is to have.

use std::collections::BTreeMap;

use lockgate_proto::id::NodeId;

/// What each node may still get.
#[derive(Debug)]
pub(super) struct Shares {
    left: BTreeMap<NodeId, usize>,
}

impl Shares {
    /// Splits `total` evenly. Those that have most already get one more where it does not come out even, so that they
    /// need not give it away.
    pub(super) fn split(total: usize, having: &BTreeMap<NodeId, usize>) -> Self {
        let nodes = having.len().max(1);
        let (each, more) = (total / nodes, total % nodes);
        let mut by_need: Vec<_> = having.iter().map(|(node, has)| (*node, *has)).collect();
        // Stable: among equals the lower number comes first, on every node alike.
        by_need.sort_by_key(|(_, has)| std::cmp::Reverse(*has));
        let shares = by_need.into_iter().enumerate();
        Self {
            left: shares
                .map(|(place, (node, _))| (node, each + usize::from(place < more)))
                .collect(),
        }
    }

    /// Whether `node` is to get more than `has`.
    pub(super) fn lacks(&self, node: NodeId, has: usize) -> bool {
        self.left.get(&node).is_some_and(|left| *left > has)
    }

    /// Takes one of `node`'s share, if there is any left.
    pub(super) fn take(&mut self, node: NodeId) -> bool {
        match self.left.get_mut(&node) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Takes one from whoever has most left, but for `not`. Among equals it is the first behind `after`, so that
    /// what belongs to one node does not all go to one other.
    pub(super) fn take_most(&mut self, not: Option<NodeId>, after: NodeId) -> Option<NodeId> {
        let open = self.left.iter();
        let open = open.filter(|(node, left)| **left > 0 && Some(**node) != not);
        let (node, _) = open.max_by_key(|(node, left)| {
            let behind = **node > after;
            (**left, behind, std::cmp::Reverse(**node))
        })?;
        let node = *node;
        self.take(node);
        Some(node)
    }
}
