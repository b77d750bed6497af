//! DROP of relations, and of all that hangs on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use planner::parse::ObjectKind;
use sqlparser::ast::ObjectName;
use storage::crash_point;

use crate::catalog::{Catalog, Entry, Kind, delete_change, update_change};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::server::{Shared, with_jobs};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name, write_catalog, wrong_kind};
use crate::statement::types::refuse_used_types;

impl Session {
    /// DROP of relations of one kind, all or none.
    pub(crate) async fn drop_relations(
        &mut self,
        kind: ObjectKind,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let tag = format!("DROP {}", kind_name(kind).to_uppercase());
        let catalog = self.shared.catalog.read();
        let mut ids = BTreeSet::new();
        for name in names {
            let name = self.local_name(name)?;
            match catalog.by_name(&name) {
                Some(entry) if is_kind(&entry.kind, kind) => drop(ids.insert(entry.id)),
                Some(entry) => return Err(wrong_kind(entry, kind, "DROP")),
                None if if_exists => self.client.notice(&Notice::DoesNotExist {
                    kind: kind_name(kind),
                    name: name.to_string(),
                }),
                None => {
                    return Err(Error::UndefinedObject {
                        kind: kind_name(kind),
                        name: name.to_string(),
                    });
                }
            }
        }
        let actor = self.actor(&catalog);
        for entry in ids.iter().filter_map(|id| catalog.by_id(*id)) {
            actor.check_drop(entry)?;
        }
        let mut all = ids.clone();
        all.extend(catalog.owned_indexes(&all));
        let mut dependents = catalog.dependents(&all);
        // The indexes of what is dropped go without a word.
        dependents.retain(|entry| !matches!(entry.kind, Kind::Index(_)));
        if !dependents.is_empty() && !cascade {
            return Err(dependents_error(&catalog, &ids, &dependents));
        }
        self.notice_cascade(dependents.iter().cloned());
        ids.extend(dependents.iter().map(|entry| entry.id));
        ids.extend(catalog.owned_indexes(&ids));
        ids.extend(catalog.owned_sequences(&ids));
        if cascade && kind == ObjectKind::Sequence {
            self.drop_defaults(&catalog, &ids).await?;
        } else {
            refuse_used_sequences(&catalog, &ids)?;
        }
        if ids.is_empty() {
            return Ok(Outcome::Done(tag));
        }
        self.drop_entries(&catalog, ids).await?;
        Ok(Outcome::Done(tag))
    }

    /// Says what else is dropped.
    pub(crate) fn notice_cascade(&mut self, dropped: impl Iterator<Item = Arc<Entry>>) {
        let mut objects: Vec<String> = dropped.map(|entry| described(&entry)).collect();
        if objects.len() > 1 {
            self.client.notice(&Notice::CascadesToMany { objects });
        } else if let Some(object) = objects.pop() {
            self.client.notice(&Notice::Cascades { object });
        }
    }

    /// Removes relations, and all that hangs on them must be among them.
    pub(crate) async fn drop_entries(
        &mut self,
        catalog: &Catalog,
        ids: BTreeSet<u32>,
    ) -> Result<()> {
        refuse_used_types(catalog, &ids)?;
        drop_entries(&self.shared, catalog, ids).await
    }

    /// Takes the defaults from columns that have their numbers from these sequences.
    async fn drop_defaults(&mut self, catalog: &Catalog, sequences: &BTreeSet<u32>) -> Result<()> {
        for sequence in sequences.iter().filter_map(|id| catalog.by_id(*id)) {
            if catalog.is_identity(sequence) {
                refuse_used_sequences(catalog, &BTreeSet::from([sequence.id]))?;
            }
            let call = format!("nextval('{}'", sequence.reference());
            while let Some(table) = self.shared.catalog.read().table_of_numbers(sequence) {
                let mut table = Entry::clone(table);
                for column in &mut table.columns {
                    if column.default.as_ref().is_some_and(|d| d.contains(&call)) {
                        column.default = None;
                        let (column, table) = (&column.name, &table.name);
                        let object = format!("default value for column {column} of table {table}");
                        self.client.notice(&Notice::Cascades { object });
                    }
                }
                self.write_catalog(update_change(&table)?).await?;
                self.shared.catalog.put(table);
            }
        }
        Ok(())
    }
}

