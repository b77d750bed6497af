//! VERIFY MATERIALIZED VIEW: are the stored rows what the query gives?
//!
//! The batch engine runs the view's query, and reads the view, both at one epoch. Rows are divided
//! into slices by their hash; a slice's digest is a sum over its rows, so their order has no
//! meaning. Only rows of slices whose digests differ are compared one by one. Floating-point
//! numbers may differ in their last digits, since they were added in another order.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use planner::values::types::SqlType;
use planner::{BatchPlan, Emit, Settings, Statement};
use sqlparser::ast::{self, Ident, ObjectName, Query};

use crate::big_stack;
use crate::catalog::{Entry, Kind};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::pg_catalog;
use crate::session::Session;
use crate::statement::ddl::stored_query;
use crate::statement::rows::Rows;
use crate::statement::{Outcome, select_all};

/// Slices that rows are divided into.
const SLICES: usize = 256;
/// Differing rows that a warning shows.
const ROWS_SHOWN_MAX: usize = 10;
/// How much two equal floating-point numbers may differ, relative to their size.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// Columns of the answer.
pub(crate) fn verify_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("materialized_view", DataType::Utf8, true),
        Field::new("epoch", DataType::Int64, true),
        Field::new("stored_rows", DataType::Int64, true),
        Field::new("recomputed_rows", DataType::Int64, true),
        Field::new("differing_rows", DataType::Int64, true),
        Field::new("verified", DataType::Boolean, true),
    ]))
}

/// One of the two sides of the comparison, to be run as often as needed.
#[derive(Clone)]
struct Side {
    plan: BatchPlan,
    session: planner::Session,
}

impl Side {
    async fn run(&self) -> Result<Rows> {
        let side = self.clone();
        let started =
            big_stack::run(move |handle| Ok(handle.block_on(side.plan.execute(&side.session))?));
        Ok(Rows::of_stream(started.await?))
    }
}

/// What a comparison found.
struct Comparison {
    /// Rows of each side, the stored one first.
    rows: [i64; 2],
    differences: Option<Differences>,
}

/// What is known of a side after a first look.
struct Digests {
    rows: i64,
    slices: Vec<u128>,
}

/// Rows that one side has more often than the other.
struct Differences {
    /// Distinct rows.
    rows: RecordBatch,
    /// How much more often they are stored; negative: recomputed.
    surplus: Vec<i64>,
}

