//! CREATE and DROP SCHEMA, and `ALTER … SET SCHEMA`.

use std::collections::BTreeSet;
use std::sync::Arc;

use planner::names::identifier;
use planner::parse::RoleName;
use sqlparser::ast::{Ident, ObjectName, SchemaName};

use crate::access::privilege::{Class, Privileges};
use crate::catalog::{
    Catalog, Entry, SCHEMA, delete_schema_change, update_change, update_schema_change, with_new_id,
};
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::notice::Notice;
use crate::pg_catalog;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::drop::described;
use crate::temporary_schema::{is_temporary, within};

impl Session {
    pub(crate) async fn create_schema(
        &mut self,
        name: &SchemaName,
        if_not_exists: bool,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        let (name, owner) = match name {
            SchemaName::Simple(name) => (schema_name(name)?, None),
            SchemaName::UnnamedAuthorization(owner) => {
                let id = self.role_id(&RoleName::of(owner))?;
                let name = self.shared.catalog.read().access.name_of(id);
                (name, Some(owner))
            }
            SchemaName::NamedAuthorization(name, owner) => (schema_name(name)?, Some(owner)),
        };
        let catalog = self.shared.catalog.read();
        self.actor(&catalog).check_database(Privileges::CREATE)?;
        let owner = match owner {
            None => self.role(),
            Some(owner) => self.new_owner(&RoleName::of(owner))?,
        };
        if name.starts_with("pg_") {
            return Err(Error::ReservedSchema { name });
        }
        let exists = self.shared.catalog.read().schema_oid(&name).is_some();
        if exists || pg_catalog::is_schema(&name) {
            let exists = Error::SchemaExists { name };
            if !if_not_exists {
                return Err(exists);
            }
            let text = format!("{exists}, skipping");
            self.client.notice(&Notice::Progress(text));
            return Outcome::done("CREATE SCHEMA");
        }
        let schema = Namespace {
            id: self.shared.catalog.take_id(),
            name,
            owner,
            database: catalog.database().id,
            acl: catalog.default_acl(owner, None, Class::Schema),
        };
        let change = with_new_id(update_schema_change(&schema)?, schema.id);
        self.write_catalog(change).await?;
        self.shared.catalog.put_schema(schema);
        Outcome::done("CREATE SCHEMA")
    }

    pub(crate) async fn drop_schemas(
        &mut self,
        names: &[ObjectName],
        if_exists: bool,
        cascade: bool,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        self.check_ddl()?;
        for name in names {
            let name = schema_name(name)?;
            if pg_catalog::is_schema(&name) {
                return Err(Error::SystemCatalog { name });
            }
            if name == SCHEMA {
                return Err(Error::unsupported(
                    "dropping schema \"public\" is not supported",
                    "Drop what is in it.",
                ));
            }
            let catalog = self.shared.catalog.read();
            match catalog.schema(&name) {
                Some(schema) => {
                    self.actor(&catalog).check_owner_of(&schema.object())?;
                    self.drop_schema(&catalog, &name, schema.id, cascade)
                        .await?;
                }
                None if if_exists => self.client.notice(&Notice::DoesNotExist {
                    kind: "schema",
                    name,
                }),
                None => return Err(Error::UndefinedSchema { name }),
            }
        }
        Outcome::done("DROP SCHEMA")
    }

    async fn drop_schema(
        &mut self,
        catalog: &Catalog,
        name: &str,
        oid: u32,
        cascade: bool,
    ) -> Result<()> {
        let ids = within(catalog, name);
        if !ids.is_empty() {
            let dropped = || ids.iter().filter_map(|id| catalog.by_id(*id));
            if !cascade {
                let line =
                    |entry: &Arc<Entry>| format!("{} depends on schema {name}", described(entry));
                return Err(Error::Dependents {
                    kind: "schema",
                    name: name.to_owned(),
                    detail: dropped().map(line).collect::<Vec<_>>().join("\n"),
                });
            }
            self.notice_cascade(dropped().cloned());
            self.drop_entries(catalog, ids).await?;
        }
        let mut change = catalog
            .schema(name)
            .map(delete_schema_change)
            .unwrap_or_default();
        let database = catalog.database().id;
        let mut access = catalog.access.clone();
        access
            .defaults
            .retain(|d| (d.database, d.schema) != (database, Some(oid)));
        change.puts.extend(access.defaults_change()?.puts);
        self.write_catalog(change).await?;
        self.shared.catalog.remove_schema(name);
        self.shared
            .catalog
            .change_access(|now| now.defaults = access.defaults);
        Ok(())
    }

    /// Moves a relation, with its indexes and the sequences of its columns, to another schema. Views that read it
    /// know it by its id.
    pub(crate) async fn set_schema(&mut self, entry: &Entry, schema: &Ident) -> Result<()> {
        let schema = identifier(schema);
        let catalog = self.shared.catalog.read();
        if catalog.schema_oid(&schema).is_none() {
            return Err(Error::UndefinedSchema { name: schema });
        }
        self.actor(&catalog)
            .check_schema(&schema, Privileges::CREATE)?;
        if entry.schema_name == schema {
            return Ok(());
        }
        if [&entry.schema_name, &schema]
            .iter()
            .any(|s| is_temporary(s))
        {
            return Err(Error::not_supported(
                "cannot move objects into or out of temporary schemas",
            ));
        }
        let mut moved = vec![entry.clone()];
        let mut owned = catalog.owned_sequences(&BTreeSet::from([entry.id]));
        owned.extend(catalog.owned_indexes(&BTreeSet::from([entry.id])));
        for id in owned {
            moved.extend(catalog.by_id(id).map(|entry| Entry::clone(entry)));
        }
        for index in 0..moved.len() {
            if catalog.find(&schema, &moved[index].name).is_some() {
                return Err(Error::DuplicateRelation {
                    name: moved[index].name.clone(),
                });
            }
            let before = format!("nextval('{}'", moved[index].reference());
            moved[index].schema_name.clone_from(&schema);
            let after = format!("nextval('{}'", moved[index].reference());
            for column in &mut moved[0].columns {
                column.default = column.default.take().map(|d| d.replace(&before, &after));
            }
        }
        let mut change = storage::CatalogChange::default();
        for entry in &moved {
            change.puts.extend(update_change(entry)?.puts);
        }
        self.write_catalog(change).await?;
        moved.into_iter().for_each(|e| self.shared.catalog.put(e));
        Ok(())
    }
}

fn schema_name(name: &ObjectName) -> Result<String> {
    match &name.0[..] {
        [part] => part.as_ident().map(identifier),
        [_, part] => part.as_ident().map(identifier),
        _ => None,
    }
    .ok_or_else(|| Error::Syntax {
        message: format!("improper name: {name}"),
    })
}
