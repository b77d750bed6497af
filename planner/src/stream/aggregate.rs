//! `GROUP BY` and `DISTINCT`.
//!
//! Expressions and filters of aggregates are projected first: `sum(x) FILTER (WHERE p)` sums
//! `CASE WHEN p THEN x END`, since every aggregate here skips NULLs. `DISTINCT` arguments are
//! made distinct by an aggregation of their own. When all aggregates have one DISTINCT argument:
//!
//! ```text
//!   (g, x) ──Hash(g)──► HashAgg(g, x) → HashAgg(g; sum(x))
//! ```
//!
//! Otherwise each distinct argument gets a second column `y`, which only the distinct rows fill,
//! and which the aggregates read:
//!
//! ```text
//!   (g, a, x, NULL as y) ─┬──────────────────────────────Hash(g)─────────────┐
//!                         └─Hash(g, x)─► HashAgg(g, x)                       ├─► HashAgg(g; sum(a), sum(y))
//!                                        → (g, NULL, NULL, x as y) ──Hash(g)─┘
//! ```
//!
//! Grouping sets are one aggregation each, over the same fragments. What has no incremental operator
//! is evaluated anew for the groups that change (`recompute`).
//!
//! An aggregation may have two phases, against skew: the rows of a batch are grouped where they are, and
//! what they add to the measures of their groups crosses the exchange, once a group and batch.
//! `TwoPhaseAgg` says when.
//!
//! ```text
//!   (g, x) → LocalAgg(g; sum(x)) ──(g, rows, count(x), sum(x)), Hash(g)──► HashAgg(g; sum(x))
//! ```
//!
//! Without group columns one row of NULLs is added, which changes no aggregate and keeps the only
//! group alive. Wherever rows are added, `count(*)` becomes the count of a column of ones.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, lit, when};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{IsNotNullExpr, Literal};

use super::build::Builder;
use super::columns::Columns;
use super::parts::{Part, Stream, close, column};
use super::recompute::grouping_sets;
use crate::dataflow::{AggCall, AggFunction, Node};
use crate::error::Result;
use crate::measures::{TwoPhaseAgg, partial_schema};
use crate::number_aggregates::uncast;
use crate::types::check_kept;

/// An aggregate of the query.
struct Call {
    function: AggFunction,
    /// With the filter in it; absent for `count(*)`.
    argument: Option<Expr>,
    distinct: bool,
    is_filtered: bool,
    output_type: DataType,
}

/// Distinct arguments of a general plan: where the argument is, and where its distinct values go.
struct DistinctColumn {
    argument: usize,
    values: usize,
}

