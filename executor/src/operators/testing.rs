//! What the operators' property tests share: two instances of a fragment between which key groups
//! move at random, random inputs with retractions, and DataFusion's batch engine as the oracle. There is
//! no memory for state: whatever can be is on disk alone between two batches.
//!
//! ```text
//!   random changes ─► cut into batches ─► keyed ─► owner's instance ─► result, a Z-set
//!                                                   ▲ extract │ install, at any time
//!   all input so far ─► SQL in the batch engine ─► must equal the result at each barrier
//! ```
//!
//! A failing run prints its seed; `SEEDS=n` runs more of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};
use planner::dataflow::{Distribution, Fragment, Input, Node, Upstream};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use scaling::{Epoch, KeyGroup};
use storage::memory_kv::MemoryKv;
use storage::{
    Checkpoint, PartitionSnapshot, PartitionState, Run, StateMemory, StateSize, Storage,
};

use crate::change::ChangeBatch;
use crate::operator::{Barrier, Output, Watermarks};
use crate::operators::RowErrors;
use crate::pipeline::{Context, Pipeline};
use crate::sources::Clock;

pub(crate) const KEY_GROUPS: u16 = 16;

/// A clock that stands still until it is told to go on.
#[derive(Default)]
pub(crate) struct ManualClock {
    pub(crate) nanoseconds: AtomicU64,
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn time_of_day(&self) -> i64 {
        self.now().as_micros().try_into().unwrap()
    }
}

pub(crate) fn context() -> Context {
    let storage = Storage::open(Arc::new(MemoryKv::new())).unwrap();
    Context {
        key_groups: KEY_GROUPS,
        memory: Arc::new(StateMemory::new(Arc::new(storage), 0)),
        errors: RowErrors::new(),
        backfilling: Arc::new(AtomicBool::new(false)),
        throttle: Arc::default(),
        clock: Arc::new(ManualClock::default()),
        nexmark_events: None,
        snapshots: Vec::new(),
        backlogs: BTreeMap::new(),
        resumable: true,
    }
}

/// Nullable columns.
pub(crate) fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Two nullable integers, `a` and `b`.
pub(crate) fn two_columns() -> SchemaRef {
    schema(&[("a", DataType::Int64), ("b", DataType::Int64)])
}

