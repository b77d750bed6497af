//! CREATE and DROP TYPE: composite types.
//!
//! What a type is made of never changes, and columns carry all of it: a table can be read without the
//! entry of its types in the catalog. So a type that is used must not go.

use std::collections::BTreeSet;
use std::sync::Arc;

use planner::Parsed;
use planner::named_types::{check_fields, resolve, resolve_type};
use planner::parse::ObjectKind;
use planner::types::{arrow_type, column_type, declared_type};
use sqlparser::ast;
use sqlparser::ast::{
    ObjectName, Query, UserDefinedTypeCompositeAttributeDef, UserDefinedTypeRepresentation,
};

use crate::catalog::{Catalog, Column, CompositeType, Entry, Kind};
use crate::catalog_view::CatalogView;
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::wrong_kind;
use crate::statement::drop::{dependents_lines, described};
use crate::table_locks::Mode;

impl Session {
    pub(crate) async fn create_type(
        &mut self,
        parsed: &Parsed,
        name: &ObjectName,
        representation: Option<&UserDefinedTypeRepresentation>,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        let attributes = match representation {
            Some(UserDefinedTypeRepresentation::Composite { attributes }) => attributes,
            _ => {
                return Err(Error::unsupported(
                    "a type that is not composite is not supported",
                    "Write CREATE TYPE name AS (field type, …).",
                ));
            }
        };
        let name = match self.new_name(name, false) {
            Ok(name) => name,
            Err(Error::DuplicateRelation { name }) => return Err(Error::DuplicateType { name }),
            Err(error) => return Err(error),
        };
        let Some(name) = name else {
            return Outcome::done("CREATE TYPE");
        };
        let columns = self.fields(attributes)?;
        let array_oid = self.shared.catalog.take_id();
        let kind = Kind::Type(CompositeType { array_oid });
        let entry = self.new_entry(name, kind, columns, &parsed.text);
        self.add_without_job(entry).await?;
        Outcome::done("CREATE TYPE")
    }

    fn fields(&self, attributes: &[UserDefinedTypeCompositeAttributeDef]) -> Result<Vec<Column>> {
        if attributes.is_empty() {
            return Err(Error::unsupported(
                "a composite type without fields is not supported",
                "Declare at least one field.",
            ));
        }
        let mut columns = Vec::with_capacity(attributes.len());
        for attribute in attributes {
            if attribute.collation.is_some() {
                return Err(Error::not_supported("COLLATE of a field is not supported"));
            }
            let data_type = self.resolved_type(&attribute.data_type)?;
            let arrow = arrow_type(&data_type)?;
            column_type(&arrow)?;
            let name = planner::names::identifier(&attribute.name);
            columns.push(Column::new(&name, declared_type(&data_type, &arrow)));
        }
        check_fields(columns.iter().map(|column| column.name.as_str()))?;
        Ok(columns)
    }

    /// A written type, with users' types as what they mean.
    ///
    /// # Errors
    /// Structured types that cannot be.
    pub(crate) fn resolved_type(&self, written: &ast::DataType) -> Result<ast::DataType> {
        let mut data_type = written.clone();
        let view = CatalogView::new(self.shared.catalog.read(), None, self.system_context());
        resolve_type(&mut data_type, &view)?;
        Ok(data_type)
    }

    /// Users' types in a query as what they mean.
    ///
    /// # Errors
    /// As [`Session::resolved_type`].
    pub(crate) fn resolve_types(&self, query: &mut Query) -> Result<()> {
        let view = CatalogView::new(self.shared.catalog.read(), None, self.system_context());
        Ok(resolve(query, &view)?)
    }

    pub(crate) async fn drop_types(
        &mut self,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let catalog = self.shared.catalog.read();
        let mut ids = BTreeSet::new();
        for name in names {
            let name = self.local_name(name)?;
            match catalog.by_name(&name) {
                Some(entry) if matches!(entry.kind, Kind::Type(_)) => drop(ids.insert(entry.id)),
                Some(entry) => return Err(wrong_kind(entry, ObjectKind::Type, "DROP")),
                None if if_exists => self.client.notice(&Notice::DoesNotExist {
                    kind: "type",
                    name: name.to_string(),
                }),
                None => {
                    return Err(Error::UndefinedType {
                        name: name.to_string(),
                    });
                }
            }
        }
        let actor = self.actor(&catalog);
        for entry in ids.iter().filter_map(|id| catalog.by_id(*id)) {
            actor.check_drop(entry)?;
        }
        let columns = columns_of_types(&catalog, &ids);
        let functions = functions_of_types(&catalog, &ids);
        if !cascade {
            let mut lines = users_lines(&catalog, &ids);
            lines.extend(dependents_lines(&catalog, &ids, &catalog.dependents(&ids)));
            if !lines.is_empty() {
                return Err(type_is_used(&catalog, &ids, &lines));
            }
        }
        columns
            .iter()
            .try_for_each(|(user, column)| check_goes(user, column))?;
        for (table, column) in &columns {
            self.drop_column_of_type(table.id, column).await?;
        }
        self.drop_with_dependents(ids, functions).await?;
        Outcome::done("DROP TYPE")
    }

