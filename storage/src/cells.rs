//! The values of a column as bytes: what hashing and equality look at.
//!
//! A state table treats rows as equal when their bytes are. So the type of a column is looked at
//! once, here, and the loops over rows see fixed-width words or byte strings only. Floats are
//! made canonical before they come here ([`canonical`]). Types without such a form (lists,
//! structs, dictionaries) are represented by their Arrow row format.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, Float32Array, Float64Array,
    GenericByteArray, ListArray, MapArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::unary;
use arrow::datatypes::{
    ArrowNativeType, ByteArrayType, DataType, Float32Type, Float64Type, IntervalUnit,
};
use arrow::row::{RowConverter, SortField};

use crate::hash::{fold, word_of_bytes, word_of_words};

/// One column of a batch or of a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    values: Values,
    nulls: Option<NullBuffer>,
}

/// How the bytes of a cell are found.
#[derive(Debug, Clone)]
enum Values {
    Null,
    Bits(BooleanBuffer),
    One(ScalarBuffer<i8>),
    OneUnsigned(ScalarBuffer<u8>),
    Two(ScalarBuffer<i16>),
    TwoUnsigned(ScalarBuffer<u16>),
    Four(ScalarBuffer<i32>),
    FourUnsigned(ScalarBuffer<u32>),
    Eight(ScalarBuffer<u64>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    /// Two words a cell.
    Sixteen(ScalarBuffer<u64>),
    /// Four words a cell.
    ThirtyTwo(ScalarBuffer<u64>),
    Bytes(OffsetBuffer<i32>, Buffer),
    LargeBytes(OffsetBuffer<i64>, Buffer),
    Views(BinaryViewArray),
}

/// Columns in which equal floats have equal bits: -0.0 becomes 0.0, every NaN the same NaN.
pub(crate) fn canonical(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    columns.iter().map(canonical_column).collect()
}

fn canonical_column(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => canonical_f32(column),
        DataType::Float64 => canonical_f64(column),
        DataType::Struct(_) => canonical_fields(column),
        DataType::List(_) => canonical_items(column),
        DataType::Map(..) => canonical_entries(column),
        _ => Arc::clone(column),
    }
}

fn canonical_fields(column: &ArrayRef) -> ArrayRef {
    let (fields, columns, nulls) = column.as_struct().clone().into_parts();
    let columns = canonical(&columns);
    Arc::new(StructArray::new(fields, columns, nulls))
}

fn canonical_items(column: &ArrayRef) -> ArrayRef {
    let (field, offsets, items, nulls) = column.as_list::<i32>().clone().into_parts();
    let items = canonical_column(&items);
    Arc::new(ListArray::new(field, offsets, items, nulls))
}

/// Keys are no floats; so the entries of equal maps stay in one order.
fn canonical_entries(column: &ArrayRef) -> ArrayRef {
    let (field, offsets, entries, nulls, ordered) = column.as_map().clone().into_parts();
    let (fields, columns, _) = entries.into_parts();
    let entries = StructArray::new(fields, canonical(&columns), None);
    Arc::new(MapArray::new(field, offsets, entries, nulls, ordered))
}

fn canonical_f32(column: &ArrayRef) -> ArrayRef {
    let array = column.as_primitive::<Float32Type>();
    let odd = |value: &f32| value.is_nan() || value.to_bits() == 0x8000_0000;
    if !array.values().iter().any(odd) {
        return Arc::clone(column);
    }
    let array: Float32Array = unary(array, |value| {
        if value.is_nan() {
            f32::NAN
        } else {
            value + 0.0
        }
    });
    Arc::new(array)
}

fn canonical_f64(column: &ArrayRef) -> ArrayRef {
    let array = column.as_primitive::<Float64Type>();
    let odd = |value: &f64| value.is_nan() || value.to_bits() == 1 << 63;
    if !array.values().iter().any(odd) {
        return Arc::clone(column);
    }
    let array: Float64Array = unary(array, canonical_float);
    Arc::new(array)
}

fn canonical_float(value: f64) -> f64 {
    // Adding zero turns -0.0 into 0.0 and changes nothing else.
    if value.is_nan() {
        f64::NAN
    } else {
        value + 0.0
    }
}

