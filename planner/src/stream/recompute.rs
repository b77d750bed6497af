//! What has no incremental operator, but can be said of the rows of each key apart: window
//! functions by partition, other aggregates by group, the first rows of an order.
//!
//! ```text
//!   rows ─[expressions]──Hash(key)──► Recompute: the batch engine over the rows of changed keys
//! ```
//!
//! Every expression is computed in front of it, where a row that fails does not stop the others;
//! the evaluation has plain columns only.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortKey, WindowFunction};
use datafusion::logical_expr::{
    Aggregate, Expr, FetchType, GroupingSet, Limit, LogicalPlan, LogicalPlanBuilder, SkipType,
    Window,
};
use datafusion::physical_expr::PhysicalExpr;

use super::build::Builder;
use super::columns::Columns;
use super::parts::{Part, Stream};
use crate::dataflow::Node;
use crate::error::{Error, Result};
use crate::evaluation::{Evaluation, slot};
use crate::names::nullable;
use crate::types::check_kept;

/// The rows that an evaluation reads, and the plan over them so far.
struct Rows<'a, 'b> {
    builder: &'b Builder<'b>,
    columns: Columns<'a>,
}

/// An evaluation that is ready to be put on a stream.
struct Recomputation {
    /// Over a slot whose columns are the stream's.
    plan: LogicalPlan,
    /// The slot's columns that make up the key.
    key: Vec<usize>,
    /// Of the result, without the key.
    schema: SchemaRef,
    /// Whether there is a result without any rows.
    of_nothing: bool,
    description: String,
}

