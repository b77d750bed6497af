//! `ALTER … SET PARALLELISM`: checked here, done by the engine while rows flow.

use executor::RescaleOptions;
use planner::parse::{ObjectKind, Parallelism};
use sqlparser::ast::ObjectName;
use storage::CatalogChange;
use tokio::sync::mpsc;

use crate::catalog::{Entry, Kind, update_change};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name, local_name, wrong_kind};

impl Session {
    pub(crate) async fn alter_parallelism(
        &mut self,
        kind: ObjectKind,
        if_exists: bool,
        name: &ObjectName,
        wanted: &Parallelism,
    ) -> Result<Outcome> {
        let tag = format!("ALTER {}", kind_name(kind).to_uppercase());
        let name = local_name(name)?;
        let catalog = self.shared.catalog.read();
        let entry = match catalog.by_name(&name) {
            Some(entry) if is_kind(&entry.kind, kind) && entry.kind.has_job() => entry,
            Some(entry) => return Err(wrong_kind(entry, not_source(kind, &entry.kind), "ALTER")),
            None if if_exists => {
                self.client.notice(&Notice::DoesNotExist {
                    kind: kind_name(kind),
                    name,
                });
                return Ok(Outcome::Done(tag));
            }
            None => {
                return Err(Error::UndefinedObject {
                    kind: kind_name(kind),
                    name,
                });
            }
        };
        let parallelism = self.checked_parallelism(wanted)?;
        self.rescale(entry, parallelism).await?;
        Ok(Outcome::Done(tag))
    }

    fn checked_parallelism(&self, wanted: &Parallelism) -> Result<usize> {
        let max = usize::from(self.shared.config.key_groups);
        let invalid = |written: String| Error::InvalidValue {
            message: format!("invalid parallelism: {written}"),
            hint: Some(format!(
                "Parallelism is a whole number from 1 to {max}, or ADAPTIVE."
            )),
        };
        match wanted {
            Parallelism::Adaptive => Ok(self.shared.config.streaming_parallelism),
            Parallelism::Invalid(written) => Err(invalid(written.clone())),
            Parallelism::Fixed(n) => usize::try_from(*n)
                .ok()
                .filter(|n| (1..=max).contains(n))
                .ok_or_else(|| invalid(n.to_string())),
        }
    }

    /// Runs the scaling to its end, telling the client how far it is. It goes on by itself if the
    /// client stops waiting or is lost.
    async fn rescale(&mut self, entry: &Entry, parallelism: usize) -> Result<()> {
        let (id, name) = (entry.id, entry.name.clone());
        let known = entry.clone();
        let catalog = Box::new(move |parallelism| {
            let mut changed = known.clone();
            changed.parallelism = parallelism;
            update_change(&changed).unwrap_or_else(|error| {
                tracing::error!(%error, "a parallelism could not be stored");
                CatalogChange::default()
            })
        });
        let (progress, mut reports) = mpsc::unbounded_channel();
        let shared = std::sync::Arc::clone(&self.shared);
        let mut done = tokio::spawn(async move {
            let summary = shared
                .engine
                .rescale(
                    id,
                    RescaleOptions::to_parallelism(parallelism),
                    catalog,
                    progress,
                )
                .await?;
            shared.catalog.set_parallelism(id, summary.to);
            Ok::<_, Error>(summary)
        });
        let interrupt = self.interrupt.clone();
        let client = &mut self.client;
        let waited = interrupt.guard(async {
            let mut told = 0;
            while let Some(report) = reports.recv().await {
                // Every quarter of the way; a subscale alone may take less than a millisecond.
                let quarters = 4 * report.key_groups_done / report.key_groups.max(1);
                if quarters <= told {
                    continue;
                }
                told = quarters;
                client.notice(&Notice::Progress(format!(
                    "scaling \"{name}\": {} of {} key groups moved, {} of {} subscales done",
                    report.key_groups_done,
                    report.key_groups,
                    report.subscales_done,
                    report.subscales
                )));
                client.flush().await?;
            }
            match (&mut done).await {
                Ok(result) => result,
                Err(error) => Err(Error::Internal(error.to_string())),
            }
        });
        let summary = waited.await.map_err(|error| match error {
            Error::Executor(executor::Error::UnknownJob { .. }) => Error::UndefinedObject {
                kind: entry.kind.name(),
                name: entry.name.clone(),
            },
            other => other,
        })?;
        self.client
            .notice(&Notice::Progress(summarized(&entry.name, &summary)));
        Ok(())
    }
}

/// A source is neither a table nor a view; what the user asked for is named unless it fits.
fn not_source(kind: ObjectKind, really: &Kind) -> ObjectKind {
    match (kind, really) {
        (ObjectKind::Source | ObjectKind::View, _) => ObjectKind::MaterializedView,
        (kind, _) => kind,
    }
}

fn summarized(name: &str, summary: &executor::RescaleSummary) -> String {
    let moved = &summary.moved;
    format!(
        "scaled \"{name}\" from {} to {} in {:.0?}: {} key groups and {} bytes of state moved in {} subscales, \
         {} rows re-routed, {} rows held, longest barrier {:.0?}",
        summary.from,
        summary.to,
        summary.duration.unwrap_or_default(),
        moved.key_groups,
        moved.state_bytes,
        summary.subscales,
        moved.rows_rerouted,
        moved.rows_held,
        summary.barrier_max
    )
}
