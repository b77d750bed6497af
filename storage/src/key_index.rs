//! Finds the rows of a key: for each key, the slots of its rows.
//!
//! The key is not stored: it is read from the first row of its list. So a look-up compares the
//! key once, however many rows it has.

use hashbrown::HashTable;

/// Lists of slots by key.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    lists: HashTable<KeyRows>,
}

#[derive(Debug)]
struct KeyRows {
    hash: u64,
    slots: Slots,
}

/// The slots of a key; most keys of most tables have one.
#[derive(Debug)]
enum Slots {
    One(u32),
    Many(Vec<u32>),
}

impl Slots {
    fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    fn push(&mut self, slot: u32) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, slot]),
            Self::Many(slots) => slots.push(slot),
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        match self {
            Self::One(slot) if keep(*slot) => {}
            Self::One(_) => *self = Self::Many(Vec::new()),
            Self::Many(slots) => slots.retain(|&slot| keep(slot)),
        }
    }
}

impl KeyIndex {
    /// The slots of a key, of which `equal` is told the first; there may be none.
    pub(crate) fn find(&self, hash: u64, equal: impl Fn(u32) -> bool) -> &[u32] {
        self.lists
            .find(hash, |list| {
                list.hash == hash && equal(list.slots.as_slice()[0])
            })
            .map_or(&[], |list| list.slots.as_slice())
    }

    /// A slot of some key of a hash, if there is one.
    pub(crate) fn first(&self, hash: u64) -> Option<u32> {
        let list = self.lists.find(hash, |list| list.hash == hash);
        list.map(|list| list.slots.as_slice()[0])
    }

    /// Adds a slot to the list of its key.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32, equal: impl Fn(u32) -> bool) {
        let list = self.lists.find_mut(hash, |list| {
            list.hash == hash && equal(list.slots.as_slice()[0])
        });
        match list {
            Some(list) => list.slots.push(slot),
            None => {
                let slots = Slots::One(slot);
                self.lists
                    .insert_unique(hash, KeyRows { hash, slots }, |list| list.hash);
            }
        }
    }

    /// Removes the slots that `keep` refuses; all of them have keys of the given hashes.
    pub(crate) fn remove(&mut self, mut hashes: Vec<u64>, keep: impl Fn(u32) -> bool) {
        // One pass over a list however many of its rows go: lists can be long.
        hashes.sort_unstable();
        hashes.dedup();
        for hash in hashes {
            for list in self.lists.iter_hash_mut(hash) {
                if list.hash == hash {
                    list.slots.retain(&keep);
                }
            }
            let empty = |list: &KeyRows| list.hash == hash && list.slots.as_slice().is_empty();
            while let Ok(entry) = self.lists.find_entry(hash, empty) {
                entry.remove();
            }
        }
    }

    /// Memory in bytes, about, if there are so many slots in it.
    pub(crate) fn bytes(&self, slots: usize) -> usize {
        // Lists of more than one slot are vectors, which are half full or more.
        let in_vectors = slots.saturating_sub(self.lists.len());
        self.lists.allocation_size() + in_vectors * size_of::<u32>() * 2
    }
}
