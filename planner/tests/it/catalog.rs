//! A catalog of a few relations, written as `name: column type, …`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use planner::batch::{Session, Settings, session};
use planner::dataflow::{NexmarkOptions, NexmarkTable};
use planner::source::nexmark_schema;
use planner::{
    Catalog, Error, NexmarkSource, Relation, RelationId, RelationKind, Result, Statement,
    TableDefinition, ViewPlan, parse, plan_view, view_columns,
};
use sqlparser::ast;

/// Relations by name, all but `pg_class` in `public`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestCatalog {
    relations: BTreeMap<String, Arc<Relation>>,
    rows: BTreeMap<String, Vec<RecordBatch>>,
}

impl TestCatalog {
    /// Adds a table.
    pub(crate) fn table(mut self, sql: &str) -> Self {
        let Statement::Pg(statement) = one(sql) else {
            panic!("{sql}")
        };
        let ast::Statement::CreateTable(create) = *statement else {
            panic!("{sql}")
        };
        let table = TableDefinition::from_ast(&create).unwrap();
        let name = create.name.to_string();
        let (schema_name, name) = match name.split_once('.') {
            Some((schema, name)) => (schema.to_owned(), name.to_owned()),
            None => ("public".to_owned(), name),
        };
        self.add(Relation {
            id: RelationId(0),
            schema_name,
            name,
            kind: RelationKind::Table,
            schema: table.schema(),
            primary_key: table.primary_key,
            append_only: false,
            watermark: None,
            watermarks: Vec::new(),
            stored: None,
        });
        self
    }

    /// Adds a plain view.
    pub(crate) fn view(mut self, name: &str, columns: &[&str], definition: &str) -> Self {
        let session = session(Arc::new(self.clone()), &Settings::default());
        let columns: Vec<ast::Ident> = columns.iter().map(|name| ast::Ident::new(*name)).collect();
        let (schema, _) = view_columns(&session, &query(definition), &columns).unwrap();
        self.add(Relation {
            id: RelationId(0),
            schema_name: "public".to_owned(),
            name: name.to_owned(),
            kind: RelationKind::View {
                definition: definition.to_owned(),
            },
            schema,
            primary_key: Vec::new(),
            append_only: false,
            watermark: None,
            watermarks: Vec::new(),
            stored: None,
        });
        self
    }

    /// Adds a source of bids.
    pub(crate) fn bids(mut self, name: &str) -> Self {
        self.add(Relation {
            id: RelationId(0),
            schema_name: "public".to_owned(),
            name: name.to_owned(),
            kind: RelationKind::Source(NexmarkSource {
                options: NexmarkOptions {
                    event_num: Some(100),
                    min_event_gap_in_ns: 0,
                    tuning: BTreeMap::new(),
                },
                table: NexmarkTable::Bid,
            }),
            schema: nexmark_schema(NexmarkTable::Bid),
            primary_key: Vec::new(),
            append_only: true,
            watermark: None,
            watermarks: Vec::new(),
            stored: None,
        });
        self
    }

    /// Gives a table rows, by position.
    pub(crate) fn fill(&mut self, name: &str, batches: &[RecordBatch]) {
        let schema = Arc::clone(&self.relations[name].schema);
        let batches = batches.iter().map(|batch| {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap());
            RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
        });
        self.rows.insert(name.to_owned(), batches.collect());
    }

    /// The rows of a table.
    pub(crate) fn all_rows(&self, id: RelationId) -> RecordBatch {
        let relation = self
            .relations
            .values()
            .find(|relation| relation.id == id)
            .unwrap();
        let rows = self
            .rows
            .get(&relation.name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        concat_batches(&relation.schema, rows).unwrap()
    }

    fn add(&mut self, mut relation: Relation) {
        relation.id = RelationId(u32::try_from(self.relations.len()).unwrap() + 1);
        self.relations
            .insert(relation.name.clone(), Arc::new(relation));
    }
}

impl Catalog for TestCatalog {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Arc<Relation>> {
        let relation = self.relations.get(name)?;
        let fits = schema.is_none_or(|schema| schema == relation.schema_name);
        fits.then(|| Arc::clone(relation))
    }

    fn rows(&self, relation: &Relation) -> Result<Arc<dyn TableProvider>> {
        let rows = self.rows.get(&relation.name).cloned().unwrap_or_default();
        let table = MemTable::try_new(Arc::clone(&relation.schema), vec![rows])?;
        Ok(Arc::new(table))
    }
}

/// Tables `t`, `u`, `p` (with a key), `dec`, a view over `t`, a source of bids, a system table.
pub(crate) fn catalog() -> TestCatalog {
    TestCatalog::default()
        .table("create table t (a int, b int, c text)")
        .table("create table u (a int, d bigint, e double precision)")
        .table("create table p (id int primary key, name text not null, price numeric(10,2))")
        .table("create table pg_catalog.pg_class (oid bigint, relname text)")
        .bids("bid")
        .view("tv", &["x", "y"], "select a, count(*) from t group by a")
}

/// A session over [`catalog`].
pub(crate) fn test_session() -> Session {
    session(Arc::new(catalog()), &Settings::default())
}

/// The only statement of a text.
pub(crate) fn one(sql: &str) -> Statement {
    let mut statements = parse(sql).unwrap();
    assert_eq!(statements.len(), 1, "{sql}");
    statements.remove(0).statement
}

/// A text that is a query.
pub(crate) fn query(sql: &str) -> Box<ast::Query> {
    match one(sql) {
        Statement::Pg(statement) => match *statement {
            ast::Statement::Query(query) => query,
            other => panic!("{other}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The plan of a view of a query over [`catalog`].
pub(crate) async fn plan(sql: &str) -> Result<ViewPlan> {
    plan_view(
        &test_session(),
        &query(sql),
        &[],
        planner::Emit::Immediately,
    )
    .await
}

/// The error that planning a view ends in.
pub(crate) async fn plan_error(sql: &str) -> Error {
    match plan(sql).await {
        Ok(plan) => panic!("{sql} is planned:\n{}", plan.explain().join("\n")),
        Err(error) => error,
    }
}
