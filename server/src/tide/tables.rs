//! The tables of schema `tide`.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use executor::{BarrierWait, RescaleSummary, SubscaleState, SubscaleStatus};

use crate::access::actor::Actor;
use crate::access::privilege::Privileges;
use crate::catalog::Catalog;
use crate::error::Error;
use crate::pg_catalog::table::{NULL, Source, SystemTable, Type as T, Value, row};
use crate::sqlstate::Report;
use crate::tide::Seen;

#[rustfmt::skip] // Column lists read best as tables.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        oid: 13_201,
        name: "rescales",
        columns: &[
            ("id", T::Int8), ("relation", T::Text), ("started_by", T::Text), ("strategy", T::Text),
            ("from_parallelism", T::Int4), ("to_parallelism", T::Int4), ("state", T::Text),
            ("started_at", T::Timestamptz), ("duration", T::Interval), ("key_groups", T::Int4),
            ("key_groups_done", T::Int4), ("subscales", T::Int4), ("bytes", T::Int8), ("rows_rerouted", T::Int8),
            ("rows_held", T::Int8), ("rows_taken_back", T::Int8), ("suspension", T::Interval),
            ("propagation", T::Interval), ("dependency", T::Interval), ("barrier_max", T::Interval),
            ("pause_max", T::Interval),
        ],
        rows: rescales,
    },
    SystemTable {
        oid: 13_202,
        name: "subscales",
        columns: &[
            ("rescale_id", T::Int8), ("subscale", T::Int8), ("fragment", T::Int4), ("old_owner", T::Int8),
            ("new_owner", T::Int8), ("key_groups", T::Text), ("key_group_count", T::Int4), ("bytes", T::Int8),
            ("state", T::Text), ("opened_after", T::Interval), ("took", T::Interval), ("pause_max", T::Interval),
        ],
        rows: subscales,
    },
    SystemTable {
        oid: 13_203,
        name: "key_groups",
        columns: &[
            ("relation", T::Text), ("fragment", T::Int4), ("key_group", T::Int4), ("owner", T::Int8),
            ("rows", T::Int8), ("bytes", T::Int8), ("evicted_bytes", T::Int8), ("busy", T::Float8),
            ("row_rate", T::Float8),
        ],
        rows: key_groups,
    },
    SystemTable {
        oid: 13_204,
        name: "executors",
        columns: &[
            ("relation", T::Text), ("fragment", T::Int4), ("executor", T::Int8), ("key_groups", T::Int4),
            ("busy", T::Float8), ("backpressured", T::Float8), ("suspended", T::Float8), ("idle", T::Float8),
            ("row_rate", T::Float8),
        ],
        rows: executors,
    },
    SystemTable {
        oid: 13_205,
        name: "scaling_decisions",
        columns: &[
            ("at", T::Timestamptz), ("relation", T::Text), ("from_parallelism", T::Int4),
            ("to_parallelism", T::Int4), ("needed", T::Int4), ("demand", T::Float8), ("utilization", T::Float8),
            ("reason", T::Text), ("outcome", T::Text),
        ],
        rows: scaling_decisions,
    },
    SystemTable {
        oid: 13_206,
        name: "late_rows",
        columns: &[
            ("relation", T::Text), ("column_name", T::Text), ("watermark", T::Timestamptz), ("late_rows", T::Int8),
        ],
        rows: late_rows,
    },
    SystemTable {
        oid: 13_207,
        name: "row_errors",
        columns: &[
            ("relation", T::Text), ("code", T::Text), ("error", T::Text), ("failures", T::Int8), ("example", T::Text),
            ("first_at", T::Timestamptz), ("last_at", T::Timestamptz),
        ],
        rows: row_errors,
    },
    SystemTable {
        oid: 13_208,
        name: "memory",
        columns: &[("name", T::Text), ("bytes", T::Int8), ("limit_bytes", T::Int8)],
        rows: memory,
    },
    SystemTable {
        oid: 13_209,
        name: "barriers",
        columns: &[
            ("epoch", T::Int8), ("age", T::Interval), ("waits_for", T::Text), ("relation", T::Text),
            ("fragment", T::Int4), ("executor", T::Int8), ("behind", T::Text),
        ],
        rows: barriers,
    },
];

/// A relation's name; none once it is dropped.
fn relation(catalog: &Catalog, job: u32) -> Option<String> {
    catalog.by_id(job).map(|entry| entry.name.clone())
}

/// Rows made from what was seen, if anything was.
fn seen<R>(source: &Source<'_>, rows: impl FnOnce(&Seen) -> R) -> R
where
    R: Default,
{
    source.seen.map(rows).unwrap_or_default()
}

/// Key groups of subscales that are done, by rescale.
pub(crate) fn moved_by_rescale(subscales: &[SubscaleStatus]) -> BTreeMap<u64, u64> {
    let mut done = BTreeMap::new();
    for subscale in subscales {
        if subscale.state == SubscaleState::Done {
            *done.entry(subscale.rescale).or_default() += subscale.key_groups.len() as u64;
        }
    }
    done
}

/// Key groups of a rescale that have moved. Subscales of one before the start are forgotten.
pub(crate) fn key_groups_done(rescale: &RescaleSummary, moved: &BTreeMap<u64, u64>) -> u64 {
    let moved = moved.get(&rescale.id).copied();
    moved.unwrap_or_else(|| rescale.moved.key_groups.min(rescale.key_groups as u64))
}

fn rescales(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let done = moved_by_rescale(&seen.observation.subscales);
        let rescales = &seen.observation.rescales;
        rescales
            .iter()
            .map(|rescale| {
                let done = key_groups_done(rescale, &done);
                rescale_row(source.catalog, rescale, done)
            })
            .collect()
    })
}

