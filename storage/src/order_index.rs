//! Finds the rows of a partition below a value of one of its columns: what has expired.
//!
//! Rows of one value are told apart by their slots, which they keep for as long as they exist. It
//! is made anew where a partition comes in.

use std::collections::BTreeSet;

use arrow::array::{Array, Int64Array};

/// Slots in the order of a column. Rows where it is NULL are not in it.
#[derive(Debug, Default)]
pub(crate) struct OrderIndex {
    slots: BTreeSet<(i64, u32)>,
    /// By slot, to find a row's entry when it goes; empty if nothing is ordered.
    values: Vec<Option<i64>>,
}

impl OrderIndex {
    /// Adds the slot of a row of a batch.
    pub(crate) fn insert(&mut self, values: &Int64Array, row: usize, slot: u32) {
        let value = values.is_valid(row).then(|| values.value(row));
        let at = slot as usize;
        if self.values.len() <= at {
            self.values.resize(at + 1, None);
        }
        self.values[at] = value;
        self.slots.extend(value.map(|value| (value, slot)));
    }

    /// Removes a slot, if it is there.
    pub(crate) fn remove(&mut self, slot: u32) {
        let value = self.values.get_mut(slot as usize).and_then(Option::take);
        if let Some(value) = value {
            self.slots.remove(&(value, slot));
        }
    }

    /// The slots of values below a limit, ascending by value.
    pub(crate) fn below(&self, limit: i64) -> impl Iterator<Item = u32> + '_ {
        self.slots.range(..(limit, 0)).map(|&(_, slot)| slot)
    }

    /// Memory in bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        // A tree's nodes are two thirds full.
        self.values.len() * size_of::<Option<i64>>()
            + self.slots.len() * size_of::<(i64, u32)>() * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_below_a_limit_come_in_order_and_go() {
        let mut index = OrderIndex::default();
        let values = Int64Array::from(vec![Some(5), None, Some(-3), Some(5), Some(9)]);
        for row in 0..values.len() {
            index.insert(&values, row, row as u32);
        }
        assert_eq!(index.below(5).collect::<Vec<_>>(), [2]);
        assert_eq!(index.below(6).collect::<Vec<_>>(), [2, 0, 3]);
        index.remove(0);
        index.remove(1);
        index.remove(7);
        assert_eq!(index.below(i64::MAX).collect::<Vec<_>>(), [2, 3, 4]);
        index.insert(&values, 4, 0);
        assert_eq!(index.below(10).collect::<Vec<_>>(), [2, 3, 0, 4]);
    }
}