impl Cells {
    /// The cells of an array.
    ///
    /// # Panics
    /// When its type has no Arrow row format either.
    pub(crate) fn new(array: &ArrayRef) -> Self {
        Self {
            values: values(array),
            nulls: array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
        }
    }

    /// Whether a cell is NULL.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Whether two cells hold the same value; NULL equals NULL. Both columns have one type.
    #[inline]
    pub(crate) fn equal(&self, row: usize, other: &Self, other_row: usize) -> bool {
        if self.nulls.is_some() || other.nulls.is_some() {
            match (self.is_null(row), other.is_null(other_row)) {
                (false, false) => {}
                (left, right) => return left && right,
            }
        }
        self.values.equal(row, &other.values, other_row)
    }

    /// Folds the word of each cell into the hash of its row.
    pub(crate) fn fold_words(&self, null_word: u64, hashes: &mut [u64]) {
        match &self.nulls {
            None => self.values.fold_words(hashes, |_, word| word),
            Some(nulls) => {
                self.values.fold_words(
                    hashes,
                    |row, word| {
                        if nulls.is_null(row) { null_word } else { word }
                    },
                )
            }
        }
    }
}

impl Values {
    #[inline]
    fn equal(&self, i: usize, other: &Self, j: usize) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bits(a), Self::Bits(b)) => a.value(i) == b.value(j),
            (Self::One(a), Self::One(b)) => a[i] == b[j],
            (Self::OneUnsigned(a), Self::OneUnsigned(b)) => a[i] == b[j],
            (Self::Two(a), Self::Two(b)) => a[i] == b[j],
            (Self::TwoUnsigned(a), Self::TwoUnsigned(b)) => a[i] == b[j],
            (Self::Four(a), Self::Four(b)) => a[i] == b[j],
            (Self::FourUnsigned(a), Self::FourUnsigned(b)) => a[i] == b[j],
            (Self::Eight(a), Self::Eight(b)) => a[i] == b[j],
            (Self::Float32(a), Self::Float32(b)) => a[i].to_bits() == b[j].to_bits(),
            (Self::Float64(a), Self::Float64(b)) => a[i].to_bits() == b[j].to_bits(),
            (Self::Sixteen(a), Self::Sixteen(b)) => a[2 * i..2 * i + 2] == b[2 * j..2 * j + 2],
            (Self::ThirtyTwo(a), Self::ThirtyTwo(b)) => a[4 * i..4 * i + 4] == b[4 * j..4 * j + 4],
            (Self::Bytes(..) | Self::LargeBytes(..) | Self::Views(_), _) => {
                self.bytes(i) == other.bytes(j)
            }
            _ => unreachable!("the columns of one table have the same types everywhere"),
        }
    }

    /// The bytes of a cell of variable width.
    #[inline]
    fn bytes(&self, row: usize) -> &[u8] {
        match self {
            Self::Bytes(offsets, bytes) => &bytes[offsets[row] as usize..offsets[row + 1] as usize],
            Self::LargeBytes(offsets, bytes) => {
                &bytes[offsets[row] as usize..offsets[row + 1] as usize]
            }
            Self::Views(array) => array.value(row),
            _ => unreachable!("the columns of one table have the same types everywhere"),
        }
    }

    /// Folds the words of all cells into the hashes, in a loop of its own for each type.
    fn fold_words(&self, hashes: &mut [u64], choose: impl Fn(usize, u64) -> u64) {
        macro_rules! fold_all {
            ($row:ident => $word:expr) => {
                for ($row, hash) in hashes.iter_mut().enumerate() {
                    *hash = fold(*hash, choose($row, $word));
                }
            };
        }
        match self {
            Self::Null => fold_all!(row => 0),
            Self::Bits(v) => fold_all!(row => u64::from(v.value(row))),
            Self::One(v) => fold_all!(row => i64::from(v[row]) as u64),
            Self::OneUnsigned(v) => fold_all!(row => u64::from(v[row])),
            Self::Two(v) => fold_all!(row => i64::from(v[row]) as u64),
            Self::TwoUnsigned(v) => fold_all!(row => u64::from(v[row])),
            Self::Four(v) => fold_all!(row => i64::from(v[row]) as u64),
            Self::FourUnsigned(v) => fold_all!(row => u64::from(v[row])),
            Self::Eight(v) => fold_all!(row => v[row]),
            Self::Float32(v) => fold_all!(row => canonical_float(f64::from(v[row])).to_bits()),
            Self::Float64(v) => fold_all!(row => canonical_float(v[row]).to_bits()),
            Self::Sixteen(v) => fold_all!(row => word_of_words(&v[2 * row..2 * row + 2])),
            Self::ThirtyTwo(v) => fold_all!(row => word_of_words(&v[4 * row..4 * row + 4])),
            Self::Bytes(..) | Self::LargeBytes(..) | Self::Views(_) => {
                fold_all!(row => word_of_bytes(self.bytes(row)));
            }
        }
    }
}

