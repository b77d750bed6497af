//! The general way to maintain a query: keep the rows of each key, and evaluate those of the keys
//! that changed anew.
//!
//! ```text
//!   ChangeBatch ──► rows: a Z-set an input, found by key
//!   Barrier     ──► keys of the rows that changed ─► all rows of these keys ─► batch engine
//!                                                                                  │ results
//!                   what was emitted for these keys, from `results` ──── minus ────┘──► output
//! ```
//!
//! It serves whatever can be said of each key apart: window functions over a partition, aggregates
//! without additive measures, the first rows of an order. An epoch costs as much as the partitions
//! that it touches are large.
//!
//! What was emitted is kept, and not computed again from the older rows: among rows that are equal
//! in an order the engine may choose any, and a choice must be taken back as it was made.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use planner::dataflow::Evaluator;
use storage::{MeasureType, Measures, NullEquality, RowRef, StateTable, TableId, TableSchema};

use super::changed::{ChangedRows, TableRows};
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output, Watermarks};

/// Keys that are evaluated together: what a run of the batch engine costs is shared, and the rows
/// copied for it stay bounded where keys have few.
const KEYS_PER_RUN: usize = 1024;

/// What a recomputation does, but for the evaluation.
#[derive(Debug)]
pub struct RecomputePlan {
    /// The key's columns, by input.
    pub keys: Vec<Vec<usize>>,
    /// By which of the key's columns rows find their key group.
    pub hashed_by: Vec<usize>,
    /// The column of the key whose watermark ends keys.
    pub forgets: Option<usize>,
    /// How many key groups there are.
    pub key_groups: u16,
    /// Output columns.
    pub schema: SchemaRef,
}

/// Evaluates the rows of changed keys.
///
/// Input: rows of any schema. Output, at the barrier: the difference in the results. A key that the
/// watermark of one of its columns has passed gets no more rows: it is forgotten, and what was emitted
/// stays.
pub struct Recompute {
    // Fixed by the plan.
    plan: RecomputePlan,
    evaluator: Evaluator,
    // One table of rows an input, then the results: key columns, then output columns.
    tables: Vec<StateTable>,
}

impl Recompute {
    /// An evaluation of rows by key, with its state in `tables`, whose schemas are
    /// [`Recompute::table_schemas`].
    #[must_use]
    pub fn new(plan: RecomputePlan, evaluator: Evaluator, tables: Vec<StateTable>) -> Self {
        Self {
            plan,
            evaluator,
            tables,
        }
    }

    /// The schemas of its state tables: the rows of each input, found by key; the results.
    #[must_use]
    pub fn table_schemas(
        inputs: &[SchemaRef],
        keys: &[Vec<usize>],
        forgets: Option<usize>,
        output: &SchemaRef,
    ) -> Vec<TableSchema> {
        let table = |columns: SchemaRef, key: Vec<usize>| TableSchema {
            id: TableId { job: 0, table: 0 },
            columns,
            ordered_by: forgets.map(|column| key[column]),
            key,
            measures: vec![MeasureType::Int64],
            visible: false,
            evictable: forgets.is_none(),
        };
        let rows = inputs.iter().zip(keys);
        let mut tables: Vec<_> = rows
            .map(|(columns, key)| table(Arc::clone(columns), key.clone()))
            .collect();
        let results = result_schema(&inputs[0], &keys[0], output);
        tables.push(table(results, (0..keys[0].len()).collect()));
        tables
    }

    /// The keys of the rows that changed, each once, as rows of key columns.
    fn changed_keys(&self) -> Result<Option<ChangeBatch>> {
        let fields = self.results().schema().columns.fields();
        let schema = Arc::new(Schema::new(fields[..self.plan.keys[0].len()].to_vec()));
        let mut distinct = StateTable::new(
            TableSchema {
                columns: Arc::clone(&schema),
                key: (0..self.plan.keys[0].len()).collect(),
                evictable: false,
                ..self.results().schema().clone()
            },
            self.results().owned().iter(),
        );
        for (rows, key) in self.tables.iter().zip(&self.plan.keys) {
            for changed in ChangedRows::pieces(rows)? {
                let columns: Vec<ArrayRef> =
                    key.iter().map(|&at| changed.columns[at].clone()).collect();
                let ones = Measures::weights(vec![1; changed.len()]);
                distinct.add(&columns, &ones, &changed.runs)?;
            }
        }
        let pieces = ChangedRows::pieces(&distinct)?;
        let batches = pieces.into_iter().map(|keys| {
            let rows = keys.len();
            let columns = batch(&schema, keys.columns, rows)?;
            Ok(ChangeBatch::new(columns, None, keys.runs.into()))
        });
        let batches = batches.collect::<Result<Vec<_>>>()?;
        Ok((!batches.is_empty()).then(|| ChangeBatch::concat(&batches)))
    }