impl Builder<'_> {
    /// One row a group.
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Stream> {
        let output = output_schema(aggregate);
        let input = self.build(&aggregate.input)?;
        let sets = match aggregate.group_expr.as_slice() {
            [Expr::GroupingSet(sets)] => Some(sets),
            _ => None,
        };
        match (calls(aggregate)?, sets) {
            (Some(calls), None) => self.incremental(aggregate, input, &calls, output),
            (Some(calls), Some(sets)) if calls.iter().all(|call| !call.distinct) => {
                self.by_grouping_sets(aggregate, input, sets, &calls, &output)
            }
            _ => self.recomputed_aggregate(aggregate, input, output),
        }
    }

    fn incremental(
        &mut self,
        aggregate: &Aggregate,
        input: Stream,
        calls: &[Call],
        output: SchemaRef,
    ) -> Result<Stream> {
        let groups = aggregate.group_expr.len();
        let mut columns = Columns::over(aggregate.input.schema());
        for (at, expr) in aggregate.group_expr.iter().enumerate() {
            columns.push(self, expr, output.field(at).name())?;
        }
        if calls.iter().any(|call| call.distinct) {
            return self.with_distinct(input, groups, calls, columns, output);
        }
        let is_global = groups == 0;
        let mut agg_calls = Vec::with_capacity(calls.len());
        let added = is_global.then_some(0);
        for call in calls {
            agg_calls.push(columns.call(self, call, added)?);
        }
        let stream = input.project(&columns.physical, columns.to_schema());
        Ok(self.hash_agg(with_neutral_row(stream, groups), groups, agg_calls, output))
    }

    /// The union of one aggregation a grouping set, over the same fragments.
    fn by_grouping_sets(
        &mut self,
        aggregate: &Aggregate,
        input: Stream,
        sets: &GroupingSet,
        calls: &[Call],
        output: &SchemaRef,
    ) -> Result<Stream> {
        let mut columns = Columns::over(aggregate.input.schema());
        let all: Vec<Expr> = sets.distinct_expr().into_iter().cloned().collect();
        for (at, expr) in all.iter().enumerate() {
            columns.push(self, expr, output.field(at).name())?;
        }
        let mut agg_calls = Vec::with_capacity(calls.len());
        for call in calls {
            agg_calls.push(columns.call(self, call, Some(0))?);
        }
        let schema = columns.to_schema();
        let rows = input.project(&columns.physical, Arc::clone(&schema));
        let sources = close(rows.parts, &mut self.fragments);
        let mut parts = Vec::new();
        let mut seen: Vec<u64> = Vec::new();
        for set in grouping_sets(sets) {
            let places = all.iter().enumerate();
            let (kept, left_out): (Vec<usize>, Vec<usize>) = places
                .map(|(at, _)| at)
                .partition(|at| set.contains(&all[*at]));
            let mask = left_out
                .iter()
                .fold(0_u64, |mask, at| mask | 1 << (all.len() - 1 - at));
            let ordinal = seen.iter().filter(|known| **known == mask).count() as u64;
            seen.push(mask);
            let readers = if kept.is_empty() {
                let neutral = close(vec![neutral_row(&schema)], &mut self.fragments);
                sources.iter().copied().chain(neutral).collect()
            } else {
                sources.clone()
            };
            let part = Part::exchange(&readers, &schema, &kept);
            parts.push(grouped(
                part,
                &kept,
                &agg_calls,
                ordinal << all.len() | mask,
                output,
            )?);
        }
        Ok(Stream {
            parts,
            schema: Arc::clone(output),
            key: Vec::new(),
            append_only: false,
        })
    }

    /// The rows, each once.
    pub(super) fn distinct(&mut self, stream: Stream) -> Result<Stream> {
        let schema = Arc::clone(&stream.schema);
        check_kept(&schema)?;
        let width = schema.fields().len();
        Ok(self.hash_agg(stream, width, Vec::new(), schema))
    }

    /// Groups by the first columns of a stream.
    fn hash_agg(
        &mut self,
        stream: Stream,
        groups: usize,
        calls: Vec<AggCall>,
        schema: SchemaRef,
    ) -> Stream {
        let group_by: Vec<usize> = (0..groups).collect();
        // A group of distinct rows comes and never goes if its rows do.
        let append_only = stream.append_only && calls.is_empty();
        let rows_stay = stream.append_only;
        let part = match self.partial(&stream, &group_by, &calls) {
            Some(partial) => self.in_two_phases(stream, &group_by, calls, partial, &schema),
            None => {
                let part = self.keyed(stream, &group_by);
                on_groups(part, groups, calls, rows_stay, Arc::clone(&schema))
            }
        };
        Stream {
            key: group_by,
            append_only,
            ..Stream::of(part, schema)
        }
    }

    /// The columns of the partial results, if an aggregation is to have two phases: there is an
    /// exchange in front of it, and the session wants them.
    fn partial(&self, stream: &Stream, group_by: &[usize], calls: &[AggCall]) -> Option<SchemaRef> {
        let wanted = match self.two_phase_agg {
            TwoPhaseAgg::Never => false,
            TwoPhaseAgg::WithoutGroups => group_by.is_empty(),
            TwoPhaseAgg::Always => true,
        };
        if !wanted || stream.hashed_within(group_by).is_some() {
            return None;
        }
        partial_schema(group_by, calls, &stream.schema, stream.append_only)
    }

    /// Groups rows where they are, and what comes of that behind an exchange: of a group with many
    /// rows few cross it.
    fn in_two_phases(
        &mut self,
        stream: Stream,
        group_by: &[usize],
        calls: Vec<AggCall>,
        partial: SchemaRef,
        schema: &SchemaRef,
    ) -> Part {
        let (rows, append_only) = (Arc::clone(&stream.schema), stream.append_only);
        let local = stream.map(Arc::clone(&partial), |input| Node::LocalAgg {
            input,
            group_by: group_by.to_vec(),
            calls: calls.clone(),
            append_only,
            schema: Arc::clone(&partial),
        });
        let part = self.exchange(local.parts, &partial, group_by);
        part.wrap(Some(group_by.to_vec()), |input| Node::HashAgg {
            input,
            group_by: group_by.to_vec(),
            calls,
            forgets: None,
            append_only,
            partial_of: Some(rows),
            schema: Arc::clone(schema),
        })
    }

    fn with_distinct(
        &mut self,
        input: Stream,
        groups: usize,
        calls: &[Call],
        mut columns: Columns<'_>,
        output: SchemaRef,
    ) -> Result<Stream> {
        let first = calls.iter().find_map(|call| call.argument.as_ref());
        let is_simple = calls
            .iter()
            .all(|call| call.distinct && !call.is_filtered && call.argument.as_ref() == first);
        if !is_simple {
            return self.with_mixed_distinct(input, groups, calls, columns, output);
        }
        let mut agg_calls = Vec::with_capacity(calls.len());
        for call in calls {
            agg_calls.push(columns.call(self, call, Some(0))?);
        }
        let schema = columns.to_schema();
        let stream = input.project(&columns.physical, Arc::clone(&schema));
        let width = schema.fields().len();
        let hash_by: Vec<usize> = if groups == 0 {
            (0..width).collect()
        } else {
            (0..groups).collect()
        };
        let part = self.keyed(stream, &hash_by);
        let part = on_groups(part, width, Vec::new(), false, Arc::clone(&schema));
        let stream = Stream::of(part, schema);
        Ok(self.hash_agg(with_neutral_row(stream, groups), groups, agg_calls, output))
    }

    fn with_mixed_distinct(
        &mut self,
        input: Stream,
        groups: usize,
        calls: &[Call],
        mut columns: Columns<'_>,
        output: SchemaRef,
    ) -> Result<Stream> {
        let mut agg_calls = Vec::with_capacity(calls.len());
        for call in calls {
            let own = if call.distinct { 0 } else { groups };
            agg_calls.push(columns.call(self, call, Some(own))?);
        }
        let mut distinct: Vec<DistinctColumn> = Vec::new();
        for (call, agg_call) in calls.iter().zip(&mut agg_calls) {
            let Some(argument) = agg_call.argument.filter(|_| call.distinct) else {
                continue;
            };
            let known = distinct.iter().find(|known| known.argument == argument);
            let values = match known {
                Some(known) => known.values,
                None => {
                    let values = columns.push_null(argument)?;
                    distinct.push(DistinctColumn { argument, values });
                    values
                }
            };
            agg_call.argument = Some(values);
        }
        let schema = columns.to_schema();
        let rows = input.project(&columns.physical, Arc::clone(&schema));
        let sources = close(rows.parts, &mut self.fragments);
        let mut readers = sources.clone();
        for column in &distinct {
            let part = distinct_rows(&sources, &schema, groups, column);
            readers.extend(close(vec![part], &mut self.fragments));
        }
        if groups == 0 {
            readers.extend(close(vec![neutral_row(&schema)], &mut self.fragments));
        }
        let group_by: Vec<usize> = (0..groups).collect();
        let part = Part::exchange(&readers, &schema, &group_by);
        let part = on_groups(part, groups, agg_calls, false, Arc::clone(&output));
        Ok(Stream {
            key: group_by,
            ..Stream::of(part, output)
        })
    }
}

