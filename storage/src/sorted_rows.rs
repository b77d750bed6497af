//! The rows of a chunk in the order of some columns: what a range or the first rows of an order are read by.
//!
//! ```text
//!   keys   k₀ ≤ k₁ ≤ k₂ ≤ …     the columns of each row, encoded so that bytes compare as the values do
//!   rows   r₀   r₁   r₂   …     where in the chunk the row of each key is
//! ```
//!
//! It is made when a read first asks for it, never by a write, and then belongs to the chunk: every
//! snapshot that has the chunk finds it, and it goes when the chunk does. The order is ascending, NULL
//! last; read backwards it is PostgreSQL's `DESC`.
//!
//! Not here: reading many chunks in one order (`key_read.rs`).

use std::ops::Bound;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// How an encoded NULL begins; every value begins with a lesser byte.
const NULL_MARK: u8 = 0xff;

/// Columns that rows are sorted by.
#[derive(Debug)]
pub struct KeyOrder {
    columns: Box<[usize]>,
    /// One for each column: their encodings one after the other are that of the key.
    converters: Vec<RowConverter>,
    whole: RowConverter,
}

/// What the column after those with equal values may be.
#[derive(Debug, Clone)]
pub enum Next {
    /// Anything, or there is no such column.
    Any,
    /// A value.
    NotNull,
    /// NULL.
    Null,
    /// A value between two; each an array of one that is not NULL.
    Between(Bound<ArrayRef>, Bound<ArrayRef>),
}

/// Keys from a first to before a last one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

impl KeyOrder {
    /// The order by `columns` of a table of this schema.
    ///
    /// # Errors
    /// If a column has a type without an Arrow row format.
    pub fn new(schema: &Schema, columns: &[usize]) -> Result<KeyOrder> {
        let field = |&column: &usize| sort_field(schema.field(column).data_type());
        let converters = columns.iter().map(|c| RowConverter::new(vec![field(c)]));
        Ok(KeyOrder {
            columns: columns.into(),
            converters: converters.collect::<std::result::Result<_, _>>()?,
            whole: RowConverter::new(columns.iter().map(field).collect())?,
        })
    }

    /// The keys whose first columns have these values, each an array of one, and whose next column
    /// is as `next` says.
    ///
    /// # Errors
    /// If a value is not of its column's type.
    pub fn range(&self, equal: &[ArrayRef], next: &Next) -> Result<KeyRange> {
        let mut start = Vec::new();
        for (value, converter) in equal.iter().zip(&self.converters) {
            start.extend(encoded(converter, value)?);
        }
        let with = |value: &ArrayRef| -> Result<Vec<u8>> {
            let cell = encoded(&self.converters[equal.len()], value)?;
            Ok([&start[..], &cell[..]].concat())
        };
        let null = || [&start[..], &[NULL_MARK]].concat();
        let (low, high) = match next {
            Next::Any => (start.clone(), successor(start)),
            Next::NotNull => (start.clone(), Some(null())),
            Next::Null => (null(), successor(start)),
            Next::Between(low, high) => {
                let low = match low {
                    Bound::Included(value) => with(value)?,
                    // No key is as great as a NULL here.
                    Bound::Excluded(value) => successor(with(value)?).unwrap_or_else(null),
                    Bound::Unbounded => start.clone(),
                };
                let high = match high {
                    Bound::Included(value) => successor(with(value)?),
                    Bound::Excluded(value) => Some(with(value)?),
                    Bound::Unbounded => Some(null()),
                };
                (low, high)
            }
        };
        Ok(KeyRange { low, high })
    }
}

fn sort_field(data_type: &DataType) -> SortField {
    let options = SortOptions {
        descending: false,
        nulls_first: false,
    };
    SortField::new_with_options(data_type.clone(), options)
}

fn encoded(converter: &RowConverter, value: &ArrayRef) -> Result<Vec<u8>> {
    let rows = converter.convert_columns(std::slice::from_ref(value))?;
    Ok(rows.row(0).data().to_vec())
}

/// The least bytes that are greater than all that begin with these; `None` if there are none.
fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

