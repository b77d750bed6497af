//! ALTER … RENAME TO, OWNER TO and, by `schema.rs`, `sequence.rs` and `background.rs`, SET SCHEMA,
//! RESTART and SET BACKFILL_RATE_LIMIT.
//!
//! Views know what they read by its id, so it may get another name (`definition.rs`). Defaults know
//! their sequence by its name, so they change with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use planner::names::identifier;
use planner::parse::{AlterRelation, ObjectKind, RelationChange, RoleName};
use storage::CatalogChange;

use crate::access::actor::Actor;
use crate::access::privilege::Privileges;
use crate::catalog::{Catalog, Entry, Kind, update_change};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::pg_catalog::relations::quoted;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name};
use crate::statement::role::with_owner;

impl Session {
    pub(crate) async fn alter_relation(&mut self, alter: &AlterRelation) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        let tag = format!("ALTER {}", kind_name(alter.kind).to_uppercase());
        let Some(entry) = self.altered_relation(alter)? else {
            return Ok(Outcome::Done(tag));
        };
        match &alter.change {
            // It is for what is not complete yet.
            RelationChange::BackfillRateLimit(_) => {
                self.actor(&self.shared.catalog.read())
                    .check_owner(&entry)?;
            }
            _ => self.check_owner(&entry)?,
        }
        match &alter.change {
            RelationChange::Owner(role) => {
                self.check_ddl()?;
                self.set_owner(&entry, role).await?;
            }
            RelationChange::Schema(schema) => {
                self.check_ddl()?;
                self.set_schema(&entry, schema).await?;
            }
            RelationChange::BackfillRateLimit(limit) => self.limit_backfill(&entry, limit).await?,
            RelationChange::Restart(number) => self.restart_sequence(&entry, number.as_deref())?,
            RelationChange::Rename(new) => {
                self.check_ddl()?;
                let changed = renamed(&self.shared.catalog.read(), &entry, identifier(new))?;
                let mut change = CatalogChange::default();
                for entry in &changed {
                    change.puts.extend(update_change(entry)?.puts);
                }
                self.write_catalog(change).await?;
                changed.into_iter().for_each(|e| self.shared.catalog.put(e));
            }
        }
        Ok(Outcome::Done(tag))
    }

    /// Gives a relation to another role, with its indexes and the sequences of its columns.
    async fn set_owner(&mut self, entry: &Entry, role: &RoleName) -> Result<()> {
        let owner = self.new_owner(role)?;
        let catalog = self.shared.catalog.read();
        let given = Actor {
            catalog: &catalog,
            role: owner,
        };
        if !self.actor(&catalog).is_superuser() {
            given.check_schema(&entry.schema_name, Privileges::CREATE)?;
        }
        let mut ids = BTreeSet::from([entry.id]);
        ids.extend(catalog.owned_indexes(&ids));
        ids.extend(catalog.owned_sequences(&ids));
        let owned = ids.into_iter().filter_map(|id| catalog.by_id(id));
        let owned: Vec<Entry> = owned.map(|entry| with_owner(entry, owner)).collect();
        let mut change = CatalogChange::default();
        for entry in &owned {
            change.puts.extend(update_change(entry)?.puts);
        }
        self.write_catalog(change).await?;
        owned.into_iter().for_each(|e| self.shared.catalog.put(e));
        Ok(())
    }

    fn altered_relation(&mut self, alter: &AlterRelation) -> Result<Option<Arc<Entry>>> {
        let name = self.local_name(&alter.name)?;
        let kind = alter.kind;
        match self.shared.catalog.read().by_name(&name) {
            Some(entry) if kind == ObjectKind::Table || is_kind(&entry.kind, kind) => {
                Ok(Some(Arc::clone(entry)))
            }
            Some(entry) => Err(Error::WrongKind {
                hint: Some(format!("Use ALTER {}.", entry.kind.name().to_uppercase())),
                expected: kind_name(kind),
                name: name.to_string(),
            }),
            None if alter.if_exists => {
                self.client.notice(&Notice::DoesNotExist {
                    kind: "relation",
                    name: name.to_string(),
                });
                Ok(None)
            }
            None => Err(Error::UndefinedRelation {
                name: name.to_string(),
            }),
        }
    }
}

/// The relation under another name, which must be free, and for a sequence the tables that take
/// numbers from it.
fn renamed(catalog: &Catalog, entry: &Entry, name: String) -> Result<Vec<Entry>> {
    if catalog.find(&entry.schema_name, &name).is_some() {
        return Err(Error::DuplicateRelation { name });
    }
    let new = Entry {
        statement: with_name(&entry.statement, &entry.name, &name),
        name,
        ..entry.clone()
    };
    let mut changed = Vec::new();
    if matches!(entry.kind, Kind::Sequence(_)) {
        let before = format!("nextval('{}'", entry.reference());
        let after = format!("nextval('{}'", new.reference());
        for table in catalog.entries() {
            let mut table = Entry::clone(table);
            let mut uses = false;
            for default in table.columns.iter_mut().filter_map(|c| c.default.as_mut()) {
                uses |= default.contains(&before);
                *default = default.replace(&before, &after);
            }
            if uses {
                changed.push(table);
            }
        }
    }
    changed.push(new);
    Ok(changed)
}

/// The text of a CREATE with another name for what it creates: the first word that is the name.
fn with_name(statement: &str, old: &str, new: &str) -> String {
    let quoted_old = format!("\"{}\"", old.replace('"', "\"\""));
    let lower = statement.to_ascii_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let plain = lower.match_indices(old).find(|(at, _)| {
        let before = lower[..*at].chars().next_back();
        let after = lower[at + old.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    });
    let (at, length) = match (statement.find(&quoted_old), plain) {
        (Some(at), _) => (at, quoted_old.len()),
        (None, Some((at, _))) => (at, old.len()),
        (None, None) => return statement.to_owned(),
    };
    format!(
        "{}{}{}",
        &statement[..at],
        quoted(new),
        &statement[at + length..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_what_is_created_is_replaced() {
        assert_eq!(
            with_name("CREATE TABLE T (t int)", "t", "u"),
            "CREATE TABLE u (t int)"
        );
        assert_eq!(
            with_name(
                "CREATE VIEW IF NOT EXISTS \"A b\" AS SELECT 1",
                "A b",
                "c d"
            ),
            "CREATE VIEW IF NOT EXISTS \"c d\" AS SELECT 1"
        );
    }
}