impl Columns<'_> {
    /// A call over these columns. If rows are added to them, whose columns are NULL but for the
    /// first `added`, it must not see those.
    fn call(
        &mut self,
        builder: &Builder<'_>,
        call: &Call,
        added: Option<usize>,
    ) -> Result<AggCall> {
        let one = lit(1_i64);
        let argument = match (&call.argument, added) {
            (Some(argument), _) => Some(argument),
            (None, Some(_)) => Some(&one),
            (None, None) => None,
        };
        let own = added.unwrap_or(0);
        let argument = argument
            .map(|argument| self.find_or_push_behind(own, builder, argument))
            .transpose()?;
        Ok(AggCall {
            function: call.function,
            argument,
            output_type: call.output_type.clone(),
        })
    }
}

/// One grouping set: its groups, with NULL for the columns that it leaves out, and its number.
fn grouped(
    part: Part,
    kept: &[usize],
    calls: &[AggCall],
    id: u64,
    output: &SchemaRef,
) -> Result<Part> {
    let width = output.fields().len() - calls.len() - 1;
    let fields = kept
        .iter()
        .copied()
        .chain(width + 1..output.fields().len())
        .map(|at| output.field(at).clone());
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let grouped = part.wrap(None, |input| Node::HashAgg {
        input,
        group_by: kept.to_vec(),
        calls: calls.to_vec(),
        forgets: None,
        append_only: false,
        partial_of: None,
        schema: Arc::clone(&schema),
    });
    let id_type = output.field(width).data_type();
    let id = ScalarValue::UInt64(Some(id)).cast_to(id_type)?;
    let exprs = (0..output.fields().len()).map(|at| -> Arc<dyn PhysicalExpr> {
        match kept.iter().position(|column| *column == at) {
            Some(place) => column(&schema, place),
            None if at < width => null_of(output.field(at).data_type()),
            None if at == width => Arc::new(Literal::new(id.clone())),
            None => column(&schema, kept.len() + at - width - 1),
        }
    });
    let exprs = exprs.collect();
    Ok(grouped.project(exprs, Arc::clone(output)))
}

