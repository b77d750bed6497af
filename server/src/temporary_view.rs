//! Materialized views that live as long as their reader: what a subscription to a query reads.
//!
//! Such a view is in the catalog without a name that a query could find. What it reads cannot be
//! dropped meanwhile, except by CASCADE. A restart of the server removes those that are left.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use planner::Emit;
use sqlparser::ast::Query;
use storage::{Checkpoint, Storage};

use crate::catalog::{Catalog, Kind, delete_change};
use crate::error::Result;
use crate::server::{Shared, job};
use crate::session::Session;
use crate::statement::ddl::NewName;
use crate::statement::ddl::{derived_columns, user_ids};

/// Owns a temporary view; dropping it drops the view.
pub(crate) struct TemporaryView {
    shared: Arc<Shared>,
    id: u32,
    columns: SchemaRef,
}

impl TemporaryView {
    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its columns.
    pub(crate) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }
}

impl Session {
    /// Starts a view of a query; its rows are complete and visible when it returns.
    ///
    /// # Errors
    /// What planning finds, or the job's error.
    pub(crate) async fn create_temporary_view(&mut self, query: &Query) -> Result<TemporaryView> {
        let shared = Arc::clone(&self.shared);
        let _ddl = self.lock_ddl().await?;
        let (plan, bindings) = self
            .plan_continuous(query, Vec::new(), Emit::Immediately)
            .await?;
        let columns = Arc::clone(&plan.dataflow.schema);
        let mut entry = self.new_entry(
            NewName {
                schema: String::new(),
                local: String::new(),
            },
            Kind::MaterializedView,
            derived_columns(&columns),
            &query.to_string(),
        );
        entry.name = format!("subscription_{}", entry.id);
        entry.temporary = true;
        entry.unique_key.clone_from(&plan.dataflow.stream_key);
        entry.dependencies = user_ids(plan.dependencies.iter().map(|id| id.0));
        entry.bind(bindings);
        entry.planned = Some(Arc::clone(&columns));
        let (id, spec) = (entry.id, job(&entry, plan.dataflow));
        self.start_job(entry, spec, Vec::new()).await?;
        Ok(TemporaryView {
            shared: Arc::clone(&shared),
            id,
            columns,
        })
    }
}

impl Drop for TemporaryView {
    fn drop(&mut self) {
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        // Without a runtime the server is at its end, and the next one removes the view.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { end(&shared, id).await });
        }
    }
}

async fn end(shared: &Shared, id: u32) {
    let _ddl = shared.ddl.lock().await;
    if shared.catalog.read().by_id(id).is_none() {
        return; // Dropped with what it reads.
    }
    let ids = BTreeSet::from([id]);
    shared.catalog.remove(&ids);
    let dropped = shared.engine.drop_jobs(vec![id], delete_change(&ids)).await;
    if let Err(error) = dropped {
        tracing::warn!(%error, id, "a subscription's view stays until the server is restarted");
    }
}

/// Removes what an earlier run of the server left.
///
/// # Errors
/// If storage cannot be written.
pub(crate) fn remove_left_behind(catalog: &mut Catalog, storage: &Storage) -> Result<()> {
    let ids = catalog.remove_temporary();
    if ids.is_empty() {
        return Ok(());
    }
    Ok(storage.checkpoint(Checkpoint {
        epoch: storage.committed_epoch(),
        catalog: delete_change(&ids),
        dropped: ids.into_iter().collect(),
        ..Checkpoint::default()
    })?)
}