impl Session {
    pub(crate) async fn verify(&mut self, name: &ObjectName) -> Result<Outcome> {
        let entry = self.verified_view(name)?;
        self.see_own_writes().await?;
        let (catalog, snapshot) = self.moment();
        if snapshot.stale.contains_key(&entry.id) {
            return Err(self.restarting(&entry));
        }
        let (epoch, time) = (snapshot.epoch, snapshot.time);
        let watermarks = snapshot.watermarks.clone();
        let view = CatalogView::new(catalog, Some(snapshot), self.system_context());
        let as_created = Arc::new(view.clone().read_by(&entry));
        // The query means what it meant to the session that created the view.
        let settings = Settings {
            time_zone: entry.time_zone.clone(),
            ..Settings::default()
        };
        let planner = planner::batch::session(Arc::new(view), &settings);
        pg_catalog::register_pure(&planner);
        let planner = planner.with_memory(&self.shared.query_memory);
        let planner = planner.at_time(time);
        let name = [&entry.schema_name, &entry.name];
        let parts = name.map(|part| Ident::with_quote('"', part)).to_vec();
        let query = select_all(ObjectName::from(parts))?;
        let stored = self.side(&query, &planner).await?;
        let watermarks = watermarks.get(&entry.id).cloned().unwrap_or_default();
        let planner = planner.with_catalog(as_created);
        let query = stored_query(&entry)?.query;
        let whole = self.side(&query, &planner).await?;
        if whole.plan.joins_current_rows()? {
            return Err(Error::unsupported(
                format!(
                    "cannot verify \"{}\", which has a temporal join",
                    entry.name
                ),
                "Its rows tell what the joined table was when they came, which nothing else keeps.",
            ));
        }
        let recomputed = match query_so_far(&entry, &watermarks)? {
            Some(query) => self.side(&query, &planner).await?,
            None => whole,
        };
        let columns = entry.schema();
        let comparison = self
            .interrupt
            .guard(compare(&stored, &recomputed, &columns))
            .await?;
        let mut differing_rows = 0;
        if let Some(found) = &comparison.differences {
            differing_rows = found.surplus.iter().map(|surplus| surplus.abs()).sum();
            self.warn_of(&entry, found);
        }
        let answer: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![entry.name.clone()])),
            Arc::new(Int64Array::from(vec![epoch.0.cast_signed()])),
            Arc::new(Int64Array::from(vec![comparison.rows[0]])),
            Arc::new(Int64Array::from(vec![comparison.rows[1]])),
            Arc::new(Int64Array::from(vec![differing_rows])),
            Arc::new(BooleanArray::from(vec![differing_rows == 0])),
        ];
        let batch = RecordBatch::try_new(verify_columns(), answer)?;
        let rows = Rows::of_batches(verify_columns(), vec![batch], "VERIFY");
        Ok(Outcome::Rows(rows))
    }

    /// The error about a view whose rows are not those of now.
    fn restarting(&self, entry: &Entry) -> Error {
        let jobs = self.shared.engine.jobs().into_iter();
        let reason = jobs
            .filter(|job| job.id == entry.id)
            .find_map(|job| job.failure);
        Error::Executor(executor::Error::Restarting {
            name: entry.name.clone(),
            reason: reason.unwrap_or_default(),
        })
    }

    fn verified_view(&self, name: &ObjectName) -> Result<Arc<Entry>> {
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = match catalog.by_name(&name) {
            Some(entry) if entry.kind == Kind::MaterializedView => entry,
            Some(_) => {
                return Err(Error::WrongKind {
                    name: name.to_string(),
                    expected: "materialized view",
                    hint: Some("Only materialized views keep what a query gives.".to_owned()),
                });
            }
            None => {
                return Err(Error::UndefinedObject {
                    kind: "materialized view",
                    name: name.to_string(),
                });
            }
        };
        let mut read = entry
            .dependencies
            .iter()
            .filter_map(|id| catalog.by_id(*id));
        if let Some(source) = read.find(|entry| matches!(entry.kind, Kind::Source { .. })) {
            return Err(Error::unsupported(
                format!("cannot verify a view over source \"{}\"", source.name),
                "A source keeps no rows from which the view could be recomputed.",
            ));
        }
        Ok(Arc::clone(entry))
    }

    async fn side(&mut self, query: &Query, planner: &planner::Session) -> Result<Side> {
        let (plan, session) = self.plan_batch(query, planner.clone(), Vec::new()).await?;
        Ok(Side { plan, session })
    }

    fn warn_of(&mut self, entry: &Entry, found: &Differences) {
        for (row, &surplus) in found.surplus.iter().enumerate().take(ROWS_SHOWN_MAX) {
            let (where_, times) = if surplus > 0 {
                ("stored", surplus)
            } else {
                ("recomputed", -surplus)
            };
            let row = self.row_texts(&found.rows, row).join(", ");
            self.client.notice(&Notice::Differs {
                view: entry.name.clone(),
                detail: format!("Only {where_}, {times} times: ({row})."),
            });
        }
    }
}

/// Of a view whose rows come when their window closes, those that are closed by these watermarks.
fn query_so_far(entry: &Entry, watermarks: &BTreeMap<usize, i64>) -> Result<Option<Query>> {
    let stored = stored_query(entry)?;
    if stored.emit == Emit::Immediately {
        return Ok(None);
    }
    let Some(column) = entry.emitted_by else {
        return Err(Error::unsupported(
            format!(
                "cannot verify \"{}\": its rows do not tell when their window closed",
                entry.name
            ),
            "Select the watermark column that the query groups by.",
        ));
    };
    let closed = match (
        watermarks.get(&column),
        entry.schema().field(column).data_type(),
    ) {
        (None, _) => "false".to_owned(),
        (Some(days), DataType::Date32) => {
            format!("{} < date '1970-01-01' + {days}", stored.columns[column])
        }
        (Some(micros), data_type) => format!(
            "{} < {} '1970-01-01 00:00:00+00' + interval '{micros} microseconds'",
            stored.columns[column],
            SqlType::of(data_type).base_name(),
        ),
    };
    let columns: Vec<String> = stored.columns.iter().map(ToString::to_string).collect();
    let text = format!(
        "SELECT * FROM ({}) AS \"so far\" ({}) WHERE {closed}",
        stored.query,
        columns.join(", ")
    );
    let parsed = planner::parse(&text)?.pop();
    match parsed.map(|parsed| parsed.statement) {
        Some(Statement::Pg(statement)) => match *statement {
            ast::Statement::Query(query) => Ok(Some(*query)),
            _ => Err(Error::Corrupt(text)),
        },
        _ => Err(Error::Corrupt(text)),
    }
}

