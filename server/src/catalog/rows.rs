//! The durable rows of the catalog: keys, and the changes that write and remove them.

use std::collections::BTreeSet;

use storage::CatalogChange;

use super::Entry;
use crate::access::database::DEV_ID;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::sequence;

pub(super) const NEXT_ID_KEY: &[u8] = b"next_id";
pub(super) const RELATION_PREFIX: &str = "relation/";
pub(super) const SCHEMA_PREFIX: &str = "schema/";

/// The durable rows that add or replace a relation.
///
/// # Errors
/// If it cannot be written as JSON, which no value of ours does.
pub fn put_change(entry: &Entry) -> Result<CatalogChange> {
    let value = serde_json::to_vec(entry).map_err(|e| Error::Internal(e.to_string()))?;
    let next_id = (entry.id + 1).to_be_bytes().to_vec();
    Ok(CatalogChange {
        puts: vec![
            (relation_key(entry.id), value),
            (NEXT_ID_KEY.to_vec(), next_id),
        ],
        deletes: Vec::new(),
    })
}

/// The durable change of one relation that exists: the counter of ids stays as it is.
///
/// # Errors
/// As [`put_change`].
pub fn update_change(entry: &Entry) -> Result<CatalogChange> {
    let mut change = put_change(entry)?;
    change.puts.truncate(1);
    Ok(change)
}

/// The durable change of one relation that exists, of this number.
///
/// # Errors
/// As [`put_change`].
pub fn numbered_change(entry: &Entry, number: u32) -> Result<CatalogChange> {
    Ok(with_new_id(update_change(entry)?, number))
}

/// The durable change that removes relations.
#[must_use]
pub fn delete_change(ids: &BTreeSet<u32>) -> CatalogChange {
    CatalogChange {
        puts: Vec::new(),
        deletes: ids
            .iter()
            .flat_map(|id| [relation_key(*id), sequence::key(*id)])
            .collect(),
    }
}

/// The durable change of a schema that exists.
///
/// # Errors
/// As [`put_change`].
pub fn update_schema_change(schema: &Namespace) -> Result<CatalogChange> {
    let value = serde_json::to_vec(schema).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(CatalogChange {
        puts: vec![(schema_key(schema), value)],
        deletes: Vec::new(),
    })
}

/// A change that uses an id for the first time.
#[must_use]
pub fn with_new_id(mut change: CatalogChange, id: u32) -> CatalogChange {
    let next_id = (id + 1).to_be_bytes().to_vec();
    change.puts.push((NEXT_ID_KEY.to_vec(), next_id));
    change
}

/// The durable change that removes a schema.
#[must_use]
pub fn delete_schema_change(schema: &Namespace) -> CatalogChange {
    CatalogChange {
        puts: Vec::new(),
        deletes: vec![schema_key(schema)],
    }
}

/// Each database has a `public`, of one and the same oid.
fn schema_key(schema: &Namespace) -> Vec<u8> {
    let (database, id) = (schema.database, schema.id);
    match database {
        DEV_ID => format!("{SCHEMA_PREFIX}{id:010}").into_bytes(),
        _ => format!("{SCHEMA_PREFIX}{database:010}/{id:010}").into_bytes(),
    }
}

pub(super) fn relation_key(id: u32) -> Vec<u8> {
    format!("{RELATION_PREFIX}{id:010}").into_bytes()
}
