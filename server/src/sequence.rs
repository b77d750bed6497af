//! Sequences: numbers of which each is given once.
//!
//! ```text
//!   nextval ─► given from memory ─► up to a number that is durable as given
//!                                        └─ reached: the next some numbers are reserved, synced
//! ```
//!
//! After a restart a sequence goes on behind what was reserved, so it may skip numbers, but never
//! gives one again; nor does a ROLLBACK give one back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use storage::{CatalogChange, Storage, crash_point};

use crate::catalog::Entry;
use crate::error::{Error, Result};
use planner::values::types::SqlType;

/// Numbers that are reserved by one write, as in PostgreSQL (`SEQ_LOG_VALS`).
const RESERVED: i128 = 32;

const KEY_PREFIX: &str = "sequence/";

/// What a sequence is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// `smallint`, `integer` or `bigint`.
    pub sql_type: SqlType,
    /// The first number.
    pub start: i64,
    /// From one to the next; not zero.
    pub increment: i64,
    /// The least number.
    pub min: i64,
    /// The greatest.
    pub max: i64,
    /// The table, and the column of it, that it belongs to.
    pub owner: Option<(u32, usize)>,
}

/// Where a sequence is.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The number to be given next; outside of the bounds if there is none.
    next: i128,
    /// The first number that is not reserved.
    reserved: i128,
}

/// Where all sequences are.
#[derive(Debug)]
pub struct Sequences {
    storage: Arc<Storage>,
    places: Mutex<BTreeMap<u32, Place>>,
}

impl Sequences {
    /// Where sequences are according to the durable rows.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a row is not what we write.
    pub fn from_rows(storage: Arc<Storage>, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<Sequences> {
        let mut places = BTreeMap::new();
        for (key, value) in rows {
            let Some(id) = key.strip_prefix(KEY_PREFIX.as_bytes()) else {
                continue;
            };
            let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i128>().ok();
            let place = number(id).zip(number(value));
            let (id, next) = place.ok_or_else(|| {
                Error::Corrupt(format!("sequence row \"{}\"", String::from_utf8_lossy(key)))
            })?;
            let place = Place {
                next,
                reserved: next,
            };
            places.insert(id as u32, place);
        }
        Ok(Sequences {
            storage,
            places: Mutex::new(places),
        })
    }

    /// The next `count` numbers of a sequence.
    ///
    /// # Errors
    /// [`Error::SequenceLimit`] if there are not so many; nothing is given then.
    pub fn next(&self, entry: &Entry, count: usize) -> Result<Vec<i64>> {
        let sequence = definition(entry)?;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let start = i128::from(sequence.start);
        let place = places.entry(entry.id).or_insert(Place {
            next: start,
            reserved: start,
        });
        let step = i128::from(sequence.increment);
        let mut numbers = Vec::with_capacity(count);
        let mut next = place.next;
        for _ in 0..count {
            numbers.push(within(sequence, entry, next)?);
            next += step;
        }
        if (next - place.reserved) * step.signum() > 0 {
            let reserved = next + (RESERVED - 1) * step;
            crash_point!("sequence.reserving");
            self.make_durable(entry.id, reserved)?;
            crash_point!("sequence.reserved");
            place.reserved = reserved;
        }
        place.next = next;
        Ok(numbers)
    }

    /// Goes on at a number: with it, or behind it if it counts as given.
    ///
    /// # Errors
    /// If the number is out of the sequence's bounds.
    pub fn set(&self, entry: &Entry, number: i64, is_given: bool) -> Result<()> {
        let sequence = definition(entry)?;
        if !(sequence.min..=sequence.max).contains(&number) {
            return Err(Error::ValueOutOfBounds {
                message: format!(
                    "setval: value {number} is out of bounds for sequence \"{}\" ({}..{})",
                    entry.name, sequence.min, sequence.max
                ),
            });
        }
        let step = if is_given { sequence.increment } else { 0 };
        let next = i128::from(number) + i128::from(step);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_durable(entry.id, next)?;
        let place = Place {
            next,
            reserved: next,
        };
        places.insert(entry.id, place);
        Ok(())
    }

    fn make_durable(&self, id: u32, next: i128) -> Result<()> {
        Ok(self.storage.write_catalog(CatalogChange {
            puts: vec![(key(id), next.to_string().into_bytes())],
            deletes: Vec::new(),
        })?)
    }
}

/// The durable row of a sequence's place.
#[must_use]
pub fn key(id: u32) -> Vec<u8> {
    format!("{KEY_PREFIX}{id:010}").into_bytes()
}

/// What a relation is as a sequence.
///
/// # Errors
/// [`Error::WrongKind`] if it is none.
pub fn definition(entry: &Entry) -> Result<&Sequence> {
    match &entry.kind {
        crate::catalog::Kind::Sequence(sequence) => Ok(sequence),
        _ => Err(Error::WrongKind {
            name: entry.name.clone(),
            expected: "sequence",
            hint: None,
        }),
    }
}

fn within(sequence: &Sequence, entry: &Entry, number: i128) -> Result<i64> {
    let (min, max) = (i128::from(sequence.min), i128::from(sequence.max));
    let (limit, bound) = if number > max {
        ("maximum", max)
    } else if number < min {
        ("minimum", min)
    } else {
        // Both bounds are of its type.
        return Ok(number as i64);
    };
    Err(Error::SequenceLimit {
        message: format!(
            "nextval: reached {limit} value of sequence \"{}\" ({bound})",
            entry.name
        ),
    })
}

/// What a session has got from sequences, for `currval` and `lastval`.
#[derive(Debug, Default)]
pub struct LastNumbers {
    numbers: BTreeMap<u32, i64>,
    last: Option<u32>,
}

impl LastNumbers {
    /// Notes what `nextval` gave.
    pub fn note(&mut self, id: u32, number: i64) {
        self.numbers.insert(id, number);
        self.last = Some(id);
    }