    /// Replaces the results of some keys.
    fn evaluate(&mut self, keys: &ChangeBatch) -> Result<()> {
        let columns = keys.columns().columns();
        let mut rows = Vec::with_capacity(self.tables.len());
        for table in &mut self.tables {
            let found = table.lookup(columns, keys.runs(), NullEquality::NullEqualsNull)?;
            rows.push(rows_of(table, &found.rows)?);
        }
        let old = rows.pop().expect("the results are the last table");
        let inputs = rows.into_iter().map(repeated);
        let new = self.evaluator.run(inputs.collect::<Result<_>>()?)?;
        let schema = Arc::clone(&self.results().schema().columns);
        let rows = new.num_rows();
        let new = batch(&schema, new.columns().to_vec(), rows)?;
        let new = ChangeBatch::unkeyed(new, None).keyed(&self.plan.hashed_by, self.plan.key_groups);
        let old = ChangeBatch::unkeyed(old.0, Some(old.1.iter().map(|weight| -weight).collect()))
            .keyed(&self.plan.hashed_by, self.plan.key_groups);
        let results = self.tables.last_mut();
        let results = results.expect("the results are the last table");
        for change in [old, new] {
            let weights = Measures::weights(change.weights_to_vec());
            results.add(change.columns().columns(), &weights, change.runs())?;
        }
        Ok(())
    }

    /// How the epoch changed the results, without the columns of their keys.
    fn emit(&self, changed: &ChangedRows) -> Result<ChangeBatch> {
        let (old, new) = (changed.old.int64(0), changed.new.int64(0));
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let weights: Vec<i64> = new.iter().zip(old).map(|(new, old)| new - old).collect();
        let columns = changed.columns[self.plan.keys[0].len()..].to_vec();
        let columns = batch(&self.plan.schema, columns, changed.len())?;
        let differs = weights.iter().map(|&weight| Some(weight != 0)).collect();
        let all = ChangeBatch::new(columns, Some(weights.into()), changed.runs.clone().into());
        super::filter::keep(all, &differs)
    }

    fn results(&self) -> &StateTable {
        let results = self.tables.last();
        results.expect("the results are the last table")
    }
}

impl Operator for Recompute {
    fn on_batch(&mut self, input: usize, batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        let weights = Measures::weights(batch.weights_to_vec());
        self.tables[input].add(batch.columns().columns(), &weights, batch.runs())?;
        Ok(())
    }

    fn on_barrier(&mut self, _barrier: &Barrier, out: &mut Output) -> Result<()> {
        let Some(keys) = self.changed_keys()? else {
            return Ok(());
        };
        for piece in keys.pieces(KEYS_PER_RUN) {
            self.evaluate(&piece)?;
        }
        for changed in ChangedRows::pieces(self.results())? {
            out.push(self.emit(&changed)?);
        }
        Ok(())
    }

    fn on_watermarks(&mut self, inputs: &[Watermarks], _out: &mut Output) -> Result<()> {
        let Some(forgets) = self.plan.forgets else {
            return Ok(());
        };
        if let Some(watermark) = inputs[0].get(self.plan.keys[0][forgets]) {
            for table in &mut self.tables {
                TableRows::forget_below(table, watermark)?;
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.tables.iter_mut().collect()
    }
}

/// Rows that a look-up found, with their weights.
fn rows_of(table: &StateTable, rows: &[RowRef]) -> Result<(RecordBatch, Vec<i64>)> {
    let schema = &table.schema().columns;
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    let columns = table.gather(rows, &all)?;
    let weights = table.measures_of(rows);
    let weights = weights.int64(0).unwrap_or_default().to_vec();
    Ok((batch(schema, columns, rows.len())?, weights))
}

/// Key columns under names that no output column has, then the output's.
fn result_schema(input: &SchemaRef, key: &[usize], output: &SchemaRef) -> SchemaRef {
    let keys = key.iter().enumerate().map(|(at, &column)| {
        let data_type = input.field(column).data_type().clone();
        Arc::new(Field::new(format!("key {at}"), data_type, true))
    });
    let fields = keys.chain(output.fields().iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Each row as often as its weight says. While a view is backfilled a row may be owed: it is not
/// there yet then.
fn repeated((rows, weights): (RecordBatch, Vec<i64>)) -> Result<RecordBatch> {
    if weights.iter().all(|&weight| weight == 1) {
        return Ok(rows);
    }
    let copies = weights.iter().zip(0_u32..).flat_map(|(&weight, row)| {
        let copies = usize::try_from(weight).unwrap_or(0);
        std::iter::repeat_n(row, copies)
    });
    let order: UInt32Array = copies.collect();
    let columns = rows.columns().iter();
    let columns = columns.map(|column| Ok(take(column, &order, None)?));
    batch(&rows.schema(), columns.collect::<Result<_>>()?, order.len())
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}
