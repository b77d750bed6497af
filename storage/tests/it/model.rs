//! State tables against a map, over random changes, commits, moves, encodings and restarts.
//!
//! Two tables share the key groups of one state table, as two executors do; a store in memory gets
//! their deltas, some time after the commit. Rows go to disk alone and come back. After every step what they say must be what the map says. `SEEDS=n` sets how many
//! runs there are; a failing one prints its seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::i256;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use scaling::{Epoch, KeyGroup};
use storage::memory_kv::MemoryKv;
use storage::{
    Checkpoint, FloatSum, MeasureColumn, MeasureType, Measures, NullEquality, PartitionState, Run,
    StateMemory, StateTable, Storage, TableId, TableSchema, hash_rows, key_group,
};

use crate::rows::{build, load_all, pools, schema_of, texts};

const KEY_GROUPS: u16 = 5;

/// Measures of a row, all as text, so that every type compares alike.
type Values = Vec<i128>;
type Row = (KeyGroup, Vec<String>);
type Model = BTreeMap<Row, Values>;

struct World {
    random: StdRng,
    pools: Vec<ArrayRef>,
    schema: TableSchema,
    tables: [StateTable; 2],
    owner: Vec<usize>,
    now: Model,
    touched: BTreeMap<Row, Values>,
    durable: Model,
    storage: Arc<Storage>,
    /// A checkpoint that is being written, and the rows that it makes durable.
    writing: Option<(Checkpoint, Model)>,
    /// Rows that were on disk alone at some time.
    evicted: u64,
    kv: Arc<MemoryKv>,
    epoch: u64,
    snapshots: BTreeMap<KeyGroup, storage::PartitionSnapshot>,
}

