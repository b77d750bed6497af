//! EXPLAIN of `ALTER … SET PARALLELISM` and its kin: what would move, and with ANALYZE what did.
//!
//! ```text
//!   Rescale sales from 2 to 4 executors by drrs  (expected …) (actual …)
//!     ->  Subscale 7 of fragment 1: executor 3 to executor 9  (expected …) (actual …)
//!           Key Groups: 0-15
//! ```

use std::time::Duration;

use executor::{RescalePlan, RescaleSummary, RescaleTarget, SubscaleStatus};
use planner::parse::{AlterScaling, ExplainOptions};

use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::alter::{in_words, milliseconds};
use crate::statement::explain::plan_rows;
use crate::statement::scaling_options::Wanted;

/// What a rescale did, and its parts.
struct Actual {
    summary: RescaleSummary,
    subscales: Vec<SubscaleStatus>,
}

impl Session {
    pub(crate) async fn explain_scaling(
        &mut self,
        alter: &AlterScaling,
        options: &ExplainOptions,
    ) -> Result<Outcome> {
        let Some(entry) = self.scaled_relation(alter)? else {
            return plan_rows(Vec::new());
        };
        let Wanted::Rescale(wanted) = self.checked_scaling(alter)? else {
            return Err(Error::unsupported(
                "EXPLAIN of SET PARALLELISM = ADAPTIVE is not supported",
                "The table tide.scaling_decisions tells what it decided and why.",
            ));
        };
        let plan = self
            .shared
            .engine
            .explain_rescale(entry.id, wanted.clone())
            .await
            .map_err(|error| in_words(error.into(), &entry))?;
        let actual = if options.analyze {
            let summary = self.rescale(&entry, &wanted).await?;
            let mut subscales = self.shared.engine.observe().await?.subscales;
            subscales.retain(|subscale| subscale.rescale == summary.id);
            Some(Actual { summary, subscales })
        } else {
            None
        };
        plan_rows(lines(&entry.name, &wanted.target, &plan, actual.as_ref()))
    }
}

fn lines(
    name: &str,
    target: &RescaleTarget,
    plan: &RescalePlan,
    actual: Option<&Actual>,
) -> Vec<String> {
    let what = match target {
        RescaleTarget::Parallelism(_) => {
            format!("Rescale {name} from {} to {} executors", plan.from, plan.to)
        }
        RescaleTarget::MoveKeyGroup {
            key_group,
            executor,
        } => format!(
            "Move key group {key_group} of {name} to executor {}",
            executor.0
        ),
        RescaleTarget::Rebalance => format!("Rebalance {name}"),
    };
    let mut lines = vec![format!(
        "{what} by {}  {}{}",
        plan.strategy,
        expected(plan.duration, plan.pause, plan.bytes),
        actual.map_or_else(String::new, |actual| actual_of_all(&actual.summary))
    )];
    match actual {
        None => {
            for subscale in &plan.subscales {
                let figures = expected_of(subscale);
                subscale_lines(subscale, &figures, &mut lines);
            }
        }
        Some(actual) => {
            for subscale in &actual.subscales {
                let planned = plan.subscales.iter().find(|planned| {
                    planned.fragment == subscale.fragment
                        && planned.key_groups == subscale.key_groups
                });
                // State grows between plan and rescale, so that it may be divided otherwise.
                let planned = planned.map_or_else(|| "(not expected)".to_owned(), expected_of);
                let figures = format!(
                    "{planned} (actual time={} pause={} bytes={})",
                    milliseconds(subscale.took.unwrap_or_default()),
                    milliseconds(subscale.pause_max),
                    subscale.bytes
                );
                subscale_lines(subscale, &figures, &mut lines);
            }
        }
    }
    lines
}

fn subscale_lines(subscale: &SubscaleStatus, figures: &str, lines: &mut Vec<String>) {
    lines.push(format!(
        "  ->  Subscale {} of fragment {}: executor {} to executor {}  {figures}",
        subscale.id.0, subscale.fragment, subscale.old_owner.0, subscale.new_owner.0
    ));
    lines.push(format!("        Key Groups: {}", subscale.key_groups));
}

fn expected_of(subscale: &SubscaleStatus) -> String {
    let time = subscale.took.unwrap_or_default();
    expected(time, subscale.pause_max, subscale.bytes)
}

fn expected(time: Duration, pause: Duration, bytes: u64) -> String {
    format!(
        "(expected time={} pause={} bytes={bytes})",
        milliseconds(time),
        milliseconds(pause)
    )
}

fn actual_of_all(summary: &RescaleSummary) -> String {
    format!(
        " (actual time={} pause={} bytes={})",
        milliseconds(summary.moved_after.or(summary.duration).unwrap_or_default()),
        milliseconds(summary.pause_max),
        summary.moved.state_bytes
    )
}
