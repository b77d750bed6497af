//! Rescales that are over, in durable rows: `tide.rescales` goes on across restarts.
//!
//! The engine keeps the history and is given the stored part of it when it starts; a row is
//! written as each rescale ends, and that of one which is no longer kept is removed.

use std::sync::Arc;

use executor::{RESCALES_KEPT, RescaleSummary};
use storage::CatalogChange;

use crate::error::{Error, Result};
use crate::server::Shared;

const PREFIX: &str = "rescale/";

fn key(id: u64) -> Vec<u8> {
    format!("{PREFIX}{id:020}").into_bytes()
}

/// What is stored, oldest first.
///
/// # Errors
/// If a row is not one of a rescale.
pub fn from_rows(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<RescaleSummary>> {
    let stored = rows
        .iter()
        .filter(|(key, _)| key.starts_with(PREFIX.as_bytes()));
    let read = |(_, value): &(Vec<u8>, Vec<u8>)| {
        serde_json::from_slice(value)
            .map_err(|error| Error::Corrupt(format!("a stored rescale cannot be read: {error}")))
    };
    let mut past: Vec<RescaleSummary> = stored.map(read).collect::<Result<_>>()?;
    past.sort_by_key(|rescale| rescale.id);
    Ok(past)
}

/// Stores a rescale that is over; durable when it returns.
///
/// # Errors
/// That of storage.
pub async fn keep(shared: &Arc<Shared>, rescale: &RescaleSummary) -> Result<()> {
    let value = serde_json::to_vec(rescale).map_err(|e| Error::Internal(e.to_string()))?;
    let forgotten = rescale.id.checked_sub(RESCALES_KEPT as u64);
    let change = CatalogChange {
        puts: vec![(key(rescale.id), value)],
        deletes: forgotten.map(key).into_iter().collect(),
    };
    let storage = Arc::clone(&shared.storage);
    let written = tokio::task::spawn_blocking(move || storage.write_catalog(change)).await;
    Ok(written.map_err(|error| Error::Internal(error.to_string()))??)
}