#[test]
fn a_state_table_behaves_like_a_map() {
    let seeds = std::env::var("SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    let mut evicted = 0;
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        assert!(run.is_ok(), "FAILED model seed={seed}");
        evicted += run.unwrap();
    }
    assert!(evicted > 100, "{evicted} rows were on disk alone");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pools = pools();
        pools.shuffle(&mut random);
        pools.truncate(random.random_range(0..=4));
        let columns = pools.len();
        let mut key: Vec<usize> = (0..columns).collect();
        key.shuffle(&mut random);
        if random.random_bool(0.7) {
            key.truncate(random.random_range(0..=columns));
        }
        let mut measures = vec![MeasureType::Int64];
        for more in [
            MeasureType::Int128,
            MeasureType::Int256,
            MeasureType::Float64,
        ] {
            if random.random_bool(0.3) {
                measures.push(more);
            }
        }
        let visible = random.random_bool(0.4);
        let schema = TableSchema {
            id: TableId { job: 7, table: 1 },
            columns: schema_of(&pools),
            key,
            ordered_by: None,
            measures,
            visible,
            evictable: !visible && random.random_bool(0.8),
        };
        let kv = Arc::new(MemoryKv::new());
        let owner: Vec<usize> = (0..KEY_GROUPS).map(|_| random.random_range(0..2)).collect();
        let storage = Storage::open(Arc::clone(&kv) as Arc<dyn storage::kv::Kv>);
        let storage = Arc::new(storage.unwrap());
        Self {
            tables: tables(&schema, &owner, &storage),
            storage,
            writing: None,
            evicted: 0,
            random,
            pools,
            schema,
            owner,
            now: Model::new(),
            touched: Model::new(),
            durable: Model::new(),
            kv,
            epoch: 0,
            snapshots: BTreeMap::new(),
        }
    }

    fn run(mut self) -> u64 {
        for _ in 0..120 {
            match self.random.random_range(0..100) {
                0..50 => self.add(),
                50..65 => self.look_up(),
                65..73 => self.check_changed(),
                73..85 => self.barrier(),
                85..92 => self.move_key_group(),
                92..97 => self.evict(),
                _ => self.restart(),
            }
        }
        self.check_changed();
        self.barrier();
        self.restart();
        self.evicted
    }

    fn evict(&mut self) {
        if self.random.random_bool(0.5) {
            self.write();
        }
        for table in &mut self.tables {
            table.relieve().unwrap();
            let evicted = table.has_evicted();
            self.evicted += u64::from(evicted);
        }
    }

    /// Writes the checkpoint that waits for it.
    fn write(&mut self) {
        if let Some((checkpoint, durable)) = self.writing.take() {
            self.storage.checkpoint(checkpoint).unwrap();
            self.durable = durable;
        }
    }

    fn picks(&mut self, rows: usize) -> Vec<Vec<u32>> {
        let lengths: Vec<u32> = self.pools.iter().map(|pool| pool.len() as u32).collect();
        let random = &mut self.random;
        let mut row = || lengths.iter().map(|&n| random.random_range(0..n)).collect();
        (0..rows).map(|_| row()).collect()
    }

    /// Random rows sorted by key group, of one table, with their runs.
    fn rows_of(&mut self, table: usize, rows: usize) -> (Vec<ArrayRef>, Vec<Run>, usize) {
        let picks = self.picks(rows);
        let hashes = match self.pools.len() {
            0 => vec![self.random.random(); rows],
            _ => hash_rows(&build(&self.pools, &picks)),
        };
        let mut sorted: Vec<(KeyGroup, Vec<u32>)> = hashes
            .iter()
            .map(|&hash| key_group(hash, KEY_GROUPS))
            .zip(picks)
            .filter(|(group, _)| self.owner[usize::from(group.0)] == table)
            .collect();
        sorted.sort_by_key(|(group, _)| *group);
        let mut runs: Vec<Run> = Vec::new();
        for (row, (group, _)) in sorted.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if run.key_group == *group => run.rows.end = row + 1,
                _ => runs.push(Run {
                    key_group: *group,
                    rows: row..row + 1,
                }),
            }
        }
        let picks: Vec<Vec<u32>> = sorted.into_iter().map(|(_, picks)| picks).collect();
        (build(&self.pools, &picks), runs, picks.len())
    }

    fn add(&mut self) {
        let table = self.random.random_range(0..2);
        let rows = self.random.random_range(0..60);
        let (columns, runs, count) = self.rows_of(table, rows);
        let weights: Vec<i64> = (0..count)
            .map(|_| self.random.random_range(-2..=2))
            .collect();
        let deltas = Measures(
            self.schema
                .measures
                .iter()
                .map(|measure| of_weights(*measure, &weights))
                .collect(),
        );
        self.tables[table].add(&columns, &deltas, &runs).unwrap();
        let texts = texts(&columns, count);
        for run in &runs {
            for row in run.rows.clone() {
                let key = (run.key_group, texts[row].clone());
                let width = self.schema.measures.len();
                let old = self.now.get(&key).cloned().unwrap_or(vec![0; width]);
                self.touched
                    .entry(key.clone())
                    .or_insert_with(|| old.clone());
                let add = |value: &i128| value + i128::from(weights[row]);
                self.now.insert(key, old.iter().map(add).collect());
            }
        }
    }

    fn look_up(&mut self) {
        let table = self.random.random_range(0..2);
        let (columns, runs, count) = self.rows_of(table, 8);
        let key = &self.schema.key;
        let probes: Vec<ArrayRef> = key.iter().map(|&c| Arc::clone(&columns[c])).collect();
        let nulls = match self.random.random_bool(0.5) {
            true => NullEquality::NullEqualsNull,
            false => NullEquality::NullEqualsNothing,
        };
        let table = &mut self.tables[table];
        let matches = table.lookup(&probes, &runs, nulls).unwrap();
        let all: Vec<usize> = (0..columns.len()).collect();
        let found = table.gather(&matches.rows, &all).unwrap();
        let measures = values(&table.measures_of(&matches.rows));
        let mut actual: Vec<_> = texts(&found, matches.rows.len())
            .into_iter()
            .zip(measures)
            .zip(&matches.probe)
            .map(|((row, values), &probe)| (probe as usize, row, values))
            .collect();
        actual.sort();
        let probe_texts = texts(&probes, count);
        let mut expected = Vec::new();
        for run in &runs {
            for row in run.rows.clone() {
                if nulls == NullEquality::NullEqualsNothing
                    && probe_texts[row].iter().any(|cell| cell == "NULL")
                {
                    continue;
                }
                for ((group, cells), values) in &self.now {
                    let same = || {
                        let mut pairs = key.iter().zip(&probe_texts[row]);
                        pairs.all(|(&column, probe)| cells[column] == *probe)
                    };
                    if *group == run.key_group && values[0] != 0 && same() {
                        expected.push((row, cells.clone(), values.clone()));
                    }
                }
            }
        }
        expected.sort();
        assert_eq!(actual, expected);
        assert!(matches.probe.is_sorted());
    }

    fn check_changed(&mut self) {
        let mut actual = BTreeMap::new();
        for changed in self.tables.iter().flat_map(StateTable::changed) {
            let changed = changed.unwrap();
            let rows = texts(&changed.columns, changed.new.len());
            let measures = values(&changed.old).into_iter().zip(values(&changed.new));
            for (row, measures) in rows.into_iter().zip(measures) {
                let twice = actual.insert((changed.key_group, row), measures);
                assert_eq!(twice, None, "a row is reported once");
            }
        }
        let expected: BTreeMap<_, _> = self
            .touched
            .iter()
            .map(|(row, old)| (row.clone(), (old.clone(), self.now[row].clone())))
            .collect();
        assert_eq!(actual, expected);
    }

    fn barrier(&mut self) {
        let durable = self.random.random_bool(0.4);
        if durable {
            self.write();
        }
        self.epoch += 1;
        let mut deltas = Vec::new();
        for table in &mut self.tables {
            let committed = table.commit(durable).unwrap();
            deltas.extend(committed.deltas);
            self.snapshots.extend(committed.snapshots);
        }
        self.touched.clear();
        self.now
            .retain(|_, values| values.iter().any(|&value| value != 0));
        if durable {
            let checkpoint = Checkpoint {
                epoch: Epoch(self.epoch),
                deltas,
                ..Checkpoint::default()
            };
            self.writing = Some((checkpoint, self.now.clone()));
            if self.random.random_bool(0.5) {
                self.write();
            }
        } else {
            assert!(deltas.is_empty());
        }
        self.check_snapshots();
    }

    fn check_snapshots(&self) {
        if !self.schema.visible {
            assert!(self.snapshots.is_empty());
            return;
        }
        let mut once = BTreeMap::new();
        let mut repeated = BTreeMap::new();
        for (group, snapshot) in &self.snapshots {
            let mut rows = 0;
            for (batch, weights) in snapshot.batches_with_weights(None).unwrap() {
                let texts = texts(batch.columns(), batch.num_rows());
                for (row, weight) in texts.into_iter().zip(weights) {
                    once.insert((*group, row), i128::from(weight));
                }
            }
            for batch in snapshot.batches(None).unwrap() {
                rows += batch.num_rows() as u64;
                for row in texts(batch.columns(), batch.num_rows()) {
                    *repeated.entry((*group, row)).or_insert(0) += 1;
                }
            }
            assert_eq!(rows, snapshot.rows());
        }
        let expected: BTreeMap<_, _> = self
            .now
            .iter()
            .map(|(row, values)| (row.clone(), values[0]))
            .collect();
        assert_eq!(once, expected);
        let positive = expected
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .collect();
        assert_eq!(repeated, positive);
    }

    fn move_key_group(&mut self) {
        let group = self.random.random_range(0..KEY_GROUPS);
        let old_owner = self.owner[usize::from(group)];
        let mut state = self.tables[old_owner].extract(KeyGroup(group)).unwrap();
        assert!(!self.tables[old_owner].owned().contains(KeyGroup(group)));
        if self.random.random_bool(0.5) {
            let bytes = state.encode().unwrap();
            let decoded = PartitionState::decode(&bytes).unwrap();
            assert_eq!(decoded, state);
            state = decoded;
        }
        let new_owner = 1 - old_owner;
        self.tables[new_owner]
            .install(KeyGroup(group), state)
            .unwrap();
        self.owner[usize::from(group)] = new_owner;
    }

    fn restart(&mut self) {
        self.kv.crash(self.random.random());
        let storage = Storage::open(Arc::clone(&self.kv) as Arc<dyn storage::kv::Kv>);
        self.storage = Arc::new(storage.unwrap());
        self.writing = None;
        self.tables = tables(&self.schema, &self.owner, &self.storage);
        for (group, state) in load_all(&self.storage, &self.schema).unwrap() {
            assert_eq!(self.storage.load(&self.schema, group).unwrap(), state);
            self.tables[self.owner[usize::from(group.0)]]
                .install(group, state)
                .unwrap();
        }
        self.now = self.durable.clone();
        self.touched.clear();
        self.snapshots.clear();
        let rows: u64 = (0..KEY_GROUPS)
            .map(|group| {
                self.tables
                    .iter()
                    .map(|t| t.rows(KeyGroup(group)))
                    .sum::<u64>()
            })
            .sum();
        assert_eq!(rows, self.durable.len() as u64);
        self.barrier();
    }
}