fn values(array: &ArrayRef) -> Values {
    use DataType as T;
    match array.data_type() {
        T::Null => Values::Null,
        T::Boolean => Values::Bits(array.as_boolean().values().clone()),
        T::Int8 => Values::One(words(array, 1)),
        T::UInt8 => Values::OneUnsigned(words(array, 1)),
        T::Int16 => Values::Two(words(array, 1)),
        T::UInt16 => Values::TwoUnsigned(words(array, 1)),
        T::Int32
        | T::Date32
        | T::Time32(_)
        | T::Interval(IntervalUnit::YearMonth)
        | T::Decimal32(..) => Values::Four(words(array, 1)),
        T::UInt32 => Values::FourUnsigned(words(array, 1)),
        T::Float32 => Values::Float32(words(array, 1)),
        T::Float64 => Values::Float64(words(array, 1)),
        T::Int64
        | T::UInt64
        | T::Date64
        | T::Time64(_)
        | T::Timestamp(..)
        | T::Duration(_)
        | T::Interval(IntervalUnit::DayTime)
        | T::Decimal64(..) => Values::Eight(words(array, 1)),
        T::Interval(IntervalUnit::MonthDayNano) | T::Decimal128(..) => {
            Values::Sixteen(words(array, 2))
        }
        T::Decimal256(..) => Values::ThirtyTwo(words(array, 4)),
        T::Utf8 => bytes_of(array.as_string::<i32>()),
        T::Binary => bytes_of(array.as_binary::<i32>()),
        T::LargeUtf8 => large_bytes_of(array.as_string::<i64>()),
        T::LargeBinary => large_bytes_of(array.as_binary::<i64>()),
        T::Utf8View => Values::Views(array.as_string_view().clone().to_binary_view()),
        T::BinaryView => Values::Views(array.as_binary_view().clone()),
        _ => bytes_of(&row_format(array)),
    }
}

/// The buffer of a column of fixed width, as `per_row` words a row.
fn words<T: ArrowNativeType>(array: &ArrayRef, per_row: usize) -> ScalarBuffer<T> {
    let data = array.to_data();
    let buffer = data.buffers()[0].clone();
    ScalarBuffer::new(buffer, data.offset() * per_row, data.len() * per_row)
}

fn bytes_of<T: ByteArrayType<Offset = i32>>(array: &GenericByteArray<T>) -> Values {
    Values::Bytes(array.offsets().clone(), array.values().clone())
}

fn large_bytes_of<T: ByteArrayType<Offset = i64>>(array: &GenericByteArray<T>) -> Values {
    Values::LargeBytes(array.offsets().clone(), array.values().clone())
}

/// The cells of a nested column, each as the bytes of its row format.
fn row_format(array: &ArrayRef) -> BinaryArray {
    const SUPPORTED: &str = "state tables are created with column types of the row format only";
    let field = SortField::new(array.data_type().clone());
    let converter = RowConverter::new(vec![field]).expect(SUPPORTED);
    let rows = converter
        .convert_columns(std::slice::from_ref(array))
        .expect(SUPPORTED);
    rows.try_into_binary()
        .expect("one column of one batch stays under 2 GiB")
}
