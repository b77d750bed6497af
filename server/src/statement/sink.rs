//! CREATE SINK … INTO table.
//!
//! The query of a sink is wrapped into one that gives the table's rows: its columns, cast to their
//! types, with defaults and generated columns, without rows that the table cannot take.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::new_empty_array;
use planner::names::{identifier, quoted_identifier as quoted};
use planner::parse::CreateSink;
use planner::{Emit, Parsed, Statement};
use sqlparser::ast::{self, Ident, Query, SelectItem, SetExpr};

use crate::access::privilege::Privileges;
use crate::catalog::{Catalog, Column, ConflictPolicy, Entry, Kind};
use crate::error::{Error, Result};
use crate::server::job;
use crate::session::Session;
use crate::sink::{self, Sink, delivered_job};
use crate::statement::Outcome;
use crate::statement::coerce::{TextInput, assign};
use crate::statement::ddl::user_ids;
use crate::temporary_schema::is_temporary;
use crate::wire::column::WireColumn;

impl Session {
    pub(crate) async fn create_sink(
        &mut self,
        parsed: &Parsed,
        create: &CreateSink,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        let Some(name) = self.new_name(&create.name, create.if_not_exists)? else {
            return Outcome::done("CREATE SINK");
        };
        let table = self.writable(&create.table, "insert into")?;
        let only_adds = only_adds(&create.options)?;
        let mut wanted = Privileges::INSERT;
        if !only_adds {
            wanted = wanted | Privileges::UPDATE | Privileges::DELETE;
        }
        self.check_privilege(&table, wanted)?;
        check_table(&table)?;
        let query = query_of(&create.query)?;
        let emit = Emit::Immediately;
        let names = names_of(&query.body);
        let (plan, _) = self.plan_continuous(&query, names, emit).await?;
        let may_take_back = !plan.dataflow.append_only;
        if may_take_back && !only_adds && (table.primary_key.is_empty() || table.append_only) {
            return Err(Error::unsupported(
                "a sink whose rows change into a table without a primary key is not supported",
                "Define a primary key, or use WITH (type = 'append-only', force_append_only = 'true').",
            ));
        }
        let given = given_columns(&table, create, plan.dataflow.schema.fields().len())?;
        let zone = self.style().zone;
        for (field, &at) in plan.dataflow.schema.fields().iter().zip(&given) {
            let (column, none) = (&table.columns[at], new_empty_array(field.data_type()));
            assign(
                &none,
                &column.name,
                &column.sql_type,
                TextInput::Refuse,
                zone,
            )?;
        }
        let wrapped = wrapped(&table, &create.query, &given);
        let query = query_of(&wrapped)?;
        let (plan, bindings) = self.plan_continuous(&query, Vec::new(), emit).await?;
        let columns: Vec<Column> = table
            .columns
            .iter()
            .map(|column| Column::new(&column.name, column.sql_type.clone()))
            .collect();
        let kind = Kind::Sink(Sink {
            table: table.id,
            delivered: self.shared.catalog.take_id(),
            only_adds: only_adds || !may_take_back,
        });
        let mut entry = self.new_entry(name, kind, columns, &parsed.text);
        check_types(&entry, &plan.dataflow.schema)?;
        entry.dependencies = user_ids(plan.dependencies.iter().map(|id| id.0));
        self.check_inputs(&entry.dependencies, &table)?;
        entry.dependencies.insert(table.id);
        entry.definition = Some(wrapped);
        entry.planned = Some(plan.dataflow.schema.clone());
        entry.bind(bindings);
        let Kind::Sink(sink) = entry.kind.clone() else {
            return Err(Error::Internal("a sink is none".to_owned()));
        };
        let (id, spec) = (entry.id, job(&entry, plan.dataflow));
        let delivered = delivered_job(&entry, &sink)?;
        let nothing = storage::CatalogChange::default();
        self.shared
            .engine
            .create_job(delivered, nothing.clone())
            .await?;
        if let Err(error) = self.start_job(entry, spec, Vec::new()).await {
            let dropped = self.shared.engine.drop_jobs(vec![sink.delivered], nothing);
            dropped.await?;
            return Err(error);
        }
        sink::start(&self.shared, id);
        Outcome::done("CREATE SINK")
    }

    /// A sink's query must not read what the sink writes.
    fn check_inputs(&self, read: &BTreeSet<u32>, table: &Entry) -> Result<()> {
        let catalog = self.shared.catalog.read();
        let mut entries = read.iter().filter_map(|id| catalog.by_id(*id));
        if entries.any(|entry| is_temporary(&entry.schema_name)) || is_temporary(&table.schema_name)
        {
            return Err(Error::not_supported(
                "sinks must not use temporary tables or views",
            ));
        }
        if fed_by(&catalog, read).contains(&table.id) {
            return Err(Error::unsupported(
                format!(
                    "a sink into table \"{}\", which its query reads, is not supported",
                    table.name
                ),
                "Its rows would flow in a circle.",
            ));
        }
        Ok(())
    }
}

/// Relations, all that they read, and what sinks bring to those.
fn fed_by(catalog: &Catalog, relations: &BTreeSet<u32>) -> BTreeSet<u32> {
    let (mut found, mut open) = (BTreeSet::new(), Vec::from_iter(relations.iter().copied()));
    while let Some(id) = open.pop() {
        if !found.insert(id) {
            continue;
        }
        open.extend(catalog.by_id(id).iter().flat_map(|e| &e.dependencies));
        for sink in catalog.entries() {
            if matches!(&sink.kind, Kind::Sink(into) if into.table == id) {
                open.extend(&sink.dependencies);
            }
        }
    }
    found
}

