//! An engine in a temporary directory, fed and asked without sessions in between.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use executor::{Engine, EngineOptions, JobSpec};
use planner::Emit;
use planner::batch::{Settings, session};
use planner::source::source_definition;
use planner::{
    Catalog, Relation, RelationId, RelationKind, Statement, TableDefinition, parse, plan_table,
    plan_view,
};
use scaling::Epoch;
use sqlparser::ast;
use storage::{CatalogChange, Storage};
use tempfile::TempDir;

use crate::error::{Error, Result};

/// How often it is looked whether something has happened.
pub(super) const POLL: Duration = Duration::from_millis(2);

#[derive(Clone, Debug, Default)]
struct Names(Vec<Arc<Relation>>);

impl Catalog for Names {
    fn relation(&self, _schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let mut relations = self.0.iter();
        relations.find(|relation| relation.name == name).cloned()
    }

    fn rows(&self, relation: &Relation) -> planner::Result<Arc<dyn TableProvider>> {
        unreachable!(
            "a benchmark plans views, and does not read {}",
            relation.name
        )
    }
}

/// Tables and views of one measurement; its directory goes with it.
pub(super) struct Database {
    pub(super) engine: Engine,
    storage: Arc<Storage>,
    names: Names,
    directory: TempDir,
}

impl Database {
    pub(super) async fn open(options: EngineOptions) -> Result<Database> {
        let directory = tempfile::tempdir().map_err(|source| Error::Io {
            what: "cannot make a temporary directory".to_owned(),
            source,
        })?;
        let path = directory.path().to_owned();
        let storage = tokio::task::spawn_blocking(move || Storage::open_dir(path)).await;
        let storage = storage.map_err(|error| Error::Internal(error.to_string()))??;
        let storage = Arc::new(storage);
        let engine = Engine::open(Arc::clone(&storage), Vec::new(), options).await?;
        Ok(Database {
            engine,
            storage,
            names: Names::default(),
            directory,
        })
    }

    /// `CREATE TABLE`, `CREATE SOURCE` or `CREATE MATERIALIZED VIEW`. Returns the id of the job.
    pub(super) async fn create(&mut self, sql: &str, parallelism: usize) -> Result<u32> {
        let id = self.names.0.len() as u32 + 1;
        let mut statements = parse(sql)?;
        let statement = match statements.remove(0).statement {
            Statement::Pg(statement) => statement,
            Statement::CreateSource {
                name,
                columns,
                options,
                ..
            } => {
                let (source, schema) = source_definition(&columns, &options)?;
                self.names.0.push(Arc::new(Relation {
                    id: RelationId(id),
                    schema_name: "public".to_owned(),
                    name: name.to_string(),
                    kind: RelationKind::Source(source),
                    schema,
                    primary_key: Vec::new(),
                    append_only: true,
                    watermark: None,
                    watermarks: Vec::new(),
                    stored: None,
                }));
                return Ok(id);
            }
            _ => return Err(Error::Internal(format!("a benchmark cannot run {sql}"))),
        };
        let (name, kind, dataflow) = match *statement {
            ast::Statement::CreateTable(create) => {
                let table = TableDefinition::from_ast(&create)?;
                (create.name, RelationKind::Table, plan_table(&table)?)
            }
            ast::Statement::CreateView(create) => {
                let names = Arc::new(self.names.clone());
                let session = session(names, &Settings::default());
                let plan = plan_view(&session, &create.query, &[], Emit::Immediately).await?;
                (create.name, RelationKind::MaterializedView, plan.dataflow)
            }
            other => return Err(Error::Internal(format!("a benchmark cannot run {other}"))),
        };
        let name = name.to_string();
        let relation = Relation {
            id: RelationId(id),
            schema_name: "public".to_owned(),
            name: name.clone(),
            kind,
            schema: dataflow.schema.clone(),
            primary_key: dataflow.stream_key.clone(),
            append_only: dataflow.append_only,
            watermark: None,
            watermarks: Vec::new(),
            stored: None,
        };
        let spec = JobSpec {
            id,
            name,
            dataflow,
            parallelism,
            backfill_rate_limit: None,
            resumable: false,
        };
        self.engine
            .create_job(spec, CatalogChange::default())
            .await?;
        self.names.0.push(Arc::new(relation));
        Ok(id)
    }

    /// Appends rows to a table.
    pub(super) async fn insert(&self, table: u32, rows: RecordBatch) -> Result<()> {
        let weights = vec![1; rows.num_rows()];
        Ok(self.engine.write(table, rows, weights).await?)
    }

    /// Waits until an epoch is in a checkpoint.
    pub(super) async fn kept(&self, epoch: Epoch) {
        while self.storage.committed_epoch() < epoch {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the engine and removes the directory.
    pub(super) async fn close(self) -> Result<()> {
        self.engine.shutdown().await?;
        drop(self.storage);
        drop(self.directory);
        Ok(())
    }
}
