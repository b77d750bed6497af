//! Reads by key against a sorted map of the rows, over random changes and commits.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scaling::KeyGroup;
use storage::{
    Direction, KeyOrder, KeyRead, MeasureType, Measures, Next, PartitionSnapshot, Run, StateTable,
    TableId, TableSchema, TableSnapshot, hash_rows, key_group,
};

const KEY_GROUPS: u16 = 7;

/// A key as it is sorted: a number, `None` last, and text.
type Key = (bool, i64, String);

struct World {
    random: StdRng,
    table: StateTable,
    snapshots: BTreeMap<KeyGroup, PartitionSnapshot>,
    /// Weights of rows.
    rows: BTreeMap<Key, i64>,
}

impl World {
    fn new(seed: u64) -> World {
        let schema = TableSchema {
            id: TableId { job: 1, table: 0 },
            columns: Arc::new(Schema::new(vec![
                Field::new("text", DataType::Utf8, true),
                Field::new("number", DataType::Int64, true),
            ])),
            key: vec![1],
            ordered_by: None,
            measures: vec![MeasureType::Int64],
            visible: true,
            evictable: false,
        };
        World {
            random: StdRng::seed_from_u64(seed),
            table: StateTable::new(schema, (0..KEY_GROUPS).map(KeyGroup)),
            snapshots: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }

    /// Adds some rows, takes others away, and commits.
    fn change(&mut self) {
        let mut changes: Vec<(Key, i64)> = Vec::new();
        for _ in 0..self.random.random_range(1..200) {
            let number = self.random.random_range(0..60);
            let text = format!("{:03}", self.random.random_range(0..8));
            let key = match number {
                0 => (true, 0, text),
                number => (false, number - 30, text),
            };
            let weight = self.rows.get(&key).copied().unwrap_or(0);
            let change = match self.random.random_range(0..3) {
                0 => -weight,
                more => more,
            };
            self.rows.insert(key.clone(), weight + change);
            changes.push((key, change));
        }
        self.rows.retain(|_, weight| *weight != 0);
        let group_of = |key: &Key| key_group(hash_rows(&[number(key)])[0], KEY_GROUPS);
        changes.sort_by_key(|(key, _)| group_of(key));
        let mut runs: Vec<Run> = Vec::new();
        for (row, (key, _)) in changes.iter().enumerate() {
            let key_group = group_of(key);
            match runs.last_mut().filter(|run| run.key_group == key_group) {
                Some(run) => run.rows.end = row + 1,
                None => runs.push(Run {
                    key_group,
                    rows: row..row + 1,
                }),
            }
        }
        let numbers = changes
            .iter()
            .map(|((null, n, _), _)| (!null).then_some(*n));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(
                changes.iter().map(|c| &c.0.2),
            )),
            Arc::new(numbers.collect::<Int64Array>()),
        ];
        let weights = Measures::weights(changes.iter().map(|change| change.1).collect());
        self.table.add(&columns, &weights, &runs).unwrap();
        let durable = self.random.random_bool(0.3);
        let committed = self.table.commit(durable).unwrap();
        self.snapshots.extend(committed.snapshots);
    }

    fn snapshot(&self) -> TableSnapshot {
        let of = |group| self.snapshots.get(&KeyGroup(group)).cloned();
        TableSnapshot {
            partitions: (0..KEY_GROUPS).map(of).collect(),
        }
    }

    fn check(&mut self) {
        let snapshot = self.snapshot();
        let schema = snapshot
            .partitions
            .iter()
            .flatten()
            .next()
            .unwrap()
            .schema();
        let order = KeyOrder::new(&schema, &[1, 0]).unwrap();
        let mut bound = || {
            let value: ArrayRef =
                Arc::new(Int64Array::from(vec![self.random.random_range(-30..30)]));
            match self.random.random_range(0..3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(value),
                _ => Bound::Excluded(value),
            }
        };
        let (low, high) = (bound(), bound());
        let is_in = |key: &Key| match (&low, &high) {
            (Bound::Unbounded, Bound::Unbounded) => !key.0,
            _ => !key.0 && above(&low, key.1) && below(&high, key.1),
        };
        let next = Next::Between(low.clone(), high.clone());
        let range = order.range(&[], &next).unwrap();
        let expected: Vec<&Key> = self
            .rows
            .iter()
            .filter(|(key, _)| is_in(key))
            .flat_map(|(key, weight)| std::iter::repeat_n(key, *weight as usize))
            .collect();
        let part = self.random.random_range(1..50);
        let read = |direction| {
            let read = snapshot.read(&order, std::slice::from_ref(&range), direction);
            all(read.unwrap(), part)
        };
        let ascending = read(Direction::Ascending);
        assert!(ascending.iter().eq(expected.iter().copied()));
        let descending = read(Direction::Descending);
        assert!(descending.iter().eq(expected.iter().rev().copied()));
        let mut rest = snapshot
            .read(&order, std::slice::from_ref(&range), Direction::Ascending)
            .unwrap();
        let first = rest.next(&[0, 1], part).unwrap();
        let mut with_rest: Vec<Key> = first.iter().flat_map(keys_of).collect();
        while let Some(batch) = rest.next_chunk(&[0, 1]).unwrap() {
            with_rest.extend(keys_of(&batch));
        }
        with_rest.sort();
        assert!(with_rest.iter().eq(expected.iter().copied()));
        let mut any = read(Direction::Any);
        any.sort();
        assert!(any.iter().eq(expected.iter().copied()));
    }
}