    /// Drops a column whose type goes, and what reads it.
    async fn drop_column_of_type(&mut self, table: u32, column: &str) -> Result<()> {
        let catalog = self.shared.catalog.read();
        let Some(table) = catalog.by_id(table) else {
            return Ok(());
        };
        let object = format!("column {column} of {}", described(table));
        self.client.notice(&Notice::Cascades { object });
        let _alone = self.lock_table(table, Mode::Exclusive).await?;
        self.has_unseen_writes = true;
        self.see_own_writes().await?;
        self.drop_column(table, column, true, true).await
    }

    /// Drops types that no column has any more, and what names them.
    async fn drop_with_dependents(
        &mut self,
        mut ids: BTreeSet<u32>,
        functions: Vec<Arc<Entry>>,
    ) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let catalog = self.shared.catalog.read();
        let mut all = ids.clone();
        all.extend(functions.iter().map(|function| function.id));
        let dependents = catalog.dependents(&all);
        self.notice_cascade(functions.into_iter().chain(dependents.iter().cloned()));
        ids.extend(all);
        ids.extend(dependents.iter().map(|entry| entry.id));
        ids.extend(catalog.owned_indexes(&ids));
        self.drop_entries(&catalog, ids).await
    }
}

/// Refuses what `CASCADE` does not drop, before anything is dropped.
fn check_goes(user: &Entry, column: &str) -> Result<()> {
    let at = user.column(column);
    let is_key = at.is_some_and(|at| user.primary_key.contains(&at));
    if user.kind == Kind::Table && !is_key && user.columns.len() > 1 {
        return Ok(());
    }
    let user = described(user);
    Err(Error::unsupported(
        format!("dropping column {column} of {user} with its type is not supported"),
        format!("Drop {user} first."),
    ))
}

/// The functions that take or give values of these types.
fn functions_of_types(catalog: &Catalog, ids: &BTreeSet<u32>) -> Vec<Arc<Entry>> {
    let uses = |entry: &&Arc<Entry>| {
        let function = entry.function();
        function.is_some_and(|f| ids.iter().any(|id| f.uses_type(*id)))
    };
    catalog.functions().filter(uses).cloned().collect()
}

/// The columns of tables and fields of other types that are made of these types.
fn columns_of_types(catalog: &Catalog, ids: &BTreeSet<u32>) -> Vec<(Arc<Entry>, String)> {
    let mut columns = Vec::new();
    for entry in catalog.ids().filter_map(|id| catalog.by_id(id)) {
        let declares = matches!(
            entry.kind,
            Kind::Table | Kind::Type(_) | Kind::Source { .. }
        );
        if !declares || ids.contains(&entry.id) {
            continue;
        }
        for column in &entry.columns {
            if ids.iter().any(|id| column.sql_type.is_made_of(*id)) {
                columns.push((Arc::clone(entry), column.name.clone()));
            }
        }
    }
    columns
}

/// A line for each column that would lose its type, and each function that would.
fn users_lines(catalog: &Catalog, ids: &BTreeSet<u32>) -> Vec<String> {
    let type_name = |is_made_of: &dyn Fn(u32) -> bool| {
        let id = ids.iter().find(|id| is_made_of(**id));
        let entry = id.and_then(|id| catalog.by_id(*id));
        entry.map_or_else(String::new, |entry| entry.name.clone())
    };
    let columns = columns_of_types(catalog, ids);
    let mut lines: Vec<String> = columns
        .iter()
        .map(|(entry, name)| {
            let found = entry.columns.iter().find(|column| column.name == *name);
            let of = |id| found.is_some_and(|column| column.sql_type.is_made_of(id));
            let kind = match entry.kind {
                Kind::Type(_) => "composite type",
                _ => entry.kind_name(),
            };
            format!(
                "column {name} of {kind} {} depends on type {}",
                entry.name,
                type_name(&of)
            )
        })
        .collect();
    for entry in functions_of_types(catalog, ids) {
        let of = |id| entry.function().is_some_and(|f| f.uses_type(id));
        let (function, name) = (described(&entry), type_name(&of));
        lines.push(format!("{function} depends on type {name}"));
    }
    lines
}

fn type_is_used(catalog: &Catalog, ids: &BTreeSet<u32>, lines: &[String]) -> Error {
    let first = ids.iter().find_map(|id| catalog.by_id(*id));
    Error::Dependents {
        kind: "type",
        name: first.map_or_else(String::new, |entry| entry.name.clone()),
        detail: lines.join("\n"),
    }
}

/// A type goes with all columns and functions that are made of it, or not at all.
pub(crate) fn refuse_used_types(catalog: &Catalog, ids: &BTreeSet<u32>) -> Result<()> {
    let types = ids.iter().copied().filter(|id| {
        let entry = catalog.by_id(*id);
        entry.is_some_and(|entry| matches!(entry.kind, Kind::Type(_)))
    });
    let types: BTreeSet<u32> = types.collect();
    if types.is_empty() {
        return Ok(());
    }
    let stays = |entry: &Entry| !ids.contains(&entry.id);
    let mut columns = columns_of_types(catalog, &types).into_iter();
    let mut functions = functions_of_types(catalog, &types).into_iter();
    let is_used = columns.any(|(entry, _)| stays(&entry)) || functions.any(|entry| stays(&entry));
    match is_used {
        true => Err(type_is_used(catalog, &types, &users_lines(catalog, &types))),
        false => Ok(()),
    }
}
