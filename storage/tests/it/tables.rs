//! Single behaviours of state tables that the model does not pin down.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use scaling::KeyGroup;
use storage::{
    Error, FloatSum, MeasureColumn, MeasureType, Measures, NullEquality, PartitionState, Run,
    StateTable, TableId, TableSchema, TableSnapshot,
};

const GROUP: KeyGroup = KeyGroup(1);

fn schema(visible: bool) -> TableSchema {
    TableSchema {
        id: TableId { job: 1, table: 2 },
        columns: Arc::new(Schema::new(vec![
            Field::new("key", DataType::Int64, true),
            Field::new("value", DataType::Utf8, true),
        ])),
        key: vec![0],
        ordered_by: None,
        measures: vec![MeasureType::Int64],
        visible,
        evictable: false,
    }
}

fn table(visible: bool) -> StateTable {
    StateTable::new(schema(visible), [GROUP])
}

fn whole(rows: usize) -> [Run; 1] {
    [Run {
        key_group: GROUP,
        rows: 0..rows,
    }]
}

fn add(table: &mut StateTable, rows: &[(i64, &str, i64)]) {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
    ];
    let weights = Measures::weights(rows.iter().map(|row| row.2).collect());
    table.add(&columns, &weights, &whole(rows.len())).unwrap();
}

fn found(table: &mut StateTable, key: i64) -> usize {
    let probe: ArrayRef = Arc::new(Int64Array::from(vec![key]));
    let nulls = NullEquality::NullEqualsNothing;
    table.lookup(&[probe], &whole(1), nulls).unwrap().rows.len()
}

#[test]
fn a_dead_row_is_reported_once_to_a_durable_commit() {
    let mut table = table(false);
    add(&mut table, &[(1, "a", 1), (2, "b", 1)]);
    assert_eq!(table.commit(true).unwrap().deltas[0].columns.num_rows(), 2);
    add(&mut table, &[(1, "a", -1)]);
    assert_eq!(found(&mut table, 1), 0, "a dead row is not found");
    let _epoch = table.commit(false).unwrap();
    assert_eq!(table.rows(GROUP), 2, "its end is not durable yet");
    let committed = table.commit(true).unwrap();
    assert_eq!(committed.deltas[0].columns.num_rows(), 1);
    assert!(committed.deltas[0].measures.is_zero(0));
    assert_eq!(table.rows(GROUP), 1);
    assert!(table.commit(true).unwrap().deltas.is_empty());
}

#[test]
fn a_row_that_no_checkpoint_saw_goes_at_once() {
    let mut table = table(false);
    add(&mut table, &[(1, "a", 1), (1, "a", -1)]);
    let changed = table.changed().next().unwrap().unwrap();
    assert_eq!(changed.old.int64(0), changed.new.int64(0));
    let _epoch = table.commit(false).unwrap();
    assert_eq!(table.rows(GROUP), 0);
    assert!(table.commit(true).unwrap().deltas.is_empty());
}

#[test]
fn a_snapshot_does_not_change_with_its_table() {
    let mut table = table(true);
    add(&mut table, &[(1, "a", 2), (2, "b", 1), (3, "c", -1)]);
    let mut committed = table.commit(false).unwrap();
    let (group, before) = committed.snapshots.remove(0);
    assert_eq!((group, before.rows()), (GROUP, 3));
    add(&mut table, &[(1, "a", -2), (4, "d", 1)]);
    let after = table.commit(true).unwrap().snapshots.remove(0).1;
    assert_eq!((before.rows(), after.rows()), (3, 2));
    let counts = |snapshot: &storage::PartitionSnapshot| -> usize {
        let batches = snapshot.batches(Some(&[1])).unwrap();
        batches.iter().map(|batch| batch.num_rows()).sum()
    };
    assert_eq!((counts(&before), counts(&after)), (3, 2));
    let no_columns = before.batches(Some(&[])).unwrap();
    assert_eq!(no_columns.iter().map(|b| b.num_rows()).sum::<usize>(), 3);
    assert!(
        table.commit(false).unwrap().snapshots.is_empty(),
        "nothing new"
    );
}