/// The rows of a chunk, sorted.
#[derive(Debug)]
pub(crate) struct SortedRows {
    rows: Vec<u32>,
    keys: Vec<u8>,
    ends: Ends,
}

/// Where keys end.
#[derive(Debug)]
enum Ends {
    /// All have so many bytes.
    Every(usize),
    At(Vec<usize>),
}

impl SortedRows {
    /// Sorts rows with these key columns.
    fn new(order: &KeyOrder, columns: &[ArrayRef]) -> Result<SortedRows> {
        let encoded = order.whole.convert_columns(columns)?;
        let count = encoded.num_rows();
        let mut rows: Vec<u32> = (0..count as u32).collect();
        let key = |row: u32| encoded.row(row as usize).data();
        rows.sort_unstable_by(|&a, &b| key(a).cmp(key(b)).then(a.cmp(&b)));
        let bytes = rows.iter().map(|&row| key(row).len()).sum();
        let mut keys = Vec::with_capacity(bytes);
        let mut ends = Vec::with_capacity(count);
        for &row in &rows {
            keys.extend_from_slice(key(row));
            ends.push(keys.len());
        }
        let width = ends.first().copied().unwrap_or(0);
        let is_even = (1usize..).zip(&ends).all(|(nth, &end)| end == nth * width);
        let ends = match is_even {
            true => Ends::Every(width),
            false => Ends::At(ends),
        };
        Ok(SortedRows { rows, keys, ends })
    }

    /// The key at a place of the order.
    #[inline]
    pub(crate) fn key(&self, at: usize) -> &[u8] {
        match &self.ends {
            Ends::Every(width) => &self.keys[at * width..(at + 1) * width],
            Ends::At(ends) => {
                let start = at.checked_sub(1).map_or(0, |before| ends[before]);
                &self.keys[start..ends[at]]
            }
        }
    }

    /// Where in the chunk the row at a place of the order is.
    #[inline]
    pub(crate) fn row(&self, at: usize) -> usize {
        self.rows[at] as usize
    }

    /// The places of a range of keys.
    pub(crate) fn places(&self, range: &KeyRange) -> std::ops::Range<usize> {
        let first = self.first_from(&range.low);
        let end = match &range.high {
            Some(high) => self.first_from(high),
            None => self.rows.len(),
        };
        first..end.max(first)
    }

    /// The first place whose key is not less.
    fn first_from(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle) < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    fn bytes(&self) -> usize {
        let ends = match &self.ends {
            Ends::Every(_) => 0,
            Ends::At(ends) => ends.capacity() * size_of::<usize>(),
        };
        self.rows.capacity() * size_of::<u32>() + self.keys.capacity() + ends
    }
}

/// The orders that the rows of a chunk have been read in so far. Snapshots that share the chunk share it.
#[derive(Debug, Default)]
pub(crate) struct ChunkOrders {
    sorted: OnceLock<(Box<[usize]>, Arc<SortedRows>)>,
    /// Held by who sorts, so that nobody else does at the same time.
    sorting: Mutex<()>,
    next: OnceLock<Box<ChunkOrders>>,
}

impl ChunkOrders {
    /// The rows in an order; `columns` gives the chunk's columns if they are to be sorted now.
    pub(crate) fn sorted(
        &self,
        order: &KeyOrder,
        columns: impl Fn(&[usize]) -> Vec<ArrayRef>,
    ) -> Result<&Arc<SortedRows>> {
        let mut orders = self;
        loop {
            let (by, sorted) = match orders.sorted.get() {
                Some(known) => known,
                None => orders.sort(order, &columns)?,
            };
            if *by == order.columns {
                return Ok(sorted);
            }
            orders = orders.next.get_or_init(Box::default);
        }
    }

    /// What was sorted here first, perhaps just now by another thread and in another order.
    fn sort(
        &self,
        order: &KeyOrder,
        columns: impl Fn(&[usize]) -> Vec<ArrayRef>,
    ) -> Result<&(Box<[usize]>, Arc<SortedRows>)> {
        let _sorting = self.sorting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.sorted.get() {
            return Ok(known);
        }
        let sorted = Arc::new(SortedRows::new(order, &columns(&order.columns))?);
        Ok(self.sorted.get_or_init(|| (order.columns.clone(), sorted)))
    }

