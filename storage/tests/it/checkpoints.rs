//! Checkpoints, write-ahead changes and catalog rows, through crashes, in memory and on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use scaling::{Epoch, KeyGroup};
use storage::kv::{ColumnFamily, Durability, Kv, WriteSet};
use storage::memory_kv::MemoryKv;
use storage::rocks_kv::RocksKv;
use storage::{
    CatalogChange, Checkpoint, Error, MeasureType, Measures, Run, StateTable, Storage, TableId,
    TableSchema, layout,
};

use crate::rows::load_all;

fn schema(job: u32, table: u16) -> TableSchema {
    TableSchema {
        id: TableId { job, table },
        columns: Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
        ])),
        key: vec![0],
        ordered_by: None,
        measures: vec![MeasureType::Int64],
        visible: true,
        evictable: false,
    }
}

/// Adds rows of weight `weight` to key group 3.
fn add(table: &mut StateTable, ids: std::ops::Range<i64>, weight: i64) {
    let count = ids.clone().count();
    let names: Vec<_> = ids.clone().map(|id| format!("row {id}")).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids)),
        Arc::new(StringArray::from(names)),
    ];
    let run = Run {
        key_group: KeyGroup(3),
        rows: 0..count,
    };
    let weights = Measures::weights(vec![weight; count]);
    table.add(&columns, &weights, &[run]).unwrap();
}

fn checkpoint(storage: &Storage, epoch: u64, table: &mut StateTable) {
    let deltas = table.commit(true).unwrap().deltas;
    let checkpoint = Checkpoint {
        epoch: Epoch(epoch),
        deltas,
        ..Checkpoint::default()
    };
    storage.checkpoint(checkpoint).unwrap();
}

fn rows(storage: &Storage, schema: &TableSchema) -> usize {
    let states = load_all(storage, schema).unwrap();
    states.iter().map(|(_, state)| state.rows()).sum()
}

#[test]
fn a_crash_finds_the_last_checkpoint() {
    let kv = Arc::new(MemoryKv::new());
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    let mut table = StateTable::new(schema(1, 0), [KeyGroup(3)]);
    add(&mut table, 0..10, 1);
    checkpoint(&storage, 1, &mut table);
    add(&mut table, 5..10, -1);
    add(&mut table, 20..30, 1);
    let _not_durable = table.commit(false).unwrap();
    kv.crash(1);
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    assert_eq!(storage.committed_epoch(), Epoch(1));
    assert_eq!(rows(&storage, &schema(1, 0)), 10);
    checkpoint(&storage, 3, &mut table);
    kv.crash(2);
    assert_eq!(rows(&storage, &schema(1, 0)), 15);
    let mut other = StateTable::new(schema(1, 0), []);
    for (key_group, state) in load_all(&storage, &schema(1, 0)).unwrap() {
        assert_eq!(state.dirty.true_count(), 0);
        other.install(key_group, state).unwrap();
    }
    let committed = other.commit(true).unwrap();
    assert!(committed.deltas.is_empty());
    assert_eq!(committed.snapshots[0].1.rows(), 15);
    let committed = other.commit(true).unwrap();
    assert!(committed.snapshots.is_empty(), "readers have it already");
}

#[test]
fn an_empty_key_group_loads() {
    let storage = Storage::open(Arc::new(MemoryKv::new())).unwrap();
    let state = storage.load(&schema(1, 0), KeyGroup(9)).unwrap();
    let mut table = StateTable::new(schema(1, 0), []);
    table.install(KeyGroup(9), state).unwrap();
    assert_eq!(table.rows(KeyGroup(9)), 0);
}

#[test]
fn dropping_a_job_removes_it_alone() {
    let storage = Storage::open(Arc::new(MemoryKv::new())).unwrap();
    let mut tables = [(1, 0), (1, 7), (2, 0)]
        .map(|(job, table)| StateTable::new(schema(job, table), [KeyGroup(3)]));
    let mut deltas = Vec::new();
    for table in &mut tables {
        add(table, 0..4, 1);
        deltas.extend(table.commit(true).unwrap().deltas);
    }
    storage.wal_append(1, 1, b"x".to_vec()).unwrap();
    storage.wal_append(2, 1, b"y".to_vec()).unwrap();
    let first = Checkpoint {
        epoch: Epoch(1),
        deltas: deltas.clone(),
        ..Checkpoint::default()
    };
    storage.checkpoint(first).unwrap();
    let drop = Checkpoint {
        epoch: Epoch(2),
        deltas,
        dropped: vec![1],
        ..Checkpoint::default()
    };
    storage.checkpoint(drop).unwrap();
    assert_eq!(rows(&storage, &schema(1, 0)), 0);
    assert_eq!(rows(&storage, &schema(1, 7)), 0);
    assert_eq!(rows(&storage, &schema(2, 0)), 4);
    assert!(storage.wal_read(1, 0).unwrap().is_empty());
    assert_eq!(storage.wal_read(2, 0).unwrap().len(), 1);
}

