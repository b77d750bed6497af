//! An optimized logical plan to fragments: one arm per kind of node.
//!
//! Invariant: the columns of a stream are those of the logical node that it was built from, in
//! order and of the same types. So expressions are compiled against the logical schema and run on
//! the stream's batches by position.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan, Union, Unnest};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CastExpr;

use super::constants::is_constant;
use super::parts::{Part, Stream, close, column};
use super::refuse::recursion;
use crate::bind::RelationTable;
use crate::catalog::RelationKind;
use crate::checked_integers::as_operators;
use crate::dataflow::{Dataflow, Fragment, Node, UnnestColumn};
use crate::error::{Error, Result};
use crate::measures::TwoPhaseAgg;
use crate::names::nullable;
use crate::watermarks::compile;

/// Builds one dataflow.
pub(super) struct Builder<'a> {
    pub(super) state: &'a SessionState,
    pub(super) two_phase_agg: TwoPhaseAgg,
    /// Rows of the constant parts, in the order in which the walk meets them.
    constants: VecDeque<RecordBatch>,
    /// The fragments that are closed.
    pub(super) fragments: Vec<Fragment>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        state: &'a SessionState,
        two_phase_agg: TwoPhaseAgg,
        constants: VecDeque<RecordBatch>,
    ) -> Self {
        Self {
            state,
            two_phase_agg,
            constants,
            fragments: Vec::new(),
        }
    }

    /// The dataflow of a view of a stream under these columns, and which of them its rows are hashed
    /// by, if by any.
    pub(super) fn materialize(
        mut self,
        stream: Stream,
        schema: SchemaRef,
    ) -> (Dataflow, Option<Vec<usize>>) {
        let stream = typed(stream, schema);
        let keys = if stream.key.is_empty() {
            (0..stream.schema.fields().len()).collect()
        } else {
            stream.key.clone()
        };
        let (key, append_only) = (stream.key.clone(), stream.append_only);
        let schema = Arc::clone(&stream.schema);
        let part = match single(stream.parts) {
            Ok(part) if !part.is_leaf() => part,
            Ok(leaf) => self.exchange(vec![leaf], &schema, &keys),
            Err(parts) => self.exchange(parts, &schema, &keys),
        };
        let hashed_by = part.hashed_by().map(<[usize]>::to_vec);
        let root = part.wrap(None, |input| Node::Materialize {
            input,
            key: key.clone(),
        });
        close(vec![root], &mut self.fragments);
        let dataflow = Dataflow {
            fragments: self.fragments,
            schema,
            stream_key: key,
            append_only,
            watermarks: Vec::new(),
            emitted_by: None,
        };
        (dataflow, hashed_by)
    }

    /// The rows of a plan.
    pub(super) fn build(&mut self, plan: &LogicalPlan) -> Result<Stream> {
        if is_constant(plan)? {
            return self.constant(plan);
        }
        match plan {
            LogicalPlan::Projection(projection) => {
                let input = self.build(&projection.input)?;
                self.project(
                    input,
                    &projection.expr,
                    projection.input.schema(),
                    &projection.schema,
                )
            }
            LogicalPlan::Filter(filter) => {
                let input = self.build(&filter.input)?;
                self.filtered(input, &filter.predicate, filter.input.schema())
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Limit(limit) => self.limit(limit, &limit.input),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let stream = self.build(input)?;
                self.distinct(stream)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.build(&alias.input)?;
                let columns = input.columns();
                Ok(input.project(&columns, nullable(alias.schema.as_arrow())))
            }
            // Rows of a view have no order.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.build(&sort.input),
            other => Err(refused(other)),
        }
    }

    /// An expression over the columns of a logical schema.
    pub(super) fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let physical = self.state.create_physical_expr(expr.clone(), schema)?;
        Ok(as_operators(physical)?)
    }

    /// A part whose rows are hashed by some of these columns: the stream's own if it is so
    /// already, else one behind an exchange by all of them.
    pub(super) fn keyed(&mut self, stream: Stream, keys: &[usize]) -> Part {
        let is_keyed = stream.hashed_within(keys).is_some();
        match single(stream.parts) {
            Ok(part) if is_keyed => part,
            Ok(part) => self.exchange(vec![part], &stream.schema, keys),
            Err(parts) => self.exchange(parts, &stream.schema, keys),
        }
    }

    /// Closes parts, and starts one that reads them by the hash of columns.
    pub(super) fn exchange(
        &mut self,
        parts: Vec<Part>,
        schema: &SchemaRef,
        keys: &[usize],
    ) -> Part {
        let fragments = close(parts, &mut self.fragments);
        Part::exchange(&fragments, schema, keys)
    }

    fn constant(&mut self, plan: &LogicalPlan) -> Result<Stream> {
        let Some(batch) = self.constants.pop_front() else {
            return Err(Error::unsupported("this constant relation", ""));
        };
        let schema = nullable(plan.schema().as_arrow());
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options)?;
        Ok(Stream::values(batch))
    }

    pub(super) fn project(
        &self,
        input: Stream,
        exprs: &[Expr],
        input_schema: &DFSchema,
        schema: &DFSchema,
    ) -> Result<Stream> {
        let physical: Result<Vec<_>> = exprs
            .iter()
            .map(|expr| self.physical(expr, input_schema))
            .collect();
        Ok(input.project(&physical?, nullable(schema.as_arrow())))
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<Stream> {
        let input = self.build(&unnest.input)?;
        let schema = nullable(unnest.schema.as_arrow());
        let depends = unnest.dependency_indices.iter().zip(schema.fields());
        let columns = depends.map(|(&at, field)| {
            let mut lists = unnest.list_type_columns.iter();
            let list = lists
                .find(|(column, list)| *column == at && list.output_column.name == *field.name());
            match list {
                None => Ok(UnnestColumn::Kept(at)),
                Some((_, list)) if list.depth == 1 => Ok(UnnestColumn::Elements(at)),
                Some(_) => Err(Error::unsupported(
                    "unnest of lists of lists in a materialized view",
                    "unnest one level after the other, each in a query of its own",
                )),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        if !unnest.struct_type_columns.is_empty() {
            return Err(Error::unsupported(
                "unnest of a composite value in a materialized view",
                "",
            ));
        }
        Ok(input.map(Arc::clone(&schema), |input| Node::Unnest {
            input,
            columns: columns.clone(),
            schema: Arc::clone(&schema),
        }))
    }

    fn union(&mut self, union: &Union) -> Result<Stream> {
        let schema = nullable(union.schema.as_arrow());
        let mut parts = Vec::new();
        let mut append_only = true;
        for input in &union.inputs {
            let stream = typed(self.build(input)?, Arc::clone(&schema));
            append_only &= stream.append_only;
            parts.extend(stream.parts);
        }
        Ok(Stream {
            parts,
            schema,
            key: Vec::new(),
            append_only,
        })
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Stream> {
        let provider = source_as_provider(&scan.source)?;
        let Some(table) = provider.downcast_ref::<RelationTable>() else {
            return Err(Error::unsupported(
                "this table function in a materialized view",
                "",
            ));
        };
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(limit());
        }
        if table.is_as_of_now() {
            return Err(Error::unsupported(
                "FOR SYSTEM_TIME AS OF PROCTIME() in this place of a materialized view",
                "it stands behind the right side of JOIN or LEFT JOIN, behind the rows that drive the join",
            ));
        }
        let relation = &table.relation;
        let named = nullable(&relation.schema);
        let chosen: Vec<usize> = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..named.fields().len()).collect(),
        };
        match &relation.kind {
            RelationKind::Source(source) => {
                let schema = Arc::new(named.project(&chosen)?);
                let generated = |schema: &SchemaRef| Node::Nexmark {
                    options: source.options.clone(),
                    table: source.table,
                    schema: Arc::clone(schema),
                };
                let Some(definition) = &relation.watermark else {
                    return Ok(Stream {
                        append_only: true,
                        ..Stream::of(Part::leaf(generated(&schema)), schema)
                    });
                };
                let root = Node::WatermarkFilter {
                    input: Box::new(generated(&named)),
                    watermark: compile(definition, &named)?,
                };
                let stream = Stream {
                    append_only: true,
                    ..Stream::of(Part::leaf(root), Arc::clone(&named))
                };
                let columns: Vec<_> = chosen.iter().map(|at| column(&named, *at)).collect();
                Ok(stream.project(&columns, schema))
            }
            RelationKind::Table | RelationKind::MaterializedView => {
                let all = match &relation.stored {
                    Some(stored) => nullable(&stored.schema),
                    None => Arc::clone(&named),
                };
                let place = |&at: &usize| relation.stored.as_ref().map_or(at, |s| s.places[at]);
                let marked = relation.watermarks.iter().map(place).collect();
                let part = Part::scan(relation.id, Arc::clone(&all), marked);
                let stream = Stream {
                    key: relation.primary_key.iter().map(place).collect(),
                    append_only: relation.append_only,
                    ..Stream::of(part, Arc::clone(&all))
                };
                let columns: Vec<_> = chosen.iter().map(|at| column(&all, place(at))).collect();
                Ok(stream.project(&columns, Arc::new(named.project(&chosen)?)))
            }
            RelationKind::View { .. } => Err(Error::unsupported(
                format!("view \"{}\" that was not inlined", relation.name),
                "",
            )),
        }
    }
}

/// The one part, or all of them back.
pub(super) fn single(parts: Vec<Part>) -> Result<Part, Vec<Part>> {
    match <[Part; 1]>::try_from(parts) {
        Ok([part]) => Ok(part),
        Err(parts) => Err(parts),
    }
}

/// The columns under other names, cast where the types differ.
fn typed(stream: Stream, schema: SchemaRef) -> Stream {
    let exprs: Vec<Arc<dyn PhysicalExpr>> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let plain = column(&stream.schema, at);
            if stream.schema.field(at).data_type() == field.data_type() {
                plain
            } else {
                Arc::new(CastExpr::new(plain, field.data_type().clone(), None))
            }
        })
        .collect();
    stream.project(&exprs, schema)
}

fn limit() -> Error {
    Error::unsupported(
        "LIMIT in a materialized view",
        "use LIMIT in a SELECT over the view",
    )
}

/// The refusal of a node without an operator.
fn refused(plan: &LogicalPlan) -> Error {
    let (what, hint) = match plan {
        LogicalPlan::Sort(_) => return limit(),
        LogicalPlan::RecursiveQuery(_) => return recursion(),
        LogicalPlan::Subquery(_) => (
            "a LATERAL subquery in a materialized view",
            "write it as a join",
        ),
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
            ("this constant relation in a materialized view", "")
        }
        LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_) => {
            ("this statement in a materialized view", "use a SELECT")
        }
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::SubqueryAlias(_) => ("this part of the query in a materialized view", ""),
    };
    Error::unsupported(what, hint)
}
