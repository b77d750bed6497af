//! A change batch: Arrow columns, one signed weight a row, and the key groups the rows belong to.
//!
//! ```text
//!   columns   a  b     weights    runs
//!             1  x       +1     ┐ key group 3, rows 0..2
//!             9  y       -1     ┘
//!             4  z       +2     ─ key group 7, rows 2..3
//! ```
//!
//! A change batch is a Z-set: a row with weight `w` adds `w` copies of itself, an update is `-1` of
//! the old row and `+1` of the new. Absent weights mean that every row has weight `+1`, which is
//! what sources produce. The order of rows carries no meaning inside an epoch, so a batch may be
//! cut, reordered and merged at will.
//!
//! Invariants: the runs follow each other without a gap and cover all rows. One key group may have
//! several runs (after [`ChangeBatch::concat`]); [`ChangeBatch::keyed`] yields at most one run a
//! key group, in ascending order.
//!
//! Not here: the hash that gives a row its key group (`storage::hash`), who owns a key group
//! (`scaling`).

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use scaling::KeyGroup;
use storage::Run;

/// Rows a segment must have on average for copying whole segments to beat copying row by row.
const SEGMENT_ROWS_MIN: usize = 64;

/// Arrow columns plus one weight a row, the rows of one key group side by side.
///
/// Cloning and cutting at run boundaries shares the columns' buffers.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    columns: RecordBatch,
    weights: Option<Arc<[i64]>>,
    runs: Arc<[Run]>,
}

impl ChangeBatch {
    /// A batch of `columns` with one weight a row (`None`: all `+1`) whose rows belong to `runs`.
    ///
    /// # Panics
    /// If there is not exactly one weight a row, or the runs leave a gap, overlap or do not cover
    /// all rows.
    #[must_use]
    pub fn new(columns: RecordBatch, weights: Option<Arc<[i64]>>, runs: Arc<[Run]>) -> Self {
        let rows = columns.num_rows();
        if let Some(weights) = &weights {
            assert_eq!(weights.len(), rows, "a change batch has one weight a row");
        }
        let mut next = 0;
        for run in runs.iter() {
            assert_eq!(run.rows.start, next, "runs follow each other without a gap");
            assert!(run.rows.end >= next, "a run does not end before it starts");
            next = run.rows.end;
        }
        assert_eq!(next, rows, "runs cover all rows");
        Self {
            columns,
            weights,
            runs,
        }
    }

    /// A batch whose rows have no key: one run of key group 0.
    ///
    /// What a source produces before the dispatcher hashes it.
    #[must_use]
    pub fn unkeyed(columns: RecordBatch, weights: Option<Arc<[i64]>>) -> Self {
        let run = Run {
            key_group: KeyGroup(0),
            rows: 0..columns.num_rows(),
        };
        Self::new(columns, weights, Arc::from([run]))
    }

    /// The rows' columns.
    #[must_use]
    pub fn columns(&self) -> &RecordBatch {
        &self.columns
    }

    /// The column at `index`.
    ///
    /// # Panics
    /// If there is no such column.
    #[must_use]
    pub fn column(&self, index: usize) -> &ArrayRef {
        self.columns.column(index)
    }

    /// The columns at `indexes`, in that order.
    ///
    /// # Panics
    /// If one of the columns does not exist.
    #[must_use]
    pub fn project(&self, indexes: &[usize]) -> Vec<ArrayRef> {
        indexes
            .iter()
            .map(|&index| Arc::clone(self.columns.column(index)))
            .collect()
    }