#[test]
fn a_job_is_not_whole_until_it_is_rebuilt() {
    let kv = Arc::new(MemoryKv::new());
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    let new = || [1, 2].map(|job| StateTable::new(schema(job, 0), [KeyGroup(3)]));
    let [mut one, mut two] = new();
    add(&mut one, 0..4, 1);
    add(&mut two, 0..4, 1);
    checkpoint(&storage, 1, &mut one);
    checkpoint(&storage, 2, &mut two);
    // What was stored goes, what comes with the same checkpoint is kept, beside others.
    let [mut one, _] = new();
    add(&mut one, 10..16, 1);
    add(&mut two, 4..5, 1);
    let mut deltas = one.commit(true).unwrap().deltas;
    deltas.extend(two.commit(true).unwrap().deltas);
    let partial = Checkpoint {
        epoch: Epoch(3),
        deltas,
        rebuilding: vec![1],
        ..Checkpoint::default()
    };
    storage.checkpoint(partial).unwrap();
    kv.crash(0);
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    assert_eq!(storage.rebuilding().unwrap(), [1].into());
    assert_eq!(rows(&storage, &schema(1, 0)), 6);
    assert_eq!(rows(&storage, &schema(2, 0)), 5);
    // Failed once more, and whole with one and the same checkpoint.
    let [mut one, _] = new();
    add(&mut one, 20..23, 1);
    let whole = Checkpoint {
        epoch: Epoch(4),
        deltas: one.commit(true).unwrap().deltas,
        rebuilding: vec![1],
        rebuilt: vec![1],
        ..Checkpoint::default()
    };
    storage.checkpoint(whole).unwrap();
    assert!(storage.rebuilding().unwrap().is_empty());
    assert_eq!(rows(&storage, &schema(1, 0)), 3);
    // A job that is dropped is not missed.
    for (epoch, rebuilding, dropped) in [(5, vec![2], vec![]), (6, vec![], vec![2])] {
        let checkpoint = Checkpoint {
            epoch: Epoch(epoch),
            rebuilding,
            dropped,
            ..Checkpoint::default()
        };
        storage.checkpoint(checkpoint).unwrap();
    }
    assert!(storage.rebuilding().unwrap().is_empty());
}

#[test]
fn write_ahead_changes_are_read_until_applied() {
    let kv = Arc::new(MemoryKv::new());
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    for sequence in 1..=300 {
        storage
            .wal_append(4, sequence, sequence.to_be_bytes().to_vec())
            .unwrap();
    }
    kv.crash(0);
    assert_eq!(storage.wal_read(4, 0).unwrap().len(), 300);
    assert_eq!(storage.wal_read(4, 298).unwrap()[0].0, 299);
    let applied = Checkpoint {
        epoch: Epoch(1),
        wal_applied: BTreeMap::from([(4, 255)]),
        ..Checkpoint::default()
    };
    storage.checkpoint(applied).unwrap();
    let left: Vec<u64> = storage
        .wal_read(4, 0)
        .unwrap()
        .iter()
        .map(|(n, _)| *n)
        .collect();
    assert_eq!(left, (256..=300).collect::<Vec<_>>());
}

#[test]
fn catalog_rows_change_alone_and_with_a_checkpoint() {
    let storage = Storage::open(Arc::new(MemoryKv::new())).unwrap();
    let row = |key: &str| (key.as_bytes().to_vec(), b"value".to_vec());
    let change = CatalogChange {
        puts: vec![row("b"), row("a")],
        deletes: vec![],
    };
    storage.write_catalog(change).unwrap();
    let with_checkpoint = Checkpoint {
        epoch: Epoch(1),
        catalog: CatalogChange {
            puts: vec![row("c")],
            deletes: vec![b"a".to_vec()],
        },
        ..Checkpoint::default()
    };
    storage.checkpoint(with_checkpoint).unwrap();
    assert_eq!(storage.catalog_rows().unwrap(), [row("b"), row("c")]);
}

