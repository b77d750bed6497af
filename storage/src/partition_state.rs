//! A key group on its way: the rows of one partition, as they leave one table and enter another.
//!
//! ```text
//!   extract ──► PartitionState ── encode ──► bytes ── decode ──► PartitionState ──► install
//!
//!   bytes    magic "TWPS" ++ version u16 LE ++ XXH3-64 of what follows, LE ++ Arrow IPC stream
//!   stream   one batch of rows: columns, measures, flags; one batch of old measures
//!   tail     digest, epoch of `written_after`; of what is on disk alone: rows, bytes, digest. LE
//! ```
//!
//! Changes that no commit has seen travel along: a row touched since the last barrier brings the
//! measures it had then, so the new owner reports its change as the old owner would have. The
//! digest is compared when the state is installed. Rows that are on disk alone stay there: the new owner
//! reads them where the old one would have.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    Int64Array, RecordBatch, RecordBatchOptions,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use scaling::Epoch;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::measures::{MeasureColumn, MeasureType, Measures};
use crate::partition::Evicted;

const MAGIC: &[u8; 4] = b"TWPS";
const VERSION: u16 = 2;
const HEADER_BYTES: usize = 14;

/// All rows of one key group of one table that are in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionState {
    /// The rows, each once, in no order. Some may be dead (all measures zero): their deletion is
    /// not durable yet.
    pub columns: RecordBatch,
    /// The measures of the rows.
    pub measures: Measures,
    /// Which rows changed since the last durable commit.
    pub dirty: BooleanArray,
    /// Which rows changed since the last commit.
    pub touched: BooleanArray,
    /// Which rows changed in the last durable commit, whose checkpoint may not be written yet.
    pub writing: BooleanArray,
    /// It is once the committed epoch is greater than this one.
    pub written_after: Epoch,
    /// The measures that the touched rows had at the last commit, in the order of the rows.
    pub old: Measures,
    /// Digest of the rows and measures, those on disk alone among them.
    pub digest: u128,
    /// What is on disk alone.
    pub evicted: Evicted,
}

impl PartitionState {
    /// Number of rows, each counted once.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// Memory in bytes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let width = |measures: &Measures| measures.len() * Measures::row_bytes(&measures.types());
        self.columns.get_array_memory_size() + width(&self.measures) + width(&self.old)
    }

    /// The state as bytes that another process can decode.
    ///
    /// # Errors
    /// When Arrow cannot encode a column.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let rows = self.rows_batch()?;
        let old = measures_batch(&self.old, self.old.len())?;
        let mut bytes = vec![0; HEADER_BYTES];
        for batch in [&rows, &old] {
            let mut stream = Vec::new();
            let mut writer = StreamWriter::try_new(&mut stream, &batch.schema())?;
            writer.write(batch)?;
            writer.finish()?;
            drop(writer);
            bytes.extend_from_slice(&(stream.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&stream);
        }
        bytes.extend_from_slice(&self.digest.to_le_bytes());
        bytes.extend_from_slice(&self.written_after.0.to_le_bytes());
        bytes.extend_from_slice(&self.evicted.rows.to_le_bytes());
        bytes.extend_from_slice(&self.evicted.bytes.to_le_bytes());
        bytes.extend_from_slice(&self.evicted.digest.to_le_bytes());
        let checksum = xxh3_64(&bytes[HEADER_BYTES..]);
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
        bytes[6..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// The state that [`PartitionState::encode`] made these bytes from.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes are not exactly what was encoded; [`Error::Format`]
    /// when another version encoded them.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = check_header(bytes)?;
        let mut body = body;
        let (rows, types) = decode_rows(cut_stream(&mut body)?)?;
        let old = read_batch(cut_stream(&mut body)?)?;
        let old = measures_of(old.columns(), &types)?;
        let digest = u128::from_le_bytes(cut(&mut body)?);
        let written_after = Epoch(u64::from_le_bytes(cut(&mut body)?));
        let evicted = Evicted {
            rows: u64::from_le_bytes(cut(&mut body)?),
            bytes: u64::from_le_bytes(cut(&mut body)?),
            digest: u128::from_le_bytes(cut(&mut body)?),
        };
        if !body.is_empty() {
            return Err(corrupt("bytes behind the end"));
        }
        Ok(Self {
            old,
            digest,
            written_after,
            evicted,
            ..rows
        })
    }

    /// One batch: columns, measures, dirty, touched, writing.
    fn rows_batch(&self) -> Result<RecordBatch> {
        let measures = measures_batch(&self.measures, self.rows())?;
        let mut fields: Vec<_> = self.columns.schema().fields().iter().cloned().collect();
        let mut columns = self.columns.columns().to_vec();
        fields.extend(measures.schema().fields().iter().cloned());
        columns.extend_from_slice(measures.columns());
        for (name, flags) in [
            ("dirty", &self.dirty),
            ("touched", &self.touched),
            ("writing", &self.writing),
        ] {
            fields.push(Arc::new(Field::new(name, DataType::Boolean, false)));
            columns.push(Arc::new(flags.clone()));
        }
        let count = measures.num_columns().to_string();
        let metadata = [(MEASURES_METADATA.to_owned(), count)].into();
        let schema = Schema::new_with_metadata(fields, metadata);
        Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
    }
}

/// Schema metadata with the number of measures, which stand between columns and flags.
const MEASURES_METADATA: &str = "measures";

fn corrupt(detail: impl Into<String>) -> Error {
    Error::Corrupt {
        place: "the state of a key group".to_owned(),
        detail: detail.into(),
    }
}

