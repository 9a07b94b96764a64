//! Which node has a key: rendezvous hashing (Thaler and Ravishankar, 1998). Every node that knows the same nodes comes to the same
//! answer without asking; when a node comes or goes, only the keys move that it gets or had.

use alloc::vec::Vec;

use crate::node::NodeId;

/// Mixes all bits of a number into all bits (the finaliser of MurmurHash3).
const fn mix(mut n: u64) -> u64 {
    n = (n ^ (n >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    n = (n ^ (n >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ (n >> 33)
}

/// How much a node wants a key.
const fn score(node: NodeId, key: u64) -> u64 {
    mix(mix(node.0 ^ 0x9e37_79b9_7f4a_7c15) ^ key)
}

/// The node that has a key, of those that there are; `None` of none. `key` is a hash ([`crate::hash`]).
#[must_use]
pub fn owner(nodes: &[NodeId], key: u64) -> Option<NodeId> {
    nodes
        .iter()
        .copied()
        .max_by_key(|node| (score(*node, key), *node))
}

/// All nodes in the order in which they have the key: the first is its owner, and the next one when that is gone.
#[must_use]
pub fn order(nodes: &[NodeId], key: u64) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable_by_key(|node| core::cmp::Reverse((score(*node, key), *node)));
    nodes.dedup();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn each_node_has_about_as_many_keys() {
        let nodes = nodes(8);
        let mut counts = [0_u32; 9];
        for key in 0..80_000 {
            counts[owner(&nodes, key).unwrap().0 as usize] += 1;
        }
        assert!(
            counts[1..].iter().all(|n| (9_500..10_500).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_the_keys_of_a_node_that_goes_move_and_to_the_next_in_order() {
        let all = nodes(8);
        let without: Vec<NodeId> = all.iter().copied().filter(|n| n.0 != 3).collect();
        for key in 0..10_000 {
            let before = order(&all, key);
            assert_eq!(owner(&all, key), Some(before[0]));
            let after = owner(&without, key).unwrap();
            assert_eq!(
                after,
                if before[0].0 == 3 {
                    before[1]
                } else {
                    before[0]
                }
            );
        }
        assert_eq!(owner(&[], 1), None);
    }
}