#[test]
fn a_lost_or_altered_row_is_noticed() {
    let kv = Arc::new(MemoryKv::new());
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    let mut table = StateTable::new(schema(1, 0), [KeyGroup(3)]);
    add(&mut table, 0..1, 1);
    checkpoint(&storage, 1, &mut table);
    let mut key = Vec::new();
    kv.scan(ColumnFamily::State, &[], &mut |found, _| {
        key = found.to_vec();
        std::ops::ControlFlow::Break(())
    })
    .unwrap();

    let mut altered = WriteSet::default();
    altered.put(ColumnFamily::State, &key, &2i64.to_le_bytes());
    kv.write(altered, Durability::Synced).unwrap();
    let state = storage.load(&schema(1, 0), KeyGroup(3)).unwrap();
    let mut other = StateTable::new(schema(1, 0), []);
    let installed = other.install(KeyGroup(3), state);
    assert!(matches!(installed, Err(Error::Corrupt { .. })));

    let mut lost = WriteSet::default();
    lost.delete(ColumnFamily::State, &key);
    kv.write(lost, Durability::Synced).unwrap();
    let loaded = load_all(&storage, &schema(1, 0));
    assert!(matches!(loaded, Err(Error::Corrupt { .. })));
}

#[test]
fn another_format_is_refused() {
    let kv = Arc::new(MemoryKv::new());
    let mut writes = WriteSet::default();
    let newer = (layout::FORMAT + 1).to_be_bytes();
    writes.put(ColumnFamily::Meta, layout::FORMAT_KEY, &newer);
    kv.write(writes, Durability::Synced).unwrap();
    assert!(matches!(Storage::open(kv), Err(Error::Format { .. })));
}

#[test]
fn a_directory_keeps_its_rows_and_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let mut table = StateTable::new(schema(1, 0), [KeyGroup(3)]);
    {
        let storage = Storage::open_dir(&path).unwrap();
        add(&mut table, 0..1000, 1);
        checkpoint(&storage, 5, &mut table);
        add(&mut table, 0..500, -1);
        checkpoint(&storage, 6, &mut table);
        let second = Storage::open_dir(&path);
        let Err(error @ Error::Locked { .. }) = second else {
            panic!("opened twice");
        };
        assert!(error.to_string().contains("in use by another server"));
    }
    let storage = Storage::open_dir(&path).unwrap();
    assert_eq!(storage.committed_epoch(), Epoch(6));
    assert_eq!(rows(&storage, &schema(1, 0)), 500);
}

#[test]
fn a_database_older_than_its_witness_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for epoch in [1, 2] {
        let storage = Storage::open_dir(path).unwrap();
        let checkpoint = Checkpoint {
            epoch: Epoch(epoch),
            ..Checkpoint::default()
        };
        storage.checkpoint(checkpoint).unwrap();
    }
    // The database of epoch 1 is put back by hand.
    let kv = RocksKv::open(&path.join("db")).unwrap();
    let mut writes = WriteSet::default();
    let epoch = 1u64.to_be_bytes();
    writes.put(ColumnFamily::Meta, layout::EPOCH_KEY, &epoch);
    kv.write(writes, Durability::Synced).unwrap();
    drop(kv);
    assert!(matches!(
        Storage::open_dir(path),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn a_checkpoint_of_a_widened_table_replaces_its_rows() {
    let kv = Arc::new(MemoryKv::new());
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    let mut table = StateTable::new(schema(1, 0), [KeyGroup(3)]);
    add(&mut table, 0..10, 1);
    checkpoint(&storage, 1, &mut table);
    add(&mut table, 8..10, -1);
    let mut fields = schema(1, 0).columns.fields().to_vec();
    fields.push(Arc::new(Field::new("price", DataType::Int64, true)));
    let wide = TableSchema {
        columns: Arc::new(Schema::new(fields)),
        ..schema(1, 0)
    };
    let price: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    table.widen(wide.clone(), &[price]).unwrap();
    checkpoint(&storage, 2, &mut table);
    kv.crash(1);
    let storage = Storage::open(Arc::clone(&kv) as Arc<dyn Kv>).unwrap();
    let states = load_all(&storage, &wide).unwrap();
    assert_eq!(states.len(), 1);
    let rows = &states[0].1;
    assert_eq!(rows.rows(), 8);
    assert_eq!(rows.columns.num_columns(), 3);
    assert_eq!(rows.columns.column(2).null_count(), 0);
    let mut restarted = StateTable::new(wide, []);
    restarted.install(KeyGroup(3), states[0].1.clone()).unwrap();
    assert_eq!(restarted.rows(KeyGroup(3)), 8);
}
