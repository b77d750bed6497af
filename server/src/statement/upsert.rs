//! ON CONFLICT of an INSERT or of a table: what becomes of rows whose primary key exists.
//!
//! A join of the proposed rows with the table, which is locked, finds the conflicts, and computes
//! for each what DO UPDATE sets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::row::{Row, RowConverter, SortField};
use sqlparser::ast::{
    BinaryOperator, ConflictTarget, DoUpdate, Expr, Ident, Insert, ObjectName, OnConflict,
    OnConflictAction, OnInsert, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableAlias, TableFactor, Value,
};

use crate::catalog::{Column, ConflictPolicy, Entry};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::session::{Parameters, Session};
use crate::statement::dml::Assigned;
use crate::statement::returning::{self, Returning};
use crate::statement::{Outcome, select_all};
use crate::table_locks::Mode;

/// What SQL calls the proposed row.
const EXCLUDED: &str = "excluded";
/// Number of a proposed row.
const ROW: &str = "?row?";
/// Whether a conflicting row is to be updated.
const IS_UPDATED: &str = "?if?";

/// An ON CONFLICT clause, of an INSERT or else of its table.
pub(crate) struct Clause<'a> {
    /// The table, and what the statement calls it.
    table: ObjectName,
    alias: Ident,
    action: Action<'a>,
}

enum Action<'a> {
    Nothing,
    /// The new row takes the place of the old one.
    Overwrite,
    Update(&'a DoUpdate),
}

impl<'a> Clause<'a> {
    /// The clause that an INSERT follows, if there is one.
    ///
    /// # Errors
    /// A clause that means no constraint of the table.
    pub(crate) fn of_insert(insert: &'a Insert, entry: &Entry) -> Result<Option<Clause<'a>>> {
        let clause = match &insert.on {
            None => return Ok(Clause::of_table(entry)),
            Some(OnInsert::OnConflict(clause)) => clause,
            Some(_) => return Err(Error::not_supported("ON DUPLICATE KEY is not supported")),
        };
        check_target(entry, clause)?;
        let action = match &clause.action {
            OnConflictAction::DoNothing => Action::Nothing,
            OnConflictAction::DoUpdate(_) if entry.append_only => {
                return Err(Error::NotWritable {
                    action: "update",
                    kind: "append-only table",
                    name: entry.name.clone(),
                });
            }
            OnConflictAction::DoUpdate(update) => Action::Update(update),
        };
        Ok(Some(Clause {
            table: table_name(entry),
            alias: match &insert.table_alias {
                Some(alias) => alias.alias.clone(),
                None => Ident::with_quote('"', &entry.name),
            },
            action,
        }))
    }

    /// The clause of the table itself.
    pub(crate) fn of_table(entry: &Entry) -> Option<Clause<'a>> {
        Some(Clause {
            table: table_name(entry),
            alias: Ident::with_quote('"', &entry.name),
            action: match entry.on_conflict? {
                ConflictPolicy::Ignore => Action::Nothing,
                ConflictPolicy::Overwrite => Action::Overwrite,
            },
        })
    }
}

fn table_name(entry: &Entry) -> ObjectName {
    let parts = [&entry.schema_name, &entry.name];
    ObjectName::from(parts.map(|part| Ident::with_quote('"', part)).to_vec())
}

/// The conflicts of proposed rows.
struct Conflicts {
    /// By proposed row: its place in `old` and `outputs`.
    places: BTreeMap<u32, u32>,
    /// The stored rows.
    old: RecordBatch,
    /// What the SET expressions give, then whether the row is updated.
    outputs: RecordBatch,
}

impl Session {
    /// Inserts rows, or does what the clause says with those that are there.
    pub(crate) async fn upsert(
        &mut self,
        entry: &Arc<Entry>,
        rows: RecordBatch,
        clause: &Clause<'_>,
        returning: Option<Returning<'_>>,
        parameters: Parameters,
    ) -> Result<Outcome> {
        let found = conflict_query(entry, clause)?;
        let rows = one_of_each_key(entry, rows, &clause.action)?;
        let guard = self.lock_table(entry, Mode::Exclusive).await?;
        // Writes of other sessions are acknowledged before they are visible.
        self.has_unseen_writes = true;
        let (conflicts, assigned) = match found {
            Some((query, assigned)) => {
                let parameters = parameters.clone();
                let conflicts = self.conflicts(entry, &query, &rows, parameters);
                (conflicts.await?, assigned)
            }
            None => (Conflicts::none(entry), Vec::new()),
        };
        let mut change = self.resolved(entry, &rows, &conflicts, &assigned)?;
        change.new = self.with_generated(entry, change.new).await?;
        self.check_not_null(entry, &change.new)?;
        let returned = self
            .returned(entry, returning, &change.new, &parameters)
            .await?;
        let keys = self.replace_keys(entry, Some(&change.old), Some(&change.new))?;
        let count = change.new.num_rows();
        self.keep_or_write(entry.id, &change.old, &change.new, keys, guard)
            .await?;
        Ok(returning::outcome("INSERT 0", count, returned))
    }

