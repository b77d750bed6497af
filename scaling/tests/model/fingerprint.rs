//! States as 128-bit fingerprints, and the set of those already met.
//!
//! ```text
//!   a part of the world ─ derived Hash ─► two lanes of 64 bits ─► fingerprint of the part, kept
//!   all its parts, in order ────────────────────────────────────► fingerprint of the world
//! ```
//!
//! The set keeps 16 bytes a state and no state, in one open table. Two states with one fingerprint
//! would hide what follows the second: among n states that happens with a probability of about
//! n² / 2¹²⁹, below 10⁻²³ for ten million.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// Stands for a state. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint(u128);

/// Of a value by its derived `Hash`.
pub(crate) fn fingerprint(value: &(impl Hash + ?Sized)) -> Fingerprint {
    let mut lanes = Lanes {
        low: 0x2d35_8dcc_aa6c_78a5,
        high: 0x8bb8_4b93_962e_acc9,
    };
    value.hash(&mut lanes);
    let both = u128::from(lanes.high) << 64 | u128::from(lanes.low);
    Fingerprint(both.max(1))
}

/// Two hashes of the same words with different constants, each a folded multiplication a word.
struct Lanes {
    low: u64,
    high: u64,
}

fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

impl Hasher for Lanes {
    fn finish(&self) -> u64 {
        self.low
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, word: u64) {
        self.low = folded(self.low ^ word, 0x9e37_79b9_7f4a_7c15);
        self.high = folded(self.high ^ word.rotate_left(23), 0xd6e8_feb8_6659_fd93);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// A part of the world, shared between the worlds in which it is the same, so that a step copies
/// and hashes only what it changes.
#[derive(Clone)]
pub(crate) struct Shared<T>(Rc<Part<T>>);

#[derive(Clone)]
struct Part<T> {
    value: T,
    /// Computed when first asked for.
    fingerprint: Cell<Option<Fingerprint>>,
}

impl<T: Clone + Hash> Shared<T> {
    pub(crate) fn new(value: T) -> Shared<T> {
        Shared(Rc::new(Part {
            value,
            fingerprint: Cell::new(None),
        }))
    }

    /// The part, of this world alone, to be changed.
    pub(crate) fn change(&mut self) -> &mut T {
        let part = Rc::make_mut(&mut self.0);
        part.fingerprint.set(None);
        &mut part.value
    }
}

impl<T: Clone + Hash + Default> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared::new(T::default())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Hash> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let kept = &self.0.fingerprint;
        let Fingerprint(own) = kept.get().unwrap_or_else(|| fingerprint(&self.0.value));
        kept.set(Some(Fingerprint(own)));
        hasher.write_u64(own as u64);
        hasher.write_u64((own >> 64) as u64);
    }
}

/// A set of fingerprints: open addressing, linear probing, at most three quarters full.
pub(crate) struct Visited {
    // 0 is free. The length is a power of two.
    slots: Vec<u128>,
    len: usize,
}

impl Visited {
    pub(crate) fn new() -> Visited {
        Visited {
            slots: vec![0; 1 << 10],
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a fingerprint; false if it was there.
    pub(crate) fn insert(&mut self, Fingerprint(new): Fingerprint) -> bool {
        if self.len * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.slot(new);
        let absent = self.slots[slot] == 0;
        self.slots[slot] = new;
        self.len += usize::from(absent);
        absent
    }

    /// Where the fingerprint is, or would be.
    fn slot(&self, of: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = of as usize & mask;
        while self.slots[slot] != 0 && self.slots[slot] != of {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let double = vec![0; self.slots.len() * 2];
        for old in std::mem::replace(&mut self.slots, double) {
            if old != 0 {
                let slot = self.slot(old);
                self.slots[slot] = old;
            }
        }
    }
}

#[test]
fn a_set_holds_what_was_inserted() {
    let mut visited = Visited::new();
    for round in 0..2 {
        for number in 0..10_000u32 {
            assert_eq!(visited.insert(fingerprint(&number)), round == 0);
        }
    }
    assert_eq!(visited.len(), 10_000);
}

#[test]
fn a_changed_part_has_another_fingerprint() {
    let first = Shared::new(vec![1u8, 2]);
    let before = fingerprint(&first);
    let mut second = first.clone();
    second.change().push(3);
    assert_ne!(fingerprint(&second), before);
    assert_eq!(fingerprint(&first), before);
    second.change().pop();
    assert_eq!(fingerprint(&second), before);
}
