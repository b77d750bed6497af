//! SHOW, SHOW CREATE and DESCRIBE.

use std::sync::Arc;
use std::time::SystemTime;

use executor::RescaleSummary;
use planner::parse::{ObjectKind, Show};
use sqlparser::ast::ObjectName;

use crate::catalog::{Column, Entry, Identity, Kind};
use crate::definition::create_text;
use crate::error::{Error, Result};
use crate::pg_catalog;
use crate::pg_catalog::relations::{column_list, key_columns};
use crate::session::Session;
use crate::settings::Settings;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name, wrong_kind};
use crate::statement::rows::Rows;
use crate::tide::{key_groups_done, moved_by_rescale};

/// Columns of what a SHOW shows.
pub(crate) fn show_columns(what: &Show) -> Result<Vec<&'static str>> {
    Ok(match what {
        Show::Jobs => vec![
            "id",
            "name",
            "kind",
            "parallelism",
            "state",
            "restarts",
            "last failure",
            "next try",
        ],
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
        Show::Tables
        | Show::Sources
        | Show::Sinks
        | Show::Views
        | Show::MaterializedViews
        | Show::Sequences
        | Show::Schemas
        | Show::Databases => vec!["name"],
        Show::Columns(_) => DESCRIBE_COLUMNS.to_vec(),
        Show::Indexes(_) => vec!["name", "on", "key"],
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
            Show::Sinks => self.names_of(ObjectKind::Sink),
            Show::Views => self.names_of(ObjectKind::View),
            Show::MaterializedViews => self.names_of(ObjectKind::MaterializedView),
            Show::Sequences => self.names_of(ObjectKind::Sequence),
            Show::Schemas => {
                let mut names = pg_catalog::SCHEMAS.map(|(name, _)| name).to_vec();
                let catalog = self.shared.catalog.read();
                names.extend(catalog.schemas().map(|(name, _)| name));
                names.sort_unstable();
                let row = |name: &str| vec![Some(name.to_owned())];
                names.into_iter().map(row).collect()
            }
            Show::Databases => {
                let catalog = self.shared.catalog.read();
                let databases = catalog.access.databases.values();
                databases.map(|d| vec![Some(d.name.clone())]).collect()
            }
            Show::Columns(name) => self.described_columns(name)?,
            Show::Indexes(name) => self.indexes(name)?,
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
        let path = self.settings().search_path();
        let mut names: Vec<String> = catalog
            .entries()
            .filter(|entry| is_kind(&entry.kind, kind) && path.contains(&entry.schema_name))
            .map(|entry| entry.name.clone())
            .collect();
        names.sort();
        names.into_iter().map(|name| vec![Some(name)]).collect()
    }

    fn jobs(&self) -> Vec<Vec<Option<String>>> {
        let catalog = self.shared.catalog.read();
        let elsewhere = self.shared.catalog.elsewhere();
        let mut rows = Vec::new();
        for job in self.shared.engine.jobs() {
            if elsewhere.contains(&job.id) {
                continue;
            }
            let mut next_try = None;
            let state = match &job.state {
                executor::JobState::Restarting { next_try: at } => {
                    next_try = at.map(until);
                    "restarting".to_owned()
                }
                executor::JobState::Rebuilding {
                    rows_remaining,
                    rows,
                } => {
                    let done = rows.saturating_sub(*rows_remaining) * 100 / rows.max(&1);
                    format!("restarting, {done} % done, {rows_remaining} rows left")
                }
                executor::JobState::Running => "running".to_owned(),
                executor::JobState::Ending => "ending".to_owned(),
                executor::JobState::Backfilling {
                    rows_remaining,
                    rows,
                    rate_limit,
                } => {
                    let done = rows.saturating_sub(*rows_remaining) * 100 / rows.max(&1);
                    let limit = match rate_limit {
                        None => String::new(),
                        Some(0) => ", paused".to_owned(),
                        Some(rows) => format!(", at most {rows} a second"),
                    };
                    format!("backfilling, {done} % done, {rows_remaining} rows left{limit}")
                }
                executor::JobState::Rescaling { parallelism } => {
                    format!("scaling to {parallelism}")
                }
            };
            let entry = catalog.by_id(job.id);
            let kind = match entry {
                Some(entry) => entry.kind_name(),
                // What a sink has delivered, or a view that is being created.
                None if catalog.jobs().any(|known| known == job.id) => "sink",
                None => "materialized view",
            };
            let parallelism = match entry.and_then(|entry| entry.adaptivity) {
                Some(_) => format!("ADAPTIVE, now {}", job.parallelism),
                None => job.parallelism.to_string(),
            };
            let name = entry.map_or(job.name, |entry| entry.name.clone());
            let row = [
                job.id.to_string(),
                name,
                kind.to_owned(),
                parallelism,
                state,
                job.restarts.to_string(),
            ];
            let mut row: Vec<_> = row.into_iter().map(Some).collect();
            row.extend([job.failure, next_try]);
            rows.push(row);
        }
        rows
    }

    async fn rescales(&mut self) -> Result<Vec<Vec<Option<String>>>> {
        let observation = self.shared.engine.observe().await?;
        let catalog = self.shared.catalog.read();
        let done = moved_by_rescale(&observation.subscales);
        let mut rescales = observation.rescales;
        let elsewhere = self.shared.catalog.elsewhere();
        rescales.retain(|rescale| !elsewhere.contains(&rescale.job));
        rescales.sort_by_key(|rescale| rescale.id);
        let row = |rescale: &RescaleSummary| {
            let done = key_groups_done(rescale, &done);
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
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog
            .by_name(&name)
            .ok_or_else(|| Error::UndefinedObject {
                kind: kind_name(kind),
                name: name.to_string(),
            })?;
        if !is_kind(&entry.kind, kind) {
            return Err(wrong_kind(entry, kind, "SHOW CREATE"));
        }
        let row = vec![
            Some(format!("{}.{}", entry.schema_name, entry.name)),
            Some(format!("{};", create_text(&catalog, entry))),
        ];
        Ok(Outcome::Rows(Rows::of_texts(
            &SHOW_CREATE_COLUMNS,
            &[row],
            "SHOW",
        )?))
    }

    /// That of the primary key, and those that were created.
    fn indexes(&self, name: &ObjectName) -> Result<Vec<Vec<Option<String>>>> {
        let entry = self.named_relation(name)?;
        let catalog = self.shared.catalog.read();
        let row = |name: String, key: String| vec![Some(name), Some(entry.name.clone()), Some(key)];
        let mut rows = Vec::new();
        if !entry.primary_key.is_empty() {
            rows.push(row(entry.primary_key_name(), key_columns(&entry)));
        }
        for index in catalog.indexes_of(entry.id) {
            rows.push(row(index.name.clone(), column_list(index)));
        }
        Ok(rows)
    }

    fn described_columns(&self, name: &ObjectName) -> Result<Vec<Vec<Option<String>>>> {
        let entry = self.named_relation(name)?;
        let columns = 0..entry.columns.len();
        Ok(columns
            .map(|column| described_column(&entry, column))
            .collect())
    }

    fn named_relation(&self, name: &ObjectName) -> Result<Arc<Entry>> {
        let name = self.local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = catalog.by_name(&name).cloned();
        entry.ok_or(Error::UndefinedRelation {
            name: name.to_string(),
        })
    }

    pub(crate) fn describe_relation(&mut self, name: &ObjectName) -> Result<Outcome> {
        let rows = self.described_columns(name)?;
        Ok(Outcome::Rows(Rows::of_texts(
            &DESCRIBE_COLUMNS,
            &rows,
            "DESCRIBE",
        )?))
    }
}

/// How far away a time is.
fn until(time: SystemTime) -> String {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    format!("in {:.1} s", left.as_secs_f64())
}

/// Where values come from that a statement does not give.
fn described_default(column: &Column) -> Option<String> {
    match (&column.generated, column.identity) {
        (Some(expression), _) => Some(format!("generated always as ({expression}) stored")),
        (None, Some(Identity::Always)) => Some("generated always as identity".to_owned()),
        (None, Some(Identity::ByDefault)) => Some("generated by default as identity".to_owned()),
        (None, None) => column.default.clone(),
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
        described_default(column),
        key.map(str::to_owned),
    ]
}
