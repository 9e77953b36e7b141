//! Which of the nodes that are up a machine asks first. Pure.

use wulfpack_shared::id::NodeName;

/// Where the machine called so begins in a list of `count` nodes: each at another place, and the same question has the same answer.
pub fn neighbour_start(name: &NodeName, count: usize) -> usize {
    let sum = name.as_str().bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    sum % count.max(1)
}
