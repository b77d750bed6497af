//! Continuous views: a query to a [`Dataflow`].
//!
//! ```text
//!   Query ─bind─► LogicalPlan ─coerce─► refuse ─► optimize ─► constants ─► build ─► event time ─► Dataflow
//! ```
//!
//! * **refuse**: what has no stable answer (`random()`, `now()` outside of a temporal filter) or no operator goes before the
//!   optimizer could fold it away.
//! * **optimize**: DataFusion's rules that are sound for views; subqueries become joins.
//! * **constants**: parts of the plan that read no relation are computed, once and for all.
//! * **build**: every remaining node becomes operators, or is refused. There is no default case.
//! * **event time**: watermarks are followed through the fragments.
//!
//! A view is right if its query is: each rewrite here must keep the query's result on every input,
//! as a multiset. Order within the result is not kept.

mod aggregate;
mod build;
mod columns;
mod constants;
mod event_time;
mod join;
mod optimize;
mod parts;
mod recompute;
mod refuse;
mod temporal;
mod temporal_join;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use sqlparser::ast::{Ident, Query};

use crate::batch::{Session, analyze};
use crate::bind::{Bound, Purpose, RelationTable};
use crate::catalog::{Relation, RelationId};
use crate::dataflow::Dataflow;
use crate::error::{Error, Result};
use crate::explain::explain;
use crate::names::identifier;
use crate::origins::{Origin, origins};
use crate::parse::Emit;
use crate::types::column_type;

/// A planned view.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// What the executor runs. Its schema has the view's column names.
    pub dataflow: Dataflow,
    /// Columns that the view's rows find their key group by, in this order, if there are such.
    pub hashed_by: Option<Vec<usize>>,
    /// Every relation that the query names, plain views and what they read included, in order met.
    pub dependencies: Vec<RelationId>,
    /// The column of a relation that each column of the view is, if it is one.
    pub origins: Vec<Option<Origin>>,
    relations: Vec<Arc<Relation>>,
}

impl ViewPlan {
    /// The dataflow as indented lines.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        explain(&self.dataflow, &|id: RelationId| {
            let relation = self.relations.iter().find(|relation| relation.id == id)?;
            Some(relation.name.clone())
        })
    }
}

/// Plans a continuous view of a query. `columns` is the view's column list; it may be shorter than
/// the query's columns, or empty.
///
/// # Errors
/// [`Error::Unsupported`] for what cannot be maintained, and faults of the query.
pub async fn plan_view(
    session: &Session,
    query: &Query,
    columns: &[Ident],
    emit: Emit,
) -> Result<ViewPlan> {
    let session = session.of_epochs();
    let state = session.context().state();
    let Bound {
        plan,
        names,
        relations,
    } = session.bind(query, &[], Purpose::Stream)?;
    let plan = analyze(&state, plan)?;
    let origins = origins(&plan);
    let names = final_names(names, columns)?;
    refuse::check(&plan)?;
    let plan = optimize::optimize(&state, plan)?;
    refuse::check_decorrelated(&plan)?;
    let constants = constants::evaluate(&state, &plan).await?;
    let mut builder = build::Builder::new(&state, session.two_phase_agg(), constants);
    let stream = builder.build(&plan)?;
    let schema = view_schema(&stream.schema, names)?;
    let (mut dataflow, hashed_by) = builder.materialize(stream, schema);
    event_time::annotate(&mut dataflow, emit)?;
    Ok(ViewPlan {
        dataflow,
        hashed_by,
        dependencies: ids(&relations),
        origins,
        relations,
    })
}

/// The columns of a plain view, and every relation that it names. Nothing needs to be
/// maintainable, and sources may be read, since a continuous view may read the plain one.
///
/// # Errors
/// Faults of the query, [`Error::DuplicateColumn`].
pub fn view_columns(
    session: &Session,
    query: &Query,
    columns: &[Ident],
) -> Result<(SchemaRef, Vec<RelationId>)> {
    let Bound {
        plan,
        names,
        relations,
    } = session.bind(query, &[], Purpose::Define)?;
    let plan = analyze(&session.context().state(), plan)?;
    // A plain view's columns keep the query's types: its definition is planned anew in each use.
    let schema = plan.schema().as_arrow();
    let names = final_names(names, columns)?;
    let fields = schema.fields().iter().zip(names);
    let fields = fields.map(|(field, name)| Field::new(name, field.data_type().clone(), true));
    Ok((
        Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        ids(&relations),
    ))
}

/// Which stored columns of which tables a query reads, those that plain views read for it included.
///
/// # Errors
/// Faults of the query.
pub fn columns_read(
    session: &Session,
    query: &Query,
) -> Result<BTreeMap<RelationId, BTreeSet<usize>>> {
    let state = session.context().state();
    let bound = session.bind(query, &[], Purpose::Define)?;
    let plan = state.optimize(&bound.plan)?;
    let mut read: BTreeMap<RelationId, BTreeSet<usize>> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = source_as_provider(&scan.source)?.downcast_ref::<RelationTable>()
        {
            let relation = &table.relation;
            let columns = match &scan.projection {
                Some(columns) => columns.clone(),
                None => (0..relation.schema.fields().len()).collect(),
            };
            let place = |at| relation.stored.as_ref().map_or(at, |s| s.places[at]);
            let of_relation = read.entry(relation.id).or_default();
            of_relation.extend(columns.into_iter().map(place));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(read)
}

fn ids(relations: &[Arc<Relation>]) -> Vec<RelationId> {
    relations.iter().map(|relation| relation.id).collect()
}

/// The columns of a continuous view: names as PostgreSQL gives them, types that tables have too.
fn view_schema(planned: &Schema, names: Vec<String>) -> Result<SchemaRef> {
    if planned.fields().is_empty() {
        return Err(Error::unsupported(
            "a materialized view without columns",
            "select at least one column",
        ));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(names.len());
    for (field, name) in planned.fields().iter().zip(names) {
        fields.push(Field::new(name, column_type(field.data_type())?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn final_names(mut names: Vec<String>, columns: &[Ident]) -> Result<Vec<String>> {
    if columns.len() > names.len() {
        return Err(Error::InvalidDefinition {
            message: "CREATE VIEW specifies more column names than columns".to_owned(),
        });
    }
    for (name, column) in names.iter_mut().zip(columns) {
        *name = identifier(column);
    }
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(Error::DuplicateColumn { name: name.clone() });
        }
    }
    Ok(names)
}
