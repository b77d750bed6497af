//! Rows on their way to a client: a stream of batches, of which a part may have been taken.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};

/// What stands in a command tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    /// These words.
    Plain(&'static str),
    /// These words and the number of rows.
    Counted(&'static str),
}

/// Rows on their way to a client.
pub struct Rows {
    /// Columns, under the names that the client sees.
    pub schema: SchemaRef,
    stream: BoxStream<'static, Result<RecordBatch>>,
    /// What is left of a batch that was taken in part.
    rest: Option<RecordBatch>,
    tag: Tag,
    is_live: bool,
}

impl Rows {
    /// The rows of a query.
    #[must_use]
    pub fn of_stream(stream: SendableRecordBatchStream) -> Rows {
        let schema = stream.schema();
        let stream = stream.map_err(|error| Error::Planner(planner::Error::from(error)));
        Rows {
            schema,
            stream: stream.boxed(),
            rest: None,
            tag: Tag::Counted("SELECT"),
            is_live: false,
        }
    }

    /// Rows that come as things happen, perhaps without an end.
    #[must_use]
    pub fn live(schema: SchemaRef, stream: BoxStream<'static, Result<RecordBatch>>) -> Rows {
        Rows {
            schema,
            stream,
            rest: None,
            tag: Tag::Counted("SUBSCRIBE"),
            is_live: true,
        }
    }

    /// Rows that are known already; `words` and their number are the command tag.
    #[must_use]
    pub fn of_batches(schema: SchemaRef, batches: Vec<RecordBatch>, words: &'static str) -> Rows {
        Rows {
            schema,
            stream: futures::stream::iter(batches.into_iter().map(Ok)).boxed(),
            rest: None,
            tag: Tag::Counted(words),
            is_live: false,
        }
    }

    /// Rows that are known already, all columns text.
    ///
    /// # Errors
    /// If the columns differ in length, which is a bug.
    pub fn of_texts(
        names: &[&str],
        rows: &[Vec<Option<String>>],
        tag: &'static str,
    ) -> Result<Rows> {
        let fields: Vec<Field> = names
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true))
            .collect();
        let schema = Arc::new(Schema::new(fields));
        let column = |at: usize| {
            let texts: StringArray = rows.iter().map(|row| row[at].as_deref()).collect();
            Arc::new(texts) as ArrayRef
        };
        let columns = (0..names.len()).map(column).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        Ok(Rows {
            tag: Tag::Plain(tag),
            ..Rows::of_batches(schema, vec![batch], tag)
        })
    }

    /// The same rows under another command tag: `words` and their number.
    #[must_use]
    pub fn tagged(self, words: &'static str) -> Rows {
        Rows {
            tag: Tag::Counted(words),
            ..self
        }
    }

    /// Whether the next rows may be long in coming.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// The next batch. Nothing is lost if the caller stops waiting.
    ///
    /// # Errors
    /// The query's error.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self.rest.take() {
            Some(rest) => Ok(Some(rest)),
            None => self.stream.next().await.transpose(),
        }
    }

    /// Puts back all but the first `taken` rows of the batch that came last.
    pub fn put_back(&mut self, batch: &RecordBatch, taken: usize) {
        let left = batch.num_rows() - taken;
        self.rest = (left > 0).then(|| batch.slice(taken, left));
    }

    /// All batches.
    ///
    /// # Errors
    /// The query's error.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The command tag after `rows` rows.
    #[must_use]
    pub fn tag(&self, rows: usize) -> String {
        match self.tag {
            Tag::Plain(words) => words.to_owned(),
            Tag::Counted(words) => format!("{words} {rows}"),
        }
    }
}
