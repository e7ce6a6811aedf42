//! The RFC 6962 Merkle tree: root hashes and proofs.
//!
//! A leaf hash is SHA-256(0x00 ‖ data), and a node hash is SHA-256(0x01 ‖ left ‖ right). Proofs are verified with the
//! algorithms of RFC 9162. Proofs are made from complete subtrees, whose hashes never change and which the caller
//! stores.

use crate::{Sha256Stream, sha256};

/// A leaf, node or root hash.
pub type Hash = [u8; 32];

/// The root hash of the empty tree: SHA-256 of zero bytes.
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Returns the hash of a leaf that has this data (RFC 6962, 2.1).
pub fn leaf_hash(data: &[u8]) -> Hash {
    let mut hash = Sha256Stream::default();
    hash.update(&[0]);
    hash.update(data);
    hash.finish()
}

/// Returns the hash of the node above `left` and `right`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1_u8; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    sha256(&bytes)
}

/// Returns the root hash of the tree with these leaf hashes.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    leaves.iter().for_each(|leaf| frontier.append(*leaf));
    frontier.root()
}

/// Proof that a leaf has a given index in a given tree.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct InclusionProved(());

/// Proof that an older tree is a prefix of a newer tree.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct ConsistencyProved(());

/// Reason why a Merkle proof is not valid.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// The tree has no leaf with this index.
    #[error("a log of {size} entries has no entry {index}")]
    IndexBeyondSize {
        /// The leaf's index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The older tree is larger than the newer tree.
    #[error("a log of {old} entries cannot be an earlier state of a log of {new} entries")]
    SizesReversed {
        /// The size of the older tree.
        old: u64,
        /// The size of the newer tree.
        new: u64,
    },
    /// The number of hashes in the proof does not fit the index and the tree sizes.
    #[error("the proof has the wrong number of hashes for its position")]
    WrongLength,
    /// The hashes of the proof lead to another root hash.
    #[error("the proof gives another root hash; the log or the proof was changed")]
    OtherRoot,
}

/// Verifies that `leaf` has this `index` in the tree of `size` leaves with this root hash (RFC 9162, 2.1.3.2).
///
/// # Errors
/// Returns the reason why the proof is not valid.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<InclusionProved, ProofError> {
    // 1. Compare leaf_index with tree_size.
    if index >= size {
        return Err(ProofError::IndexBeyondSize { index, size });
    }
    // 2. RFC 9162: set two variables, fn to leaf_index and sn to tree_size - 1. 3. Set r to hash.
    let (mut first, mut second, mut hash) = (index, size - 1, *leaf);
    // 4. RFC 9162: for each value p in the inclusion_path array:
    for step in path {
        if second == 0 {
            return Err(ProofError::WrongLength);
        }
        if first & 1 == 1 || first == second {
            hash = node_hash(step, &hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                second >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        first >>= 1;
        second >>= 1;
    }
    // 5. RFC 9162: compare sn to 0 and r against the root_hash.
    if second != 0 {
        return Err(ProofError::WrongLength);
    }
    if hash == *root {
        Ok(InclusionProved(()))
    } else {
        Err(ProofError::OtherRoot)
    }
}

/// Verifies that the tree of `old_size` leaves is a prefix of the tree of `new_size` leaves (RFC 9162, 2.1.4.2).
///
/// The proof is empty if the sizes are equal or the older tree is empty.
///
/// # Errors
/// Returns the reason why the proof is not valid.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    path: &[Hash],
) -> Result<ConsistencyProved, ProofError> {
    if old_size > new_size {
        return Err(ProofError::SizesReversed {
            old: old_size,
            new: new_size,
        });
    }
    if old_size == 0 || old_size == new_size {
        let known = if old_size == 0 { &EMPTY_ROOT } else { new_root };
        let empty_new = new_size != 0 || *new_root == EMPTY_ROOT;
        return match (path.is_empty(), known == old_root && empty_new) {
            (true, true) => Ok(ConsistencyProved(())),
            (false, _) => Err(ProofError::WrongLength),
            (true, false) => Err(ProofError::OtherRoot),
        };
    }
    // 2. RFC 9162: if first is an exact power of 2, prepend first_hash to the consistency_path array.
    let (start, rest) = if old_size.is_power_of_two() {
        (old_root, path)
    } else {
        path.split_first().ok_or(ProofError::WrongLength)?
    };
    // 3. RFC 9162: set fn to first - 1 and sn to second - 1. 4. RFC 9162: if LSB(fn) is set, shift fn and sn to the
    //    right until LSB(fn) is not set.
    let shift = (old_size - 1).trailing_ones();
    let (mut first, mut second) = ((old_size - 1) >> shift, (new_size - 1) >> shift);
    // 5. RFC 9162: set fr and sr to the first value of the path.
    let (mut old, mut new) = (*start, *start);
    // 6. RFC 9162: for each subsequent value c in the consistency_path array:
    for step in rest {
        if second == 0 {
            return Err(ProofError::WrongLength);
        }
        if first & 1 == 1 || first == second {
            old = node_hash(step, &old);
            new = node_hash(step, &new);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                second >>= 1;
            }
        } else {
            new = node_hash(&new, step);
        }
        first >>= 1;
        second >>= 1;
    }
    // 7. RFC 9162: verify that fr is first_hash, sr is second_hash and sn is 0.
    if second != 0 || (rest.is_empty() && path.is_empty()) {
        return Err(ProofError::WrongLength);
    }
    if old == *old_root && new == *new_root {
        Ok(ConsistencyProved(()))
    } else {
        Err(ProofError::OtherRoot)
    }
}

