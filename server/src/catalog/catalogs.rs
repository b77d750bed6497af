//! The catalogs of all databases, as their durable rows say.

use std::collections::BTreeMap;

use super::rows::{NEXT_ID_KEY, RELATION_PREFIX, SCHEMA_PREFIX};
use super::{Catalog, Entry, FIRST_ID};
use crate::access::Access;
use crate::access::database::{DEV_ID, Database};
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// The catalogs of all databases.
#[derive(Debug)]
pub struct Catalogs {
    /// By database.
    pub catalogs: BTreeMap<u32, Catalog>,
    /// The id that the next relation gets, whatever its database.
    pub next_id: u32,
}

impl Default for Catalogs {
    fn default() -> Catalogs {
        Catalogs {
            catalogs: BTreeMap::from([(DEV_ID, Catalog::default())]),
            next_id: FIRST_ID,
        }
    }
}

impl Catalogs {
    /// Reads the durable rows.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a row is not what we write.
    pub fn from_rows(rows: &[(Vec<u8>, Vec<u8>)]) -> Result<Catalogs> {
        let (mut access, mut next_id) = (Access::default(), FIRST_ID);
        for (key, value) in rows {
            if key == NEXT_ID_KEY {
                let bytes: [u8; 4] = value
                    .as_slice()
                    .try_into()
                    .map_err(|_| corrupt(key, "not a number"))?;
                next_id = next_id.max(u32::from_be_bytes(bytes));
            } else {
                let used = access.read_row(key, value);
                let used = used.map_err(|e| corrupt(key, &e.to_string()))?;
                next_id = next_id.max(used.map_or(0, |id| id + 1));
            }
        }
        let of = |database: &Database| Catalog::of(database.clone(), access.clone());
        let databases = access.databases.values();
        let mut catalogs: BTreeMap<u32, Catalog> = databases.map(|d| (d.id, of(d))).collect();
        for (key, value) in rows {
            let read = |e: serde_json::Error| corrupt(key, &e.to_string());
            let lost = || corrupt(key, "no such database");
            if key.starts_with(RELATION_PREFIX.as_bytes()) {
                let entry: Entry = serde_json::from_slice(value).map_err(read)?;
                next_id = next_id.max(entry.id + 1);
                let catalog = catalogs.get_mut(&entry.database).ok_or_else(lost)?;
                catalog.insert(entry);
            } else if key.starts_with(SCHEMA_PREFIX.as_bytes()) {
                let schema: Namespace = serde_json::from_slice(value).map_err(read)?;
                next_id = next_id.max(schema.id + 1);
                let catalog = catalogs.get_mut(&schema.database).ok_or_else(lost)?;
                catalog.schemas.insert(schema.name.clone(), schema);
            }
        }
        Ok(Catalogs { catalogs, next_id })
    }

    /// Who there is, and rights that belong to no relation or schema.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        self.catalogs.values().next().map(|catalog| &catalog.access)
    }
}

fn corrupt(key: &[u8], what: &str) -> Error {
    let key = String::from_utf8_lossy(key);
    Error::Corrupt(format!("{what} in row \"{key}\""))
}