    /// Memory in bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        let own = self.sorted.get().map_or(0, |(_, sorted)| sorted.bytes());
        own + self.next.get().map_or(0, |next| next.bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use arrow::array::{Float64Array, Int32Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn int(value: i32) -> ArrayRef {
        Arc::new(Int32Array::from(vec![value]))
    }

    fn text(value: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![value]))
    }

    /// The rows of a range, of two columns.
    fn rows_in(equal: &[ArrayRef], next: Next) -> Vec<usize> {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8, true),
        ]);
        let a = Int32Array::from(vec![Some(2), Some(1), None, Some(1), Some(-7), Some(1)]);
        let b = StringArray::from(vec![Some("x"), Some("b"), Some("y"), None, None, Some("")]);
        let columns: Vec<ArrayRef> = vec![Arc::new(a), Arc::new(b)];
        let order = KeyOrder::new(&schema, &[0, 1]).unwrap();
        let sorted = SortedRows::new(&order, &columns).unwrap();
        let places = sorted.places(&order.range(equal, &next).unwrap());
        places.map(|at| sorted.row(at)).collect()
    }

    #[test]
    fn ranges_of_a_composite_key() {
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(rows_in(&[], Next::Any), [4, 5, 1, 3, 0, 2]);
        assert_eq!(rows_in(&[], Next::NotNull), [4, 5, 1, 3, 0]);
        assert_eq!(rows_in(&[], Next::Null), [2]);
        assert_eq!(rows_in(&[int(1)], Next::Any), [5, 1, 3]);
        assert_eq!(rows_in(&[int(1)], Next::Null), [3]);
        assert_eq!(rows_in(&[int(1), text("b")], Next::Any), [1]);
        let between = |low, high| rows_in(&[], Next::Between(low, high));
        assert_eq!(between(Included(int(1)), Unbounded), [5, 1, 3, 0]);
        assert_eq!(between(Excluded(int(1)), Unbounded), [0]);
        assert_eq!(between(Unbounded, Excluded(int(1))), [4]);
        assert_eq!(between(Unbounded, Included(int(1))), [4, 5, 1, 3]);
        assert_eq!(between(Included(int(5)), Included(int(1))), [0usize; 0]);
        let from_a = Next::Between(Included(text("a")), Unbounded);
        assert_eq!(rows_in(&[int(1)], from_a), [1]);
        let below = Next::Between(Unbounded, Excluded(text("b")));
        assert_eq!(rows_in(&[int(1)], below), [5]);
    }

    #[test]
    fn nan_is_the_greatest_number_and_null_is_last() {
        let schema = Schema::new(vec![Field::new("a", DataType::Float64, true)]);
        let values = vec![None, Some(f64::NAN), Some(f64::INFINITY), Some(-1.0)];
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        let order = KeyOrder::new(&schema, &[0]).unwrap();
        let sorted = SortedRows::new(&order, &[column]).unwrap();
        assert_eq!(sorted.rows, [3, 2, 1, 0]);
        let infinite: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY]));
        let above = Next::Between(Bound::Excluded(infinite), Bound::Unbounded);
        assert_eq!(sorted.places(&order.range(&[], &above).unwrap()), 2..3);
    }

    #[test]
    fn a_chunk_is_sorted_once_for_each_order() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Int32, true),
        ]);
        let a: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let b: ArrayRef = Arc::new(Int32Array::from(vec![9, 8]));
        let orders = ChunkOrders::default();
        let rows_by = |column: usize| {
            let order = KeyOrder::new(&schema, &[column]).unwrap();
            let cells = |_: &[usize]| vec![Arc::clone(if column == 0 { &a } else { &b })];
            orders.sorted(&order, cells).unwrap()
        };
        assert_eq!(orders.bytes(), 0);
        let by_a = rows_by(0);
        let bytes = orders.bytes();
        assert_eq!(rows_by(1).rows, [1, 0]);
        assert!(Arc::ptr_eq(by_a, rows_by(0)));
        assert_eq!(orders.bytes(), bytes * 2);
    }
}
