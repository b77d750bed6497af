//! The schema of a session's temporary relations.
//!
//! It is called after the session, comes first in its search path, and exists from the first
//! `CREATE TEMPORARY TABLE` to the end of the session. What is in it is like all other relations,
//! but that no other session finds it by name. Nothing says durably that it exists: what an earlier
//! run of the server left is told by its name, which no user's schema has.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::privilege::{Acl, Class, PUBLIC, Privileges};
use crate::access::role::ROOT_ID;
use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::server::Shared;
use crate::session::Session;
use crate::statement::drop::drop_entries;

/// What each session calls its own.
pub(crate) const ALIAS: &str = "pg_temp";

const PREFIX: &str = "pg_temp_";

/// The name of a session's schema.
pub(crate) fn name_of(process_id: u32) -> String {
    format!("{PREFIX}{process_id}")
}

/// Whether a schema is one of these.
pub(crate) fn is_temporary(schema: &str) -> bool {
    schema.starts_with(PREFIX)
}

/// What is in a schema that goes, with all that hangs on it.
pub(crate) fn within(catalog: &Catalog, schema: &str) -> BTreeSet<u32> {
    let all = catalog.objects();
    let within = all.filter(|entry| entry.schema_name == schema);
    let mut ids: BTreeSet<u32> = within.map(|entry| entry.id).collect();
    ids.extend(catalog.dependents(&ids).iter().map(|entry| entry.id));
    ids
}

/// Owns the schema; dropping it drops the schema.
pub(crate) struct TemporarySchema {
    shared: Arc<Shared>,
    name: String,
}

impl TemporarySchema {
    /// Drops what is in it, and the schema.
    ///
    /// # Errors
    /// If the relations cannot be dropped; they are when the server starts again.
    pub(crate) async fn end(self) -> Result<()> {
        end(&self.shared, &self.name).await
    }
}

impl Drop for TemporarySchema {
    fn drop(&mut self) {
        let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
        // Without a runtime the server is at its end, and the next one drops it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = end(&shared, &name).await {
                    tracing::warn!(%error, name, "a temporary schema stays until the server is restarted");
                }
            });
        }
    }
}

async fn end(shared: &Shared, name: &str) -> Result<()> {
    let _ddl = shared.ddl.lock().await;
    let catalog = shared.catalog.read();
    if catalog.schema(name).is_none() {
        return Ok(());
    }
    let ids = within(&catalog, name);
    if !ids.is_empty() {
        drop_entries(shared, &catalog, ids).await?;
    }
    shared.catalog.remove_schema(name);
    Ok(())
}

impl Session {
    /// The name of this session's temporary schema, whether it exists or not.
    pub(crate) fn temporary_schema(&self) -> String {
        name_of(self.process_id)
    }

    /// Makes the session's temporary schema, unless it is there.
    ///
    /// # Errors
    /// 42501: the role may have no temporary relations.
    pub(crate) fn make_temporary_schema(&mut self) -> Result<()> {
        let (catalog, name) = (self.shared.catalog.read(), self.temporary_schema());
        let may = self
            .actor(&catalog)
            .check_database(Privileges::TEMPORARY)
            .is_ok();
        if !may {
            let database = &catalog.database().name;
            return Err(Error::privilege(format!(
                "permission denied to create temporary tables in database \"{database}\""
            )));
        }
        if catalog.schema(&name).is_some() {
            return Ok(());
        }
        // Open to all: its name keeps others out, whoever the session acts as.
        let mut acl = Acl::initial(Class::Schema, ROOT_ID);
        let all = Class::Schema.all();
        acl.grant(PUBLIC, ROOT_ID, all, Privileges::NONE);
        self.shared.catalog.put_schema(Namespace {
            id: self.shared.catalog.take_id(),
            database: catalog.database().id,
            name: name.clone(),
            owner: ROOT_ID,
            acl: Some(acl),
        });
        self.temporary = Some(TemporarySchema {
            shared: Arc::clone(&self.shared),
            name,
        });
        Ok(())
    }

    /// Drops the tables that a block wanted dropped at its end.
    pub(crate) async fn drop_at_block_end(&mut self) -> Result<()> {
        let ids = std::mem::take(&mut self.drop_at_block_end);
        if ids.is_empty() {
            return Ok(());
        }
        let _ddl = self.lock_ddl().await?;
        let catalog = self.shared.catalog.read();
        let mut ids: BTreeSet<u32> = ids
            .into_iter()
            .filter(|id| catalog.by_id(*id).is_some())
            .collect();
        ids.extend(catalog.dependents(&ids).iter().map(|entry| entry.id));
        ids.extend(catalog.owned_sequences(&ids));
        drop_entries(&self.shared, &catalog, ids).await
    }
}
