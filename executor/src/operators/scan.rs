//! Reads another relation: first the rows that are there, then, at any time, its changes.
//!
//! ```text
//!   snapshot of key group g ── poll, 4096 rows at a time ──┐
//!                                                          ├──► output
//!   changes since the snapshot ── on_batch, at once ───────┘
//! ```
//!
//! A table may have got more columns since the view was planned: what it does not know is cut off.
//!
//! The snapshot is pinned at the barrier at which the changes begin, so the two together are the
//! relation, whole. Weights add up whatever comes first; until the backfill is done a retraction
//! may precede its row.
//!
//! How far each key group is, is kept in a state table, so that a key group may leave in the middle
//! of its backfill: the new owner, which has the same snapshot, goes on there. The rows of a
//! snapshot have a fixed order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use scaling::{KeyGroup, KeyGroupSet};
use storage::{Run, StateTable, TableSchema, TableSnapshot};

use super::progress::Progress;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Operator, Output};
use crate::throttle::Throttle;

/// Most rows of a snapshot pushed by one call.
const POLL_ROWS_MAX: usize = 4096;

/// Passes changes on, and the rows of a pinned snapshot when polled.
///
/// Output: the relation's columns, in the key groups the rows have there.
pub struct Scan {
    /// Columns that the plan knows; later ones are cut off.
    columns: Vec<usize>,
    backfill: Option<Backfill>,
    /// Whether any executor of the job may have rows of its snapshot left; it changes between two barriers.
    backfilling: Arc<AtomicBool>,
    throttle: Arc<Throttle>,
    progress: Progress,
}

/// A pinned snapshot.
struct Backfill {
    snapshot: Arc<TableSnapshot>,
    /// Distinct rows by key group.
    rows: Vec<u64>,
    // Derived: key groups found to be done when last looked at, so that looking again costs
    // nothing.
    done: KeyGroupSet,
}

impl Scan {
    /// A scan of the first `width` columns that backfills from `snapshot`, if there is one.
    ///
    /// # Errors
    /// If the snapshot cannot be read.
    pub fn new(
        width: usize,
        snapshot: Option<Arc<TableSnapshot>>,
        backfilling: Arc<AtomicBool>,
        throttle: Arc<Throttle>,
        progress: StateTable,
    ) -> Result<Self> {
        Ok(Self {
            columns: (0..width).collect(),
            backfill: snapshot.map(Backfill::new).transpose()?,
            backfilling,
            throttle,
            progress: Progress::new(progress),
        })
    }

    /// The schemas of its state tables.
    #[must_use]
    pub fn table_schemas() -> Vec<TableSchema> {
        vec![Progress::table_schema()]
    }
}

impl Backfill {
    fn new(snapshot: Arc<TableSnapshot>) -> Result<Self> {
        let mut rows = Vec::with_capacity(snapshot.partitions.len());
        for partition in &snapshot.partitions {
            let batches = match partition {
                Some(partition) => partition.batches_with_weights(Some(&[]))?,
                None => Vec::new(),
            };
            rows.push(
                batches
                    .iter()
                    .map(|(_, weights)| weights.len() as u64)
                    .sum(),
            );
        }
        Ok(Self {
            snapshot,
            rows,
            done: KeyGroupSet::new(),
        })
    }

    fn rows_of(&self, key_group: KeyGroup) -> u64 {
        let rows = self.rows.get(usize::from(key_group.0));
        rows.copied().unwrap_or(0)
    }

    /// Key groups with rows to come, and how many have been pushed.
    fn unfinished(&self, progress: &Progress) -> Vec<(KeyGroup, u64)> {
        let owned = progress.owned();
        let open: Vec<KeyGroup> = owned
            .iter()
            .filter(|&key_group| !self.done.contains(key_group) && self.rows_of(key_group) > 0)
            .collect();
        if open.is_empty() {
            return Vec::new();
        }
        let pushed = progress.get(&open);
        open.into_iter().zip(pushed).collect()
    }

    /// At most `limit` rows of a key group, those after the first `pushed`.
    fn read(
        &self,
        key_group: KeyGroup,
        columns: &[usize],
        pushed: u64,
        limit: usize,
    ) -> Result<Vec<ChangeBatch>> {
        let mut pieces = Vec::new();
        let Some(Some(partition)) = self.snapshot.partitions.get(usize::from(key_group.0)) else {
            return Ok(pieces);
        };
        for (columns, weights) in partition.part_with_weights(columns, pushed as usize, limit)? {
            let run = Run {
                key_group,
                rows: 0..weights.len(),
            };
            let weights = weights
                .iter()
                .any(|&weight| weight != 1)
                .then(|| weights.into());
            pieces.push(ChangeBatch::new(columns, weights, Arc::from([run])));
        }
        Ok(pieces)
    }
}

impl Operator for Scan {
    fn on_batch(&mut self, _input: usize, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        if batch.columns().num_columns() == self.columns.len() {
            out.push(batch);
        } else {
            out.push(batch.with_columns(batch.columns().project(&self.columns)?));
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.progress.table()]
    }

