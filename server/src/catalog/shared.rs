//! The catalog that sessions share: the next one is made of a copy, and swapped in.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Adaptivity, Catalog, Entry};
use crate::access::Access;
use crate::namespace::Namespace;

/// The catalog that sessions share.
#[derive(Debug, Default)]
pub struct SharedCatalog {
    current: RwLock<Arc<Catalog>>,
}

impl SharedCatalog {
    /// A shared catalog that starts as this one.
    #[must_use]
    pub fn new(catalog: Catalog) -> SharedCatalog {
        SharedCatalog {
            current: RwLock::new(Arc::new(catalog)),
        }
    }

    /// The catalog as it is now.
    #[must_use]
    pub fn read(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the next free id, for good.
    #[must_use]
    pub fn take_id(&self) -> u32 {
        self.change(|catalog| {
            catalog.next_id += 1;
            catalog.next_id - 1
        })
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

    /// Changes roles, or rights that belong to no relation or schema.
    pub fn change_access(&self, change: impl FnOnce(&mut Access)) {
        self.change(|catalog| change(&mut catalog.access));
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
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalog::clone(&current);
        let result = change(&mut next);
        *current = Arc::new(next);
        result
    }
}
