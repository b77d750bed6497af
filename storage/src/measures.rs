//! Measures: the fixed-width values that a partition keeps for each of its rows.
//!
//! A measure changes by addition only, so changes may arrive in any order and a retraction may
//! overtake its insertion. A Z-set has one measure, the weight; an aggregation has a count, sums.
//! Where rows are never taken back, it may have the greatest of some numbers: that depends on no
//! order either.
//! Columns are vectors of one type each; a row is an index into all of them.
//!
//! Integer additions wrap: a sum may pass the limits of its type inside an epoch and come back.
//! Who emits a value checks its range then.
//!
//! A row is *zero* when its integer measures are; floating point sums do not count (unless there
//! is nothing else), because what rounding leaves of a sum must not keep a group alive, nor do
//! greatest numbers, which do not go away. They are reset when the row goes.

use std::ops::Range;

use arrow::datatypes::i256;

/// The type of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MeasureType {
    /// Weights, counts, sums of narrow integers. 8 bytes.
    Int64,
    /// Sums of 64-bit integers and of decimals. 16 bytes.
    Int128,
    /// Sums of 128-bit decimals. 32 bytes.
    Int256,
    /// Sums of floating point numbers, as [`FloatSum`]. 16 bytes.
    Float64,
    /// The greatest of numbers above zero; zero if there is none. Its opposite is zero. 16 bytes.
    Greatest,
}

impl MeasureType {
    /// Width of one value in bytes.
    #[must_use]
    pub const fn width(self) -> usize {
        match self {
            Self::Int64 => 8,
            Self::Int128 | Self::Float64 | Self::Greatest => 16,
            Self::Int256 => 32,
        }
    }

    /// Whether it is set to zero when its row goes, and does not keep it.
    pub(crate) const fn is_reset(self) -> bool {
        matches!(self, Self::Float64 | Self::Greatest)
    }
}

/// A sum of finite floating point numbers in twice the precision: `high + low`, where `low` holds
/// what rounding took from `high` (Knuth's two-sum; Dekker 1971).
///
/// NaN and the infinities cannot be retracted from a sum: count them in integer measures.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FloatSum {
    /// The sum, rounded.
    pub high: f64,
    /// What is missing in `high`.
    pub low: f64,
}

impl FloatSum {
    /// The sum of one number.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self {
            high: value,
            low: 0.0,
        }
    }

    /// This sum plus another.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (high, error) = two_sum(self.high, other.high);
        if !high.is_finite() {
            return Self::new(high);
        }
        let (low, rest) = two_sum(self.low, other.low);
        let (high, low) = fast_two_sum(high, error + low);
        let (high, low) = fast_two_sum(high, low + rest);
        Self { high, low }
    }

    /// This sum with the opposite sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self {
            high: -self.high,
            low: -self.low,
        }
    }

    /// The sum, rounded to one floating point number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.high + self.low
    }

    fn is_zero(self) -> bool {
        self.high == 0.0 && self.low == 0.0
    }
}

/// `a + b` rounded, and the exact error of the rounding.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    (sum, (a - (sum - b_seen)) + (b - b_seen))
}

/// Like [`two_sum`], where `a` is known to be the larger one.
fn fast_two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    (sum, b - (sum - a))
}

/// One measure of many rows.
#[derive(Debug, Clone, PartialEq)]
pub enum MeasureColumn {
    /// Values of [`MeasureType::Int64`].
    Int64(Vec<i64>),
    /// Values of [`MeasureType::Int128`].
    Int128(Vec<i128>),
    /// Values of [`MeasureType::Int256`].
    Int256(Vec<i256>),
    /// Values of [`MeasureType::Float64`].
    Float64(Vec<FloatSum>),
    /// Values of [`MeasureType::Greatest`].
    Greatest(Vec<i128>),
}

/// Runs the same code on the vector of a column, whatever its type.
macro_rules! each_type {
    ($column:expr, $values:ident => $body:expr) => {
        match $column {
            MeasureColumn::Int64($values) => $body,
            MeasureColumn::Int128($values) => $body,
            MeasureColumn::Int256($values) => $body,
            MeasureColumn::Float64($values) => $body,
            MeasureColumn::Greatest($values) => $body,
        }
    };
}

/// Runs code on the vectors of two columns of one type; columns of different types are a bug.
macro_rules! both_types {
    ($left:expr, $right:expr, $a:ident, $b:ident => $body:expr) => {
        match ($left, $right) {
            (MeasureColumn::Int64($a), MeasureColumn::Int64($b)) => $body,
            (MeasureColumn::Int128($a), MeasureColumn::Int128($b)) => $body,
            (MeasureColumn::Int256($a), MeasureColumn::Int256($b)) => $body,
            (MeasureColumn::Float64($a), MeasureColumn::Float64($b)) => $body,
            (MeasureColumn::Greatest($a), MeasureColumn::Greatest($b)) => $body,
            _ => unreachable!("measures of one table have the same types everywhere"),
        }
    };
}