impl Builder<'_> {
    /// Rows with window functions over their partitions.
    pub(super) fn window(&mut self, window: &Window) -> Result<Stream> {
        let input = self.build(&window.input)?;
        let input_schema = window.input.schema();
        let mut rows = Rows::all(self, input_schema)?;
        let width = rows.columns.exprs.len();
        let mut exprs = Vec::with_capacity(window.window_expr.len());
        let mut key: Option<Vec<usize>> = None;
        for expr in &window.window_expr {
            let Expr::WindowFunction(function) = expr.clone().unalias() else {
                return Err(Error::unsupported(format!("window function {expr}"), ""));
            };
            let partition = rows.places(&function.params.partition_by)?;
            key = Some(match key {
                None => partition,
                Some(mut key) => {
                    key.retain(|column| partition.contains(column));
                    key
                }
            });
            exprs.push(rows.window_function(*function)?);
        }
        let (columns, schema) = rows.finish();
        let plan = LogicalPlanBuilder::from(slot(0, &slot_schema(&schema))?).window(exprs)?;
        let outputs = plan.schema().columns();
        let kept = (0..width).chain(schema.fields().len()..outputs.len());
        let kept: Vec<Expr> = kept.map(|at| outputs[at].clone().into()).collect();
        let stream = input.project(&columns, schema);
        let unique = stream.key.clone();
        let functions = window.window_expr.iter();
        let functions: Vec<String> = functions
            .map(|expr| expr.clone().unalias().human_display().to_string())
            .collect();
        let recomputation = Recomputation::new(
            plan,
            kept,
            key.unwrap_or_default(),
            nullable(window.schema.as_arrow()),
            functions.join(", "),
        )?;
        let stream = self.recompute(stream, recomputation, |column| {
            (column < width).then_some(column)
        })?;
        Ok(Stream {
            key: unique,
            ..stream
        })
    }

    /// The first rows of an order. Rows that are equal in it are ordered by all columns, so that
    /// the choice among them does not depend on what came first.
    pub(super) fn limit(&mut self, limit: &Limit, input: &LogicalPlan) -> Result<Stream> {
        match input {
            LogicalPlan::Projection(projection) => {
                let first = self.limit(limit, &projection.input)?;
                self.project(
                    first,
                    &projection.expr,
                    projection.input.schema(),
                    &projection.schema,
                )
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let first = self.limit(limit, &alias.input)?;
                let columns = first.columns();
                Ok(first.project(&columns, nullable(alias.schema.as_arrow())))
            }
            LogicalPlan::Sort(sort) => self.first_rows(limit, &sort.expr, &sort.input),
            other => self.first_rows(limit, &[], other),
        }
    }

    fn first_rows(
        &mut self,
        limit: &Limit,
        order: &[SortKey],
        input: &LogicalPlan,
    ) -> Result<Stream> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
            (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(Error::unsupported(
                "LIMIT of an expression in a materialized view",
                "write the number",
            ));
        };
        let stream = self.build(input)?;
        let mut rows = Rows::all(self, input.schema())?;
        let width = rows.columns.exprs.len();
        let mut sort = rows.sort_keys(order)?;
        let (columns, schema) = rows.finish();
        sort.extend((0..width).map(|at| SortKey::new(slot_column(at), true, false)));
        let plan = LogicalPlanBuilder::from(slot(0, &slot_schema(&schema))?)
            .sort(sort)?
            .limit(skip, fetch)?;
        let kept = (0..width).map(slot_column).collect();
        let stream = stream.project(&columns, schema);
        let unique = stream.key.clone();
        let recomputation = Recomputation::new(
            plan,
            kept,
            Vec::new(),
            nullable(input.schema().as_arrow()),
            first_rows_text(skip, fetch, order),
        )?;
        let stream = self.recompute(stream, recomputation, |column| {
            (column < width).then_some(column)
        })?;
        Ok(Stream {
            key: unique,
            ..stream
        })
    }

    /// One row a group, by DataFusion's accumulators.
    pub(super) fn recomputed_aggregate(
        &mut self,
        aggregate: &Aggregate,
        input: Stream,
        schema: SchemaRef,
    ) -> Result<Stream> {
        check_kept(&schema)?;
        let mut rows = Rows {
            builder: self,
            columns: Columns::over(aggregate.input.schema()),
        };
        let groups = rows.group_exprs(&aggregate.group_expr)?;
        let mut calls = Vec::with_capacity(aggregate.aggr_expr.len());
        for expr in &aggregate.aggr_expr {
            match expr.clone().unalias() {
                Expr::AggregateFunction(function) => calls.push(rows.aggregate(function)?),
                other => return Err(Error::unsupported(format!("aggregate {other}"), "")),
            }
        }
        let (columns, rows_schema) = rows.finish();
        let plan = LogicalPlanBuilder::from(slot(0, &slot_schema(&rows_schema))?)
            .aggregate(groups.exprs.clone(), calls)?;
        let kept = plan.schema().columns().into_iter().map(Expr::from);
        let kept: Vec<Expr> = kept.collect();
        let stream = input.project(&columns, rows_schema);
        let calls = aggregate.aggr_expr.iter();
        let calls: Vec<String> = calls
            .map(|call| call.clone().unalias().human_display().to_string())
            .collect();
        let mut recomputation = Recomputation::new(
            plan,
            kept,
            groups.common.clone(),
            schema,
            format!("{} per group", calls.join(", ")),
        )?;
        recomputation.of_nothing = groups.has_total;
        let width = groups.width;
        let is_single = groups.is_single;
        let stream = self.recompute(stream, recomputation, |column| {
            (is_single && column < width).then_some(column)
        })?;
        Ok(Stream {
            key: if is_single {
                (0..width).collect()
            } else {
                Vec::new()
            },
            ..stream
        })
    }

    /// Puts an evaluation on a stream. `output` tells where a column of the stream is in the result.
    fn recompute(
        &mut self,
        stream: Stream,
        recomputation: Recomputation,
        output: impl Fn(usize) -> Option<usize>,
    ) -> Result<Stream> {
        let Recomputation {
            plan,
            key,
            schema,
            of_nothing,
            description,
        } = recomputation;
        check_kept(&stream.schema)?;
        let slots = vec![slot_schema(&stream.schema)];
        let part = self.keyed(stream, &key);
        let hash = part.hashed_by().unwrap_or_default().to_vec();
        let within = hash
            .iter()
            .filter_map(|column| key.iter().position(|known| known == column));
        let hashed_by: Vec<usize> = within.collect();
        let moved: Option<Vec<usize>> = hash.iter().map(|column| output(*column)).collect();
        let evaluation = Evaluation::plan(self.state, &plan, slots, description)?;
        let recomputed = |inputs: Vec<Node>| Node::Recompute {
            keys: inputs
                .iter()
                .enumerate()
                .map(|(at, _)| if at == 0 { key.clone() } else { Vec::new() })
                .collect(),
            inputs,
            key_columns: key.iter().map(|column| output(*column)).collect(),
            hashed_by: hashed_by.clone(),
            forgets: None,
            evaluation,
            schema: Arc::clone(&schema),
        };
        let part = if of_nothing {
            let marker = self.exchange(vec![marker()?], &marker_schema(), &[]);
            part.join(marker, |rows, marker| recomputed(vec![*rows, *marker]))
        } else {
            part.wrap(moved, |rows| recomputed(vec![*rows]))
        };
        Ok(Stream::of(part, schema))
    }
}