fn check_header(bytes: &[u8]) -> Result<&[u8]> {
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err(corrupt("shorter than its header"));
    };
    if &header[..4] != MAGIC {
        return Err(corrupt("not the state of a key group"));
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    if version != VERSION {
        return Err(Error::Format {
            found: version.into(),
            supported: VERSION.into(),
        });
    }
    if header[6..] != xxh3_64(body).to_le_bytes() {
        return Err(corrupt("checksum differs"));
    }
    Ok(body)
}

/// Takes one length-prefixed stream off the front of `body`.
fn cut_stream<'a>(body: &mut &'a [u8]) -> Result<&'a [u8]> {
    let cut = || {
        let (length, rest) = body.split_first_chunk::<8>()?;
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
    };
    let (stream, rest) = cut().ok_or_else(|| corrupt("cut off"))?;
    *body = rest;
    Ok(stream)
}

/// Takes a number's bytes off the front of `body`.
fn cut<const N: usize>(body: &mut &[u8]) -> Result<[u8; N]> {
    let (number, rest) = body.split_first_chunk().ok_or_else(|| corrupt("cut off"))?;
    *body = rest;
    Ok(*number)
}

fn read_batch(stream: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(Cursor::new(stream), None)?;
    let batch = reader.next().ok_or_else(|| corrupt("no batch"))??;
    Ok(batch)
}

/// Everything but old measures and digest, and the types of the measures.
fn decode_rows(stream: &[u8]) -> Result<(PartitionState, Vec<MeasureType>)> {
    let batch = read_batch(stream)?;
    let schema = batch.schema();
    let count = schema.metadata().get(MEASURES_METADATA);
    let measures: usize = count
        .and_then(|count| count.parse().ok())
        .ok_or_else(|| corrupt("number of measures missing"))?;
    let Some(columns) = batch.num_columns().checked_sub(measures + 3) else {
        return Err(corrupt("too few columns"));
    };
    let types = schema.fields()[columns..columns + measures]
        .iter()
        .map(|field| type_of_name(field.name()).ok_or_else(|| corrupt("unknown measure")))
        .collect::<Result<Vec<_>>>()?;
    let flags = |index: usize| {
        let flags = batch.column(index).as_boolean_opt();
        flags
            .cloned()
            .ok_or_else(|| corrupt("flags are not boolean"))
    };
    let fields = schema.fields()[..columns].to_vec();
    let state = PartitionState {
        columns: columns_batch(
            Arc::new(Schema::new(fields)),
            batch.columns()[..columns].to_vec(),
            batch.num_rows(),
        )?,
        measures: measures_of(&batch.columns()[columns..columns + measures], &types)?,
        dirty: flags(columns + measures)?,
        touched: flags(columns + measures + 1)?,
        writing: flags(columns + measures + 2)?,
        written_after: Epoch(0),
        old: Measures::default(),
        digest: 0,
        evicted: Evicted::default(),
    };
    Ok((state, types))
}

/// A batch of a known number of rows, which also works without columns.
pub(crate) fn columns_batch(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

const fn name_of_type(measure: MeasureType) -> &'static str {
    match measure {
        MeasureType::Int64 => "int64",
        MeasureType::Int128 => "int128",
        MeasureType::Int256 => "int256",
        MeasureType::Float64 => "float64",
        MeasureType::Greatest => "greatest",
    }
}

fn type_of_name(name: &str) -> Option<MeasureType> {
    use MeasureType::{Float64, Greatest, Int64, Int128, Int256};
    [Int64, Int128, Int256, Float64, Greatest]
        .into_iter()
        .find(|&measure| name_of_type(measure) == name)
}

/// Measures as Arrow columns named by their types: `Int64`, or the little-endian bytes.
fn measures_batch(measures: &Measures, rows: usize) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for column in &measures.0 {
        let array: ArrayRef = match column {
            MeasureColumn::Int64(values) => Arc::new(Int64Array::from(values.clone())),
            _ => Arc::new(measure_bytes(column)?),
        };
        let name = name_of_type(column.measure_type());
        fields.push(Field::new(name, array.data_type().clone(), false));
        columns.push(array);
    }
    columns_batch(Arc::new(Schema::new(fields)), columns, rows)
}

fn measure_bytes(column: &MeasureColumn) -> Result<FixedSizeBinaryArray> {
    let width = column.measure_type().width();
    let mut builder = FixedSizeBinaryBuilder::with_capacity(column.len(), width as i32);
    let mut bytes = Vec::with_capacity(width);
    for row in 0..column.len() {
        bytes.clear();
        column.write_value(row, &mut bytes);
        builder.append_value(&bytes)?;
    }
    Ok(builder.finish())
}

fn measures_of(arrays: &[ArrayRef], types: &[MeasureType]) -> Result<Measures> {
    if arrays.len() != types.len() {
        return Err(corrupt("measures differ in number"));
    }
    let columns = arrays.iter().zip(types).map(|(array, &measure)| {
        if measure == MeasureType::Int64 {
            let array = array.as_primitive_opt::<Int64Type>();
            let array = array.ok_or_else(|| corrupt("a measure has another type"))?;
            return Ok(MeasureColumn::Int64(array.values().to_vec()));
        }
        let array = array.as_fixed_size_binary_opt();
        let array = array
            .filter(|array| array.value_length() as usize == measure.width())
            .ok_or_else(|| corrupt("a measure has another type"))?;
        let mut column = MeasureColumn::zeros(measure, 0);
        for row in 0..array.len() {
            column.read_value(array.value(row));
        }
        Ok(column)
    });
    Ok(Measures(columns.collect::<Result<_>>()?))
}
