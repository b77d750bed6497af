//! CREATE of sources, views and materialized views, and what all statements share that change the
//! catalog. Not here: tables (`create_table.rs`), DROP (`drop.rs`).
//!
//! One DDL statement runs at a time. A relation enters the catalog when its job is visible and
//! durable, and leaves it before its job ends; so a name that a session finds can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use arrow::datatypes::{Field, Schema, SchemaRef};
use planner::parse::{ObjectKind, Statement};
use planner::{Dataflow, Emit, Parsed, TableDefinition};
use sqlparser::ast;
use sqlparser::ast::{ColumnDef, CreateView, Ident, ObjectName, ObjectType, Query};
use storage::{CatalogChange, crash_point};

use crate::access::privilege::Privileges;
use crate::big_stack;
use crate::catalog::{Catalog, Column, Entry, Kind, delete_change, put_change};
use crate::catalog_view::{Bindings, CatalogView, Met};
use crate::error::{Error, Result};
use crate::key_set::KeySet;
use crate::namespace::Name;
use crate::notice::Notice;
use crate::pg_catalog;
use crate::server::{Shared, job};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::create_table::set_watermark;
use crate::statement::query::declared_schema;
use crate::temporary_schema;
use crate::wire::column::WireColumn;

/// The relation kind of a DROP.
///
/// # Errors
/// [`Error::Unsupported`] for objects that we do not have.
pub fn dropped_kind(object: &ObjectType) -> Result<ObjectKind> {
    match object {
        ObjectType::Table => Ok(ObjectKind::Table),
        ObjectType::View => Ok(ObjectKind::View),
        ObjectType::MaterializedView => Ok(ObjectKind::MaterializedView),
        ObjectType::Sequence => Ok(ObjectKind::Sequence),
        ObjectType::Index => Ok(ObjectKind::Index),
        ObjectType::Type => Ok(ObjectKind::Type),
        other => Err(Error::not_supported(format!(
            "DROP {other} is not supported"
        ))),
    }
}

/// Whether a relation is of the kind that a statement names.
#[must_use]
pub fn is_kind(kind: &Kind, named: ObjectKind) -> bool {
    matches!(
        (kind, named),
        (Kind::Table, ObjectKind::Table)
            | (Kind::Source { .. }, ObjectKind::Source)
            | (Kind::View, ObjectKind::View)
            | (Kind::MaterializedView, ObjectKind::MaterializedView)
            | (Kind::Sequence(_), ObjectKind::Sequence)
            | (Kind::Index(_), ObjectKind::Index)
            | (Kind::Sink(_), ObjectKind::Sink)
            | (Kind::Type(_), ObjectKind::Type)
    )
}

/// As messages name it.
#[must_use]
pub fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Table => "table",
        ObjectKind::Source => "source",
        ObjectKind::View => "view",
        ObjectKind::MaterializedView => "materialized view",
        ObjectKind::Sequence => "sequence",
        ObjectKind::Index => "index",
        ObjectKind::Sink => "sink",
        ObjectKind::Type => "type",
    }
}

/// What is stored of a view.
#[derive(Debug)]
pub struct StoredQuery {
    /// Its query.
    pub query: Query,
    /// The names of its columns.
    pub columns: Vec<Ident>,
    /// When its rows come.
    pub emit: Emit,
}

/// The query of a stored view, and the names of its columns.
///
/// # Errors
/// [`Error::Corrupt`] if the stored text is not one query.
pub fn stored_query(entry: &Entry) -> Result<StoredQuery> {
    let text = entry.definition.as_deref().unwrap_or_default();
    let parsed = planner::parse(text)?.pop();
    let emit = parsed
        .as_ref()
        .map(|parsed| parsed.emit)
        .unwrap_or_default();
    let query = match parsed.map(|parsed| parsed.statement) {
        Some(Statement::Pg(statement)) => match *statement {
            ast::Statement::Query(query) => Some(*query),
            _ => None,
        },
        _ => None,
    };
    let query = query.ok_or_else(|| {
        Error::Corrupt(format!(
            "the definition of \"{}\" is not a query",
            entry.name
        ))
    })?;
    let columns = entry
        .columns
        .iter()
        .map(|column| Ident::with_quote('"', &column.name))
        .collect();
    Ok(StoredQuery {
        query,
        columns,
        emit,
    })
}