fn check_table(table: &Entry) -> Result<()> {
    if table.on_conflict == Some(ConflictPolicy::Ignore) {
        return Err(Error::unsupported(
            "a sink into a table with ON CONFLICT DO NOTHING is not supported",
            "A sink replaces rows by their key.",
        ));
    }
    if table.watermark.is_some() {
        return Err(Error::unsupported(
            "a sink into a table with a watermark is not supported",
            "Leave the watermark out, or write the rows with INSERT.",
        ));
    }
    Ok(())
}

/// Whether rows that go stay in the table, as the options say.
fn only_adds(options: &BTreeMap<String, String>) -> Result<bool> {
    let (mut is_forced, mut is_append_only) = (false, false);
    for (name, value) in options {
        match (name.as_str(), value.to_lowercase().as_str()) {
            ("type", "append-only") => is_append_only = true,
            ("type", "upsert") => {}
            ("force_append_only", "true") => is_forced = true,
            ("force_append_only", "false") => {}
            ("type" | "force_append_only", _) => {
                return Err(Error::InvalidValue {
                    message: format!("invalid value for option \"{name}\": \"{value}\""),
                    hint: Some("type is 'append-only' or 'upsert'.".to_owned()),
                });
            }
            _ => {
                return Err(Error::InvalidValue {
                    message: format!("unrecognized option \"{name}\" of a sink"),
                    hint: Some("There are type and force_append_only.".to_owned()),
                });
            }
        }
    }
    if is_forced && !is_append_only {
        return Err(Error::InvalidValue {
            message: "force_append_only needs type = 'append-only'".to_owned(),
            hint: None,
        });
    }
    Ok(is_forced)
}

/// The columns of the table that the query's columns are for, one after the other.
fn given_columns(table: &Entry, create: &CreateSink, width: usize) -> Result<Vec<usize>> {
    let settable = |column: &Column| column.generated.is_none();
    let mut given = Vec::new();
    for name in &create.columns {
        let name = identifier(name);
        let at = table.column(&name).ok_or_else(|| Error::UndefinedColumn {
            column: name.clone(),
            relation: table.name.clone(),
        })?;
        if given.contains(&at) {
            return Err(Error::DuplicateColumn { name });
        }
        crate::statement::generated::check_set(table, at)?;
        given.push(at);
    }
    if create.columns.is_empty() {
        let all = 0..table.columns.len();
        given = all.filter(|&at| settable(&table.columns[at])).collect();
        given.truncate(width);
    }
    let column_count = |more, fewer| Err(Error::ColumnCount { more, fewer });
    if given.len() < width {
        return column_count("expressions", "target columns");
    }
    if given.len() > width {
        return column_count("target columns", "expressions");
    }
    Ok(given)
}

/// A query of the table's rows over the query of a sink.
fn wrapped(table: &Entry, query: &str, given: &[usize]) -> String {
    let names: Vec<String> = (0..given.len()).map(|at| format!("c{at}")).collect();
    let mut inner = Vec::new();
    let mut outer = Vec::new();
    let mut needed = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let name = quoted(&column.name);
        match &column.generated {
            Some(expression) => {
                let value = format!("CAST({expression} AS {}) AS {name}", column.sql_type);
                outer.push(value);
            }
            None => {
                let place = given.iter().position(|&column| column == at);
                let value = match (place, &column.default) {
                    (Some(place), _) => names[place].clone(),
                    (None, Some(default)) => default.clone(),
                    (None, None) => "NULL".to_owned(),
                };
                inner.push(format!("CAST({value} AS {}) AS {name}", column.sql_type));
                outer.push(name.clone());
                if column.not_null {
                    needed.push(format!("{name} IS NOT NULL"));
                }
            }
        }
    }
    let condition = match needed.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", needed.join(" AND ")),
    };
    format!(
        "SELECT {} FROM (SELECT {} FROM ({query}) AS given ({})) AS written{condition}",
        outer.join(", "),
        inner.join(", "),
        names.join(", ")
    )
}

/// Names for the columns of a query that lists them, so that they need none of their own.
fn names_of(body: &SetExpr) -> Vec<Ident> {
    match body {
        SetExpr::Select(select) => {
            let is_star = |item: &SelectItem| {
                matches!(
                    item,
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
                )
            };
            if select.projection.iter().any(is_star) {
                return Vec::new();
            }
            let numbers = 0..select.projection.len();
            numbers.map(|at| Ident::new(format!("c{at}"))).collect()
        }
        SetExpr::SetOperation { left, .. } => names_of(left),
        SetExpr::Query(query) => names_of(&query.body),
        _ => Vec::new(),
    }
}

fn check_types(entry: &Entry, planned: &arrow::datatypes::Schema) -> Result<()> {
    for (column, field) in entry.columns.iter().zip(planned.fields()) {
        if column.sql_type.arrow() != *field.data_type() {
            return Err(Error::TypeMismatch {
                message: format!(
                    "column \"{}\" is of type {} but expression is of type {}",
                    column.name,
                    column.sql_type.base_name(),
                    WireColumn::declared_type(field).base_name()
                ),
                hint: None,
            });
        }
    }
    Ok(())
}

fn query_of(text: &str) -> Result<Query> {
    let parsed = planner::parse(text)?.pop().map(|parsed| parsed.statement);
    match parsed {
        Some(Statement::Pg(statement)) => match *statement {
            ast::Statement::Query(query) => Ok(*query),
            _ => Err(Error::Internal("a sink's query is none".to_owned())),
        },
        _ => Err(Error::Internal("a sink's query is none".to_owned())),
    }
}