/// Reads both sides, and the differing slices once more.
async fn compare(stored: &Side, recomputed: &Side, columns: &SchemaRef) -> Result<Comparison> {
    let ours = digests(stored, columns).await?;
    let theirs = digests(recomputed, columns).await?;
    let differing: Vec<bool> = (0..SLICES)
        .map(|at| ours.slices[at] != theirs.slices[at])
        .collect();
    let differences = if differing.contains(&true) {
        let found = differences([stored, recomputed], columns, &differing).await?;
        Some(without_close_floats(found)?)
    } else {
        None
    };
    Ok(Comparison {
        rows: [ours.rows, theirs.rows],
        differences,
    })
}

async fn digests(side: &Side, columns: &SchemaRef) -> Result<Digests> {
    let converter = converter(columns)?;
    let mut digests = Digests {
        rows: 0,
        slices: vec![0; SLICES],
    };
    let mut rows = side.run().await?;
    while let Some(batch) = rows.next().await? {
        let batch = comparable(&batch, columns)?;
        digests.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        for row in &converter.convert_columns(batch.columns())? {
            let digest = digest(row.data());
            let slice = &mut digests.slices[slice_of(digest)];
            *slice = slice.wrapping_add(digest);
        }
    }
    Ok(digests)
}

/// Compares the rows of differing slices, the stored side first.
async fn differences(
    sides: [&Side; 2],
    columns: &SchemaRef,
    differing: &[bool],
) -> Result<Differences> {
    let converter = converter(columns)?;
    let mut surplus: HashMap<Box<[u8]>, i64> = HashMap::new();
    for (side, sign) in sides.into_iter().zip([1, -1]) {
        let mut rows = side.run().await?;
        while let Some(batch) = rows.next().await? {
            let batch = comparable(&batch, columns)?;
            for row in &converter.convert_columns(batch.columns())? {
                if differing[slice_of(digest(row.data()))] {
                    *surplus.entry(row.data().into()).or_default() += sign;
                }
            }
        }
    }
    surplus.retain(|_, surplus| *surplus != 0);
    let mut sorted: Vec<_> = surplus.into_iter().collect();
    sorted.sort();
    let parser = converter.parser();
    let arrays = converter.convert_rows(sorted.iter().map(|(row, _)| parser.parse(row)))?;
    Ok(Differences {
        rows: RecordBatch::try_new(Arc::clone(columns), arrays)?,
        surplus: sorted.iter().map(|(_, surplus)| *surplus).collect(),
    })
}

fn converter(columns: &SchemaRef) -> Result<RowConverter> {
    let field = |field: &Arc<Field>| SortField::new(field.data_type().clone());
    Ok(RowConverter::new(
        columns.fields().iter().map(field).collect(),
    )?)
}

/// Rows with these columns' types, and one form of each floating-point number.
fn comparable(batch: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch> {
    let one_form = |(values, field): (&ArrayRef, &Arc<Field>)| -> Result<ArrayRef> {
        let values = cast(values, field.data_type())?;
        Ok(match field.data_type() {
            DataType::Float64 => Arc::new(
                values
                    .as_primitive::<Float64Type>()
                    .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
            ),
            DataType::Float32 => Arc::new(
                values
                    .as_primitive::<Float32Type>()
                    .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
            ),
            _ => values,
        })
    };
    let values = batch.columns().iter().zip(columns.fields());
    let values = values.map(one_form).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(columns), values)?)
}

fn digest(row: &[u8]) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        (seed, row).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) | half(1) << 64
}

fn slice_of(digest: u128) -> usize {
    (digest % SLICES as u128) as usize
}

