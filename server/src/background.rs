//! Materialized views that are created in the background (`SET background_ddl`).
//!
//! Such a view is in the catalog, durably, before it has rows: its name is taken, and what it reads
//! cannot be dropped without it. It cannot be read. A task creates its job. A server that starts finds it
//! and starts its job with all others, which goes on where it was at the last checkpoint; the task
//! then waits for it to be complete.

use std::sync::Arc;
use std::time::Duration;

use executor::JobSpec;

use crate::catalog::{Entry, delete_change, update_change};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::server::Shared;
use crate::session::Session;
use crate::settings::parse_rate_limit;
use crate::statement::Outcome;
use crate::statement::ddl::write_catalog;

/// Pause before another try if what the view reads has failed, or a checkpoint.
const PAUSE: Duration = Duration::from_millis(100);

impl Session {
    pub(crate) async fn create_in_background(&mut self, entry: Entry, spec: JobSpec) -> Result<()> {
        let entry = Entry {
            creating: true,
            backfill_rate_limit: self.settings().backfill_rate_limit(),
            ..entry
        };
        let spec = JobSpec {
            resumable: true,
            ..spec
        };
        self.add_without_job(entry).await?;
        start(&self.shared, spec);
        Ok(())
    }

    /// `ALTER MATERIALIZED VIEW … SET BACKFILL_RATE_LIMIT`, while nobody else alters relations.
    pub(crate) async fn limit_backfill(&mut self, entry: &Entry, limit: &str) -> Result<()> {
        let limit = parse_rate_limit(limit).map_err(|hint| Error::InvalidValue {
            message: format!("invalid value for \"backfill_rate_limit\": \"{limit}\""),
            hint: Some(hint),
        })?;
        if !entry.creating {
            let text = format!("\"{}\" is complete: there is nothing to limit", entry.name);
            self.client.notice(&Notice::Progress(text));
            return Ok(());
        }
        let entry = Entry {
            backfill_rate_limit: limit,
            ..entry.clone()
        };
        self.write_catalog(update_change(&entry)?).await?;
        let id = entry.id;
        self.shared.catalog.put(entry);
        Ok(self.shared.engine.limit_backfill(id, limit).await?)
    }

    /// Waits until no view of the database is being created in the background.
    pub(crate) async fn wait(&mut self) -> Result<Outcome> {
        let shared = Arc::clone(&self.shared);
        let waited = async move {
            let mut created = shared.created.subscribe();
            while shared.catalog.read().entries().any(|entry| entry.creating) {
                if created.changed().await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        self.interrupt.clone().guard(waited).await?;
        Ok(Outcome::Done("WAIT".to_owned()))
    }
}

/// Goes on with what was being created when the server ended.
pub(crate) fn start_again(shared: &Arc<Shared>, creating: &[JobSpec]) {
    let catalog = shared.catalog.read();
    for spec in creating {
        if catalog.by_id(spec.id).is_some() {
            start(shared, spec.clone());
        }
    }
}

fn start(shared: &Arc<Shared>, spec: JobSpec) {
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let (id, name) = (spec.id, spec.name.clone());
        if let Err(error) = create(&shared, spec).await {
            tracing::error!(%error, id, name, "cannot create a view in the background");
        }
        shared.created.send_replace(());
    });
}

async fn create(shared: &Shared, spec: JobSpec) -> Result<()> {
    let id = spec.id;
    let created = loop {
        let Some(entry) = shared.catalog.read().by_id(id).cloned() else {
            return Ok(());
        };
        let change = update_change(&complete(&entry))?;
        let spec = JobSpec {
            backfill_rate_limit: entry.backfill_rate_limit,
            ..spec.clone()
        };
        match shared.engine.create_job(spec, change).await {
            // It goes on where it was, if there was a disk to write to.
            Err(executor::Error::Restarting { .. } | executor::Error::Write { .. }) => {
                tokio::time::sleep(PAUSE).await;
            }
            // The next server goes on.
            Err(executor::Error::Stopped) => return Ok(()),
            created => break created,
        }
    };
    let _ddl = shared.ddl.lock().await;
    let entry = shared.catalog.read().by_id(id).cloned();
    match (created, entry) {
        (Ok(()), Some(entry)) => {
            shared.catalog.put(complete(&entry));
            Ok(())
        }
        // Dropped meanwhile, whoever was first.
        (Ok(()), None) => {
            let gone = delete_change(&[id].into());
            Ok(shared.engine.drop_jobs(vec![id], gone).await?)
        }
        (Err(error), Some(_)) => {
            shared.catalog.remove(&[id].into());
            write_catalog(shared, delete_change(&[id].into())).await?;
            Err(error.into())
        }
        (Err(_), None) => Ok(()),
    }
}

fn complete(entry: &Entry) -> Entry {
    Entry {
        creating: false,
        backfill_rate_limit: None,
        ..entry.clone()
    }
}
