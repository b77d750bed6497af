//! What a session tells its client besides results.

use crate::wire::backend::Severity;

/// A notice or a warning. Its SQLSTATE is in `sqlstate.rs`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// `CREATE … IF NOT EXISTS` found it.
    #[error("relation \"{name}\" already exists, skipping")]
    AlreadyExists {
        /// The relation.
        name: String,
    },
    /// `DROP … IF EXISTS` or `ALTER … IF EXISTS` did not find it.
    #[error("{kind} \"{name}\" does not exist, skipping")]
    DoesNotExist {
        /// Such as "table".
        kind: &'static str,
        /// As written.
        name: String,
    },
    /// `DROP … CASCADE` drops this too.
    #[error("drop cascades to {object}")]
    Cascades {
        /// Kind and name.
        object: String,
    },
    /// `DROP … CASCADE` drops several others.
    #[error("drop cascades to {} other objects", objects.len())]
    CascadesToMany {
        /// Kinds and names.
        objects: Vec<String>,
    },
    /// `BEGIN` inside a block.
    #[error("there is already a transaction in progress")]
    InTransaction,
    /// `COMMIT` or `ROLLBACK` outside a block.
    #[error("there is no transaction in progress")]
    NoTransaction,
    /// `SET TRANSACTION` outside a block.
    #[error("SET TRANSACTION can only be used in transaction blocks")]
    ModeOutsideBlock,
    /// A setting that is accepted and has no effect.
    #[error("setting \"{name}\" has no effect here")]
    NoEffect {
        /// The setting.
        name: String,
    },
    /// A view's rows are not what its query gives.
    #[error("materialized view \"{view}\" differs from its query")]
    Differs {
        /// The view.
        view: String,
        /// A row, and where it is.
        detail: String,
    },
    /// A view that a query reads has failed.
    #[error(
        "\"{view}\" is being started again after a failure: its rows are those of epoch {epoch}"
    )]
    Stale {
        /// The view.
        view: String,
        /// When it failed.
        epoch: u64,
    },
    /// Privileges that the role may not pass on were not granted.
    #[error("{} privileges were granted for \"{name}\"", how_many(*.all))]
    NotGranted {
        /// The object.
        name: String,
        /// Whether none was.
        all: bool,
    },
    /// Privileges that the role may not pass on were not revoked.
    #[error("{} privileges could be revoked for \"{name}\"", how_many(*.all))]
    NotRevoked {
        /// The object.
        name: String,
        /// Whether none was.
        all: bool,
    },
    /// Something that had no effect.
    #[error("{0}")]
    Warning(String),
    /// How far a scaling or another long statement is.
    #[error("{0}")]
    Progress(String),
}

fn how_many(all: bool) -> &'static str {
    if all { "no" } else { "not all" }
}

impl Notice {
    /// How it is shown.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Notice::InTransaction
            | Notice::NoTransaction
            | Notice::ModeOutsideBlock
            | Notice::Stale { .. }
            | Notice::NotGranted { .. }
            | Notice::NotRevoked { .. }
            | Notice::Warning(_)
            | Notice::Differs { .. } => Severity::Warning,
            Notice::AlreadyExists { .. }
            | Notice::DoesNotExist { .. }
            | Notice::Cascades { .. }
            | Notice::CascadesToMany { .. }
            | Notice::NoEffect { .. }
            | Notice::Progress(_) => Severity::Notice,
        }
    }

    /// The lines below the message.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        let objects = match self {
            Notice::CascadesToMany { objects } => objects,
            Notice::Differs { detail, .. } => return Some(detail.clone()),
            _ => return None,
        };
        let lines: Vec<String> = objects
            .iter()
            .map(|object| format!("drop cascades to {object}"))
            .collect();
        Some(lines.join("\n"))
    }
}
