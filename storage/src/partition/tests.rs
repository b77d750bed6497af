//! Rows whose 64-bit hashes are equal: no test from outside can make them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use scaling::KeyGroup;

use super::{Partition, Shape};
use crate::cells::Cells;
use crate::chunk::{ChunkData, Sharing};
use crate::measures::{MeasureType, Measures};
use crate::rows::Incoming;
use crate::schema::{TableId, TableSchema};

fn shape(key: Vec<usize>) -> Shape {
    let field = |name| Field::new(name, DataType::Int64, true);
    Shape::new(TableSchema {
        id: TableId { job: 1, table: 1 },
        columns: Arc::new(Schema::new(vec![field("key"), field("value")])),
        key,
        ordered_by: None,
        measures: vec![MeasureType::Int64],
        visible: false,
        evictable: false,
    })
}

/// Adds rows (key, value) of weight `weight`; half of the hashes are 0, half are 1.
fn add(partition: &mut Partition, shape: &Shape, rows: &[(i64, i64)], weight: i64) {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let columns = [
        column(rows.iter().map(|row| row.0).collect()),
        column(rows.iter().map(|row| row.1).collect()),
    ];
    let cells: Vec<Cells> = columns.iter().map(Cells::new).collect();
    let hashes: Vec<u64> = rows.iter().map(|row| row.1 as u64 % 2).collect();
    let key_hashes = match shape.key_is_identity {
        true => Vec::new(),
        false => vec![0; rows.len()],
    };
    let batch = Incoming {
        cells: &cells,
        order: None,
        hashes: &hashes,
        key_hashes: &key_hashes,
        deltas: &Measures::weights(vec![weight; rows.len()]),
    };
    let mut fresh = Vec::new();
    let chunk = partition.add(shape, &batch, 0..rows.len(), &mut fresh, &mut Vec::new());
    if let Some(chunk) = chunk {
        let indexes = fresh.into_iter().collect::<arrow::array::UInt32Array>();
        let taken = columns
            .iter()
            .map(|column| arrow::compute::take(column, &indexes, None).unwrap())
            .collect();
        let data = ChunkData::new(taken, indexes.values().len(), Sharing::Shared);
        partition.set_data(chunk, &Arc::new(data));
    }
}

#[test]
fn rows_of_equal_hashes_stay_apart() {
    for key in [vec![0], vec![0, 1]] {
        let shape = shape(key.clone());
        let mut partition = Partition::new(&shape);
        let mut model: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        for step in 0..40i64 {
            let rows: Vec<_> = (0..6)
                .map(|n| ((step * n) % 5, (step + n * 3) % 7))
                .collect();
            let weight = if step % 3 == 2 { -1 } else { 1 };
            add(&mut partition, &shape, &rows, weight);
            for &row in &rows {
                *model.entry(row).or_default() += weight;
            }
            if step % 4 == 0 {
                let _deltas = partition
                    .commit(&shape, KeyGroup(0), step % 8 == 0, None)
                    .unwrap();
            }
        }
        for (&(row_key, row_value), &weight) in &model {
            let probe = [row_key, row_value];
            let cells: Vec<Cells> = (0..key.len())
                .map(|index| Arc::new(Int64Array::from(vec![probe[index]])) as ArrayRef)
                .map(|column| Cells::new(&column))
                .collect();
            let hash = match shape.key_is_identity {
                true => row_value as u64 % 2,
                false => 0,
            };
            let mut total = 0;
            let mut measures = Measures::zeros(&shape.schema.measures, 0);
            partition.lookup(&shape, &cells, hash, 0, |place| {
                partition.push_measures(place, &mut measures);
                total += 1;
            });
            let of_key: Vec<i64> = match shape.key_is_identity {
                true => vec![weight],
                false => model
                    .iter()
                    .filter(|(row, _)| row.0 == row_key)
                    .map(|(_, &weight)| weight)
                    .collect(),
            };
            let found = of_key.iter().filter(|&&weight| weight != 0).count();
            assert_eq!(total, found);
            let sum = measures.int64(0).unwrap().iter().sum::<i64>();
            assert_eq!(sum, of_key.iter().sum::<i64>());
        }
    }
}

#[test]
fn a_durable_commit_lets_go_of_the_rows_of_others() {
    let shape = shape(vec![0]);
    let mut partition = Partition::new(&shape);
    for step in 0..3 {
        add(&mut partition, &shape, &[(step, step)], 1);
    }
    let shared = |partition: &Partition| {
        let chunks = partition.rows.chunks.iter().filter(|chunk| chunk.live > 0);
        chunks
            .filter(|chunk| chunk.data().sharing == Sharing::Shared)
            .count()
    };
    let _epoch = partition.commit(&shape, KeyGroup(0), false, None).unwrap();
    assert_eq!(shared(&partition), 3);
    let _delta = partition.commit(&shape, KeyGroup(0), true, None).unwrap();
    assert_eq!((shared(&partition), partition.len()), (0, 3));
}