impl Recomputation {
    /// `kept` are the output's columns, in terms of the plan.
    fn new(
        plan: LogicalPlanBuilder,
        kept: Vec<Expr>,
        key: Vec<usize>,
        schema: SchemaRef,
        description: String,
    ) -> Result<Self> {
        let keys = key
            .iter()
            .enumerate()
            .map(|(at, column)| slot_column(*column).alias(format!("key {at}")));
        let outputs = kept
            .into_iter()
            .enumerate()
            .map(|(at, expr)| expr.alias(format!("output {at}")));
        let plan = plan.project(keys.chain(outputs))?.build()?;
        Ok(Self {
            plan,
            key,
            schema,
            of_nothing: false,
            description,
        })
    }
}

/// The group columns of an aggregation over a slot.
struct Groups {
    exprs: Vec<Expr>,
    /// Those that are in every grouping set.
    common: Vec<usize>,
    width: usize,
    /// Whether there is one grouping set only.
    is_single: bool,
    /// Whether there is a grouping set without columns, whose row is there always.
    has_total: bool,
}

impl<'a, 'b> Rows<'a, 'b> {
    /// All columns of a schema to begin with.
    fn all(builder: &'b Builder<'b>, schema: &'a DFSchema) -> Result<Rows<'a, 'b>> {
        let mut columns = Columns::over(schema);
        for column in schema.columns() {
            let name = column.name.clone();
            columns.push(builder, &column.into(), &name)?;
        }
        Ok(Rows { builder, columns })
    }

    fn finish(self) -> (Vec<Arc<dyn PhysicalExpr>>, SchemaRef) {
        let schema = self.columns.to_schema();
        (self.columns.physical, schema)
    }

    fn place(&mut self, expr: &Expr) -> Result<usize> {
        self.columns.find_or_push(self.builder, expr)
    }

    fn places(&mut self, exprs: &[Expr]) -> Result<Vec<usize>> {
        exprs.iter().map(|expr| self.place(expr)).collect()
    }

    /// An expression as a column of the slot.
    fn column(&mut self, expr: &Expr) -> Result<Expr> {
        Ok(slot_column(self.place(expr)?))
    }

    /// Arguments of functions may have to be constants.
    fn argument(&mut self, expr: &Expr) -> Result<Expr> {
        let mut is_constant = true;
        expr.apply(|part| {
            is_constant &= !matches!(part, Expr::Column(_));
            Ok(TreeNodeRecursion::Continue)
        })?;
        if is_constant {
            return Ok(expr.clone());
        }
        self.column(expr)
    }

    fn arguments(&mut self, exprs: &[Expr]) -> Result<Vec<Expr>> {
        exprs.iter().map(|expr| self.argument(expr)).collect()
    }

    fn sort_keys(&mut self, keys: &[SortKey]) -> Result<Vec<SortKey>> {
        let keys = keys.iter();
        keys.map(|key| {
            let column = self.column(&key.expr)?;
            Ok(SortKey::new(column, key.asc, key.nulls_first))
        })
        .collect()
    }

    fn filter(&mut self, filter: Option<Box<Expr>>) -> Result<Option<Box<Expr>>> {
        filter
            .map(|filter| Ok(Box::new(self.column(&filter)?)))
            .transpose()
    }