    /// What [`conflict_query`] is planned over, without rows proposed.
    pub(crate) fn view_of_conflicts(&mut self, entry: &Entry) -> Result<CatalogView> {
        let none = RecordBatch::new_empty(entry.schema());
        let (schema, none) = numbered(entry, &none)?;
        let view = self.present_view().changing(entry.id);
        Ok(view.with_rows(EXCLUDED, schema, none))
    }

    async fn conflicts(
        &mut self,
        entry: &Entry,
        query: &Query,
        rows: &RecordBatch,
        parameters: Parameters,
    ) -> Result<Conflicts> {
        self.see_own_writes().await?;
        let (schema, numbered) = numbered(entry, rows)?;
        let view = self.present_view().changing(entry.id);
        let view = view.with_rows(EXCLUDED, schema, numbered);
        let planner = self.planner_over(view);
        let (plan, session) = self.plan_batch(query, planner, parameters).await?;
        let found = self.run_plan(plan, session).await?;
        let schema = Arc::clone(&found.schema);
        let interrupt = self.interrupt.clone();
        let found = concat_batches(&schema, &interrupt.guard(found.collect()).await?)?;
        let numbers = found.column(0).as_primitive::<Int64Type>().values();
        let places = numbers
            .iter()
            .zip(0u32..)
            .filter_map(|(&number, place)| Some((u32::try_from(number).ok()?, place)))
            .collect();
        let width = entry.columns.len();
        let old = found.columns()[1..=width].to_vec();
        Ok(Conflicts {
            places,
            old: RecordBatch::try_new(entry.schema(), old)?,
            outputs: found.project(&(width + 1..found.num_columns()).collect::<Vec<_>>())?,
        })
    }

    /// The stored rows that are replaced, and all rows that are new, in the order proposed.
    fn resolved(
        &self,
        entry: &Entry,
        rows: &RecordBatch,
        conflicts: &Conflicts,
        assigned: &[Assigned],
    ) -> Result<Change> {
        let updated = self.with_assigned(entry, &conflicts.old, &conflicts.outputs, assigned)?;
        let schema = entry.schema();
        let candidates = concat_batches(&schema, [rows, &updated])?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for row in (0u32..).take(rows.num_rows()) {
            match conflicts.places.get(&row) {
                None => new.push(row),
                Some(&place) if conflicts.is_updated(place) => {
                    old.push(place);
                    new.push(place + rows.num_rows() as u32);
                }
                Some(_) => {}
            }
        }
        Ok(Change {
            old: take_record_batch(&conflicts.old, &UInt32Array::from(old))?,
            new: take_record_batch(&candidates, &UInt32Array::from(new))?,
        })
    }
}

/// What a statement does to a table.
struct Change {
    old: RecordBatch,
    new: RecordBatch,
}

impl Conflicts {
    fn none(entry: &Entry) -> Conflicts {
        Conflicts {
            places: BTreeMap::new(),
            old: RecordBatch::new_empty(entry.schema()),
            outputs: RecordBatch::new_empty(Arc::new(Schema::empty())),
        }
    }

    fn is_updated(&self, place: u32) -> bool {
        let Some(flags) = self.outputs.columns().last().map(AsArray::as_boolean) else {
            return false;
        };
        let place = place as usize;
        flags.is_valid(place) && flags.value(place)
    }
}

/// The clause must mean the primary key, which is the one unique constraint of a table.
fn check_target(entry: &Entry, clause: &OnConflict) -> Result<()> {
    let key: BTreeSet<usize> = entry.primary_key.iter().copied().collect();
    match &clause.conflict_target {
        None if matches!(clause.action, OnConflictAction::DoNothing) => Ok(()),
        None => Err(Error::Syntax {
            message: "ON CONFLICT DO UPDATE requires inference specification or constraint name"
                .to_owned(),
        }),
        Some(ConflictTarget::Columns(columns)) => {
            let mut named = BTreeSet::new();
            for column in columns {
                let name = planner::names::identifier(column);
                let at = entry.column(&name).ok_or_else(|| Error::UndefinedColumn {
                    column: name,
                    relation: entry.name.clone(),
                })?;
                named.insert(at);
            }
            if named == key && !key.is_empty() {
                return Ok(());
            }
            Err(Error::NoConflictTarget)
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            let name = name.0.last().and_then(|part| part.as_ident());
            let name = name.map(planner::names::identifier).unwrap_or_default();
            if !key.is_empty() && name == entry.primary_key_name() {
                return Ok(());
            }
            Err(Error::UndefinedConstraint {
                name,
                relation: entry.name.clone(),
            })
        }
    }
}

