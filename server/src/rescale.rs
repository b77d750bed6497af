//! Rescales as the server runs them: the engine moves key groups, the catalog keeps up.
//!
//! Statements (`statement/alter.rs`) and the adaptive task (`adaptive.rs`) both come through here.

use std::sync::Arc;

use executor::{
    CatalogOfParallelism, RescaleOptions, RescaleProgress, RescaleState, RescaleSummary,
};
use storage::CatalogChange;
use tokio::sync::mpsc;

use crate::catalog::{Adaptivity, Entry, update_change};
use crate::error::{Error, Result};
use crate::server::Shared;

pub mod history;

/// Runs a rescale to its end, whether or not it reaches its target. It is in the history when it returns.
///
/// # Errors
/// The engine's, if nothing moved or the job failed.
pub async fn rescale(
    shared: Arc<Shared>,
    relation: u32,
    options: RescaleOptions,
    progress: mpsc::UnboundedSender<RescaleProgress>,
) -> Result<RescaleSummary> {
    let catalog = catalog_of(Arc::clone(&shared), relation);
    let ended = shared
        .engine
        .rescale(relation, options, catalog, progress)
        .await;
    match ended {
        Ok(summary) => {
            shared.catalog.set_parallelism(relation, summary.to);
            history::keep(&shared, &summary).await?;
            Ok(summary)
        }
        Err(error) => {
            // If it had begun, the engine knows how far it came.
            let rescales = shared.engine.observe().await?.rescales;
            let its = |summary: &&RescaleSummary| summary.job == relation;
            if let Some(failed) = rescales.iter().rev().find(its)
                && failed.state == RescaleState::Failed
            {
                history::keep(&shared, failed).await?;
            }
            Err(error.into())
        }
    }
}

/// The durable row of a relation once it has so many executors, with all else as it is then.
fn catalog_of(shared: Arc<Shared>, relation: u32) -> CatalogOfParallelism {
    Box::new(move |parallelism| {
        let Some(entry) = shared.catalog.read().by_id(relation).cloned() else {
            // It is being dropped: its row must not come back.
            return CatalogChange::default();
        };
        let mut changed = Entry::clone(&entry);
        changed.parallelism = parallelism;
        update_change(&changed).unwrap_or_else(|error| {
            tracing::error!(%error, "a parallelism could not be stored");
            CatalogChange::default()
        })
    })
}

/// Makes a relation adaptive, or not; durable when it returns.
///
/// # Errors
/// [`Error::UndefinedRelation`] if it was dropped meanwhile, or the error of storage.
pub async fn set_adaptivity(
    shared: &Arc<Shared>,
    relation: &Entry,
    adaptivity: Option<Adaptivity>,
) -> Result<()> {
    // A DROP must not come between reading the entry and writing it.
    let _ddl = shared.ddl.lock().await;
    let changed = shared.catalog.set_adaptivity(relation.id, adaptivity);
    let changed = changed.ok_or_else(|| Error::UndefinedRelation {
        name: relation.name.clone(),
    })?;
    let change = update_change(&changed)?;
    let storage = Arc::clone(&shared.storage);
    let written = tokio::task::spawn_blocking(move || storage.write_catalog(change)).await;
    Ok(written.map_err(|error| Error::Internal(error.to_string()))??)
}
