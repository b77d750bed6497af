//! DROP OWNED: what roles own in the database goes, and what they were granted there.
//! Rules: PostgreSQL manual.

use std::collections::BTreeSet;

use planner::parse::RoleName;
use storage::CatalogChange;

use crate::access::database::Database;
use crate::access::database_change;
use crate::access::privilege::Acl;
use crate::catalog::{
    Entry, Kind, SCHEMA, delete_schema_change, update_change, update_schema_change,
};
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::drop::{dependents_error, refuse_used_sequences};
use crate::temporary_schema::{is_temporary, within};

impl Session {
    pub(crate) async fn drop_owned(
        &mut self,
        roles: &[RoleName],
        cascade: bool,
    ) -> Result<Outcome> {
        let mut owners = BTreeSet::new();
        for role in roles {
            let id = self.role_id(role)?;
            let catalog = self.shared.catalog.read();
            if !self.actor(&catalog).has_rights_of(id) {
                return Err(Error::privilege("permission denied to drop objects"));
            }
            owners.insert(id);
        }
        let schemas = self.drop_owned_relations(&owners, cascade).await?;
        self.revoke_from(&owners, &schemas).await?;
        Outcome::done("DROP OWNED")
    }

    /// Drops relations and functions of these owners, and what is in their schemas; gives the
    /// schemas.
    async fn drop_owned_relations(
        &mut self,
        owners: &BTreeSet<u32>,
        cascade: bool,
    ) -> Result<Vec<Namespace>> {
        let catalog = self.shared.catalog.read();
        // The schema that is always there stays.
        let schemas = catalog.namespaces().filter(|schema| {
            owners.contains(&schema.owner) && schema.name != SCHEMA && !is_temporary(&schema.name)
        });
        let schemas: Vec<Namespace> = schemas.cloned().collect();
        let all = catalog.objects();
        let owned = all.filter(|entry| owners.contains(&entry.owner));
        let owned: BTreeSet<u32> = owned.map(|entry| entry.id).collect();
        let mut ids = owned.clone();
        for schema in &schemas {
            ids.extend(within(&catalog, &schema.name));
        }
        ids.extend(catalog.owned_indexes(&ids));
        ids.extend(catalog.dependents(&ids).iter().map(|entry| entry.id));
        ids.extend(catalog.owned_indexes(&ids));
        ids.extend(catalog.owned_sequences(&ids));
        let others = ids.difference(&owned).filter_map(|id| catalog.by_id(*id));
        let hangs_on = |entry: &Entry| match &entry.kind {
            Kind::Index(_) => true,
            Kind::Sequence(sequence) => sequence.owner.is_some(),
            _ => false,
        };
        let others: Vec<_> = others.filter(|entry| !hangs_on(entry)).cloned().collect();
        if !others.is_empty() && !cascade {
            return Err(dependents_error(&catalog, &owned, &others));
        }
        refuse_used_sequences(&catalog, &ids)?;
        self.notice_cascade(others.into_iter());
        if !ids.is_empty() {
            self.drop_entries(&catalog, ids).await?;
        }
        Ok(schemas)
    }

    /// Drops schemas, and takes back what was granted to roles, or by them, on what is left.
    async fn revoke_from(&mut self, roles: &BTreeSet<u32>, schemas: &[Namespace]) -> Result<()> {
        let catalog = self.shared.catalog.read();
        let stripped = |acl: Option<&Acl>, owner: u32| {
            let acl = acl?;
            let named = roles.iter().filter(|role| acl.names_role(**role, owner));
            let stripped = named.fold(acl.clone(), |acl, role| acl.without_role(*role));
            (stripped != *acl).then_some(stripped)
        };
        let mut change = CatalogChange::default();
        let mut entries = Vec::new();
        for entry in catalog.entries() {
            if let Some(acl) = stripped(entry.acl.as_ref(), entry.owner) {
                let entry = Entry {
                    acl: Some(acl),
                    ..Entry::clone(entry)
                };
                change.puts.extend(update_change(&entry)?.puts);
                entries.push(entry);
            }
        }
        let mut left = Vec::new();
        for schema in catalog.namespaces() {
            let dropped = schemas.iter().any(|dropped| dropped.id == schema.id);
            let acl = stripped(schema.acl.as_ref(), schema.owner).filter(|_| !dropped);
            if let Some(acl) = acl {
                let schema = Namespace {
                    acl: Some(acl),
                    ..schema.clone()
                };
                change.puts.extend(update_schema_change(&schema)?.puts);
                left.push(schema);
            }
        }
        for schema in schemas {
            change.deletes.extend(delete_schema_change(schema).deletes);
        }
        let database = catalog.database();
        let database = stripped(database.acl.as_ref(), database.owner).map(|acl| Database {
            acl: Some(acl),
            ..database.clone()
        });
        if let Some(database) = &database {
            change.puts.extend(database_change(database)?.puts);
        }
        let mut access = catalog.access.clone();
        let here = catalog.database().id;
        let gone = |schema: Option<u32>| schemas.iter().any(|s| Some(s.id) == schema);
        access.defaults.retain(|default| {
            default.database != here || !roles.contains(&default.role) && !gone(default.schema)
        });
        for default in access.defaults.iter_mut().filter(|d| d.database == here) {
            if let Some(acl) = stripped(Some(&default.acl), default.role) {
                default.acl = acl;
            }
        }
        change.puts.extend(access.defaults_change()?.puts);
        self.write_catalog(change).await?;
        let shared = &self.shared.catalog;
        entries.into_iter().for_each(|entry| shared.put(entry));
        left.into_iter()
            .for_each(|schema| shared.put_schema(schema));
        for schema in schemas {
            shared.remove_schema(&schema.name);
        }
        if let Some(database) = database {
            shared.put_database(database);
        }
        let defaults = access.defaults;
        shared.change_access(|access| access.defaults = defaults);
        Ok(())
    }
}