/// Two tables that share the key groups, and have no memory to spare.
fn tables(schema: &TableSchema, owner: &[usize], storage: &Arc<Storage>) -> [StateTable; 2] {
    let memory = Arc::new(StateMemory::new(Arc::clone(storage), 0));
    [0, 1].map(|table| {
        let owned = (0..KEY_GROUPS).filter(|&group| owner[usize::from(group)] == table);
        let mut table = StateTable::new(schema.clone(), owned.map(KeyGroup));
        table.share(Arc::clone(&memory));
        table
    })
}

fn of_weights(measure: MeasureType, weights: &[i64]) -> MeasureColumn {
    let weights = weights.iter().copied();
    match measure {
        MeasureType::Int64 => MeasureColumn::Int64(weights.collect()),
        MeasureType::Int128 => MeasureColumn::Int128(weights.map(i128::from).collect()),
        MeasureType::Int256 => {
            MeasureColumn::Int256(weights.map(|w| i256::from_i128(w.into())).collect())
        }
        MeasureType::Float64 => {
            MeasureColumn::Float64(weights.map(|w| FloatSum::new(w as f64)).collect())
        }
        MeasureType::Greatest => unreachable!("the model adds measures up"),
    }
}

fn values(measures: &Measures) -> Vec<Values> {
    let value = |column: &MeasureColumn, row: usize| match column {
        MeasureColumn::Int64(values) => i128::from(values[row]),
        MeasureColumn::Int128(values) | MeasureColumn::Greatest(values) => values[row],
        MeasureColumn::Int256(values) => values[row].to_i128().unwrap(),
        MeasureColumn::Float64(values) => values[row].value() as i128,
    };
    (0..measures.len())
        .map(|row| measures.0.iter().map(|column| value(column, row)).collect())
        .collect()
}
