//! SHOW, SHOW CREATE and DESCRIBE.

use executor::RescaleSummary;
use planner::parse::{ObjectKind, Show};
use sqlparser::ast::ObjectName;

use crate::catalog::{Entry, Kind};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings::Settings;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name, local_name, wrong_kind};
use crate::statement::rows::Rows;
use crate::tide::key_groups_done;

/// Columns of what a SHOW shows.
pub(crate) fn show_columns(what: &Show) -> Result<Vec<&'static str>> {
    Ok(match what {
        Show::Jobs => vec!["id", "name", "kind", "parallelism", "state"],
        Show::Rescales => vec![
            "id",
            "relation",
            "strategy",
            "from",
            "to",
            "state",
            "key groups",
            "bytes",
            "duration",
        ],
        Show::Tables | Show::Sources | Show::Views | Show::MaterializedViews => vec!["name"],
        Show::All => vec!["name", "setting", "description"],
        Show::Variable(name) => vec![Settings::canonical_name(name)?],
    })
}

/// Columns of SHOW CREATE.
pub(crate) const SHOW_CREATE_COLUMNS: [&str; 2] = ["name", "statement"];

/// Columns of DESCRIBE.
pub(crate) const DESCRIBE_COLUMNS: [&str; 5] = ["column", "type", "nullable", "default", "key"];

impl Session {
    pub(crate) async fn show(&mut self, what: &Show) -> Result<Outcome> {
        let names = show_columns(what)?;
        let rows = match what {
            Show::Tables => self.names_of(ObjectKind::Table),
            Show::Sources => self.names_of(ObjectKind::Source),
            Show::Views => self.names_of(ObjectKind::View),
            Show::MaterializedViews => self.names_of(ObjectKind::MaterializedView),
            Show::Jobs => self.jobs(),
            Show::Rescales => self.rescales().await?,
            Show::All => {
                let settings = self.settings();
                settings
                    .all()
                    .into_iter()
                    .map(|row| {
                        vec![
                            Some(row.name.to_owned()),
                            Some(row.value),
                            Some(row.description.to_owned()),
                        ]
                    })
                    .collect()
            }
            Show::Variable(name) => vec![vec![Some(self.settings().get(name)?)]],
        };
        Ok(Outcome::Rows(Rows::of_texts(&names, &rows, "SHOW")?))
    }

    fn names_of(&self, kind: ObjectKind) -> Vec<Vec<Option<String>>> {
        let catalog = self.shared.catalog.read();
        let mut names: Vec<String> = catalog
            .entries()
            .filter(|entry| is_kind(&entry.kind, kind))
            .map(|entry| entry.name.clone())
            .collect();
        names.sort();
        names.into_iter().map(|name| vec![Some(name)]).collect()
    }

    fn jobs(&self) -> Vec<Vec<Option<String>>> {
        let catalog = self.shared.catalog.read();
        let mut rows = Vec::new();
        for job in self.shared.engine.jobs() {
            let state = match &job.state {
                executor::JobState::Running => "running".to_owned(),
                executor::JobState::Backfilling { rows_remaining } => {
                    format!("backfilling, {rows_remaining} rows left")
                }
                executor::JobState::Rescaling { parallelism } => {
                    format!("scaling to {parallelism}")
                }
            };
            let entry = catalog.by_id(job.id);
            let kind = entry.map_or("materialized view", |entry| entry.kind.name());
            let parallelism = match entry.and_then(|entry| entry.adaptivity) {
                Some(_) => format!("ADAPTIVE, now {}", job.parallelism),
                None => job.parallelism.to_string(),
            };
            let row = [
                job.id.to_string(),
                job.name,
                kind.to_owned(),
                parallelism,
                state,
            ];
            rows.push(row.into_iter().map(Some).collect());
        }
        rows
    }

    async fn rescales(&mut self) -> Result<Vec<Vec<Option<String>>>> {
        let observation = self.shared.engine.observe().await?;
        let catalog = self.shared.catalog.read();
        let done = key_groups_done(&observation.subscales);
        let mut rescales = observation.rescales;
        rescales.sort_by_key(|rescale| rescale.id);
        let row = |rescale: &RescaleSummary| {
            let done = done.get(&rescale.id).copied().unwrap_or_default();
            vec![
                Some(rescale.id.to_string()),
                catalog.by_id(rescale.job).map(|entry| entry.name.clone()),
                Some(rescale.strategy.to_string()),
                Some(rescale.from.to_string()),
                Some(rescale.to.to_string()),
                Some(rescale.state.name().to_owned()),
                Some(format!("{done}/{}", rescale.key_groups)),
                Some(rescale.moved.state_bytes.to_string()),
                rescale.duration.map(|duration| format!("{duration:.1?}")),
            ]
        };
        Ok(rescales.iter().map(row).collect())
    }

    pub(crate) fn show_create(&mut self, kind: ObjectKind, name: &ObjectName) -> Result<Outcome> {
        let name = local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog
            .by_name(&name)
            .ok_or_else(|| Error::UndefinedObject {
                kind: kind_name(kind),
                name: name.clone(),
            })?;
        if !is_kind(&entry.kind, kind) {
            return Err(wrong_kind(entry, kind, "SHOW CREATE"));
        }
        let row = vec![
            Some(format!("public.{}", entry.name)),
            Some(format!("{};", entry.statement)),
        ];
        Ok(Outcome::Rows(Rows::of_texts(
            &SHOW_CREATE_COLUMNS,
            &[row],
            "SHOW",
        )?))
    }

    pub(crate) fn describe_relation(&mut self, name: &ObjectName) -> Result<Outcome> {
        let name = local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog
            .by_name(&name)
            .ok_or(Error::UndefinedRelation { name })?;
        let rows: Vec<_> = (0..entry.columns.len())
            .map(|column| described_column(entry, column))
            .collect();
        Ok(Outcome::Rows(Rows::of_texts(
            &DESCRIBE_COLUMNS,
            &rows,
            "DESCRIBE",
        )?))
    }
}

fn described_column(entry: &Entry, at: usize) -> Vec<Option<String>> {
    let column = &entry.columns[at];
    let key = match &entry.kind {
        Kind::Table if entry.primary_key.contains(&at) => Some("primary key"),
        Kind::MaterializedView if entry.unique_key.contains(&at) => Some("stream key"),
        _ => None,
    };
    vec![
        Some(column.name.clone()),
        Some(column.sql_type.to_string()),
        Some(if column.not_null { "not null" } else { "null" }.to_owned()),
        column.default.clone(),
        key.map(str::to_owned),
    ]
}