fn rescale_row(catalog: &Catalog, rescale: &RescaleSummary, done: u64) -> Vec<Value> {
    let moved = &rescale.moved;
    row![
        rescale.id,
        relation(catalog, rescale.job),
        rescale.by.clone(),
        rescale.strategy.name(),
        rescale.from,
        rescale.to,
        rescale.state.name(),
        rescale.asked,
        rescale.duration,
        rescale.key_groups,
        done,
        rescale.subscales,
        moved.state_bytes,
        moved.rows_rerouted,
        moved.rows_held,
        moved.rows_taken_back,
        moved.suspended,
        rescale.propagation,
        rescale.dependency,
        rescale.barrier_max,
        rescale.pause_max,
    ]
}

fn subscales(source: &Source<'_>) -> Vec<Vec<Value>> {
    let one = |subscale: &SubscaleStatus| {
        row![
            subscale.rescale,
            subscale.id.0,
            subscale.fragment,
            subscale.old_owner.0,
            subscale.new_owner.0,
            subscale.key_groups.to_string(),
            subscale.key_groups.len(),
            subscale.bytes,
            subscale.state.name(),
            subscale.opened_after,
            subscale.took,
            subscale.pause_max,
        ]
    };
    seen(source, |seen| {
        seen.observation.subscales.iter().map(one).collect()
    })
}

fn key_groups(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let key_groups = seen.observation.key_groups.iter();
        key_groups
            .map(|status| {
                row![
                    relation(source.catalog, status.job),
                    status.fragment,
                    u32::from(status.key_group.0),
                    status.owner.0,
                    status.rows,
                    status.bytes,
                    status.evicted_bytes,
                    status.busy,
                    status.row_rate,
                ]
            })
            .collect()
    })
}

fn executors(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let executors = seen.observation.executors.iter();
        executors
            .map(|status| {
                let taken = status.busy + status.backpressured + status.suspended;
                row![
                    relation(source.catalog, status.job),
                    status.fragment,
                    status.executor.0,
                    status.key_groups,
                    status.busy,
                    status.backpressured,
                    status.suspended,
                    (1.0 - taken).max(0.0),
                    status.row_rate,
                ]
            })
            .collect()
    })
}

fn late_rows(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let lateness = seen.observation.lateness.iter();
        lateness
            .map(|(job, lateness)| {
                row![
                    relation(source.catalog, *job),
                    lateness.column.clone(),
                    lateness.watermark,
                    lateness.late_rows,
                ]
            })
            .collect()
    })
}

/// Whether who asks may see the rows of a relation.
fn may_read(source: &Source<'_>, job: u32) -> bool {
    let Some(role) = source.context.role else {
        return true;
    };
    let actor = Actor {
        catalog: source.catalog,
        role,
    };
    let entry = source.catalog.by_id(job);
    entry.is_some_and(|entry| actor.check(entry, Privileges::SELECT).is_ok())
}

fn row_errors(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let kinds = seen.row_errors.iter();
        kinds
            .map(|(job, kind)| {
                let error = DataFusionError::Shared(Arc::clone(&kind.error));
                let report = Report::of_error(&Error::from(planner::Error::from(error)));
                let example = kind.example.clone();
                row![
                    relation(source.catalog, *job),
                    report.code,
                    report.message,
                    kind.failures,
                    example.filter(|_| may_read(source, *job)),
                    kind.first_at,
                    kind.last_at,
                ]
            })
            .collect()
    })
}

fn memory(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let observed = &seen.observation;
        let evicted: u64 = observed.key_groups.iter().map(|g| g.evicted_bytes).sum();
        vec![
            row!["state", observed.state_bytes, seen.state_memory_limit],
            row!["evicted state", evicted, None::<u64>],
            row!["channels", observed.queued_bytes, None::<u64>],
            row!["queries", seen.query_bytes, seen.query_memory_limit],
        ]
    })
}

fn barriers(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let barriers = seen.observation.barriers.iter();
        barriers
            .map(|barrier| match &barrier.waits_for {
                BarrierWait::Checkpoint => {
                    row![
                        barrier.epoch.0,
                        barrier.age,
                        "checkpoint",
                        NULL,
                        NULL,
                        NULL,
                        NULL
                    ]
                }
                BarrierWait::Executor {
                    job,
                    fragment,
                    executor,
                    behind,
                } => {
                    let behind: Vec<String> = behind.iter().map(|id| id.0.to_string()).collect();
                    row![
                        barrier.epoch.0,
                        barrier.age,
                        "executor",
                        relation(source.catalog, *job),
                        fragment.map(|fragment| fragment as i64),
                        executor.0,
                        (!behind.is_empty()).then(|| behind.join(", ")),
                    ]
                }
            })
            .collect()
    })
}

fn scaling_decisions(source: &Source<'_>) -> Vec<Vec<Value>> {
    seen(source, |seen| {
        let decisions = seen.decisions.iter();
        decisions
            .map(|made| {
                row![
                    made.at,
                    made.relation.clone(),
                    made.decision.from,
                    made.decision.to,
                    made.decision.needed,
                    made.decision.demand,
                    made.decision.utilization,
                    made.decision.to_string(),
                    made.outcome.clone(),
                ]
            })
            .collect()
    })
}