fn number((is_null, value, _): &Key) -> ArrayRef {
    Arc::new(Int64Array::from(vec![(!is_null).then_some(*value)]))
}

fn value_of(cell: &ArrayRef) -> i64 {
    cell.as_primitive::<Int64Type>().value(0)
}

fn above(low: &Bound<ArrayRef>, number: i64) -> bool {
    match low {
        Bound::Included(cell) => number >= value_of(cell),
        Bound::Excluded(cell) => number > value_of(cell),
        Bound::Unbounded => true,
    }
}

fn below(high: &Bound<ArrayRef>, number: i64) -> bool {
    match high {
        Bound::Included(cell) => number <= value_of(cell),
        Bound::Excluded(cell) => number < value_of(cell),
        Bound::Unbounded => true,
    }
}

/// All rows of a read, some at a time.
fn all(mut read: KeyRead, part: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some(batch) = read.next(&[0, 1], part).unwrap() {
        assert!((1..=part).contains(&batch.num_rows()));
        keys.extend(keys_of(&batch));
    }
    keys
}

fn keys_of(batch: &RecordBatch) -> Vec<Key> {
    let texts = batch.column(0).as_string::<i32>();
    let numbers = batch.column(1).as_primitive::<Int64Type>();
    let key = |row: usize| match numbers.is_null(row) {
        true => (true, 0, texts.value(row).to_owned()),
        false => (false, numbers.value(row), texts.value(row).to_owned()),
    };
    (0..batch.num_rows()).map(key).collect()
}

#[test]
fn reads_by_key_have_the_rows_of_a_sorted_map() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        for _ in 0..12 {
            world.change();
            world.check();
        }
    }
}

#[test]
fn a_read_takes_up_what_it_finds_and_no_more() {
    let mut world = World::new(1);
    for _ in 0..20 {
        world.change();
    }
    let snapshot = world.snapshot();
    let schema = snapshot
        .partitions
        .iter()
        .flatten()
        .next()
        .unwrap()
        .schema();
    let order = KeyOrder::new(&schema, &[1]).unwrap();
    let bytes = |world: &World| {
        (0..KEY_GROUPS)
            .map(|g| world.table.bytes(KeyGroup(g)))
            .sum::<u64>()
    };
    let before = bytes(&world);
    let whole = order.range(&[], &Next::Any).unwrap();
    let mut read = snapshot
        .read(&order, &[whole], Direction::Ascending)
        .unwrap();
    assert!(
        bytes(&world) > before,
        "what is sorted counts as memory of the table"
    );
    let rows = read.rows();
    assert_eq!(read.next(&[1], 5).unwrap().unwrap().num_rows(), 5);
    assert!(
        read.rows() >= rows - 10,
        "{} of {rows} rows are left",
        read.rows()
    );
}