/// The proposed rows, one of each key: the first, or the last if it takes the others' place.
fn one_of_each_key(entry: &Entry, rows: RecordBatch, action: &Action<'_>) -> Result<RecordBatch> {
    if entry.primary_key.is_empty() {
        return Ok(rows);
    }
    let columns: Vec<ArrayRef> = entry
        .primary_key
        .iter()
        .map(|&column| Arc::clone(rows.column(column)))
        .collect();
    let field = |column: &ArrayRef| SortField::new(column.data_type().clone());
    let converter = RowConverter::new(columns.iter().map(field).collect())?;
    let keys = converter.convert_columns(&columns)?;
    let mut kept: BTreeMap<Row<'_>, u32> = BTreeMap::new();
    for (key, row) in keys.iter().zip(0u32..) {
        match action {
            Action::Overwrite => drop(kept.insert(key, row)),
            Action::Nothing | Action::Update(_) => {
                kept.entry(key).or_insert(row);
            }
        }
    }
    if kept.len() == rows.num_rows() {
        return Ok(rows);
    }
    if matches!(action, Action::Update(_)) {
        return Err(Error::AffectedTwice);
    }
    let mut kept: Vec<u32> = kept.into_values().collect();
    kept.sort_unstable();
    Ok(take_record_batch(&rows, &UInt32Array::from(kept))?)
}

/// Proposed rows with their numbers.
fn numbered(entry: &Entry, rows: &RecordBatch) -> Result<(Arc<Schema>, RecordBatch)> {
    let mut fields: Vec<Field> = entry
        .schema()
        .fields()
        .iter()
        .map(|field| Field::clone(field))
        .collect();
    fields.push(Field::new(ROW, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields));
    let mut columns = rows.columns().to_vec();
    let numbers = (0i64..).take(rows.num_rows());
    columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok((schema, rows))
}

/// `SELECT excluded."?row?", t.*, values…, condition FROM excluded JOIN t ON the keys are equal`;
/// nothing if the table has no key. With the query come the columns that the values are for.
///
/// # Errors
/// Columns that do not exist, or that cannot be set.
pub(crate) fn conflict_query(
    entry: &Entry,
    clause: &Clause<'_>,
) -> Result<Option<(Query, Vec<Assigned>)>> {
    if entry.primary_key.is_empty() {
        return Ok(None);
    }
    let excluded = Ident::new(EXCLUDED);
    let table = clause.alias.clone();
    let always = |is: bool| Expr::value(Value::Boolean(is));
    let (assigned, values, condition) = match clause.action {
        Action::Nothing => (Vec::new(), Vec::new(), always(false)),
        Action::Overwrite => {
            let value =
                |column: &Column| SelectItem::UnnamedExpr(self::column(&excluded, &column.name));
            let assigned = (0..entry.columns.len()).map(Assigned::value_of_its_type);
            let values = entry.columns.iter().map(value).collect();
            (assigned.collect(), values, always(true))
        }
        Action::Update(update) => {
            let (assigned, values) = Assigned::of(entry, &update.assignments)?;
            let condition = update.selection.clone();
            (assigned, values, condition.unwrap_or_else(|| always(true)))
        }
    };
    let mut query = select_all(ObjectName::from(vec![excluded.clone()]))?;
    if let SetExpr::Select(select) = &mut *query.body {
        let mut items = vec![SelectItem::UnnamedExpr(column(&excluded, ROW))];
        items.push(SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![table.clone()])),
            Default::default(),
        ));
        items.extend(values);
        items.push(SelectItem::ExprWithAlias {
            expr: condition,
            alias: Ident::with_quote('"', IS_UPDATED),
        });
        select.projection = items;
        let mut joined = select.from[0].clone();
        if let TableFactor::Table {
            name, alias: of, ..
        } = &mut joined.relation
        {
            name.clone_from(&clause.table);
            *of = Some(TableAlias {
                explicit: true,
                name: table.clone(),
                columns: Vec::new(),
                at: None,
            });
        }
        select.from.push(joined);
        let equal = entry.primary_key.iter().map(|&key| {
            let name = &entry.columns[key].name;
            binary(
                column(&table, name),
                BinaryOperator::Eq,
                column(&excluded, name),
            )
        });
        select.selection = equal.reduce(|a, b| binary(a, BinaryOperator::And, b));
    }
    Ok(Some((query, assigned)))
}

fn column(table: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![table.clone(), Ident::with_quote('"', name)])
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}