#[test]
fn many_small_batches_stay_few_chunks_and_all_rows() {
    let mut table = table(true);
    let mut batches = 0;
    for batch in 0..500 {
        add(&mut table, &[(batch % 7, &format!("value {batch}"), 1)]);
        let committed = table.commit(batch % 10 == 0).unwrap();
        batches = committed.snapshots[0].1.batches(None).unwrap().len();
    }
    assert!(batches <= 16, "{batches} chunks");
    assert_eq!(table.rows(GROUP), 500);
    let sizes: Vec<usize> = (0..7).map(|key| found(&mut table, key)).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 500);
    let probe: ArrayRef = Arc::new(Int64Array::from(vec![3]));
    let nulls = NullEquality::NullEqualsNothing;
    let matches = table.lookup(&[probe], &whole(1), nulls).unwrap();
    let columns = table.gather(&matches.rows, &[0]).unwrap();
    assert!(
        columns[0]
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .all(|&key| key == 3)
    );
}

#[test]
fn floats_that_are_equal_are_one_row() {
    let mut schema = schema(false);
    let field = Field::new("x", DataType::Float64, true);
    schema.columns = Arc::new(Schema::new(vec![field]));
    let mut table = StateTable::new(schema, [GROUP]);
    let nan = f64::from_bits(0x7ff8_0000_0000_0001);
    let values = vec![
        Some(0.0),
        Some(-0.0),
        Some(f64::NAN),
        Some(nan),
        Some(-nan),
        None,
        None,
    ];
    let column: ArrayRef = Arc::new(Float64Array::from(values));
    let weights = Measures::weights(vec![1; 7]);
    table
        .add(&[Arc::clone(&column)], &weights, &whole(7))
        .unwrap();
    assert_eq!(table.rows(GROUP), 3);
    let nulls = NullEquality::NullEqualsNothing;
    let matches = table.lookup(&[column], &whole(7), nulls).unwrap();
    assert_eq!(matches.probe, [0, 1, 2, 3, 4]);
    assert_eq!(
        table.measures_of(&matches.rows).int64(0),
        Some(&[2, 2, 3, 3, 3][..])
    );
}

#[test]
fn what_rounding_leaves_of_a_sum_does_not_keep_a_row() {
    let mut schema = schema(false);
    schema.measures = vec![MeasureType::Int64, MeasureType::Float64];
    let mut table = StateTable::new(schema, [GROUP]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1; 4])),
        Arc::new(StringArray::from(vec!["g"; 4])),
    ];
    let sums = [1e300, 1e-300, -1e300, 1e10].map(FloatSum::new).to_vec();
    let measures = Measures(vec![
        MeasureColumn::Int64(vec![1, 1, -1, -1]),
        MeasureColumn::Float64(sums),
    ]);
    table.add(&columns, &measures, &whole(4)).unwrap();
    let committed = table.commit(true).unwrap();
    assert_eq!(
        committed.deltas[0].measures,
        Measures(vec![
            MeasureColumn::Int64(vec![0]),
            MeasureColumn::Float64(vec![FloatSum::default()]),
        ])
    );
    assert_eq!(table.rows(GROUP), 0);
}

#[test]
fn the_greatest_number_stays_until_its_row_goes() {
    let mut schema = schema(false);
    schema.measures = vec![MeasureType::Int64, MeasureType::Greatest];
    let mut table = StateTable::new(schema, [GROUP]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1; 3])),
        Arc::new(StringArray::from(vec!["g"; 3])),
    ];
    let measures = Measures(vec![
        MeasureColumn::Int64(vec![1, 1, 1]),
        MeasureColumn::Greatest(vec![7, 0, 5]),
    ]);
    let of = |count, greatest| {
        Measures(vec![
            MeasureColumn::Int64(vec![count]),
            MeasureColumn::Greatest(vec![greatest]),
        ])
    };
    table.add(&columns, &measures, &whole(3)).unwrap();
    assert_eq!(table.commit(true).unwrap().deltas[0].measures, of(3, 7));
    let state = table.extract(GROUP).unwrap();
    table.install(GROUP, state).unwrap();
    table.add(&columns, &measures.negated(), &whole(3)).unwrap();
    assert_eq!(table.commit(true).unwrap().deltas[0].measures, of(0, 0));
    assert_eq!(table.rows(GROUP), 0);
}

#[test]
fn sums_of_floats_survive_their_largest_part() {
    let sum = [1e20, 3.5, -1e20].map(FloatSum::new);
    let sum = sum.into_iter().reduce(FloatSum::plus).unwrap();
    assert_eq!(sum.value(), 3.5);
}

