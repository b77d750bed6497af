//! `ALTER … SET PARALLELISM`, `MOVE KEY GROUP` and `REBALANCE`, done by the engine while rows
//! flow; `CANCEL RESCALE`.

use std::sync::Arc;
use std::time::Duration;

use executor::{RescaleOptions, RescaleState, RescaleSummary, RescaleTarget};
use planner::parse::{AlterScaling, ObjectKind};
use tokio::sync::mpsc;

use crate::catalog::{Adaptivity, Entry, Kind};
use crate::error::{Error, Result};
use crate::notice::Notice;
use crate::rescale::{rescale, set_adaptivity};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::{is_kind, kind_name, wrong_kind};
use crate::statement::scaling_options::{Defaults, Wanted, check, no_executor, no_key_group};

impl Session {
    pub(crate) async fn alter_scaling(&mut self, alter: &AlterScaling) -> Result<Outcome> {
        let tag = format!("ALTER {}", kind_name(alter.kind).to_uppercase());
        let Some(entry) = self.scaled_relation(alter)? else {
            return Ok(Outcome::Done(tag));
        };
        match self.checked_scaling(alter)? {
            Wanted::Adaptive(adaptivity) => self.make_adaptive(&entry, adaptivity).await?,
            Wanted::Rescale(options) => {
                self.rescale(&entry, &options).await?;
            }
        }
        Ok(Outcome::Done(tag))
    }

    /// The relation that a statement names; `None`, with a notice, if it may be missing and is.
    pub(crate) fn scaled_relation(&mut self, alter: &AlterScaling) -> Result<Option<Arc<Entry>>> {
        let name = self.local_name(&alter.name)?;
        let kind = alter.kind;
        match self.shared.catalog.read().by_name(&name) {
            Some(entry) if is_kind(&entry.kind, kind) && entry.kind.has_job() => {
                self.check_owner(entry)?;
                Ok(Some(Arc::clone(entry)))
            }
            Some(entry) => Err(wrong_kind(entry, not_source(kind, &entry.kind), "ALTER")),
            None if alter.if_exists => {
                self.client.notice(&Notice::DoesNotExist {
                    kind: kind_name(kind),
                    name: name.to_string(),
                });
                Ok(None)
            }
            None => Err(Error::UndefinedObject {
                kind: kind_name(kind),
                name: name.to_string(),
            }),
        }
    }

    /// What a statement asks for, with this session's settings.
    pub(crate) fn checked_scaling(&self, alter: &AlterScaling) -> Result<Wanted> {
        let config = &self.shared.config;
        let defaults = Defaults {
            key_groups: config.key_groups,
            adaptive_max: config.streaming_parallelism,
            strategy: self.settings().rescale_strategy(),
            by: self.settings().current_user().name.clone(),
        };
        check(alter, &defaults)
    }

    async fn make_adaptive(&mut self, entry: &Entry, adaptivity: Adaptivity) -> Result<()> {
        self.change_adaptivity(entry, Some(adaptivity)).await?;
        let text = format!(
            "\"{}\" runs with {} executors; from now on with {} to {}, so that they are busy {:.0} % of the time",
            entry.name,
            entry.parallelism,
            adaptivity.min,
            adaptivity.max,
            100.0 * adaptivity.target_utilization
        );
        self.client.notice(&Notice::Progress(text));
        Ok(())
    }

    /// Never stopped half-way by a cancel request.
    async fn change_adaptivity(
        &mut self,
        entry: &Entry,
        adaptivity: Option<Adaptivity>,
    ) -> Result<()> {
        set_adaptivity(&self.shared, entry, adaptivity).await
    }

