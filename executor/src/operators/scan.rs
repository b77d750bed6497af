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
//! snapshot have a fixed order. A backfill that shall go on after a restart, which no snapshot outlives,
//! keeps what it has passed on of key groups that are not complete (`passed`); it is brought up to
//! date at barriers, so of what is pushed and complete between two of them nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, SchemaRef};
use scaling::{KeyGroup, KeyGroupSet};
use storage::{Run, StateTable, TableSchema};

use super::passed::{Backlog, Passed, Pushed};
use super::progress::Progress;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operator::{Barrier, Operator, Output};
use crate::throttle::Throttle;

/// Most rows of a snapshot pushed by one call.
const POLL_ROWS_MAX: usize = 4096;

/// What a scan backfills from, and how.
pub struct ScanPlan {
    /// Columns of the relation that it knows; later ones are cut off.
    pub width: usize,
    /// The rows to push, if there are any.
    pub backlog: Option<Backlog>,
    /// Whether the backfill goes on after a restart.
    pub resumable: bool,
    /// Whether any executor of the job may have rows left; it changes between two barriers.
    pub backfilling: Arc<AtomicBool>,
    /// How fast it may go.
    pub throttle: Arc<Throttle>,
}

/// Passes changes on, and the rows of a pinned snapshot when polled.
///
/// Output: the relation's columns, in the key groups the rows have there.
pub struct Scan {
    columns: Vec<usize>,
    backfill: Option<Backfill>,
    resumable: bool,
    backfilling: Arc<AtomicBool>,
    throttle: Arc<Throttle>,
    progress: Progress,
    passed: Passed,
}

/// A pinned snapshot.
struct Backfill {
    backlog: Backlog,
    /// Distinct rows by key group.
    rows: Vec<u64>,
    // Derived: key groups found to be complete when last looked at, so that looking again costs
    // nothing.
    complete: KeyGroupSet,
}

impl Scan {
    /// A scan with these state tables, whose schemas are [`Scan::table_schemas`].
    ///
    /// # Errors
    /// If the snapshot cannot be read.
    pub fn new(plan: ScanPlan, progress: StateTable, passed: StateTable) -> Result<Self> {
        Ok(Self {
            columns: (0..plan.width).collect(),
            backfill: plan.backlog.map(Backfill::new).transpose()?,
            resumable: plan.resumable,
            backfilling: plan.backfilling,
            throttle: plan.throttle,
            progress: Progress::new(progress),
            passed: Passed::new(passed),
        })
    }

    /// The schemas of its state tables: how far it is, and what it has passed on.
    #[must_use]
    pub fn table_schemas(columns: &SchemaRef) -> [TableSchema; 2] {
        [Progress::table_schema(), Passed::table_schema(columns)]
    }

    /// Notes changes that are passed on, those of key groups that are not complete.
    fn note(&mut self, batch: &ChangeBatch) -> Result<()> {
        let Some(backfill) = self.backfill.as_mut().filter(|_| self.resumable) else {
            return Ok(());
        };
        let key_groups = batch.runs().iter().map(|run| run.key_group);
        let key_groups: Vec<KeyGroup> = key_groups.collect();
        let open = backfill.open(&self.progress, &key_groups);
        let open: KeyGroupSet = open.into_iter().map(|(key_group, _)| key_group).collect();
        let is_open = |run: &&Run| open.contains(run.key_group);
        let runs: Vec<Run> = batch.runs().iter().filter(is_open).cloned().collect();
        match runs.is_empty() {
            true => Ok(()),
            false => self.passed.add(batch, &runs),
        }
    }

    /// The key groups that the epoch pushed rows of, and how many they had pushed before it.
    fn pushed_before_epoch(&mut self) -> Result<BTreeMap<KeyGroup, Pushed>> {
        let mut before = BTreeMap::new();
        for changed in self.progress.table().changed() {
            let changed = changed?;
            let key_groups = changed.columns[0].as_primitive::<Int32Type>().values();
            let numbers = changed.old.int64(0).expect("progress is a number");
            for (&key_group, &number) in key_groups.iter().zip(numbers) {
                let pushed = Pushed::from(number.unsigned_abs());
                before.insert(KeyGroup(key_group as u16), pushed);
            }
        }
        Ok(before)
    }
}