    fn window_function(&mut self, mut function: WindowFunction) -> Result<Expr> {
        let params = &mut function.params;
        params.args = self.arguments(&params.args)?;
        let partition = self.places(&params.partition_by)?;
        params.partition_by = partition.into_iter().map(slot_column).collect();
        params.order_by = self.sort_keys(&params.order_by)?;
        params.filter = self.filter(params.filter.take())?;
        Ok(Expr::from(function))
    }

    fn aggregate(&mut self, mut function: AggregateFunction) -> Result<Expr> {
        let params = &mut function.params;
        params.args = self.arguments(&params.args)?;
        params.order_by = self.sort_keys(&params.order_by)?;
        params.filter = self.filter(params.filter.take())?;
        Ok(Expr::AggregateFunction(function))
    }

    /// Group columns come first in the slot.
    fn group_exprs(&mut self, exprs: &[Expr]) -> Result<Groups> {
        let Some(Expr::GroupingSet(sets)) = exprs.first() else {
            let places = self.places(exprs)?;
            return Ok(Groups {
                exprs: places.iter().copied().map(slot_column).collect(),
                width: places.len(),
                has_total: places.is_empty(),
                common: places,
                is_single: true,
            });
        };
        for expr in sets.distinct_expr() {
            self.place(expr)?;
        }
        let width = self.columns.exprs.len();
        let sets = grouping_sets(sets);
        let places: Vec<Vec<usize>> = sets
            .iter()
            .map(|set| self.places(set))
            .collect::<Result<_>>()?;
        let mut common = places.first().cloned().unwrap_or_default();
        common.retain(|column| places.iter().all(|set| set.contains(column)));
        let as_columns = |set: &Vec<usize>| set.iter().copied().map(slot_column).collect();
        Ok(Groups {
            exprs: vec![Expr::GroupingSet(GroupingSet::GroupingSets(
                places.iter().map(as_columns).collect(),
            ))],
            width,
            has_total: places.iter().any(Vec::is_empty),
            common,
            is_single: false,
        })
    }
}

/// The grouping sets that one written in short stands for.
pub(super) fn grouping_sets(sets: &GroupingSet) -> Vec<Vec<Expr>> {
    match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len())
            .rev()
            .map(|length| exprs[..length].to_vec())
            .collect(),
        GroupingSet::Cube(exprs) => (0..1_usize << exprs.len())
            .map(|subset| {
                let chosen = exprs.iter().enumerate();
                let chosen = chosen.filter(|(at, _)| subset & (1 << at) == 0);
                chosen.map(|(_, expr)| expr.clone()).collect()
            })
            .collect(),
    }
}

/// The columns under names that no two of them share.
fn slot_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().enumerate();
    let fields =
        fields.map(|(at, field)| Field::new(slot_name(at), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn slot_name(at: usize) -> String {
    format!("column {at}")
}

fn slot_column(at: usize) -> Expr {
    Expr::Column(Column::new(Some("slot0"), slot_name(at)))
}

/// One row that says that the key without columns is there.
fn marker() -> Result<Part> {
    let schema = marker_schema();
    let batch = RecordBatch::try_new(schema, vec![new_null_array(&DataType::Int64, 1)])?;
    Ok(Part::leaf(Node::Values { batch }))
}

fn marker_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(
        "there",
        DataType::Int64,
        true,
    )]))
}

fn first_rows_text(skip: usize, fetch: Option<usize>, order: &[SortKey]) -> String {
    let order: Vec<String> = order
        .iter()
        .map(|key| {
            let direction = if key.asc { "" } else { " DESC" };
            format!("{}{direction}", key.expr.human_display())
        })
        .collect();
    let mut text = String::new();
    if !order.is_empty() {
        text = format!("order by {}", order.join(", "));
    }
    if let Some(fetch) = fetch {
        text = format!("{text} limit {fetch}");
    }
    if skip > 0 {
        text = format!("{text} offset {skip}");
    }
    text.trim_start().to_owned()
}