/// Returns the root hash of the tree of `size` leaves. `source(level, index)` returns the hash of the complete subtree
/// over the leaves from `index << level` up to, but not including, `(index + 1) << level`. Level 0 contains the leaf
/// hashes.
///
/// # Errors
/// Returns the errors of `source`.
pub fn root_of<E>(
    size: u64,
    mut source: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    range(0, size, &mut source)
}

/// Returns the inclusion proof of the leaf `index` in the tree of `size` leaves, lowest hash first (RFC 6962, 2.1.1).
/// Returns `None` if the tree has no such leaf. `source` is as in [`root_of`].
///
/// # Errors
/// Returns the errors of `source`.
pub fn inclusion_path<E>(
    index: u64,
    size: u64,
    mut source: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let (mut low, mut high, mut path) = (0, size, Vec::new());
    while high - low > 1 {
        let middle = low + left_leaves(high - low);
        if index < middle {
            path.push(range(middle, high, &mut source)?);
            high = middle;
        } else {
            path.push(range(low, middle, &mut source)?);
            low = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// Returns the proof that the tree of `old` leaves is a prefix of the tree of `size` leaves (RFC 6962, 2.1.2). Returns
/// `None` if `old` is larger than `size`. The proof is empty if the sizes are equal or the old tree is empty. `source`
/// is as in [`root_of`].
///
/// # Errors
/// Returns the errors of `source`.
pub fn consistency_path<E>(
    old: u64,
    size: u64,
    mut source: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old > size {
        return Ok(None);
    }
    let (mut low, mut high, mut path) = (0, size, Vec::new());
    if old == 0 {
        return Ok(Some(path));
    }
    while old != high {
        let middle = low + left_leaves(high - low);
        if old <= middle {
            path.push(range(middle, high, &mut source)?);
            high = middle;
        } else {
            path.push(range(low, middle, &mut source)?);
            low = middle;
        }
    }
    // If the old tree is a complete subtree, its root hash is not part of the proof, because the verifier knows it.
    if low > 0 {
        path.push(range(low, high, &mut source)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// Returns the largest power of two below `leaves` (RFC 6962: k < n <= 2k). `leaves` must be at least 2.
fn left_leaves(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Returns the root hash of the subtree over the leaves `low..high`. `low` must be a multiple of the largest power of
/// two that is at most `high - low`.
fn range<E>(
    mut low: u64,
    high: u64,
    source: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let mut parts = Vec::new();
    while low < high {
        let level = (high - low).ilog2();
        // ilog2 of a u64 is below 64.
        parts.push(source(
            u8::try_from(level).unwrap_or(u8::MAX),
            low >> level,
        )?);
        low += 1 << level;
    }
    Ok(fold(&parts))
}

fn fold(parts: &[Hash]) -> Hash {
    let mut rest = parts.iter().rev();
    let Some(last) = rest.next() else {
        return EMPTY_ROOT;
    };
    rest.fold(*last, |right, left| node_hash(left, &right))
}

/// The right edge of a tree: the root hashes of its complete subtrees, largest subtree first. Appending a leaf needs no
/// other data.
#[derive(Default)]
pub struct Frontier {
    size: u64,
    parts: Vec<Hash>,
}

impl Frontier {
    /// Returns the right edge of a tree of `size` leaves from its parts: one hash for each 1 bit of `size`, largest
    /// subtree first. Returns `None` if the number of parts is wrong.
    pub fn from_parts(size: u64, parts: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()) == Ok(parts.len())).then_some(Self { size, parts })
    }

    /// Appends a leaf.
    pub fn append(&mut self, leaf: Hash) {
        let (mut index, mut hash) = (self.size, leaf);
        while index & 1 == 1 {
            let Some(left) = self.parts.pop() else { break };
            hash = node_hash(&left, &hash);
            index >>= 1;
        }
        self.parts.push(hash);
        self.size += 1;
    }

    /// Returns the number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root hash over all leaves.
    pub fn root(&self) -> Hash {
        fold(&self.parts)
    }

    /// Returns the root hashes of the complete subtrees, largest subtree first.
    pub fn parts(&self) -> &[Hash] {
        &self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    /// Tree with the leaves `leaf <i>`, and the hash of every complete subtree.
    struct Tree {
        frontier: Frontier,
        subtrees: HashMap<(u8, u64), Hash>,
        roots: Vec<Hash>,
    }

    impl Tree {
        fn of(leaves: impl IntoIterator<Item = Hash>) -> Self {
            let leaves: Vec<Hash> = leaves.into_iter().collect();
            let mut tree = Self {
                frontier: Frontier::default(),
                subtrees: HashMap::new(),
                roots: vec![EMPTY_ROOT],
            };
            for leaf in &leaves {
                tree.frontier.append(*leaf);
                tree.roots.push(tree.frontier.root());
            }
            for level in 0..16 {
                for (index, subtree) in (0..).zip(leaves.chunks_exact(1 << level)) {
                    tree.subtrees.insert((level, index), textbook_root(subtree));
                }
            }
            tree
        }

        fn numbered(size: u64) -> Self {
            Self::of((0..size).map(|i| leaf_hash(format!("leaf {i}").as_bytes())))
        }

        fn source(&self) -> impl FnMut(u8, u64) -> Result<Hash, Infallible> {
            |level, index| Ok(self.subtrees[&(level, index)])
        }

        fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
            inclusion_path(index, size, self.source())
                .expect("source")
                .expect("a leaf")
        }

        fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
            consistency_path(old, new, self.source())
                .expect("source")
                .expect("older")
        }

        fn root(&self, size: u64) -> &Hash {
            &self.roots[usize::try_from(size).expect("small")]
        }
    }

    /// Computes the root hash with the recursive definition of RFC 6962, section 2.1.
    fn textbook_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(b""),
            [one] => *one,
            more => {
                let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
                node_hash(&textbook_root(left), &textbook_root(right))
            }
        }
    }

    #[test]
    fn every_inclusion_proof_up_to_size_70_verifies_and_changed_proofs_fail() {
        let tree = Tree::numbered(71);
        for size in 1..=70 {
            let root = tree.root(size);
            for index in 0..size {
                let leaf = tree.subtrees[&(0, index)];
                let path = tree.inclusion(index, size);
                assert_eq!(
                    verify_inclusion(&leaf, index, size, &path, root),
                    Ok(InclusionProved(()))
                );
                let refused = |leaf: &Hash, index, size, path: &[Hash], root: &Hash| {
                    assert!(
                        verify_inclusion(leaf, index, size, path, root).is_err(),
                        "{index} of {size}"
                    );
                };
                refused(&leaf, index + 1, size, &path, root);
                refused(&leaf, index ^ 1, size, &path, root);
                refused(&EMPTY_ROOT, index, size, &path, root);
                refused(&leaf, index, size, &path, tree.root(size + 1));
                refused(&leaf, index, size, &[&path[..], &[leaf]].concat(), root);
                for at in 0..path.len() {
                    let mut other = path.clone();
                    other[at][at % 32] ^= 1;
                    refused(&leaf, index, size, &other, root);
                    other.remove(at);
                    refused(&leaf, index, size, &other, root);
                    let mut swapped = path.clone();
                    swapped.swap(at, (at + 1) % path.len());
                    if swapped != path {
                        refused(&leaf, index, size, &swapped, root);
                    }
                }
            }
        }
        assert_eq!(inclusion_path(3, 3, tree.source()), Ok(None));
    }

    #[test]
    fn every_consistency_proof_up_to_size_70_verifies_and_changed_proofs_fail() {
        let tree = Tree::numbered(71);
        for new in 0..=70 {
            for old in 0..=new {
                let (old_root, new_root) = (tree.root(old), tree.root(new));
                let path = tree.consistency(old, new);
                assert_eq!(
                    verify_consistency(old, old_root, new, new_root, &path),
                    Ok(ConsistencyProved(())),
                    "{old} {new}"
                );
                let refused = |old_root: &Hash, new_root: &Hash, path: &[Hash]| {
                    assert!(
                        verify_consistency(old, old_root, new, new_root, path).is_err(),
                        "{old} {new}"
                    );
                };
                refused(tree.root(old + 1), new_root, &path);
                refused(old_root, new_root, &[&path[..], &[*old_root]].concat());
                if old > 0 {
                    refused(old_root, tree.root(new + 1), &path);
                }
                for at in 0..path.len() {
                    let mut other = path.clone();
                    other[at][at % 32] ^= 1;
                    refused(old_root, new_root, &other);
                    other.remove(at);
                    refused(old_root, new_root, &other);
                }
            }
        }
        assert_eq!(consistency_path(4, 3, tree.source()), Ok(None));
        assert!(verify_consistency(4, tree.root(4), 3, tree.root(3), &[]).is_err());
    }

    #[test]
    fn a_stored_frontier_can_be_continued() {
        let tree = Tree::numbered(70);
        let mut leaves = Vec::new();
        for size in 0..70 {
            let frontier = Tree::numbered(size).frontier;
            assert_eq!(frontier.root(), *tree.root(size));
            assert_eq!(root_of(size, tree.source()), Ok(*tree.root(size)));
            assert_eq!(textbook_root(&leaves), *tree.root(size));
            let mut again = Frontier::from_parts(size, frontier.parts().to_vec()).expect("parts");
            again.append(tree.subtrees[&(0, size)]);
            assert_eq!(
                (again.size(), again.root()),
                (size + 1, *tree.root(size + 1))
            );
            assert_eq!(
                Frontier::from_parts(size + 1, frontier.parts().to_vec()).is_some(),
                size.count_ones() == (size + 1).count_ones()
            );
            leaves.push(tree.subtrees[&(0, size)]);
        }
    }

    proptest! {
        #[test]
        fn random_proofs_cause_no_panic(index in any::<u64>(), size in any::<u64>(), path in proptest::collection::vec(any::<[u8; 32]>(), 0..70)) {
            prop_assert!(verify_inclusion(&EMPTY_ROOT, index, size, &path, &EMPTY_ROOT).is_err() || (index, size) == (0, 1));
            drop(verify_consistency(index, &EMPTY_ROOT, size, &EMPTY_ROOT, &path));
        }
    }
}