/// The types of a planned schema under the names of stored columns.
#[must_use]
pub fn renamed(planned: &Schema, columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> = planned
        .fields()
        .iter()
        .zip(columns)
        .map(|(field, column)| Field::new(&column.name, field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Columns of a relation whose types follow from a query or a connector.
pub(crate) fn derived_columns(schema: &Schema) -> Vec<Column> {
    let column = |field: &Arc<Field>| Column::new(field.name(), WireColumn::declared_type(field));
    schema.fields().iter().map(column).collect()
}

/// A name that is free, in a schema that exists.
#[derive(Debug, Clone)]
pub(crate) struct NewName {
    pub(crate) schema: String,
    pub(crate) local: String,
}

impl Session {
    /// A name with the search path. The schema need not exist, but is not the server's.
    ///
    /// # Errors
    /// [`Error::UndefinedSchema`], [`Error::SystemCatalog`], or another database.
    pub(crate) fn local_name(&self, name: &ObjectName) -> Result<Name> {
        let mut parts = Vec::with_capacity(name.0.len());
        for part in &name.0 {
            let ident = part.as_ident().ok_or_else(|| Error::Syntax {
                message: format!("improper name: {name}"),
            })?;
            parts.push(planner::names::identifier(ident));
        }
        let local = parts.pop().unwrap_or_default();
        let mut schema = parts.pop();
        let own = self.temporary_schema();
        if schema
            .as_ref()
            .is_some_and(|schema| schema == temporary_schema::ALIAS || *schema == own)
        {
            schema = Some(own);
        } else if let Some(schema) = &schema {
            if temporary_schema::is_temporary(schema) {
                return Err(Error::not_supported(
                    "cannot access temporary tables of other sessions",
                ));
            }
            if pg_catalog::is_schema(schema) {
                return Err(Error::SystemCatalog {
                    name: format!("{schema}.{local}"),
                });
            }
            if self.shared.catalog.read().schema_oid(schema).is_none() {
                return Err(Error::UndefinedSchema {
                    name: schema.clone(),
                });
            }
            let catalog = self.shared.catalog.read();
            self.actor(&catalog)
                .check_schema(schema, Privileges::USAGE)?;
        }
        match parts.pop() {
            Some(database) if database != self.shared.catalog.read().database().name => {
                Err(Error::not_supported(format!(
                    "cross-database references are not implemented: \"{name}\""
                )))
            }
            _ => Ok(Name {
                schema,
                local,
                path: self.path(),
            }),
        }
    }

    /// The search path, without schemas that the role may not name.
    pub(crate) fn path(&self) -> Vec<String> {
        let mut path = self.settings().search_path();
        let catalog = self.shared.catalog.read();
        let actor = self.actor(&catalog);
        path.retain(|schema| actor.may_in_schema(schema, Privileges::USAGE));
        path
    }

    /// Checks that DDL may run here and that the name is free; `None`, with a notice, if it is not
    /// and the statement says that this is fine.
    pub(crate) fn new_name(
        &mut self,
        name: &ObjectName,
        if_not_exists: bool,
    ) -> Result<Option<NewName>> {
        self.check_ddl()?;
        let name = self.local_name(name)?;
        let own = self.temporary_schema();
        if name.schema.as_ref() == Some(&own) {
            self.make_temporary_schema()?;
        }
        let catalog = self.shared.catalog.read();
        let mut schemas = name.schemas();
        // A temporary relation is one because the statement says so.
        let Some(schema) = schemas.find(|schema| {
            let is_meant = name.schema.is_some() || *schema != own;
            is_meant && catalog.schema_oid(schema).is_some()
        }) else {
            return Err(Error::NoSchema);
        };
        self.actor(&catalog)
            .check_schema(schema, Privileges::CREATE)?;
        if catalog.find(schema, &name.local).is_none() {
            return Ok(Some(NewName {
                schema: schema.to_owned(),
                local: name.local.clone(),
            }));
        }
        let name = name.local.clone();
        if if_not_exists {
            self.client.notice(&Notice::AlreadyExists { name });
            return Ok(None);
        }
        Err(Error::DuplicateRelation { name })
    }

    /// As [`Session::new_name`], for a temporary relation.
    pub(crate) fn new_temporary_name(
        &mut self,
        name: &ObjectName,
        if_not_exists: bool,
    ) -> Result<Option<NewName>> {
        let mut name = name.clone();
        let own = Ident::with_quote('"', self.temporary_schema());
        let in_own = [temporary_schema::ALIAS, &own.value];
        match &name.0[..] {
            [_] => name.0.insert(0, ast::ObjectNamePart::Identifier(own)),
            [.., schema, _]
                if schema
                    .as_ident()
                    .is_some_and(|s| in_own.contains(&planner::names::identifier(s).as_str())) => {}
            _ => {
                return Err(Error::InvalidDefinition {
                    message: "cannot create temporary relation in non-temporary schema".to_owned(),
                });
            }
        }
        self.new_name(&name, if_not_exists)
    }

    /// Waits until no other statement changes the catalog; none does as long as the guard lives.
    ///
    /// # Errors
    /// What may stop a waiting statement.
    pub(crate) async fn lock_ddl(&mut self) -> Result<tokio::sync::OwnedMutexGuard<()>> {
        let lock = Arc::clone(&self.shared.ddl).lock_owned();
        self.interrupt.guard(async { Ok(lock.await) }).await
    }

    pub(crate) fn check_ddl(&mut self) -> Result<()> {
        if self.transaction.has_writes() {
            return Err(Error::unsupported(
                "DDL after changes in the same transaction is not supported",
                "COMMIT the changes first.",
            ));
        }
        if self.transaction.is_open() {
            let text = "DDL takes effect at once and is not undone by ROLLBACK".to_owned();
            self.client.notice(&Notice::Progress(text));
        }
        Ok(())
    }

    pub(crate) fn new_entry(
        &self,
        name: NewName,
        kind: Kind,
        columns: Vec<Column>,
        statement: &str,
    ) -> Entry {
        let settings = self.settings();
        let (owner, class) = (self.role(), kind.class());
        let catalog = self.shared.catalog.read();
        let schema = catalog.schema_oid(&name.schema);
        Entry {
            id: self.shared.catalog.take_id(),
            owner,
            acl: catalog.default_acl(owner, schema, class),
            database: catalog.database().id,
            schema_name: name.schema,
            name: name.local,
            parallelism: if kind.has_job() {
                settings.streaming_parallelism()
            } else {
                0
            },
            adaptivity: None,
            append_only: matches!(kind, Kind::Source { .. }),
            watermark: None,
            watermarks: Vec::new(),
            emitted_by: None,
            on_conflict: None,
            kind,
            columns,
            primary_key: Vec::new(),
            unique_key: Vec::new(),
            definition: None,
            statement: statement.to_owned(),
            dependencies: BTreeSet::new(),
            time_zone: settings
                .get("TimeZone")
                .unwrap_or_else(|_| "UTC".to_owned()),
            two_phase_agg: settings.two_phase_agg(),
            comment: None,
            temporary: false,
            creating: false,
            backfill_rate_limit: None,
            bindings: BTreeMap::new(),
            functions: BTreeMap::new(),
            layout: None,
            hashed_by: None,
            planned: None,
        }
    }

    /// A default must be a value of its column's type.
    pub(crate) async fn check_defaults(&mut self, definition: &TableDefinition) -> Result<()> {
        let session = self.planner();
        let checks: Vec<_> = definition
            .columns
            .iter()
            .filter_map(|column| Some((column.default.clone()?, column.data_type.clone())))
            .collect();
        if checks.is_empty() {
            return Ok(());
        }
        big_stack::run(move |_| {
            for (mut default, data_type) in checks {
                pg_catalog::rewrite::rewrite(&mut default);
                session.evaluate(&default, &data_type, 1)?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn create_source(
        &mut self,
        parsed: &Parsed,
        name: &ObjectName,
        if_not_exists: bool,
        columns: &[ColumnDef],
        options: &BTreeMap<String, String>,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        let Some(name) = self.new_name(name, if_not_exists)? else {
            return Outcome::done("CREATE SOURCE");
        };
        let (_, schema) = planner::source::source_definition(columns, options)?;
        let kind = Kind::Source {
            options: options.clone(),
        };
        let mut entry = self.new_entry(name, kind, derived_columns(&schema), &parsed.text);
        set_watermark(&mut entry, parsed)?;
        if let Some(definition) = entry.watermark_definition() {
            planner::watermarks::compile(&definition, &entry.schema())?;
        }
        self.add_without_job(entry).await?;
        Outcome::done("CREATE SOURCE")
    }

    pub(crate) async fn create_view(
        &mut self,
        parsed: &Parsed,
        view: &CreateView,
    ) -> Result<Outcome> {
        if parsed.emit == Emit::OnWindowClose && !view.materialized {
            return Err(Error::unsupported(
                "EMIT ON WINDOW CLOSE of a view that is not materialized is not supported",
                "Use CREATE MATERIALIZED VIEW.",
            ));
        }
        let tag = if view.materialized {
            "CREATE MATERIALIZED VIEW"
        } else {
            "CREATE VIEW"
        };
        if view.or_replace && view.materialized {
            return Err(Error::unsupported(
                "CREATE OR REPLACE MATERIALIZED VIEW is not supported",
                "Use DROP and CREATE.",
            ));
        }
        if view.or_replace && view.temporary {
            return Err(Error::unsupported(
                "CREATE OR REPLACE TEMPORARY VIEW is not supported",
                "Use DROP and CREATE.",
            ));
        }
        let _ddl = self.lock_ddl().await?;
        if view.or_replace && self.replace_view(parsed, view).await? {
            return Outcome::done(tag);
        }
        let name = match view.temporary {
            true => self.new_temporary_name(&view.name, view.if_not_exists)?,
            false => self.new_name(&view.name, view.if_not_exists)?,
        };
        let Some(mut name) = name else {
            return Outcome::done(tag);
        };
        let definition = parsed.view_definition().unwrap_or_default().to_owned();
        if view.materialized {
            let (plan, bindings) = self.plan_materialized(view, parsed.emit).await?;
            let schema = Arc::clone(&plan.dataflow.schema);
            let declared = declared_schema(&schema, &plan.origins, &self.shared.catalog.read());
            let mut entry = self.new_entry(
                name,
                Kind::MaterializedView,
                derived_columns(&declared),
                &parsed.text,
            );
            entry.unique_key.clone_from(&plan.dataflow.stream_key);
            entry.append_only = plan.dataflow.append_only;
            entry.watermarks.clone_from(&plan.dataflow.watermarks);
            entry.emitted_by = plan.dataflow.emitted_by;
            entry.definition = Some(definition);
            entry.dependencies = user_ids(plan.dependencies.iter().map(|id| id.0));
            if self.reads_temporary(&entry.dependencies) {
                return Err(Error::not_supported(
                    "materialized views must not use temporary tables or views",
                ));
            }
            entry.planned = Some(schema);
            entry.hashed_by = plan.hashed_by;
            entry.bind(bindings);
            let spec = job(&entry, plan.dataflow);
            if self.settings().background_ddl() {
                self.create_in_background(entry, spec).await?;
            } else {
                self.start_job(entry, spec, Vec::new()).await?;
            }
        } else {
            let (schema, dependencies, bindings) = self.plan_plain(view).await?;
            if self.reads_temporary(&dependencies) && !temporary_schema::is_temporary(&name.schema)
            {
                let text = format!("view \"{}\" will be a temporary view", name.local);
                self.client.notice(&Notice::Progress(text));
                name.schema = self.temporary_schema();
                if self
                    .shared
                    .catalog
                    .read()
                    .find(&name.schema, &name.local)
                    .is_some()
                {
                    return Err(Error::DuplicateRelation { name: name.local });
                }
            }
            let mut entry =
                self.new_entry(name, Kind::View, derived_columns(&schema), &parsed.text);
            entry.definition = Some(definition);
            entry.dependencies = dependencies;
            entry.planned = Some(schema);
            entry.bind(bindings);
            self.add_without_job(entry).await?;
        }
        Outcome::done(tag)
    }

    fn reads_temporary(&self, ids: &BTreeSet<u32>) -> bool {
        let catalog = self.shared.catalog.read();
        let mut read = ids.iter().filter_map(|id| catalog.by_id(*id));
        read.any(|entry| temporary_schema::is_temporary(&entry.schema_name))
    }

    /// Plans a materialized view over the catalog as it is now.
    pub(crate) async fn plan_materialized(
        &mut self,
        view: &CreateView,
        emit: Emit,
    ) -> Result<(planner::ViewPlan, Met)> {
        let columns = view.columns.iter().map(|column| column.name.clone());
        self.plan_continuous(&view.query, columns.collect(), emit)
            .await
    }

    /// Plans a query to be maintained, under these names of its first columns.
    pub(crate) async fn plan_continuous(
        &mut self,
        query: &Query,
        columns: Vec<Ident>,
        emit: Emit,
    ) -> Result<(planner::ViewPlan, Met)> {
        let view = CatalogView::new(self.shared.catalog.read(), None, self.system_context());
        let bindings = view.bindings();
        let two_phase_agg = self.settings().two_phase_agg();
        let session = self.planner_over(view).with_two_phase_agg(two_phase_agg);
        let query = query.clone();
        let planned = big_stack::run(move |handle| {
            Ok(handle.block_on(planner::plan_view(&session, &query, &columns, emit))?)
        });
        let planned = self.interrupt.guard(planned).await?;
        Ok((planned, met(&bindings)))
    }

    pub(crate) async fn plan_plain(
        &mut self,
        view: &CreateView,
    ) -> Result<(SchemaRef, BTreeSet<u32>, Met)> {
        let view_of_catalog = CatalogView::new(
            self.shared.catalog.read(),
            Some(self.shared.engine.snapshot()),
            self.system_context(),
        )
        .for_definition();
        let bindings = view_of_catalog.bindings();
        let session = self.planner_over(view_of_catalog);
        let (plan, _) = self.plan_batch(&view.query, session, Vec::new()).await?;
        if !plan.parameter_types()?.is_empty() {
            return Err(Error::InvalidDefinition {
                message: "a view must not have parameters".to_owned(),
            });
        }
        let names: Vec<String> = view
            .columns
            .iter()
            .map(|column| planner::names::identifier(&column.name))
            .collect();
        if names.len() > plan.schema().fields().len() {
            let message = "CREATE VIEW specifies more column names than columns".to_owned();
            return Err(Error::Syntax { message });
        }
        let mut seen = BTreeSet::new();
        let mut fields = Vec::new();
        for (at, field) in plan.schema().fields().iter().enumerate() {
            let name = names.get(at).unwrap_or(field.name());
            if !seen.insert(name.clone()) {
                return Err(Error::DuplicateColumn { name: name.clone() });
            }
            fields.push(field.as_ref().clone().with_name(name));
        }
        Ok((
            Arc::new(Schema::new(fields)),
            user_ids(plan.relations().map(|id| id.0)),
            met(&bindings),
        ))
    }

    /// Starts a relation's job and adds the relation, with the sequences of its columns. A
    /// cancelled statement leaves nothing.
    pub(crate) async fn start_job(
        &mut self,
        entry: Entry,
        spec: executor::JobSpec,
        sequences: Vec<Entry>,
    ) -> Result<()> {
        let engine = self.shared.engine.clone();
        let spec = executor::JobSpec {
            backfill_rate_limit: self.settings().backfill_rate_limit(),
            ..spec
        };
        let mut change = put_change(&entry)?;
        for sequence in &sequences {
            change.puts.extend(put_change(sequence)?.puts);
        }
        let id = entry.id;
        let mut created = tokio::spawn(async move { engine.create_job(spec, change).await });
        let waited = self
            .interrupt
            .guard(async {
                match (&mut created).await {
                    Ok(result) => Ok(result?),
                    Err(error) => Err(Error::Internal(error.to_string())),
                }
            })
            .await;
        if let Err(error) = waited {
            // If it was us who stopped waiting, what is half built must go.
            if matches!(error, Error::Cancelled | Error::StatementTimeout) {
                let mut ids = BTreeSet::from([id]);
                ids.extend(sequences.iter().map(|sequence| sequence.id));
                let engine = self.shared.engine.clone();
                tokio::spawn(async move {
                    let _ = engine.cancel_jobs(vec![id]).await;
                    if let Ok(Ok(())) = created.await {
                        let dropped = engine.drop_jobs(vec![id], delete_change(&ids)).await;
                        if let Err(error) = dropped {
                            tracing::error!(%error, id, "cannot drop a cancelled relation");
                        }
                    }
                });
            }
            return Err(error);
        }
        crash_point!("create.whole");
        if !entry.primary_key.is_empty() {
            self.shared
                .keys
                .insert(id, KeySet::new(&entry.schema(), &entry.primary_key)?);
        }
        self.shared.catalog.put(entry);
        sequences
            .into_iter()
            .for_each(|sequence| self.shared.catalog.put(sequence));
        crash_point!("create.known");
        Ok(())
    }

    /// Adds a relation that only the catalog knows.
    pub(crate) async fn add_without_job(&mut self, entry: Entry) -> Result<()> {
        let change = put_change(&entry)?;
        self.write_catalog(change).await?;
        self.shared.catalog.put(entry);
        Ok(())
    }

    pub(crate) async fn write_catalog(&mut self, change: CatalogChange) -> Result<()> {
        write_catalog(&self.shared, change).await
    }
}

pub(crate) async fn write_catalog(shared: &Shared, change: CatalogChange) -> Result<()> {
    let storage = Arc::clone(&shared.storage);
    let written = tokio::task::spawn_blocking(move || storage.write_catalog(change)).await;
    Ok(written.map_err(|error| Error::Internal(error.to_string()))??)
}

/// What names meant in a query that was planned.
fn met(bindings: &Bindings) -> Met {
    let met = bindings.lock().unwrap_or_else(PoisonError::into_inner);
    met.clone()
}

/// Those of users' relations among ids.
pub(crate) fn user_ids(ids: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    ids.filter(|id| *id >= crate::catalog::FIRST_ID).collect()
}

/// The error for a relation of another kind than the statement names, with the right statement.
#[must_use]
pub fn wrong_kind(entry: &Entry, expected: ObjectKind, verb: &str) -> Error {
    let really = entry.kind.name().to_uppercase();
    let hint = match (verb, &entry.kind) {
        ("ALTER", Kind::View | Kind::Source { .. }) => {
            "Only tables and materialized views have a parallelism.".to_owned()
        }
        ("DROP", Kind::Table) => "Use DROP TABLE to remove a table.".to_owned(),
        ("DROP", _) => format!("Use DROP {really} to remove a {}.", entry.kind.name()),
        _ => format!("Use {verb} {really}."),
    };
    Error::WrongKind {
        name: entry.name.clone(),
        expected: kind_name(expected),
        hint: Some(hint),
    }
}

/// The dataflow of a materialized view, for EXPLAIN.
pub fn relation_names(catalog: &Catalog) -> impl Fn(planner::RelationId) -> Option<String> + '_ {
    |id| catalog.by_id(id.0).map(|entry| entry.name.clone())
}

/// A dataflow as the lines of EXPLAIN.
#[must_use]
pub fn explained(dataflow: &Dataflow, catalog: &Catalog) -> Vec<String> {
    planner::explain::explain(dataflow, &relation_names(catalog))
}
