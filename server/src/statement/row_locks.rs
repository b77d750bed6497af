//! `SELECT … FOR UPDATE` and `FOR SHARE`.
//!
//! There are locks of tables only, so the tables of the query are locked until the transaction ends: nobody else
//! updates, deletes or inserts in between. What the query then reads is what it may change. Without an open block
//! the locks end with the statement.

use std::sync::Arc;

use sqlparser::ast::{
    Distinct, GroupByExpr, LockClause, NonBlock, Query, SetExpr, TableFactor, TableWithJoins,
};

use crate::access::privilege::Privileges;
use crate::catalog::Entry;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::table_locks::Mode;

impl Session {
    /// Locks what a query asks for, and gives the query without its locks.
    ///
    /// # Errors
    /// What cannot be locked (0A000), missing rights, a lock that is not free in time (55P03).
    pub(crate) async fn lock_rows(&mut self, query: &Query) -> Result<Query> {
        let mut tables: Vec<Arc<Entry>> = Vec::new();
        for lock in &query.locks {
            for table in self.locked_tables(query, lock)? {
                if tables.iter().all(|known| known.id != table.id) {
                    tables.push(table);
                }
            }
        }
        // Two sessions that lock in one order do not wait for each other.
        tables.sort_by_key(|table| table.id);
        for table in tables {
            let guard = self.lock_table(&table, Mode::Exclusive).await?;
            self.transaction.hold(table.id, guard);
        }
        // Writes of other sessions are acknowledged before they are visible.
        self.has_unseen_writes = true;
        Ok(without_locks(query))
    }

    /// The tables that a clause means.
    fn locked_tables(&self, query: &Query, lock: &LockClause) -> Result<Vec<Arc<Entry>>> {
        let clause = format!("FOR {}", lock.lock_type);
        if let Some(nonblock) = &lock.nonblock {
            let hint = match nonblock {
                NonBlock::Nowait => "Set lock_timeout to wait a short time only.",
                NonBlock::SkipLocked => {
                    "Rows are locked with their table, so none could be skipped."
                }
            };
            return Err(Error::unsupported(
                format!("{clause} {nonblock} is not supported"),
                hint,
            ));
        }
        let refused = |what: &str| {
            Err(Error::not_supported(format!(
                "{clause} is not allowed with {what}"
            )))
        };
        let SetExpr::Select(select) = query.body.as_ref() else {
            return refused("UNION/INTERSECT/EXCEPT");
        };
        match &select.distinct {
            Some(Distinct::Distinct | Distinct::On(_)) => return refused("DISTINCT clause"),
            Some(Distinct::All) | None => {}
        }
        match &select.group_by {
            GroupByExpr::Expressions(by, _) if by.is_empty() => {}
            _ => return refused("GROUP BY clause"),
        }
        if select.having.is_some() {
            return refused("HAVING clause");
        }
        let mut found = Vec::new();
        for item in &select.from {
            self.add_tables(item, lock, &mut found)?;
        }
        match (&lock.of, found.is_empty()) {
            (Some(name), true) => Err(Error::UndefinedRelation {
                name: name.to_string(),
            }),
            _ => Ok(found),
        }
    }

    fn add_tables(
        &self,
        item: &TableWithJoins,
        lock: &LockClause,
        found: &mut Vec<Arc<Entry>>,
    ) -> Result<()> {
        let joined = item.joins.iter().map(|join| &join.relation);
        for relation in std::iter::once(&item.relation).chain(joined) {
            match relation {
                TableFactor::NestedJoin {
                    table_with_joins, ..
                } => self.add_tables(table_with_joins, lock, found)?,
                TableFactor::Table {
                    name,
                    alias,
                    args: None,
                    ..
                } => {
                    let called = match alias {
                        Some(alias) => Some(&alias.name),
                        None => name.0.last().and_then(|part| part.as_ident()),
                    };
                    let is_meant = lock.of.as_ref().is_none_or(|of| {
                        let of = of.0.last().and_then(|part| part.as_ident());
                        of.map(planner::names::identifier) == called.map(planner::names::identifier)
                    });
                    if is_meant {
                        let entry = self.writable(name, "lock rows in")?;
                        self.check_privilege(&entry, Privileges::UPDATE)?;
                        found.push(entry);
                    }
                }
                _ if lock.of.is_some() => {}
                _ => {
                    return Err(Error::unsupported(
                        format!(
                            "FOR {} of other than tables is not supported",
                            lock.lock_type
                        ),
                        "Name the tables: FOR UPDATE OF t.",
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The query itself, as it is described and run once its locks are held.
pub(crate) fn without_locks(query: &Query) -> Query {
    Query {
        locks: Vec::new(),
        ..query.clone()
    }
}
