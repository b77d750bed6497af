//! A record of a table's write-ahead log: the changes of one group of writes, as Arrow IPC.
//!
//! ```text
//!   Arrow IPC stream of one batch: the table's columns, then "weight" (Int64) as the last one
//! ```

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::change::ChangeBatch;
use crate::error::Result;

/// Encodes changes as one record.
///
/// # Errors
/// If Arrow cannot write them.
pub(crate) fn encode(batch: &ChangeBatch) -> Result<Vec<u8>> {
    let schema = batch.schema();
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("weight", DataType::Int64, false)));
    let mut columns = batch.columns().columns().to_vec();
    columns.push(Arc::new(Int64Array::from(batch.weights_to_vec())) as ArrayRef);
    let record = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &record.schema())?;
    writer.write(&record)?;
    Ok(writer.into_inner()?)
}

/// Decodes a record.
///
/// # Errors
/// If the bytes are not a record that [`encode`] made.
pub(crate) fn decode(bytes: &[u8]) -> Result<ChangeBatch> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    let missing = || ArrowError::IpcError("a log record holds one batch".to_owned());
    let record = reader.next().ok_or_else(missing)??;
    let rows = record.num_columns().checked_sub(1).ok_or_else(missing)?;
    let weights: Arc<[i64]> = record
        .column(rows)
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(missing)?
        .values()
        .as_ref()
        .into();
    let columns = record.project(&(0..rows).collect::<Vec<_>>())?;
    Ok(ChangeBatch::unkeyed(columns, Some(weights)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]));
        let batch = ChangeBatch::from_text(&schema, "+1 | 1 | x\n-2 | NULL | y");
        let again = decode(&encode(&batch).unwrap()).unwrap();
        assert_eq!(again.to_text(), batch.to_text());
    }
}
