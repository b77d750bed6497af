//! Rows picked from many chunks, column by column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array, new_empty_array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashMap;

use crate::chunk::ChunkData;
use crate::error::Result;

/// Picked rows, in the order in which they were picked.
#[derive(Debug, Default)]
pub(crate) struct Gather<'a> {
    sources: Vec<&'a ChunkData>,
    /// Index of each source, by its address: chunks of different key groups often share one.
    known: HashMap<*const ChunkData, usize>,
    /// Source and row in it.
    picks: Vec<(usize, usize)>,
}

impl<'a> Gather<'a> {
    /// The index of a source, for [`Gather::pick`].
    pub(crate) fn source(&mut self, data: &'a Arc<ChunkData>) -> usize {
        *self.known.entry(Arc::as_ptr(data)).or_insert_with(|| {
            self.sources.push(data);
            self.sources.len() - 1
        })
    }

    /// Picks a row.
    #[inline]
    pub(crate) fn pick(&mut self, source: usize, row: usize) {
        self.picks.push((source, row));
    }

    /// The given columns of the picked rows; `schema` is that of the chunks.
    pub(crate) fn columns(&self, schema: &SchemaRef, columns: &[usize]) -> Result<Vec<ArrayRef>> {
        let single: Option<UInt32Array> = (self.sources.len() == 1)
            .then(|| self.picks.iter().map(|&(_, row)| row as u32).collect());
        columns
            .iter()
            .map(|&column| {
                if self.picks.is_empty() {
                    return Ok(new_empty_array(schema.field(column).data_type()));
                }
                if let Some(rows) = &single {
                    return Ok(take(&self.sources[0].columns[column], rows, None)?);
                }
                let sources: Vec<&dyn Array> = self
                    .sources
                    .iter()
                    .map(|data| data.columns[column].as_ref())
                    .collect();
                Ok(interleave(&sources, &self.picks)?)
            })
            .collect()
    }
}

/// Columns that do not hold on to bytes of rows that are not in them.
pub(crate) fn compacted(columns: Vec<ArrayRef>) -> Vec<ArrayRef> {
    let compact = |column: ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => column,
        }
    };
    columns.into_iter().map(compact).collect()
}