/// Removes relations, and all that hangs on them must be among them.
pub(crate) async fn drop_entries(
    shared: &Shared,
    catalog: &Catalog,
    ids: BTreeSet<u32>,
) -> Result<()> {
    // Out of the catalog first: nobody may find a name whose rows are gone.
    shared.catalog.remove(&ids);
    let is_creating = |id: &u32| catalog.by_id(*id).is_some_and(|entry| entry.creating);
    let (creating, mut jobs): (Vec<u32>, Vec<u32>) =
        with_jobs(catalog, &ids).into_iter().partition(is_creating);
    if !creating.is_empty() {
        // Those that are complete at this very moment go with the others.
        let given_up = shared.engine.cancel_jobs(creating.clone()).await?;
        let running = shared.engine.jobs();
        let is_left = |id: &u32| !given_up.contains(id) && running.iter().any(|j| j.id == *id);
        jobs.extend(creating.into_iter().filter(is_left));
    }
    let dropped = if jobs.is_empty() {
        write_catalog(shared, delete_change(&ids)).await
    } else {
        let dropped = shared.engine.drop_jobs(jobs, delete_change(&ids)).await;
        dropped.map_err(Error::from)
    };
    if let Err(error) = dropped {
        ids.iter()
            .filter_map(|id| catalog.by_id(*id))
            .for_each(|e| shared.catalog.put(Entry::clone(e)));
        return Err(error);
    }
    crash_point!("drop.known");
    for id in ids {
        shared.keys.remove(id);
        shared.locks.remove(id);
    }
    Ok(())
}

/// A sequence that gives a column its values goes with the column's table only.
pub(crate) fn refuse_used_sequences(catalog: &Catalog, ids: &BTreeSet<u32>) -> Result<()> {
    for sequence in ids.iter().filter_map(|id| catalog.by_id(*id)) {
        let table = catalog.table_of_numbers(sequence);
        if let Some(table) = table.filter(|table| !ids.contains(&table.id)) {
            return Err(Error::Dependents {
                kind: "sequence",
                name: sequence.name.clone(),
                detail: format!(
                    "a default value of table {} depends on sequence {}",
                    table.name, sequence.name
                ),
            });
        }
    }
    Ok(())
}

pub(crate) fn described(entry: &Entry) -> String {
    format!("{} {}", entry.kind_name(), entry.name)
}

pub(crate) fn dependents_error(
    catalog: &Catalog,
    ids: &BTreeSet<u32>,
    dependents: &[Arc<Entry>],
) -> Error {
    let first = ids.iter().find_map(|id| catalog.by_id(*id));
    Error::Dependents {
        kind: first.map_or("relation", |e| e.kind.name()),
        name: first.map_or_else(String::new, |e| e.name.clone()),
        detail: dependents_lines(catalog, ids, dependents).join("\n"),
    }
}

/// What depends on what, a line for each dependent.
pub(crate) fn dependents_lines(
    catalog: &Catalog,
    ids: &BTreeSet<u32>,
    dependents: &[Arc<Entry>],
) -> Vec<String> {
    let mut lines = Vec::new();
    for dependent in dependents {
        let upstream = dependent
            .dependencies
            .iter()
            .filter_map(|id| catalog.by_id(*id));
        let on = upstream
            .filter(|e| ids.contains(&e.id) || dependents.iter().any(|d| d.id == e.id))
            .min_by_key(|e| e.id);
        let on = on.map_or_else(String::new, |e| described(e));
        lines.push(format!("{} depends on {on}", described(dependent)));
    }
    lines
}