impl MeasureColumn {
    /// `rows` zeros of a type.
    #[must_use]
    pub fn zeros(measure: MeasureType, rows: usize) -> Self {
        match measure {
            MeasureType::Int64 => Self::Int64(vec![0; rows]),
            MeasureType::Int128 => Self::Int128(vec![0; rows]),
            MeasureType::Int256 => Self::Int256(vec![i256::ZERO; rows]),
            MeasureType::Float64 => Self::Float64(vec![FloatSum::default(); rows]),
            MeasureType::Greatest => Self::Greatest(vec![0; rows]),
        }
    }

    /// The type of the values.
    #[must_use]
    pub fn measure_type(&self) -> MeasureType {
        match self {
            Self::Int64(_) => MeasureType::Int64,
            Self::Int128(_) => MeasureType::Int128,
            Self::Int256(_) => MeasureType::Int256,
            Self::Float64(_) => MeasureType::Float64,
            Self::Greatest(_) => MeasureType::Greatest,
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        each_type!(self, values => values.len())
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the value of a row is zero.
    #[must_use]
    pub fn is_zero(&self, row: usize) -> bool {
        match self {
            Self::Int64(values) => values[row] == 0,
            Self::Int128(values) | Self::Greatest(values) => values[row] == 0,
            Self::Int256(values) => values[row] == i256::ZERO,
            Self::Float64(values) => values[row].is_zero(),
        }
    }

    /// The values of the given rows, in the order given.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        fn gather<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|&row| values[row as usize]).collect()
        }
        match self {
            Self::Int64(values) => Self::Int64(gather(values, rows)),
            Self::Int128(values) => Self::Int128(gather(values, rows)),
            Self::Int256(values) => Self::Int256(gather(values, rows)),
            Self::Float64(values) => Self::Float64(gather(values, rows)),
            Self::Greatest(values) => Self::Greatest(gather(values, rows)),
        }
    }

    fn fold(&self, groups: &[usize], count: usize) -> Self {
        fn folded<T: Copy + Default>(
            values: &[T],
            groups: &[usize],
            count: usize,
            plus: impl Fn(T, T) -> T,
        ) -> Vec<T> {
            let mut sums = vec![T::default(); count];
            for (&value, &group) in values.iter().zip(groups) {
                sums[group] = plus(sums[group], value);
            }
            sums
        }
        match self {
            Self::Int64(v) => Self::Int64(folded(v, groups, count, i64::wrapping_add)),
            Self::Int128(v) => Self::Int128(folded(v, groups, count, i128::wrapping_add)),
            Self::Int256(v) => Self::Int256(folded(v, groups, count, i256::wrapping_add)),
            Self::Float64(v) => Self::Float64(folded(v, groups, count, FloatSum::plus)),
            Self::Greatest(v) => Self::Greatest(folded(v, groups, count, i128::max)),
        }
    }

    fn slice(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Int64(values) => Self::Int64(values[rows].to_vec()),
            Self::Int128(values) => Self::Int128(values[rows].to_vec()),
            Self::Int256(values) => Self::Int256(values[rows].to_vec()),
            Self::Float64(values) => Self::Float64(values[rows].to_vec()),
            Self::Greatest(values) => Self::Greatest(values[rows].to_vec()),
        }
    }

    fn negated(&self) -> Self {
        match self {
            Self::Int64(v) => Self::Int64(v.iter().map(|x| x.wrapping_neg()).collect()),
            Self::Int128(v) => Self::Int128(v.iter().map(|x| x.wrapping_neg()).collect()),
            Self::Int256(v) => Self::Int256(v.iter().map(|x| x.wrapping_neg()).collect()),
            Self::Float64(v) => Self::Float64(v.iter().map(|x| x.negated()).collect()),
            Self::Greatest(v) => Self::Greatest(vec![0; v.len()]),
        }
    }

    pub(crate) fn write_value(&self, row: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Int64(values) => bytes.extend_from_slice(&values[row].to_le_bytes()),
            Self::Int128(values) | Self::Greatest(values) => {
                bytes.extend_from_slice(&values[row].to_le_bytes());
            }
            Self::Int256(values) => bytes.extend_from_slice(&values[row].to_le_bytes()),
            Self::Float64(values) => {
                bytes.extend_from_slice(&values[row].high.to_le_bytes());
                bytes.extend_from_slice(&values[row].low.to_le_bytes());
            }
        }
    }

    /// Appends the value that `bytes` hold; their length is the width of the type.
    pub(crate) fn read_value(&mut self, bytes: &[u8]) {
        const WIDTH: &str = "the caller cut the bytes at the width of the type";
        match self {
            Self::Int64(v) => v.push(i64::from_le_bytes(bytes.try_into().expect(WIDTH))),
            Self::Int128(v) | Self::Greatest(v) => {
                v.push(i128::from_le_bytes(bytes.try_into().expect(WIDTH)));
            }
            Self::Int256(v) => v.push(i256::from_le_bytes(bytes.try_into().expect(WIDTH))),
            Self::Float64(v) => {
                let (high, low) = bytes.split_at(8);
                v.push(FloatSum {
                    high: f64::from_le_bytes(high.try_into().expect(WIDTH)),
                    low: f64::from_le_bytes(low.try_into().expect(WIDTH)),
                });
            }
        }
    }
}