#[test]
fn wrong_shapes_and_owners_are_refused_and_change_nothing() {
    let mut table = table(false);
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let weights = Measures::weights(vec![1]);
    let result = table.add(&[Arc::clone(&one), Arc::clone(&one)], &weights, &whole(1));
    assert!(matches!(result, Err(Error::Shape { .. })));
    let result = table.add(&[Arc::clone(&one)], &weights, &whole(1));
    assert!(matches!(result, Err(Error::Shape { .. })));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let runs = [Run {
        key_group: KeyGroup(2),
        rows: 0..1,
    }];
    let result = table.add(&[one, text], &weights, &runs);
    assert!(matches!(result, Err(Error::NotOwned { .. })));
    assert!(matches!(
        table.extract(KeyGroup(2)),
        Err(Error::NotOwned { .. })
    ));
    assert_eq!(table.rows(GROUP), 0);
}

#[test]
fn a_state_is_installed_once_and_only_as_it_was() {
    let mut old_owner = table(false);
    add(&mut old_owner, &[(1, "a", 1), (2, "b", 1)]);
    let state = old_owner.extract(GROUP).unwrap();
    assert!(old_owner.owned().is_empty());
    let mut altered = state.clone();
    altered.measures = Measures::weights(vec![1, 2]);
    let mut new_owner = StateTable::new(schema(false), []);
    let result = new_owner.install(GROUP, altered);
    assert!(matches!(result, Err(Error::Corrupt { .. })));
    new_owner.install(GROUP, state.clone()).unwrap();
    let result = new_owner.install(GROUP, state);
    assert!(matches!(result, Err(Error::AlreadyOwned { .. })));
    assert!(new_owner.size_of(GROUP).bytes > 0);
}

#[test]
fn every_altered_byte_of_an_encoded_state_is_noticed() {
    let mut table = table(false);
    add(&mut table, &[(1, "a", 1), (2, "b", 1)]);
    let bytes = table.extract(GROUP).unwrap().encode().unwrap();
    for position in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[position] ^= 1;
        assert!(PartitionState::decode(&altered).is_err(), "byte {position}");
        assert!(PartitionState::decode(&bytes[..position]).is_err());
    }
}

/// Changes as sorted text, such as "+1 2 b".
fn changes(after: &TableSnapshot, before: &TableSnapshot) -> Vec<String> {
    let mut texts = Vec::new();
    for (rows, weights) in after.changes_since(before).unwrap() {
        let keys = rows.column(0).as_primitive::<Int64Type>();
        let values = rows.column(1).as_string::<i32>();
        for (row, weight) in weights.iter().enumerate() {
            texts.push(format!(
                "{weight:+} {} {}",
                keys.value(row),
                values.value(row)
            ));
        }
    }
    texts.sort();
    texts
}

fn snapshot(table: &mut StateTable) -> TableSnapshot {
    let mut committed = table.commit(false).unwrap();
    TableSnapshot {
        partitions: vec![Some(committed.snapshots.remove(0).1)],
    }
}

#[test]
fn changes_between_snapshots_are_those_of_rows() {
    let mut table = table(true);
    add(&mut table, &[(1, "a", 2), (2, "b", 1), (3, "c", 1)]);
    let first = snapshot(&mut table);
    assert_eq!(changes(&first, &first), [""; 0]);
    assert_eq!(
        changes(&first, &TableSnapshot::default()),
        ["+1 2 b", "+1 3 c", "+2 1 a"]
    );
    add(&mut table, &[(1, "a", -1), (3, "c", -1), (4, "d", 1)]);
    let second = snapshot(&mut table);
    assert_eq!(changes(&second, &first), ["+1 4 d", "-1 1 a", "-1 3 c"]);
    // Deleted and inserted again, the row has another place.
    add(&mut table, &[(3, "c", 1)]);
    let third = snapshot(&mut table);
    assert_eq!(changes(&third, &second), ["+1 3 c"]);
    assert_eq!(changes(&third, &first), ["+1 4 d", "-1 1 a"]);
    assert_eq!(changes(&first, &third), ["+1 1 a", "-1 4 d"]);
}

#[test]
fn rows_that_only_moved_are_no_changes() {
    let mut table = table(true);
    add(&mut table, &[(0, "start", 1)]);
    let first = snapshot(&mut table);
    let mut last = first.clone();
    for key in 1..50 {
        // So many small chunks are merged.
        add(&mut table, &[(key, "x", 1)]);
        let next = snapshot(&mut table);
        assert_eq!(changes(&next, &last), [format!("+1 {key} x")]);
        last = next;
    }
    assert_eq!(changes(&last, &first).len(), 49);
    let state = table.extract(GROUP).unwrap();
    let mut new_owner = StateTable::new(schema(true), []);
    new_owner.install(GROUP, state).unwrap();
    add(&mut new_owner, &[(50, "y", 1)]);
    assert_eq!(changes(&snapshot(&mut new_owner), &last), ["+1 50 y"]);
}