    /// The schema of the columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.columns.schema()
    }

    /// One weight a row; `None` when all are `+1`.
    #[must_use]
    pub fn weights(&self) -> Option<&Arc<[i64]>> {
        self.weights.as_ref()
    }

    /// The key groups of the rows, in row order.
    #[must_use]
    pub fn runs(&self) -> &Arc<[Run]> {
        &self.runs
    }

    /// Number of rows, whatever their weights.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// Whether there is no row at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// The weight of one row.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn weight(&self, row: usize) -> i64 {
        assert!(row < self.num_rows(), "row {row} is outside the batch");
        self.weights.as_ref().map_or(1, |weights| weights[row])
    }

    /// The weights written out, one a row.
    #[must_use]
    pub fn weights_to_vec(&self) -> Vec<i64> {
        match &self.weights {
            Some(weights) => weights.to_vec(),
            None => vec![1; self.num_rows()],
        }
    }

    /// Bytes the rows take, an estimate: slices count their own share of the buffers only.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let columns: usize = self
            .columns
            .columns()
            .iter()
            .map(|column| {
                let data = column.to_data();
                data.get_slice_memory_size()
                    .unwrap_or_else(|_| data.get_array_memory_size())
            })
            .sum();
        columns
            + self
                .weights
                .as_ref()
                .map_or(0, |weights| size_of_val(&weights[..]))
    }

    /// The same rows under other columns: what a projection makes of a batch.
    ///
    /// # Panics
    /// If `columns` has another number of rows.
    #[must_use]
    pub fn with_columns(&self, columns: RecordBatch) -> Self {
        Self::new(columns, self.weights.clone(), Arc::clone(&self.runs))
    }

    /// The rows of the given runs (indexes into [`runs`](Self::runs)), in the order given.
    ///
    /// Neighbouring runs are a slice without a copy; others are gathered.
    ///
    /// # Panics
    /// If there is no such run.
    #[must_use]
    pub fn slice_runs(&self, indexes: &[usize]) -> Self {
        let mut runs = Vec::with_capacity(indexes.len());
        let mut segments: Vec<std::ops::Range<usize>> = Vec::new();
        let mut rows = 0;
        for &index in indexes {
            let run = &self.runs[index];
            let length = run.rows.len();
            runs.push(Run {
                key_group: run.key_group,
                rows: rows..rows + length,
            });
            rows += length;
            match segments.last_mut() {
                Some(last) if last.end == run.rows.start => last.end = run.rows.end,
                _ => segments.push(run.rows.clone()),
            }
        }
        let columns = match segments.as_slice() {
            [] => self.columns.slice(0, 0),
            [segment] => self.columns.slice(segment.start, segment.len()),
            _ => self.gather(&segments, rows),
        };
        let weights = self.weights.as_ref().map(|weights| {
            let mut picked = Vec::with_capacity(rows);
            for segment in &segments {
                picked.extend_from_slice(&weights[segment.clone()]);
            }
            picked.into()
        });
        Self::new(columns, weights, runs.into())
    }

    /// The rows in batches of at most `rows_max`, in their order. Columns are not copied.
    ///
    /// # Panics
    /// If `rows_max` is 0.
    pub fn pieces(&self, rows_max: usize) -> impl Iterator<Item = Self> + '_ {
        (0..self.num_rows()).step_by(rows_max).map(move |start| {
            let end = self.num_rows().min(start + rows_max);
            let weights = self.weights.as_ref();
            let runs = self.runs.iter().filter_map(|run| {
                let rows = run.rows.start.max(start)..run.rows.end.min(end);
                (!rows.is_empty()).then(|| Run {
                    key_group: run.key_group,
                    rows: rows.start - start..rows.end - start,
                })
            });
            Self::new(
                self.columns.slice(start, end - start),
                weights.map(|weights| weights[start..end].into()),
                runs.collect(),
            )
        })
    }

    /// Splits the rows by a class of their key group, keeping their order; `None` where a class has
    /// no rows.
    ///
    /// # Panics
    /// If `class_of` yields a class of `classes` or above.
    #[must_use]
    pub fn partition(
        &self,
        class_of: impl Fn(KeyGroup) -> usize,
        classes: usize,
    ) -> Vec<Option<Self>> {
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); classes];
        for (index, run) in self.runs.iter().enumerate() {
            if !run.rows.is_empty() {
                members[class_of(run.key_group)].push(index);
            }
        }
        members
            .iter()
            .map(|indexes| {
                if indexes.is_empty() {
                    None
                } else if indexes.len() == self.runs.len() {
                    Some(self.clone())
                } else {
                    Some(self.slice_runs(indexes))
                }
            })
            .collect()
    }

    /// The same rows, each in the key group of its `key` columns, sorted by key group, ties in
    /// their old order.
    ///
    /// One pass of hashing, one counting sort, one `take` a column.
    ///
    /// # Panics
    /// If a key column does not exist, or is of a type that cannot be compared.
    #[must_use]
    pub fn keyed(&self, key: &[usize], key_groups: u16) -> Self {
        let rows = self.num_rows();
        if rows == 0 {
            return Self::new(self.columns.clone(), self.weights.clone(), Arc::from([]));
        }
        if key.is_empty() {
            let run = Run {
                key_group: empty_key_group(key_groups),
                rows: 0..rows,
            };
            return Self::new(self.columns.clone(), self.weights.clone(), Arc::from([run]));
        }
        let hashes = storage::hash_rows(&self.project(key));
        let groups: Vec<KeyGroup> = hashes
            .iter()
            .map(|&hash| storage::key_group(hash, key_groups))
            .collect();
        let (order, runs) = counting_sort(&groups, key_groups);
        if runs.len() == 1 || order.is_sorted() {
            return Self::new(self.columns.clone(), self.weights.clone(), runs);
        }
        let weights = self
            .weights
            .as_ref()
            .map(|weights| order.iter().map(|&row| weights[row as usize]).collect());
        let columns = take_rows(&self.columns, order);
        Self::new(columns, weights, runs)
    }

    /// All rows of `batches`, in order. Runs of one key group that meet become one.
    ///
    /// # Panics
    /// If `batches` is empty or their schemas differ.
    #[must_use]
    pub fn concat(batches: &[Self]) -> Self {
        let first = batches.first().expect("at least one batch to concatenate");
        if batches.len() == 1 {
            return first.clone();
        }
        let columns = concat_batches(&first.schema(), batches.iter().map(Self::columns))
            .expect("batches of one stream have one schema");
        let weights = batches
            .iter()
            .any(|batch| batch.weights.is_some())
            .then(|| {
                let mut all = Vec::with_capacity(columns.num_rows());
                for batch in batches {
                    match &batch.weights {
                        Some(weights) => all.extend_from_slice(weights),
                        None => all.resize(all.len() + batch.num_rows(), 1),
                    }
                }
                all.into()
            });
        let mut runs: Vec<Run> = Vec::new();
        let mut start = 0;
        for run in batches.iter().flat_map(|batch| batch.runs.iter()) {
            let end = start + run.rows.len();
            match runs.last_mut() {
                Some(last) if last.key_group == run.key_group => last.rows.end = end,
                _ => runs.push(Run {
                    key_group: run.key_group,
                    rows: start..end,
                }),
            }
            start = end;
        }
        Self::new(columns, weights, runs.into())
    }

    /// Reads a batch from a table: a row a line, its weight first, `NULL` for a null, one run of
    /// key group 0.
    ///
    /// ```text
    ///   +1 | 1 | a
    ///   -1 | 2 | NULL
    /// ```
    ///
    /// # Panics
    /// If a line does not fit the schema: this is for tests.
    #[must_use]
    pub fn from_text(schema: &SchemaRef, text: &str) -> Self {
        let mut weights = Vec::new();
        let mut cells: Vec<Vec<Option<&str>>> = vec![Vec::new(); schema.fields().len()];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut fields = line.split('|').map(str::trim);
            let weight = fields.next().expect("a line starts with its weight");
            weights.push(weight.parse::<i64>().expect("a weight is an integer"));
            for column in &mut cells {
                let cell = fields.next().expect("one cell a column");
                column.push((cell != "NULL").then_some(cell));
            }
            assert!(
                fields.next().is_none(),
                "no more cells than columns: {line}"
            );
        }
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = cells
            .into_iter()
            .zip(schema.fields())
            .map(|(cells, field)| {
                let text: ArrayRef = Arc::new(StringArray::from(cells));
                cast_with_options(&text, field.data_type(), &strict)
                    .expect("cells parse as their column's type")
            })
            .collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(weights.len()));
        let columns = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
            .expect("the columns are those of the schema");
        Self::unkeyed(columns, Some(weights.into()))
    }

    /// The rows as [`from_text`](Self::from_text) reads them, in their order, a row a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let options = FormatOptions::default().with_null("NULL");
        let formatters: Vec<_> = self
            .columns
            .columns()
            .iter()
            .map(|column| {
                ArrayFormatter::try_new(column.as_ref(), &options)
                    .expect("every column type of a stream can be shown")
            })
            .collect();
        let mut text = String::new();
        for row in 0..self.num_rows() {
            write!(text, "{:+}", self.weight(row)).expect("writing to a string never fails");
            for formatter in &formatters {
                write!(text, " | {}", formatter.value(row))
                    .expect("every value of a stream can be shown");
            }
            text.push('\n');
        }
        text
    }

    /// The rows of several segments in one batch: whole segments when they are long, else row by
    /// row.
    fn gather(&self, segments: &[std::ops::Range<usize>], rows: usize) -> RecordBatch {
        if rows >= segments.len() * SEGMENT_ROWS_MIN {
            let slices: Vec<RecordBatch> = segments
                .iter()
                .map(|segment| self.columns.slice(segment.start, segment.len()))
                .collect();
            return concat_batches(&self.columns.schema(), &slices)
                .expect("slices of one batch have one schema");
        }
        let mut order = Vec::with_capacity(rows);
        for segment in segments {
            order.extend(segment.start as u32..segment.end as u32);
        }
        take_rows(&self.columns, order)
    }
}