impl Backfill {
    fn new(backlog: Backlog) -> Result<Self> {
        let mut rows = Vec::with_capacity(backlog.snapshot.partitions.len());
        for partition in &backlog.snapshot.partitions {
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
            backlog,
            rows,
            complete: KeyGroupSet::new(),
        })
    }

    fn rows_of(&self, key_group: KeyGroup) -> u64 {
        let rows = self.rows.get(key_group.index());
        rows.copied().unwrap_or(0)
    }

    /// How many rows of the snapshot have been pushed.
    fn position(&self, key_group: KeyGroup, pushed: Pushed) -> u64 {
        let before = self.backlog.pushed_before.get(key_group.index());
        pushed.rows - before.copied().unwrap_or(0)
    }

    /// Those of some key groups that are not known to be complete, with their positions.
    fn open(&mut self, progress: &Progress, of: &[KeyGroup]) -> Vec<(KeyGroup, u64)> {
        let unsure = of.iter().copied();
        let unsure = unsure.filter(|&key_group| !self.complete.contains(key_group));
        let unsure: Vec<KeyGroup> = unsure.collect();
        if unsure.is_empty() {
            return Vec::new();
        }
        let mut open = Vec::with_capacity(unsure.len());
        for (&key_group, number) in unsure.iter().zip(progress.get(&unsure)) {
            let pushed = Pushed::from(number);
            if pushed.is_complete {
                self.complete.insert(key_group);
            } else {
                open.push((key_group, self.position(key_group, pushed)));
            }
        }
        open
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
        let partition = self.backlog.snapshot.partitions.get(key_group.index());
        let Some(Some(partition)) = partition else {
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
        let batch = match batch.columns().num_columns() == self.columns.len() {
            true => batch,
            false => batch.with_columns(batch.columns().project(&self.columns)?),
        };
        self.note(&batch)?;
        out.push(batch);
        Ok(())
    }

    /// Finds key groups that are complete; of others, notes what was pushed.
    fn on_barrier(&mut self, _barrier: &Barrier, _out: &mut Output) -> Result<()> {
        if self.backfill.is_none() {
            return Ok(());
        }
        let before = self.pushed_before_epoch()?;
        let Some(backfill) = &mut self.backfill else {
            return Ok(());
        };
        let owned: Vec<KeyGroup> = self.progress.owned().iter().collect();
        let mut steps = Vec::new();
        for (key_group, position) in backfill.open(&self.progress, &owned) {
            if position >= backfill.rows_of(key_group) {
                match self.resumable {
                    true => {
                        steps.push((key_group, Pushed::COMPLETE));
                        self.passed.forget(key_group)?;
                    }
                    // The position says so to whoever has the same snapshot.
                    false => {
                        backfill.complete.insert(key_group);
                    }
                }
                continue;
            }
            let Some(&pushed) = before.get(&key_group).filter(|_| self.resumable) else {
                continue;
            };
            let from = backfill.position(key_group, pushed);
            let count = (position - from) as usize;
            for piece in backfill.read(key_group, &self.columns, from, count)? {
                self.passed.add(&piece, piece.runs())?;
            }
        }
        if !steps.is_empty() {
            self.progress.advance(&steps)?;
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.progress.table(), self.passed.table()]
    }

    fn poll(&mut self, out: &mut Output) -> Result<bool> {
        let Some(backfill) = &mut self.backfill else {
            return Ok(false);
        };
        let owned: Vec<KeyGroup> = self.progress.owned().iter().collect();
        let mut open = backfill.open(&self.progress, &owned);
        open.retain(|&(key_group, position)| position < backfill.rows_of(key_group));
        if open.is_empty() {
            return Ok(false);
        }
        let mut room = self.throttle.take(POLL_ROWS_MAX);
        let (mut pieces, mut steps) = (Vec::new(), Vec::new());
        for (key_group, position) in open {
            if room == 0 {
                break;
            }
            let found = backfill.read(key_group, &self.columns, position, room)?;
            let rows: usize = found.iter().map(ChangeBatch::num_rows).sum();
            pieces.extend(found);
            steps.push((key_group, Pushed::step(rows as u64)));
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
        let owned = self.progress.owned();
        let unsure: Vec<KeyGroup> = owned
            .iter()
            .filter(|&key_group| !backfill.complete.contains(key_group))
            .collect();
        if unsure.is_empty() {
            return 0;
        }
        let left = |(&key_group, number): (&KeyGroup, u64)| match Pushed::from(number) {
            Pushed {
                is_complete: true, ..
            } => 0,
            pushed => backfill
                .rows_of(key_group)
                .saturating_sub(backfill.position(key_group, pushed)),
        };
        let numbers = self.progress.get(&unsure);
        unsure.iter().zip(numbers).map(left).sum()
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
    use storage::TableSnapshot;

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
            let backfill = Backfill::new(Backlog::from(Arc::clone(&snapshot))).unwrap();
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