/// All measures of many rows: one column a measure, of equal lengths.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measures(pub Vec<MeasureColumn>);

impl Measures {
    /// `rows` rows of zeros.
    #[must_use]
    pub fn zeros(types: &[MeasureType], rows: usize) -> Self {
        Self(
            types
                .iter()
                .map(|&measure| MeasureColumn::zeros(measure, rows))
                .collect(),
        )
    }

    /// The measures of a Z-set: one weight a row.
    #[must_use]
    pub fn weights(weights: Vec<i64>) -> Self {
        Self(vec![MeasureColumn::Int64(weights)])
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.first().map_or(0, MeasureColumn::len)
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of each measure.
    #[must_use]
    pub fn types(&self) -> Vec<MeasureType> {
        self.0.iter().map(MeasureColumn::measure_type).collect()
    }

    /// The values of a measure of type [`MeasureType::Int64`], `None` if it is of another type.
    #[must_use]
    pub fn int64(&self, measure: usize) -> Option<&[i64]> {
        match self.0.get(measure) {
            Some(MeasureColumn::Int64(values)) => Some(values),
            _ => None,
        }
    }

    /// Whether a row is zero (see the head of this file for floating point sums).
    #[must_use]
    pub fn is_zero(&self, row: usize) -> bool {
        let mut integers = false;
        for column in &self.0 {
            if column.measure_type().is_reset() {
                continue;
            }
            integers = true;
            if !column.is_zero(row) {
                return false;
            }
        }
        integers || self.0.iter().all(|column| column.is_zero(row))
    }

    /// The given rows, in the order given.
    #[must_use]
    pub fn take(&self, rows: &[u32]) -> Self {
        Self(self.0.iter().map(|column| column.take(rows)).collect())
    }

    /// The rows of each group added up: `groups` has one entry a row, below `count`.
    #[must_use]
    pub fn fold(&self, groups: &[usize], count: usize) -> Self {
        let columns = self.0.iter();
        Self(columns.map(|column| column.fold(groups, count)).collect())
    }

    /// A range of rows.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        Self(self.0.iter().map(|c| c.slice(rows.clone())).collect())
    }

    /// The rows for which `keep` is true; `keep` has one entry a row.
    #[must_use]
    pub fn filter(&self, keep: &[bool]) -> Self {
        let rows: Vec<u32> = (0u32..)
            .zip(keep)
            .filter_map(|(row, &keep)| keep.then_some(row))
            .collect();
        self.take(&rows)
    }

    /// All measures with the opposite sign.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self(self.0.iter().map(MeasureColumn::negated).collect())
    }

    /// Appends one row of `from`.
    pub fn push_from(&mut self, from: &Self, row: usize) {
        for (to, from) in self.0.iter_mut().zip(&from.0) {
            both_types!(to, from, a, b => a.push(b[row]));
        }
    }

    /// Sets all measures of a row to zero.
    pub(crate) fn reset(&mut self, row: usize) {
        for column in &mut self.0 {
            match column {
                MeasureColumn::Int64(values) => values[row] = 0,
                MeasureColumn::Int128(values) | MeasureColumn::Greatest(values) => values[row] = 0,
                MeasureColumn::Int256(values) => values[row] = i256::ZERO,
                MeasureColumn::Float64(values) => values[row] = FloatSum::default(),
            }
        }
    }

    /// Removes all rows and keeps the memory.
    pub(crate) fn clear(&mut self) {
        for column in &mut self.0 {
            each_type!(column, values => values.clear());
        }
    }

    /// Bytes of one row.
    pub(crate) fn row_bytes(types: &[MeasureType]) -> usize {
        types.iter().map(|measure| measure.width()).sum()
    }

    /// Appends the stored form of a row: every measure, little-endian.
    pub(crate) fn write_row(&self, row: usize, bytes: &mut Vec<u8>) {
        for column in &self.0 {
            column.write_value(row, bytes);
        }
    }

    /// Appends the row that `bytes` hold in stored form; `false` if they are of another length.
    pub(crate) fn read_row(&mut self, mut bytes: &[u8]) -> bool {
        if bytes.len() != Self::row_bytes(&self.types()) {
            return false;
        }
        for column in &mut self.0 {
            let (value, rest) = bytes.split_at(column.measure_type().width());
            column.read_value(value);
            bytes = rest;
        }
        true
    }
}
