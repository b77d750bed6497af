//! The catalogs that sessions share: the next one is made of a copy, and swapped in.
//!
//! Each database has a catalog; roles, and what there is to say of databases, are in each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Adaptivity, Catalog, Catalogs, Entry};
use crate::access::Access;
use crate::access::database::{DEV_ID, Database};
use crate::namespace::Namespace;

/// The catalog that the sessions of a database share.
#[derive(Debug, Clone)]
pub struct SharedCatalog {
    all: Arc<All>,
    database: u32,
}

#[derive(Debug)]
struct All {
    next_id: AtomicU32,
    catalogs: RwLock<BTreeMap<u32, Arc<Catalog>>>,
}

impl Default for SharedCatalog {
    fn default() -> SharedCatalog {
        SharedCatalog::new(Catalogs::default())
    }
}

impl SharedCatalog {
    /// Shared catalogs that start as these; that of the database that is always there.
    #[must_use]
    pub fn new(catalogs: Catalogs) -> SharedCatalog {
        let by_id = catalogs.catalogs.into_iter();
        SharedCatalog {
            all: Arc::new(All {
                next_id: AtomicU32::new(catalogs.next_id),
                catalogs: RwLock::new(by_id.map(|(id, catalog)| (id, Arc::new(catalog))).collect()),
            }),
            database: DEV_ID,
        }
    }

    /// That of another database.
    #[must_use]
    pub fn of_database(&self, database: u32) -> SharedCatalog {
        SharedCatalog {
            all: Arc::clone(&self.all),
            database,
        }
    }

    /// All databases.
    #[must_use]
    pub fn databases(&self) -> Vec<u32> {
        let catalogs = self.all.catalogs.read();
        let catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
        catalogs.keys().copied().collect()
    }

    /// The catalog as it is now; an empty one if the database is gone.
    #[must_use]
    pub fn read(&self) -> Arc<Catalog> {
        let catalogs = self.all.catalogs.read();
        let catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
        match catalogs.get(&self.database) {
            Some(catalog) => Arc::clone(catalog),
            None => Arc::new(nothing(self.database)),
        }
    }

    /// Relations of other databases, and jobs that work for them.
    #[must_use]
    pub fn elsewhere(&self) -> BTreeSet<u32> {
        let catalogs = self.all.catalogs.read();
        let catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
        let others = catalogs.iter().filter(|(id, _)| **id != self.database);
        others.flat_map(|(_, catalog)| catalog.jobs()).collect()
    }

    /// Takes the next free id, for good.
    #[must_use]
    pub fn take_id(&self) -> u32 {
        self.all.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a relation, or replaces it.
    pub fn put(&self, entry: Entry) {
        self.change(|catalog| catalog.insert(entry));
    }

    /// Sets the parallelism of a relation, if it still exists.
    pub fn set_parallelism(&self, id: u32, parallelism: usize) {
        self.change(|catalog| {
            if let Some(entry) = catalog.entries.get_mut(&id) {
                Arc::make_mut(entry).parallelism = parallelism;
            }
        });
    }

    /// Sets whether and how a relation's parallelism follows its load; what it is then, if it
    /// still exists.
    pub fn set_adaptivity(&self, id: u32, adaptivity: Option<Adaptivity>) -> Option<Arc<Entry>> {
        self.change(|catalog| {
            let entry = catalog.entries.get_mut(&id)?;
            Arc::make_mut(entry).adaptivity = adaptivity;
            Some(Arc::clone(entry))
        })
    }

    /// Adds a schema, or replaces it.
    pub fn put_schema(&self, schema: Namespace) {
        self.change(|catalog| {
            catalog.schemas.insert(schema.name.clone(), schema);
        });
    }

    /// Changes roles, or rights that belong to no relation or schema, for all databases.
    pub fn change_access(&self, change: impl FnOnce(&mut Access)) {
        let catalogs = self.all.catalogs.write();
        let mut catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
        let Some(mut access) = catalogs.values().next().map(|first| first.access.clone()) else {
            return;
        };
        change(&mut access);
        for catalog in catalogs.values_mut() {
            Arc::make_mut(catalog).access = access.clone();
        }
    }

    /// Adds a database, or replaces what is said of it.
    pub fn put_database(&self, database: Database) {
        let said = database.clone();
        self.change_access(|access| drop(access.databases.insert(said.id, said)));
        let access = self.read().access.clone();
        let catalogs = self.all.catalogs.write();
        let mut catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
        match catalogs.get_mut(&database.id) {
            Some(catalog) => Arc::make_mut(catalog).database = database,
            None => {
                let new = Catalog::of(database, access);
                catalogs.insert(new.database.id, Arc::new(new));
            }
        }
    }

    /// Takes a database out of sight, with all that is in it.
    pub fn take_database(&self, id: u32) -> Option<Arc<Catalog>> {
        let taken = {
            let catalogs = self.all.catalogs.write();
            catalogs.unwrap_or_else(PoisonError::into_inner).remove(&id)
        };
        self.change_access(|access| drop(access.databases.remove(&id)));
        taken
    }

    /// Puts a database back that was taken.
    pub fn put_back(&self, database: Database, catalog: Arc<Catalog>) {
        {
            let catalogs = self.all.catalogs.write();
            let mut catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
            catalogs.insert(database.id, catalog);
        }
        self.change_access(|access| drop(access.databases.insert(database.id, database)));
    }

    /// Removes a schema, which is empty.
    pub fn remove_schema(&self, name: &str) {
        self.change(|catalog| {
            catalog.schemas.remove(name);
        });
    }

    /// Removes relations.
    pub fn remove(&self, ids: &BTreeSet<u32>) {
        self.change(|catalog| ids.iter().for_each(|id| catalog.remove(*id)));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> T {
        let catalogs = self.all.catalogs.write();
        let mut catalogs = catalogs.unwrap_or_else(PoisonError::into_inner);
        match catalogs.get_mut(&self.database) {
            Some(current) => {
                let mut next = Catalog::clone(current);
                let result = change(&mut next);
                *current = Arc::new(next);
                result
            }
            // The database is gone, and with it whatever was to be changed.
            None => change(&mut nothing(self.database)),
        }
    }
}

/// The catalog of a database that is gone.
fn nothing(id: u32) -> Catalog {
    let database = Database {
        id,
        ..Database::dev()
    };
    Catalog::of(database, Access::default())
}
