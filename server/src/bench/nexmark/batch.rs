//! The cost of computing a query once: DataFusion over the same events, with the planner's session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use executor::sources::NexmarkEvents;
use planner::batch::{Settings, session};
use planner::dataflow::NexmarkTable;
use planner::source::nexmark_schema;
use planner::{Catalog, Relation, RelationId, RelationKind, Statement, parse};
use sqlparser::ast;

use super::maintain::side_rows;
use super::queries::Query;
use crate::bench::process::processor_time;
use crate::error::{Error, Result};

/// What computing a query once took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Computed {
    pub(super) clock: Duration,
    pub(super) processor: Duration,
    pub(super) rows: u64,
}

/// The events as tables.
#[derive(Clone, Debug)]
struct Tables(Vec<(Arc<Relation>, Arc<MemTable>)>);

impl Catalog for Tables {
    fn relation(&self, _schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let mut tables = self.0.iter();
        let (relation, _) = tables.find(|(relation, _)| relation.name == name)?;
        Some(Arc::clone(relation))
    }

    fn rows(&self, relation: &Relation) -> planner::Result<Arc<dyn TableProvider>> {
        let mut tables = self.0.iter();
        let (_, rows) = tables
            .find(|(known, _)| known.id == relation.id)
            .expect("the relation came from here");
        Ok(Arc::clone(rows) as Arc<dyn TableProvider>)
    }
}

/// Computes a query with so many tasks.
///
/// # Errors
/// If it cannot be planned or fails.
pub(super) async fn compute(
    query: Query,
    events: &NexmarkEvents,
    partitions: usize,
) -> Result<Computed> {
    let settings = Settings {
        target_partitions: partitions,
        ..Settings::default()
    };
    let session = session(Arc::new(tables(events)?), &settings);
    let Statement::Pg(statement) = parse(query.sql)?.remove(0).statement else {
        return Err(Error::Internal(format!("{} is no query", query.name)));
    };
    let ast::Statement::Query(query) = *statement else {
        return Err(Error::Internal("a benchmark runs queries".to_owned()));
    };
    let (began, processor) = (Instant::now(), processor_time()?);
    let batches = session.plan(&query)?.collect(&session).await?;
    Ok(Computed {
        clock: began.elapsed(),
        processor: processor_time()? - processor,
        rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
    })
}

fn tables(events: &NexmarkEvents) -> Result<Tables> {
    let mut tables = Vec::new();
    for (name, table) in [
        ("person", NexmarkTable::Person),
        ("auction", NexmarkTable::Auction),
        ("bid", NexmarkTable::Bid),
    ] {
        let schema = nexmark_schema(table);
        let rows = MemTable::try_new(schema, vec![events.table(table).to_vec()]);
        tables.push((name, rows));
    }
    let side: RecordBatch = side_rows()?;
    tables.push(("side", MemTable::try_new(side.schema(), vec![vec![side]])));
    let relations = (1..).zip(tables).map(|(id, (name, rows))| {
        let rows = rows.map_err(|error| Error::Internal(error.to_string()))?;
        let relation = Relation {
            id: RelationId(id),
            schema_name: "public".to_owned(),
            name: name.to_owned(),
            kind: RelationKind::Table,
            schema: rows.schema(),
            primary_key: Vec::new(),
            append_only: true,
            watermark: None,
            watermarks: Vec::new(),
            stored: None,
        };
        Ok((Arc::new(relation), Arc::new(rows)))
    });
    Ok(Tables(relations.collect::<Result<_>>()?))
}