/// Groups a part by its first columns; its rows are hashed by some of them, or all in one place.
fn on_groups(
    part: Part,
    groups: usize,
    calls: Vec<AggCall>,
    append_only: bool,
    schema: SchemaRef,
) -> Part {
    // Group columns keep their places.
    let hashed_by = part.hashed_by().map(<[usize]>::to_vec);
    part.wrap(hashed_by, |input| Node::HashAgg {
        input,
        group_by: (0..groups).collect(),
        calls,
        forgets: None,
        append_only,
        partial_of: None,
        schema,
    })
}

/// The distinct values of one argument in each group, with NULL in all other columns.
fn distinct_rows(
    sources: &[usize],
    schema: &SchemaRef,
    groups: usize,
    distinct: &DistinctColumn,
) -> Part {
    let mut keys: Vec<usize> = (0..groups).collect();
    if !keys.contains(&distinct.argument) {
        keys.push(distinct.argument);
    }
    let argument = column(schema, distinct.argument);
    let exchange = Part::exchange(sources, schema, &keys);
    let present = exchange.filter(Arc::new(IsNotNullExpr::new(argument)));
    let fields: Vec<Field> = keys.iter().map(|at| schema.field(*at).clone()).collect();
    let keyed = Arc::new(Schema::new(fields));
    let grouped = present.wrap(None, |input| Node::HashAgg {
        input,
        group_by: keys.clone(),
        calls: Vec::new(),
        forgets: None,
        append_only: false,
        partial_of: None,
        schema: Arc::clone(&keyed),
    });
    let exprs = (0..schema.fields().len()).map(|at| -> Arc<dyn PhysicalExpr> {
        let source = if at == distinct.values {
            distinct.argument
        } else {
            at
        };
        let is_kept = at < groups || at == distinct.values;
        match keys
            .iter()
            .position(|key| *key == source)
            .filter(|_| is_kept)
        {
            Some(place) => column(&keyed, place),
            None => null_of(schema.field(at).data_type()),
        }
    });
    let exprs: Vec<_> = exprs.collect();
    grouped.project(exprs, Arc::clone(schema))
}