/// Calls `test` with seeds 0, 1, …; the panic of a failing one names its seed.
pub(crate) fn for_seeds(test: impl Fn(&mut StdRng)) {
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok());
    for seed in 0..seeds.unwrap_or(8_u64) {
        let run = std::panic::AssertUnwindSafe(|| test(&mut StdRng::seed_from_u64(seed)));
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A Z-set of rows as text, without zero weights.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct TextRows(pub(crate) BTreeMap<String, i64>);

impl TextRows {
    pub(crate) fn add(&mut self, batch: &ChangeBatch) {
        for line in batch.to_text().lines() {
            let (weight, row) = line.split_once(" | ").unwrap_or((line, ""));
            let entry = self.0.entry(row.to_owned()).or_default();
            *entry += weight.parse::<i64>().unwrap();
            if *entry == 0 {
                self.0.remove(row);
            }
        }
    }

    pub(crate) fn of(batches: &[RecordBatch]) -> Self {
        let mut rows = Self::default();
        for batch in batches {
            rows.add(&ChangeBatch::unkeyed(batch.clone(), None));
        }
        rows
    }
}

/// Two instances of a fragment, each with some of the key groups.
pub(crate) struct Twins {
    pub(crate) instances: [Pipeline; 2],
    owners: Vec<usize>,
    distributions: Vec<Distribution>,
    epoch: Epoch,
    /// What `now()` is at the next barrier.
    pub(crate) time: i64,
    /// The watermarks of the inputs at the next barrier.
    pub(crate) watermarks: Vec<Watermarks>,
    /// The output, added up.
    pub(crate) result: TextRows,
    memory: Arc<StateMemory>,
    /// A checkpoint that is being written.
    writing: Option<Checkpoint>,
    /// What readers see, if the fragment is materialized.
    pub(crate) visible: BTreeMap<KeyGroup, PartitionSnapshot>,
}

impl Twins {
    /// Key groups of even number belong to the first instance.
    pub(crate) fn new(fragment: &Fragment, context: &Context) -> Self {
        let owners: Vec<usize> = (0..usize::from(KEY_GROUPS))
            .map(|group| group % 2)
            .collect();
        let instances = [0, 1].map(|instance| {
            let owned = (0..KEY_GROUPS).map(KeyGroup);
            let owned = owned.filter(|group| owners[usize::from(group.0)] == instance);
            Pipeline::build(fragment, 1, 0, owned, context).unwrap()
        });
        Self {
            instances,
            owners,
            distributions: fragment
                .inputs
                .iter()
                .map(|input| input.distribution.clone())
                .collect(),
            epoch: Epoch(0),
            time: 0,
            watermarks: vec![Watermarks::default(); fragment.inputs.len()],
            result: TextRows::default(),
            memory: Arc::clone(&context.memory),
            writing: None,
            visible: BTreeMap::new(),
        }
    }

    /// Gives a batch without keys to the owners of its rows. Forwarded inputs must be keyed
    /// already.
    pub(crate) fn send(&mut self, input: usize, batch: &ChangeBatch) {
        let keyed = match &self.distributions[input] {
            Distribution::Hash(key) => batch.keyed(key, KEY_GROUPS),
            Distribution::Forward => batch.clone(),
        };
        let owners = &self.owners;
        let parts = keyed.partition(|group| owners[usize::from(group.0)], 2);
        for (instance, part) in parts.into_iter().enumerate() {
            let Some(part) = part else { continue };
            let mut out = Output::new();
            self.instances[instance]
                .on_batch(input, part, &mut out)
                .unwrap();
            self.instances[instance].relieve().unwrap();
            self.collect(&mut out);
        }
    }

    /// Polls both instances; whether any produced rows.
    pub(crate) fn poll(&mut self) -> bool {
        let mut any = false;
        for instance in 0..2 {
            let mut out = Output::new();
            any |= self.instances[instance].poll(&mut out).unwrap();
            self.collect(&mut out);
        }
        any
    }

    /// Ends the epoch in both instances.
    pub(crate) fn barrier(&mut self, durable: bool) {
        self.epoch = Epoch(self.epoch.0 + 1);
        self.write_checkpoint();
        let mut deltas = Vec::new();
        let barrier = Barrier {
            epoch: self.epoch,
            durable,
            time: self.time,
        };
        for instance in 0..2 {
            let mut out = Output::new();
            self.instances[instance]
                .on_barrier(&barrier, &self.watermarks, &mut out)
                .unwrap();
            self.collect(&mut out);
            for table in self.instances[instance].tables() {
                let committed = table.commit(durable).unwrap();
                self.visible.extend(committed.snapshots);
                deltas.extend(committed.deltas);
            }
            self.instances[instance].relieve().unwrap();
            if durable {
                check_sizes(&mut self.instances[instance]);
            }
        }
        if durable {
            self.writing = Some(Checkpoint {
                epoch: self.epoch,
                deltas,
                ..Checkpoint::default()
            });
        }
        // Every other one is written some time later.
        if self.epoch.0.is_multiple_of(2) {
            self.write_checkpoint();
        }
    }

    fn write_checkpoint(&mut self) {
        if let Some(checkpoint) = self.writing.take() {
            self.memory.storage().checkpoint(checkpoint).unwrap();
        }
    }

    /// Moves some key groups to the other instance, encoded as they would be on a wire.
    pub(crate) fn move_key_groups(&mut self, random: &mut StdRng) {
        for _ in 0..random.random_range(1..4) {
            let key_group = KeyGroup(random.random_range(0..KEY_GROUPS));
            let owner = &mut self.owners[usize::from(key_group.0)];
            let [first, second] = &mut self.instances;
            let (old, new) = if *owner == 0 {
                (first, second)
            } else {
                (second, first)
            };
            *owner = 1 - *owner;
            for (old, new) in old.tables().into_iter().zip(new.tables()) {
                let state = old.extract(key_group).unwrap().encode().unwrap();
                new.install(key_group, PartitionState::decode(&state).unwrap())
                    .unwrap();
            }
        }
    }

    /// The rows readers see.
    pub(crate) fn visible_rows(&self) -> TextRows {
        let partitions = self.visible.values();
        let batches: Vec<RecordBatch> = partitions
            .flat_map(|partition| partition.batches(None).unwrap())
            .collect();
        TextRows::of(&batches)
    }

    fn collect(&mut self, out: &mut Output) {
        for batch in out.drain() {
            self.result.add(&batch);
        }
    }
}

/// A table has what its key groups have.
fn check_sizes(pipeline: &mut Pipeline) {
    for table in pipeline.tables() {
        let mut sum = StateSize::default();
        for key_group in &table.owned() {
            sum.add(&table.size_of(key_group));
        }
        assert_eq!(table.size(), sum, "{:?}", table.schema().id);
    }
}

/// A fragment whose inputs come from other fragments, hashed by the given columns.
pub(crate) fn fragment(root: Node, inputs: &[(SchemaRef, Vec<usize>)]) -> Fragment {
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(index, (schema, key))| Input {
            from: Upstream::Fragment(index),
            schema: Arc::clone(schema),
            distribution: Distribution::Hash(key.clone()),
            watermarks: Vec::new(),
        })
        .collect();
    Fragment { root, inputs }
}

pub(crate) fn input_node(inputs: &[usize], schema: &SchemaRef) -> Node {
    Node::Input {
        inputs: inputs.to_vec(),
        schema: Arc::clone(schema),
    }
}

