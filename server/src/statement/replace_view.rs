//! CREATE OR REPLACE VIEW of a view that exists. Rules: PostgreSQL manual, CREATE VIEW.

use std::collections::BTreeSet;

use planner::Parsed;
use sqlparser::ast::CreateView;

use crate::catalog::{Column, Entry, Kind, update_change};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::ddl::derived_columns;

impl Session {
    /// Gives a view another query; false if there is none of this name.
    pub(crate) async fn replace_view(
        &mut self,
        parsed: &Parsed,
        view: &CreateView,
    ) -> Result<bool> {
        let name = self.local_name(&view.name)?;
        let catalog = self.shared.catalog.read();
        let Some(old) = catalog.by_name(&name).cloned() else {
            return Ok(false);
        };
        self.check_ddl()?;
        if old.kind != Kind::View {
            return Err(Error::WrongKind {
                name: name.to_string(),
                expected: "view",
                hint: None,
            });
        }
        self.check_owner(&old)?;
        let dependents = catalog.dependents(&BTreeSet::from([old.id]));
        let maintained = |entry: &&std::sync::Arc<Entry>| entry.kind == Kind::MaterializedView;
        if let Some(reader) = dependents.iter().find(maintained) {
            return Err(Error::unsupported(
                format!(
                    "replacing view \"{name}\" while {} \"{}\" reads it is not supported",
                    reader.kind_name(),
                    reader.name
                ),
                "What a materialized view keeps follows from its query: drop it first.",
            ));
        }
        let (schema, dependencies, bindings) = self.plan_plain(view).await?;
        let columns = derived_columns(&schema);
        check_columns(&old.columns, &columns)?;
        // A view comes after what it reads, so it never reads itself.
        if dependencies.iter().any(|read| *read >= old.id) {
            return Err(Error::unsupported(
                format!(
                    "replacing view \"{name}\" by one that reads something newer is not supported"
                ),
                "Use DROP and CREATE.",
            ));
        }
        let mut entry = Entry {
            columns,
            definition: parsed.view_definition().map(str::to_owned),
            statement: parsed.text.clone(),
            dependencies,
            planned: Some(schema),
            ..Entry::clone(&old)
        };
        entry.bind(bindings);
        let change = update_change(&entry)?;
        self.write_catalog(change).await?;
        self.shared.catalog.put(entry);
        Ok(true)
    }
}

/// The old columns must stay, in front of new ones.
fn check_columns(old: &[Column], new: &[Column]) -> Result<()> {
    let refused = |message: String| Err(Error::InvalidDefinition { message });
    if new.len() < old.len() {
        return refused("cannot drop columns from view".to_owned());
    }
    for (old, new) in old.iter().zip(new) {
        if old.name != new.name {
            return refused(format!(
                "cannot change name of view column \"{}\" to \"{}\"",
                old.name, new.name
            ));
        }
        if old.sql_type != new.sql_type {
            return refused(format!(
                "cannot change data type of view column \"{}\" from {} to {}",
                old.name, old.sql_type, new.sql_type
            ));
        }
    }
    Ok(())
}
