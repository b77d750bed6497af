//! `CREATE INDEX`: the rows of a table or view once more, in key groups by other columns.
//!
//! An index is a job that reads its relation as a view would. Its rows are hashed by its columns, and
//! sorted by them only where they are read by ranges or in order (`index_read`).

use std::collections::BTreeSet;

use planner::Parsed;
use planner::names::identifier;
use planner::types::check_compared;
use sqlparser::ast::{CreateIndex, Expr, IndexColumn};

use crate::catalog::{Column, Entry, Index, Kind};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::server::{index_dataflow, job};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::NewName;

impl Session {
    pub(crate) async fn create_index(
        &mut self,
        parsed: &Parsed,
        create: &CreateIndex,
    ) -> Result<Outcome> {
        refuse_clauses(create)?;
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let name = self.local_name(&create.table_name)?;
        let catalog = self.shared.catalog.read();
        let of = catalog.relation(&name)?;
        if !matches!(of.kind, Kind::Table | Kind::MaterializedView) {
            return Err(Error::WrongKind {
                name: of.name.clone(),
                expected: "table or materialized view",
                hint: Some("Only what keeps rows can have an index.".to_owned()),
            });
        }
        self.check_owner(of)?;
        let columns = key_columns(of, &create.columns)?;
        let name = match &create.name {
            Some(name) => name.0.last().and_then(|part| part.as_ident()),
            None => None,
        };
        let name = match name.map(identifier) {
            Some(name) => name,
            None => free_name(&catalog, of, &columns),
        };
        if catalog.find(&of.schema_name, &name).is_some() {
            if create.if_not_exists {
                self.client.notice(&Notice::AlreadyExists { name });
                return Outcome::done("CREATE INDEX");
            }
            return Err(Error::DuplicateRelation { name });
        }
        let place = |at: &usize| of.places().map_or(*at, |places| places[*at]);
        let kind = Kind::Index(Index {
            relation: of.id,
            places: columns.iter().map(place).collect(),
            width: of.stored_width(),
        });
        let column = |at: &usize| {
            let column = &of.columns[*at];
            Column::new(&column.name, column.sql_type.clone())
        };
        let name = NewName {
            schema: of.schema_name.clone(),
            local: name,
        };
        let columns = columns.iter().map(column).collect();
        let mut entry = self.new_entry(name, kind, columns, &parsed.text);
        entry.owner = of.owner;
        entry.dependencies = BTreeSet::from([of.id]);
        let spec = job(&entry, index_dataflow(&entry, &catalog)?);
        self.start_job(entry, spec, Vec::new()).await?;
        Outcome::done("CREATE INDEX")
    }
}

fn refuse_clauses(create: &CreateIndex) -> Result<()> {
    let clauses = [
        (create.unique, "a UNIQUE index"),
        (create.predicate.is_some(), "a partial index"),
        (!create.with.is_empty(), "a WITH clause of an index"),
    ];
    match clauses.into_iter().find(|(present, _)| *present) {
        None => Ok(()),
        Some((_, what)) => Err(Error::unsupported(
            format!("{what} is not supported"),
            "An index serves looking up rows by the values of its columns.",
        )),
    }
}

fn key_columns(of: &Entry, columns: &[IndexColumn]) -> Result<Vec<usize>> {
    let mut key = Vec::with_capacity(columns.len());
    for column in columns {
        let Expr::Identifier(name) = &column.column.expr else {
            return Err(Error::unsupported(
                "an expression in an index is not supported",
                "Create a materialized view that computes it, and an index on that.",
            ));
        };
        let name = identifier(name);
        let at = of.column(&name).ok_or_else(|| Error::UndefinedColumn {
            column: name,
            relation: of.name.clone(),
        })?;
        check_compared(&of.columns[at].sql_type.arrow())?;
        if !key.contains(&at) {
            key.push(at);
        }
    }
    Ok(key)
}

/// As PostgreSQL names it: table, columns, `idx`.
fn free_name(catalog: &crate::catalog::Catalog, of: &Entry, columns: &[usize]) -> String {
    let columns = columns.iter().map(|&at| of.columns[at].name.as_str());
    let names: Vec<&str> = std::iter::once(of.name.as_str()).chain(columns).collect();
    let base = format!("{}_idx", names.join("_"));
    let numbered = |number| match number {
        0 => base.clone(),
        number => format!("{base}{number}"),
    };
    let mut names = (0u32..).map(numbered);
    let is_free = |name: &String| catalog.find(&of.schema_name, name).is_none();
    names.find(is_free).unwrap_or(base.clone())
}
