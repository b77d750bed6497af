//! `REFRESH MATERIALIZED VIEW`: for clients that know views which are only as new as their last refresh.
//!
//! A view here follows its inputs by itself, so nothing is computed: the statement returns when the
//! view shows everything that was written before.

use planner::parse::ObjectKind;
use sqlparser::ast::ObjectName;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name};

impl Session {
    pub(crate) async fn refresh(&mut self, name: &ObjectName) -> Result<Outcome> {
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.relation(&name)?;
        let kind = ObjectKind::MaterializedView;
        if !is_kind(&entry.kind, kind) {
            return Err(Error::WrongKind {
                name: entry.name.clone(),
                expected: kind_name(kind),
                hint: None,
            });
        }
        self.check_owner(entry)?;
        if self.transaction.has_writes() {
            return Err(Error::unsupported(
                "REFRESH MATERIALIZED VIEW after changes in the same transaction is not supported",
                "A view shows changes when they are committed.",
            ));
        }
        self.settle().await?;
        Outcome::done("REFRESH MATERIALIZED VIEW")
    }
}
