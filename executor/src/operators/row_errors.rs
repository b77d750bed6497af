//! Rows of a job on which an expression failed and became NULL: how many, why, and an example.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;

use crate::world;

/// Errors of different words that are told apart; more are counted with none of them.
const KINDS_MAX: usize = 100;
/// Bytes of an example.
const EXAMPLE_BYTES_MAX: usize = 200;

/// Rows that failed with an error of the same words.
#[derive(Debug, Clone)]
pub struct RowError {
    /// The error.
    pub error: Arc<DataFusionError>,
    /// How often; a row and its retraction count twice.
    pub failures: u64,
    /// The first such row, if it is known: columns and values, cut where it is long.
    pub example: Option<String>,
    /// When it was first met.
    pub first_at: SystemTime,
    /// When it was last met.
    pub last_at: SystemTime,
}

/// Notes rows whose expression failed. Clones share what is noted.
#[derive(Debug, Clone, Default)]
pub struct RowErrors(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    failures: u64,
    /// By the words of the error.
    kinds: BTreeMap<String, RowError>,
}

impl RowErrors {
    /// Nothing has failed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows that failed so far; a row and its retraction count twice.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().failures
    }

    /// What was noted, by the words of the error.
    #[must_use]
    pub fn kinds(&self) -> Vec<RowError> {
        self.lock().kinds.values().cloned().collect()
    }

    /// Adds `rows` rows that failed; `row` is one of them, if it is known.
    pub(crate) fn add(&self, rows: u64, error: DataFusionError, row: Option<&RecordBatch>) {
        if rows == 0 {
            return;
        }
        let now = world::wall_clock();
        let words = error.find_root().to_string();
        let mut noted = self.lock();
        noted.failures += rows;
        if noted.kinds.len() == KINDS_MAX && !noted.kinds.contains_key(&words) {
            return;
        }
        let kind = noted.kinds.entry(words).or_insert_with(|| RowError {
            error: Arc::new(error),
            failures: 0,
            example: row.map(example),
            first_at: now,
            last_at: now,
        });
        kind.failures += rows;
        kind.last_at = now;
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first row of a batch.
fn example(rows: &RecordBatch) -> String {
    let options = FormatOptions::default().with_null("NULL");
    let mut text = String::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if text.len() > EXAMPLE_BYTES_MAX || column.is_empty() {
            break;
        }
        let value = ArrayFormatter::try_new(column.as_ref(), &options)
            .and_then(|formatter| formatter.value(0).try_to_string());
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!(
            "{comma}{} = {}",
            field.name(),
            value.unwrap_or_else(|_| "?".to_owned())
        ));
    }
    text.truncate(text.floor_char_boundary(EXAMPLE_BYTES_MAX));
    text
}