fn null_of(data_type: &DataType) -> Arc<dyn PhysicalExpr> {
    let null = ScalarValue::try_new_null(data_type).unwrap_or(ScalarValue::Null);
    Arc::new(Literal::new(null))
}

/// The row of NULLs that keeps the group of a global aggregate alive.
fn neutral_row(schema: &SchemaRef) -> Part {
    let columns = schema
        .fields()
        .iter()
        .map(|field| new_null_array(field.data_type(), 1));
    let batch = RecordBatch::try_new(Arc::clone(schema), columns.collect());
    let batch = batch.expect("one NULL for each of the nullable columns");
    Part::leaf(Node::Values { batch })
}

fn with_neutral_row(mut stream: Stream, groups: usize) -> Stream {
    if groups == 0 {
        stream.parts.push(neutral_row(&stream.schema));
    }
    stream
}

/// The columns of the result, with names to be read in plans.
fn output_schema(aggregate: &Aggregate) -> SchemaRef {
    let plain = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
    let names: Vec<String> = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(_)] => Vec::new(),
        _ => plain.map(expr_name).collect(),
    };
    let fields = aggregate.schema.fields().iter().enumerate();
    let fields = fields.map(|(at, field)| {
        let name = names.get(at).unwrap_or(field.name());
        Field::new(name, field.data_type().clone(), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn expr_name(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        other => other.human_display().to_string(),
    }
}

/// The aggregates, if each of them has an incremental operator.
fn calls(aggregate: &Aggregate) -> Result<Option<Vec<Call>>> {
    let groups = aggregate.group_expr_len()?;
    let output = aggregate.schema.as_arrow();
    let exprs = aggregate.aggr_expr.iter().enumerate();
    exprs
        .map(|(at, expr)| {
            let output_type = output.field(groups + at).data_type().clone();
            match expr.clone().unalias() {
                Expr::AggregateFunction(function) => {
                    call(function, aggregate.input.schema(), output_type).transpose()
                }
                _ => None,
            }
        })
        .collect::<Option<Result<Vec<Call>>>>()
        .transpose()
}

/// An aggregate, if it has an incremental operator.
fn call(
    aggregate: AggregateFunction,
    input: &DFSchema,
    output_type: DataType,
) -> Result<Option<Call>> {
    let function = match aggregate.func.name() {
        "count" => AggFunction::Count,
        "sum" => AggFunction::Sum,
        "avg" => AggFunction::Avg,
        "min" => AggFunction::Min,
        "max" => AggFunction::Max,
        _ => return Ok(None),
    };
    let params = aggregate.params;
    let [argument] = params.args.as_slice() else {
        return Ok(None);
    };
    if !params.order_by.is_empty()
        || params.null_treatment.is_some()
        || !is_maintained(function, &output_type)
    {
        return Ok(None);
    }
    // A sum of integers is wide enough, whatever its type.
    let argument = match function {
        AggFunction::Sum => uncast(argument, input),
        _ => argument,
    };
    let is_star = function == AggFunction::Count && !params.distinct && is_not_null(argument);
    let is_filtered = params.filter.is_some();
    let argument = match params.filter {
        Some(filter) if is_star => Some(when(*filter, lit(1_i64)).end()?),
        Some(filter) => Some(when(*filter, argument.clone()).end()?),
        None if is_star => None,
        None => Some(argument.clone()),
    };
    let has_duplicates = !matches!(function, AggFunction::Min | AggFunction::Max);
    Ok(Some(Call {
        function,
        argument,
        // The least of some values is the least of the distinct ones.
        distinct: params.distinct && has_duplicates,
        is_filtered,
        output_type,
    }))
}

fn is_not_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null())
}

/// Sums are kept in integers, decimals or floats; least and greatest values must have an order.
fn is_maintained(function: AggFunction, output: &DataType) -> bool {
    match function {
        AggFunction::Count => true,
        AggFunction::Avg => *output == DataType::Float64,
        AggFunction::Sum => matches!(
            output,
            DataType::Int64
                | DataType::UInt64
                | DataType::Float64
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        ),
        AggFunction::Min | AggFunction::Max => !output.is_nested(),
    }
}