/// The key group of rows without a key: that of the one group of a global aggregate.
#[must_use]
pub fn empty_key_group(_key_groups: u16) -> KeyGroup {
    KeyGroup(0)
}

/// Row indexes ordered by key group, stable, and the runs they make.
fn counting_sort(groups: &[KeyGroup], key_groups: u16) -> (Vec<u32>, Arc<[Run]>) {
    let mut ends = vec![0_usize; usize::from(key_groups)];
    for group in groups {
        ends[usize::from(group.0)] += 1;
    }
    let mut runs = Vec::new();
    let mut start = 0;
    for (group, count) in ends.iter_mut().enumerate() {
        let rows = start..start + *count;
        *count = start; // from here on: where the next row of this key group goes
        start = rows.end;
        if !rows.is_empty() {
            runs.push(Run {
                key_group: KeyGroup(group as u16),
                rows,
            });
        }
    }
    let mut order = vec![0_u32; groups.len()];
    for (row, group) in groups.iter().enumerate() {
        let next = &mut ends[usize::from(group.0)];
        order[*next] = row as u32;
        *next += 1;
    }
    (order, runs.into())
}

/// The rows of `columns` at `order`.
fn take_rows(columns: &RecordBatch, order: Vec<u32>) -> RecordBatch {
    take_record_batch(columns, &UInt32Array::from(order))
        .expect("every index is a row of the batch")
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::operators::testing::{runs_to_text, schema};

    fn rows(text: &str) -> ChangeBatch {
        ChangeBatch::from_text(
            &schema(&[("a", DataType::Int64), ("b", DataType::Utf8)]),
            text,
        )
    }

    /// Rows in given key groups, three rows each.
    fn in_groups(groups: &[u16]) -> ChangeBatch {
        let text: String = (0..groups.len() * 3)
            .map(|row| format!("+{} | {row} | x\n", row + 1))
            .collect();
        let batch = rows(&text);
        let runs: Vec<Run> = groups
            .iter()
            .enumerate()
            .map(|(run, &group)| Run {
                key_group: KeyGroup(group),
                rows: run * 3..run * 3 + 3,
            })
            .collect();
        ChangeBatch::new(
            batch.columns().clone(),
            batch.weights().cloned(),
            runs.into(),
        )
    }

    #[test]
    fn text_round_trips() {
        let text = "+1 | 1 | a\n-1 | 2 | NULL\n+12 | NULL | \n";
        assert_eq!(rows(text).to_text(), text);
    }

    #[test]
    fn pieces_cut_runs_and_keep_every_row() {
        let batch = in_groups(&[3, 7]);
        let pieces: Vec<ChangeBatch> = batch.pieces(4).collect();
        let runs: Vec<String> = pieces.iter().map(|p| runs_to_text(p.runs())).collect();
        assert_eq!(runs, ["3: 0..3, 7: 3..4", "7: 0..2"]);
        let text: String = pieces.iter().map(ChangeBatch::to_text).collect();
        assert_eq!(text, batch.to_text());
        assert_eq!(rows("").pieces(4).count(), 0);
    }

    #[test]
    fn absent_weights_are_plus_one() {
        let batch = ChangeBatch::unkeyed(rows("+5 | 1 | a").columns().clone(), None);
        assert_eq!(batch.weight(0), 1);
        assert_eq!(batch.to_text(), "+1 | 1 | a\n");
    }

    #[test]
    #[should_panic(expected = "runs cover all rows")]
    fn runs_must_cover_all_rows() {
        let batch = rows("+1 | 1 | a\n+1 | 2 | b");
        let run = Run {
            key_group: KeyGroup(0),
            rows: 0..1,
        };
        let _ = ChangeBatch::new(batch.columns().clone(), None, Arc::from([run]));
    }

    #[test]
    #[should_panic(expected = "without a gap")]
    fn runs_must_not_leave_gaps() {
        let batch = rows("+1 | 1 | a\n+1 | 2 | b");
        let run = |rows| Run {
            key_group: KeyGroup(0),
            rows,
        };
        let runs = Arc::from([run(0..1), run(0..2)]);
        let _ = ChangeBatch::new(batch.columns().clone(), None, runs);
    }

    #[test]
    fn keyed_sorts_by_key_group_and_keeps_order_within() {
        let text: String = (0..100)
            .map(|row| format!("{:+} | {} | {row}\n", row + 1, row % 10))
            .collect();
        let keyed = rows(&text).keyed(&[0], 8);
        let groups: Vec<u16> = keyed.runs().iter().map(|run| run.key_group.0).collect();
        assert!(
            groups.is_sorted_by(|a, b| a < b),
            "one run a key group, ascending"
        );
        let mut seen = 0;
        for run in keyed.runs().iter() {
            let piece = keyed.slice_runs(&[keyed.runs().iter().position(|r| r == run).unwrap()]);
            let hashes = storage::hash_rows(&piece.project(&[0]));
            for hash in hashes {
                assert_eq!(storage::key_group(hash, 8), run.key_group);
            }
            let order: Vec<i64> = (0..piece.num_rows()).map(|row| piece.weight(row)).collect();
            assert!(order.is_sorted(), "the weights number the rows");
            seen += order.len();
        }
        assert_eq!(seen, 100);
    }

    #[test]
    fn rows_without_a_key_are_one_run() {
        let keyed = rows("+1 | 1 | a\n+1 | 2 | b").keyed(&[], 8);
        assert_eq!(runs_to_text(keyed.runs()), "0: 0..2");
    }

    #[test]
    fn partition_keeps_order_and_leaves_out_empty_classes() {
        let batch = in_groups(&[1, 2, 3, 5]);
        let parts = batch.partition(|group| usize::from(group.0 % 2), 3);
        let even = parts[0].as_ref().unwrap();
        assert_eq!(runs_to_text(even.runs()), "2: 0..3");
        assert_eq!(even.to_text(), "+4 | 3 | x\n+5 | 4 | x\n+6 | 5 | x\n");
        let odd = parts[1].as_ref().unwrap();
        assert_eq!(runs_to_text(odd.runs()), "1: 0..3, 3: 3..6, 5: 6..9");
        assert_eq!(odd.weight(3), 7);
        assert!(parts[2].is_none());
    }

    #[test]
    fn slices_of_neighbouring_runs_share_buffers() {
        let batch = in_groups(&[1, 2, 3]);
        let slice = batch.slice_runs(&[1, 2]);
        let whole = batch.column(0).to_data().buffers()[0].as_ptr();
        let part = slice.column(0).to_data().buffers()[0].as_ptr();
        assert_eq!(part as usize - whole as usize, 3 * size_of::<i64>());
    }

    #[test]
    fn gathers_long_and_short_segments_alike() {
        let text: String = (0..1000)
            .map(|row| format!("+1 | {row} | {row}\n"))
            .collect();
        let batch = rows(&text);
        for length in [2_usize, 200] {
            let runs: Vec<Run> = (0..1000 / length)
                .map(|run| Run {
                    key_group: KeyGroup((run % 2) as u16),
                    rows: run * length..(run + 1) * length,
                })
                .collect();
            let batch = ChangeBatch::new(batch.columns().clone(), None, runs.into());
            let parts = batch.partition(|group| usize::from(group.0), 2);
            let odd = parts[1].as_ref().unwrap();
            let expected: String = (0..1000)
                .filter(|row| row / length % 2 == 1)
                .map(|row| format!("+1 | {row} | {row}\n"))
                .collect();
            assert_eq!(odd.to_text(), expected);
        }
    }

    #[test]
    fn concat_joins_runs_that_meet() {
        let joined = ChangeBatch::concat(&[in_groups(&[1, 2]), in_groups(&[2]), in_groups(&[1])]);
        assert_eq!(runs_to_text(joined.runs()), "1: 0..3, 2: 3..9, 1: 9..12");
        assert_eq!(joined.num_rows(), 12);
        let unweighted = ChangeBatch::unkeyed(rows("+1 | 7 | y").columns().clone(), None);
        let mixed = ChangeBatch::concat(&[unweighted, rows("-1 | 8 | z")]);
        assert_eq!(mixed.to_text(), "+1 | 7 | y\n-1 | 8 | z\n");
    }

    #[test]
    fn bytes_count_the_rows_of_a_slice_only() {
        let batch = in_groups(&[1, 2, 3, 4]);
        let slice = batch.slice_runs(&[0]);
        assert!(
            slice.bytes() < batch.bytes() / 2,
            "{} of {}",
            slice.bytes(),
            batch.bytes()
        );
    }
}
