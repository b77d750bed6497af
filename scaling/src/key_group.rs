//! Key groups, the fixed hash slices of a fragment's key space, and ordered sets of them.
//!
//! A set is a bitmap: 32 bytes at the default of 256 key groups, so membership costs one load and a
//! set travels as cheaply as a number. Trailing zero words are never kept, so equal sets are equal
//! words.

use std::cmp::Ordering;
use std::fmt;

/// Key groups of a fragment unless configured otherwise. Fixed when the server's data directory is
/// created.
pub const KEY_GROUPS_DEFAULT: u16 = 256;

/// One fixed slice of the key space: the unit of owning and moving state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u16);

impl KeyGroup {
    /// Its number, to index a vector with.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

const WORD_BITS: usize = u64::BITS as usize;

/// A set of key groups, iterated in ascending order. Displays as ranges: `0-3,7`.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyGroupSet {
    words: Vec<u64>,
}

impl KeyGroupSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> KeyGroupSet {
        KeyGroupSet::default()
    }

    /// All of a fragment's key groups, `0..key_groups`.
    #[must_use]
    pub fn all(key_groups: u16) -> KeyGroupSet {
        (0..key_groups).map(KeyGroup).collect()
    }

    /// Adds a key group; false if it was already there.
    pub fn insert(&mut self, key_group: KeyGroup) -> bool {
        let (word, bit) = position(key_group);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let absent = self.words[word] & bit == 0;
        self.words[word] |= bit;
        absent
    }

    /// Takes a key group out; false if it was not there.
    pub fn remove(&mut self, key_group: KeyGroup) -> bool {
        if !self.contains(key_group) {
            return false;
        }
        let (word, bit) = position(key_group);
        self.words[word] &= !bit;
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
        true
    }

    /// Whether the key group is in the set.
    #[must_use]
    pub fn contains(&self, key_group: KeyGroup) -> bool {
        let (word, bit) = position(key_group);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// How many key groups the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|bits| bits.count_ones() as usize)
            .sum()
    }

    /// Whether the set has no key group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The lowest key group.
    #[must_use]
    pub fn first(&self) -> Option<KeyGroup> {
        self.iter().next()
    }

    /// The key groups, ascending.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            words: &self.words,
            word: 0,
            bits: self.words.first().copied().unwrap_or(0),
        }
    }
}

fn position(key_group: KeyGroup) -> (usize, u64) {
    (
        key_group.index() / WORD_BITS,
        1 << (key_group.index() % WORD_BITS),
    )
}

/// The key groups of a set, ascending.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    words: &'a [u64],
    word: usize,
    bits: u64,
}

impl Iterator for Iter<'_> {
    type Item = KeyGroup;

    fn next(&mut self) -> Option<KeyGroup> {
        while self.bits == 0 {
            self.word += 1;
            self.bits = *self.words.get(self.word)?;
        }
        let number = self.word * WORD_BITS + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(KeyGroup(
            u16::try_from(number).expect("only u16 numbers are ever inserted"),
        ))
    }
}

impl<'a> IntoIterator for &'a KeyGroupSet {
    type Item = KeyGroup;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<KeyGroup> for KeyGroupSet {
    fn from_iter<I: IntoIterator<Item = KeyGroup>>(key_groups: I) -> KeyGroupSet {
        let mut set = KeyGroupSet::new();
        set.extend(key_groups);
        set
    }
}

impl Extend<KeyGroup> for KeyGroupSet {
    fn extend<I: IntoIterator<Item = KeyGroup>>(&mut self, key_groups: I) {
        for key_group in key_groups {
            self.insert(key_group);
        }
    }
}

impl PartialOrd for KeyGroupSet {
    fn partial_cmp(&self, other: &KeyGroupSet) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyGroupSet {
    /// Like sorted lists of numbers.
    fn cmp(&self, other: &KeyGroupSet) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Display for KeyGroupSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| next.index() == last.index() + 1) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for KeyGroupSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u16]) -> KeyGroupSet {
        numbers.iter().copied().map(KeyGroup).collect()
    }

    #[test]
    fn displays_ranges() {
        assert_eq!(set(&[]).to_string(), "");
        assert_eq!(set(&[7]).to_string(), "7");
        assert_eq!(
            set(&[7, 3, 1, 2, 0, 64, 63, 65535]).to_string(),
            "0-3,7,63-64,65535"
        );
        assert_eq!(format!("{:?}", set(&[1, 2])), "{1-2}");
        assert_eq!(KeyGroupSet::all(256).to_string(), "0-255");
    }

    #[test]
    fn equal_whatever_was_removed_before() {
        let mut with_history = set(&[1, 500]);
        assert!(with_history.remove(KeyGroup(500)));
        assert!(!with_history.remove(KeyGroup(500)));
        assert!(!with_history.remove(KeyGroup(9000)));
        assert_eq!(with_history, set(&[1]));
        assert!(with_history.remove(KeyGroup(1)));
        assert!(with_history.is_empty());
        assert_eq!(with_history, KeyGroupSet::new());
    }

    #[test]
    fn counts_and_orders_like_a_sorted_list() {
        let mut three = set(&[5, 100, 300]);
        assert_eq!(three.len(), 3);
        assert!(!three.insert(KeyGroup(100)));
        assert!(three.contains(KeyGroup(300)) && !three.contains(KeyGroup(301)));
        assert_eq!(three.first(), Some(KeyGroup(5)));
        assert!(set(&[1, 2]) < set(&[1, 3]) && set(&[1]) < set(&[1, 2]) && set(&[]) < set(&[0]));
    }
}