/// Sends random changes of a table `t` of [`two_columns`], hashed by `key`, through the operator
/// that `root` puts over it. What comes out adds up to the result of `query` at each barrier.
pub(crate) fn assert_equals_batch_query(root: impl Fn(Box<Node>) -> Node, key: usize, query: &str) {
    let columns = two_columns();
    for_seeds(|random| {
        let mut input = RandomInput::new(&columns, |random| {
            format!(
                "{} | {}",
                small_or_null(random, 9),
                small_or_null(random, 4)
            )
        });
        let root = root(Box::new(input_node(&[0], &columns)));
        let inputs = [(columns.clone(), vec![key])];
        let mut twins = Twins::new(&fragment(root, &inputs), &context());
        for _ in 0..10 {
            for batch in input.epoch(random) {
                twins.send(0, &batch);
            }
            twins.barrier(true);
            assert_eq!(twins.result, batch_query(&[("t", input.rows())], query));
        }
    });
}

/// The rows of an input so far, and changes to it that keep it valid at each barrier.
pub(crate) struct RandomInput {
    schema: SchemaRef,
    cells: Box<dyn Fn(&mut StdRng) -> String>,
    live: Vec<String>,
    /// How often a change takes a row back.
    deletes: f64,
}

impl RandomInput {
    /// An input whose rows are what `cells` writes, as `ChangeBatch::from_text` reads them without
    /// the weight.
    pub(crate) fn new(schema: &SchemaRef, cells: impl Fn(&mut StdRng) -> String + 'static) -> Self {
        Self {
            schema: Arc::clone(schema),
            cells: Box::new(cells),
            live: Vec::new(),
            deletes: 0.45,
        }
    }

    /// The same, without deletes.
    pub(crate) fn append_only(self) -> Self {
        Self {
            deletes: 0.0,
            ..self
        }
    }

    /// The changes of an epoch, in batches: inserts, and deletes of rows of this or earlier epochs if
    /// there are any, in any order.
    pub(crate) fn epoch(&mut self, random: &mut StdRng) -> Vec<ChangeBatch> {
        let mut changes = Vec::new();
        for _ in 0..random.random_range(0..60) {
            if !self.live.is_empty() && random.random_bool(self.deletes) {
                let row = self
                    .live
                    .swap_remove(random.random_range(0..self.live.len()));
                changes.push(format!("-1 | {row}"));
            } else {
                let row = (self.cells)(random);
                let copies = if random.random_bool(0.1) { 3 } else { 1 };
                changes.push(format!("+{copies} | {row}"));
                self.live.extend(std::iter::repeat_n(row, copies));
            }
        }
        changes.shuffle(random);
        let mut batches = Vec::new();
        while !changes.is_empty() {
            let rest = changes.split_off(random.random_range(1..=changes.len()));
            batches.push(ChangeBatch::from_text(&self.schema, &changes.join("\n")));
            changes = rest;
        }
        batches
    }

    /// All rows.
    pub(crate) fn rows(&self) -> RecordBatch {
        let text: Vec<String> = self.live.iter().map(|row| format!("+1 | {row}")).collect();
        ChangeBatch::from_text(&self.schema, &text.join("\n"))
            .columns()
            .clone()
    }
}

/// The result of a query over tables, in the batch engine.
pub(crate) fn batch_query(tables: &[(&str, RecordBatch)], query: &str) -> TextRows {
    let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for (name, rows) in tables {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).unwrap();
        session.register_table(*name, Arc::new(table)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let batches = runtime.block_on(async {
        let frame = session.sql(query).await.unwrap();
        frame.collect().await.unwrap()
    });
    TextRows::of(&batches)
}

/// A SQL expression over the columns of a schema.
pub(crate) fn expression(schema: &SchemaRef, sql: &str) -> Arc<dyn PhysicalExpr> {
    let session = SessionContext::new();
    let columns = datafusion::common::DFSchema::try_from(schema.as_ref().clone()).unwrap();
    let expression = session.parse_sql_expr(sql, &columns).unwrap();
    session.create_physical_expr(expression, &columns).unwrap()
}

/// Random small integers, sometimes NULL.
pub(crate) fn small_or_null(random: &mut StdRng, values: i64) -> String {
    match random.random_range(0..8) {
        0 => "NULL".to_owned(),
        _ => random.random_range(0..values).to_string(),
    }
}

/// A keyed batch's runs, as `key group: rows`.
pub(crate) fn runs_to_text(runs: &[Run]) -> String {
    let runs: Vec<String> = runs
        .iter()
        .map(|run| format!("{}: {:?}", run.key_group.0, run.rows))
        .collect();
    runs.join(", ")
}

/// All rows of some output as one table.
pub(crate) fn output_to_text(out: &mut Output) -> String {
    out.drain().map(|batch| batch.to_text()).collect()
}