    /// Runs a rescale to its end, telling the client how far it is and what it did. It goes on by
    /// itself if the client stops waiting or is lost.
    ///
    /// # Errors
    /// [`Error::RescaleEnded`] if it does not reach its target, and what the engine finds.
    pub(crate) async fn rescale(
        &mut self,
        entry: &Entry,
        options: &RescaleOptions,
    ) -> Result<RescaleSummary> {
        if entry.adaptivity.is_some() && matches!(options.target, RescaleTarget::Parallelism(_)) {
            self.change_adaptivity(entry, None).await?;
        }
        let (progress, mut reports) = mpsc::unbounded_channel();
        let shared = Arc::clone(&self.shared);
        let mut done = tokio::spawn(rescale(shared, entry.id, options.clone(), progress));
        let interrupt = self.interrupt.clone();
        let (client, name) = (&mut self.client, &entry.name);
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
        let summary = waited.await.map_err(|error| in_words(error, entry))?;
        if matches!(
            summary.state,
            RescaleState::Cancelled | RescaleState::Superseded
        ) {
            return Err(Error::RescaleEnded {
                id: summary.id,
                relation: entry.name.clone(),
                parallelism: summary.to,
                state: summary.state,
            });
        }
        let text = summarized(&entry.name, options, &summary);
        self.client.notice(&Notice::Progress(text));
        Ok(summary)
    }

    /// A rescale is cancelled by who could have asked for it.
    async fn check_rescale(&mut self, id: u64) -> Result<()> {
        let rescales = self.shared.engine.observe().await?.rescales;
        let catalog = self.shared.catalog.read();
        let rescale = rescales.iter().find(|rescale| rescale.id == id);
        match rescale.and_then(|rescale| catalog.by_id(rescale.job)) {
            Some(entry) => self.check_owner(entry),
            None => Ok(()),
        }
    }

    pub(crate) async fn cancel_rescale(&mut self, id: u64) -> Result<Outcome> {
        self.check_rescale(id).await?;
        match self.shared.engine.cancel_rescale(id).await {
            Ok(()) => Outcome::done("CANCEL RESCALE"),
            Err(executor::Error::UnknownRescale { id }) => Err(Error::UndefinedRescale { id }),
            Err(other) => Err(Error::Executor(other)),
        }
    }
}

/// A source is neither a table nor a view; what the user asked for is named unless it fits.
fn not_source(kind: ObjectKind, really: &Kind) -> ObjectKind {
    match (kind, really) {
        (ObjectKind::Source | ObjectKind::View, _) => ObjectKind::MaterializedView,
        (kind, _) => kind,
    }
}

/// The engine's error about the relation of a statement.
pub(crate) fn in_words(error: Error, entry: &Entry) -> Error {
    match error {
        Error::Executor(executor::Error::UnknownJob { .. }) => Error::UndefinedObject {
            kind: entry.kind.name(),
            name: entry.name.clone(),
        },
        Error::Executor(executor::Error::UnknownExecutor { executor }) => {
            no_executor(u64::from(executor.0))
        }
        Error::Executor(executor::Error::UnknownKeyGroup { key_group }) => {
            no_key_group(u64::from(key_group.0))
        }
        Error::Executor(executor::Error::Restarting { reason, .. }) => {
            Error::Executor(executor::Error::Restarting {
                name: entry.name.clone(),
                reason,
            })
        }
        other => other,
    }
}

fn summarized(name: &str, options: &RescaleOptions, summary: &RescaleSummary) -> String {
    let what = match &options.target {
        RescaleTarget::Parallelism(_) => {
            format!("scaled \"{name}\" from {} to {}", summary.from, summary.to)
        }
        RescaleTarget::MoveKeyGroup {
            key_group,
            executor,
        } => format!(
            "moved key group {key_group} of \"{name}\" to executor {}",
            executor.0
        ),
        RescaleTarget::Rebalance => format!("rebalanced \"{name}\""),
    };
    let kept = options.max_pause.map_or_else(String::new, |max| {
        let verb = if summary.pause_max <= max {
            "within"
        } else {
            "above"
        };
        format!(", {verb} max_pause {} ms", milliseconds(max))
    });
    let moved = &summary.moved;
    format!(
        "{what} in {} ms by {}, rescale {}: {} key groups and {} bytes of state moved in {} subscales, \
         {} rows re-routed, {} rows held, longest barrier {} ms, longest pause {} ms{kept}",
        milliseconds(summary.duration.unwrap_or_default()),
        summary.strategy,
        summary.id,
        moved.key_groups,
        moved.state_bytes,
        summary.subscales,
        moved.rows_rerouted,
        moved.rows_held,
        milliseconds(summary.barrier_max),
        milliseconds(summary.pause_max),
    )
}

/// Milliseconds as PostgreSQL shows times in messages.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1000.0)
}