/// Leaves out pairs of rows, one of each side, that differ in the last digits of floats alone.
fn without_close_floats(found: Differences) -> Result<Differences> {
    let is_float = |at: &usize| found.rows.column(*at).data_type().is_floating();
    let (floats, others): (Vec<usize>, Vec<usize>) =
        (0..found.rows.num_columns()).partition(is_float);
    if floats.is_empty() || found.surplus.is_empty() {
        return Ok(found);
    }
    let exact = found.rows.project(&others)?;
    let rows = if others.is_empty() {
        None
    } else {
        Some(converter(&exact.schema())?.convert_columns(exact.columns())?)
    };
    let same = |a: usize, b: usize| rows.as_ref().is_none_or(|rows| rows.row(a) == rows.row(b));
    let values = floats
        .iter()
        .map(|&at| Ok(cast(found.rows.column(at), &DataType::Float64)?))
        .collect::<Result<Vec<_>>>()?;
    let close = |a: usize, b: usize| values.iter().all(|column| are_close(column, a, b));
    let mut surplus = found.surplus.clone();
    for a in 0..surplus.len() {
        for b in a + 1..surplus.len() {
            if surplus[a].signum() * surplus[b].signum() < 0 && same(a, b) && close(a, b) {
                let pairs = surplus[a].abs().min(surplus[b].abs());
                surplus[a] -= pairs * surplus[a].signum();
                surplus[b] -= pairs * surplus[b].signum();
            }
        }
    }
    let (kept, surplus): (Vec<u32>, Vec<i64>) = (0u32..)
        .zip(surplus)
        .filter(|(_, surplus)| *surplus != 0)
        .unzip();
    Ok(Differences {
        rows: take_record_batch(&found.rows, &UInt32Array::from(kept))?,
        surplus,
    })
}

fn are_close(column: &ArrayRef, a: usize, b: usize) -> bool {
    use arrow::array::Array as _;
    let values = column.as_primitive::<Float64Type>();
    match (values.is_null(a), values.is_null(b)) {
        (true, true) => true,
        (false, false) => {
            let (a, b) = (values.value(a), values.value(b));
            a == b || (a - b).abs() <= FLOAT_TOLERANCE * a.abs().max(b.abs())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    fn found(rows: &[(i64, f64, i64)]) -> Differences {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Float64, true),
        ]);
        let a = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
        let b = Float64Array::from_iter_values(rows.iter().map(|row| row.1));
        Differences {
            rows: RecordBatch::try_new(Arc::new(schema), vec![Arc::new(a), Arc::new(b)]).unwrap(),
            surplus: rows.iter().map(|row| row.2).collect(),
        }
    }

    #[test]
    fn last_digits_of_floats_do_not_count() {
        let differing = |rows: &[_]| without_close_floats(found(rows)).unwrap().surplus;
        assert_eq!(differing(&[(1, 0.3, 1), (1, 0.1 + 0.2, -1)]), [0i64; 0]);
        assert_eq!(differing(&[(1, 0.3, 2), (1, 0.1 + 0.2, -1)]), [1]);
        assert_eq!(differing(&[(1, 0.3, 1), (1, 0.31, -1)]), [1, -1]);
        assert_eq!(differing(&[(1, 0.3, 1), (2, 0.3, -1)]), [1, -1]);
        assert_eq!(differing(&[(1, 0.3, 1), (1, 0.3, 1)]), [1, 1]);
    }

    async fn compared(stored: &str, recomputed: &str) -> Vec<(String, i64)> {
        let view = CatalogView::without_rows(Arc::default());
        let session = planner::batch::session(Arc::new(view), &Settings::default());
        let side = |sql: &str| {
            let statement = planner::parse(sql).unwrap().remove(0).statement;
            let planner::Statement::Pg(statement) = statement else {
                panic!("{sql}")
            };
            let sqlparser::ast::Statement::Query(query) = *statement else {
                panic!("{sql}")
            };
            Side {
                plan: session.plan(&query).unwrap(),
                session: session.clone(),
            }
        };
        let (stored, recomputed) = (side(stored), side(recomputed));
        let columns = Arc::clone(stored.plan.schema());
        let comparison = compare(&stored, &recomputed, &columns).await.unwrap();
        let Some(found) = comparison.differences else {
            return Vec::new();
        };
        let texts = cast(found.rows.column(0), &DataType::Utf8).unwrap();
        let texts = texts.as_string::<i32>().iter();
        texts
            .map(|text| text.unwrap_or("NULL").to_owned())
            .zip(found.surplus)
            .collect()
    }

    #[tokio::test]
    async fn rows_are_compared_as_multisets() {
        let stored = "SELECT * FROM (VALUES (1), (2), (2), (NULL)) AS t (a)";
        let same = "SELECT * FROM (VALUES (2), (NULL), (1), (2)) AS t (a)";
        assert_eq!(compared(stored, same).await, []);
        let other = "SELECT * FROM (VALUES (1), (2), (3), (NULL)) AS t (a)";
        assert_eq!(
            compared(stored, other).await,
            [("2".to_owned(), 1), ("3".to_owned(), -1)]
        );
    }
}