    /// Notes what `setval` set.
    pub fn set(&mut self, id: u32, number: i64) {
        self.numbers.insert(id, number);
    }

    /// The last number of a sequence.
    #[must_use]
    pub fn of(&self, id: u32) -> Option<i64> {
        self.numbers.get(&id).copied()
    }

    /// The last number of any.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.of(self.last?)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = LastNumbers::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Kind;
    use crate::catalog::tests::entry;

    fn sequence(increment: i64, max: i64) -> Entry {
        let mut entry = entry(20_000, "s", &[]);
        entry.kind = Kind::Sequence(Sequence {
            sql_type: SqlType::Int8,
            start: 1,
            increment,
            min: -3,
            max,
            owner: None,
        });
        entry
    }

    #[test]
    fn no_number_is_given_twice_even_after_a_restart() {
        let kv = Arc::new(storage::memory_kv::MemoryKv::default());
        let storage = Arc::new(Storage::open(kv).unwrap());
        let open = || {
            let rows = storage.catalog_rows().unwrap();
            Sequences::from_rows(Arc::clone(&storage), &rows).unwrap()
        };
        let entry = sequence(1, i64::MAX);
        let sequences = open();
        assert_eq!(sequences.next(&entry, 2).unwrap(), [1, 2]);
        assert_eq!(sequences.next(&entry, 1).unwrap(), [3]);
        let again = open();
        assert_eq!(again.next(&entry, 1).unwrap(), [34], "behind the reserved");
        again.set(&entry, 100, true).unwrap();
        assert_eq!(open().next(&entry, 1).unwrap(), [101]);
        again.set(&entry, 7, false).unwrap();
        assert_eq!(again.next(&entry, 1).unwrap(), [7]);
    }

    #[test]
    fn bounds_hold_in_both_directions() {
        let kv = Arc::new(storage::memory_kv::MemoryKv::default());
        let storage = Arc::new(Storage::open(kv).unwrap());
        let sequences = Sequences::from_rows(storage, &[]).unwrap();
        let up = sequence(2, 4);
        assert_eq!(sequences.next(&up, 2).unwrap(), [1, 3]);
        assert!(matches!(
            sequences.next(&up, 1),
            Err(Error::SequenceLimit { .. })
        ));
        assert!(sequences.set(&up, 5, false).is_err());
        let mut down = sequence(-2, 4);
        down.id += 1;
        assert_eq!(sequences.next(&down, 3).unwrap(), [1, -1, -3]);
        assert!(sequences.next(&down, 1).is_err());
    }
}