    fn poll(&mut self, out: &mut Output) -> Result<bool> {
        let Some(backfill) = &mut self.backfill else {
            return Ok(false);
        };
        let unfinished = backfill.unfinished(&self.progress);
        if unfinished.is_empty() {
            return Ok(false);
        }
        let mut room = self.throttle.take(POLL_ROWS_MAX);
        let (mut pieces, mut steps) = (Vec::new(), Vec::new());
        for (key_group, pushed) in unfinished {
            if room == 0 {
                break;
            }
            let found = backfill.read(key_group, &self.columns, pushed, room)?;
            let rows: usize = found.iter().map(ChangeBatch::num_rows).sum();
            if rows == 0 {
                backfill.done.insert(key_group);
                continue;
            }
            pieces.extend(found);
            steps.push((key_group, rows as u64));
            room -= rows;
        }
        self.throttle.give_back(room);
        if pieces.is_empty() {
            return Ok(false);
        }
        out.push(ChangeBatch::concat(&pieces));
        self.progress.advance(&steps)?;
        Ok(true)
    }

    fn backfill_remaining(&self) -> u64 {
        let Some(backfill) = &self.backfill else {
            return 0;
        };
        let unfinished = backfill.unfinished(&self.progress);
        unfinished
            .into_iter()
            .map(|(key_group, pushed)| backfill.rows_of(key_group).saturating_sub(pushed))
            .sum()
    }

    fn end_backfill(&mut self) {
        self.backfill = None;
    }

    /// Rows of the snapshot may be earlier than the watermark of those that come now.
    fn passes_watermarks(&self) -> bool {
        self.backfill.is_none() || !self.backfilling.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use planner::RelationId;
    use planner::dataflow::{Distribution, Fragment, Input, Node, Upstream};
    use rand::Rng;

    use super::*;
    use crate::operators::testing::{
        KEY_GROUPS, RandomInput, TextRows, Twins, context, for_seeds, fragment, input_node,
        small_or_null, two_columns,
    };

    /// A table with the rows of `input`, and its snapshot.
    fn upstream(input: &mut RandomInput, random: &mut rand::rngs::StdRng) -> Arc<TableSnapshot> {
        let node = Node::Materialize {
            input: Box::new(input_node(&[0], &two_columns())),
            key: vec![],
        };
        let mut table = Twins::new(&fragment(node, &[(two_columns(), vec![0])]), &context());
        for _ in 0..40 {
            for batch in input.epoch(random) {
                table.send(0, &batch);
            }
            table.barrier(true);
        }
        let partitions = (0..KEY_GROUPS).map(|g| table.visible.get(&KeyGroup(g)).cloned());
        Arc::new(TableSnapshot {
            partitions: partitions.collect(),
        })
    }

    /// A view over one relation, twice.
    fn twice() -> Fragment {
        let input = Input {
            from: Upstream::Relation(RelationId(7)),
            schema: two_columns(),
            distribution: Distribution::Forward,
            watermarks: Vec::new(),
        };
        Fragment {
            root: input_node(&[0, 1], &two_columns()),
            inputs: vec![input.clone(), input],
        }
    }

    fn random_input() -> RandomInput {
        RandomInput::new(&two_columns(), |random| {
            format!(
                "{} | {}",
                small_or_null(random, 300),
                small_or_null(random, 9)
            )
        })
    }

    #[test]
    fn snapshot_and_changes_add_up_while_key_groups_move() {
        for_seeds(|random| {
            let mut input = random_input();
            let snapshot = upstream(&mut input, random);
            let mut context = context();
            context.snapshots = vec![Some(Arc::clone(&snapshot)), None];
            let mut twins = Twins::new(&twice(), &context);
            while twins
                .instances
                .iter()
                .any(|instance| instance.backfill_remaining() > 0)
            {
                let before: u64 = twins.instances.iter().map(|i| i.backfill_remaining()).sum();
                assert!(twins.poll(), "rows remain");
                let after: u64 = twins.instances.iter().map(|i| i.backfill_remaining()).sum();
                assert!(after < before);
                for batch in input.epoch(random) {
                    twins.send(0, &batch.keyed(&[0], KEY_GROUPS));
                }
                twins.move_key_groups(random);
                twins.barrier(random.random_bool(0.5));
            }
            assert!(!twins.poll());
            assert_eq!(twins.result, TextRows::of(&[input.rows()]));
        });
    }

    #[test]
    fn a_backfill_goes_on_where_its_key_group_was() {
        for_seeds(|random| {
            let mut input = random_input();
            let snapshot = upstream(&mut input, random);
            let backfill = Backfill::new(Arc::clone(&snapshot)).unwrap();
            let mut rows = TextRows::default();
            for key_group in (0..KEY_GROUPS).map(KeyGroup) {
                let mut pushed = 0;
                loop {
                    let limit = random.random_range(1..20);
                    let pieces = backfill.read(key_group, &[0, 1], pushed, limit).unwrap();
                    let read: usize = pieces.iter().map(ChangeBatch::num_rows).sum();
                    assert!(read <= limit);
                    pieces.iter().for_each(|piece| rows.add(piece));
                    if read == 0 {
                        break;
                    }
                    pushed += read as u64;
                }
                assert_eq!(pushed, backfill.rows_of(key_group));
            }
            assert_eq!(rows, TextRows::of(&[input.rows()]));
        });
    }

    #[test]
    fn without_a_snapshot_nothing_is_polled() {
        let mut context = context();
        context.snapshots = vec![None, None];
        let mut twins = Twins::new(&twice(), &context);
        assert!(!twins.poll());
        assert_eq!(twins.instances[0].backfill_remaining(), 0);
    }
}
