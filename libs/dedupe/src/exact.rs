//! A set of keys, held exactly.

use ahash::RandomState;
use hashbrown::HashTable;

/// A power of two.
const SHARDS: usize = 64;

/// A set of 64-bit keys. It grows shard by shard, so that no single insertion moves more than a 64th of it: the owner
/// of a partition inserts between two messages.
#[derive(Debug, Clone)]
pub(crate) struct Exact {
    shards: Box<[HashTable<u64>]>,
    hasher: RandomState,
    len: usize,
}

impl Exact {
    /// `salt` is unknown to clients: uids can be chosen so that their keys collide in a table whose hash is known.
    pub(crate) fn new(salt: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            hasher: RandomState::with_seeds(salt, !salt, salt.rotate_left(32), 0),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn shard(hash: u64) -> usize {
        // The table takes its place from the low bits and its tag from the topmost ones.
        (hash >> 40) as usize % SHARDS
    }

    pub(crate) fn contains(&self, key: u64) -> bool {
        let hash = self.hasher.hash_one(key);
        self.shards[Self::shard(hash)]
            .find(hash, |found| *found == key)
            .is_some()
    }

    /// Whether it was not there.
    pub(crate) fn insert(&mut self, key: u64) -> bool {
        let Self { shards, hasher, len } = self;
        let hash = hasher.hash_one(key);
        let shard = &mut shards[Self::shard(hash)];
        if shard.find(hash, |found| *found == key).is_some() {
            return false;
        }
        shard.insert_unique(hash, key, |key| hasher.hash_one(key));
        *len += 1;
        true
    }

    pub(crate) fn remove(&mut self, key: u64) {
        let hash = self.hasher.hash_one(key);
        if let Ok(found) = self.shards[Self::shard(hash)].find_entry(hash, |found| *found == key) {
            found.remove();
            self.len -= 1;
        }
    }

    /// All keys, in ascending order: the same for the same keys, whatever the table looks like.
    pub(crate) fn sorted(&self) -> Vec<u64> {
        let mut keys: Vec<u64> = self.shards.iter().flatten().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.shards.iter().map(HashTable::allocation_size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let mut set = Exact::new(7);
        assert!(set.insert(1) && set.insert(u64::MAX) && !set.insert(1));
        assert!(set.contains(1) && set.contains(u64::MAX) && !set.contains(2));
        set.remove(1);
        set.remove(2);
        assert!(!set.contains(1));
        assert_eq!((set.len(), set.sorted()), (1, vec![u64::MAX]));
    }
}
