//! COMMENT ON a relation or a column.

use planner::parse::ObjectKind;
use sqlparser::ast::{CommentObject, ObjectName};

use crate::catalog::{Entry, update_change};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name};

impl Session {
    pub(crate) async fn comment(
        &mut self,
        object: CommentObject,
        name: &ObjectName,
        comment: Option<&str>,
    ) -> Result<Outcome> {
        let _ddl = self.lock_ddl().await?;
        // An empty comment is none, as in PostgreSQL.
        let comment = comment.filter(|text| !text.is_empty()).map(str::to_owned);
        let entry = match object {
            CommentObject::Column => self.with_column_comment(name, comment)?,
            _ => self.with_comment(object, name, comment)?,
        };
        self.check_owner(&entry)?;
        let change = update_change(&entry)?;
        self.write_catalog(change).await?;
        self.shared.catalog.put(entry);
        Outcome::done("COMMENT")
    }

    fn with_comment(
        &self,
        object: CommentObject,
        name: &ObjectName,
        comment: Option<String>,
    ) -> Result<Entry> {
        let kind = match object {
            CommentObject::Table => ObjectKind::Table,
            CommentObject::View => ObjectKind::View,
            CommentObject::MaterializedView => ObjectKind::MaterializedView,
            CommentObject::Sequence => ObjectKind::Sequence,
            other => {
                return Err(Error::not_supported(format!(
                    "COMMENT ON {other} is not supported"
                )));
            }
        };
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.by_name(&name).ok_or(Error::UndefinedRelation {
            name: name.to_string(),
        })?;
        if !is_kind(&entry.kind, kind) {
            return Err(Error::WrongKind {
                name: entry.name.clone(),
                expected: kind_name(kind),
                hint: Some(format!(
                    "Use COMMENT ON {}.",
                    entry.kind.name().to_uppercase()
                )),
            });
        }
        Ok(Entry {
            comment,
            ..Entry::clone(entry)
        })
    }

    fn with_column_comment(&self, name: &ObjectName, comment: Option<String>) -> Result<Entry> {
        let mut relation = name.0.clone();
        let column = relation
            .pop()
            .and_then(|part| part.as_ident().map(planner::names::identifier));
        let (Some(column), false) = (column, relation.is_empty()) else {
            return Err(Error::Syntax {
                message: "column name must be qualified".to_owned(),
            });
        };
        let name = self.local_name(&ObjectName(relation))?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.by_name(&name).ok_or(Error::UndefinedRelation {
            name: name.to_string(),
        })?;
        let mut entry = Entry::clone(entry);
        let at = entry
            .column(&column)
            .ok_or_else(|| Error::UndefinedColumn {
                column,
                relation: entry.name.clone(),
            })?;
        entry.columns[at].comment = comment;
        Ok(entry)
    }
}
