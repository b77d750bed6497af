//! The process dies at every crash point; what a restart finds must be whole.
//!
//! The test starts this very binary again, as [`workload`], with one point armed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use scaling::{Epoch, KeyGroup};
use storage::crash::{STORAGE_POINTS, VARIABLE};
use storage::{
    CatalogChange, Checkpoint, MeasureType, Measures, Run, StateTable, Storage, TableId,
    TableSchema,
};

use crate::rows::load_all;

/// Where the child keeps its data.
const DIRECTORY: &str = "TIDEWATER_TEST_DIRECTORY";
/// How many rows each epoch of the workload adds.
const ROWS: &str = "TIDEWATER_TEST_ROWS";
/// So few that a checkpoint is one batch, and so many that it gets a table file.
const SIZES: [usize; 2] = [10, 60_000];
const EPOCHS: u64 = 3;

fn schema() -> TableSchema {
    TableSchema {
        id: TableId { job: 1, table: 0 },
        columns: Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
        key: vec![0],
        ordered_by: None,
        measures: vec![MeasureType::Int64],
        visible: true,
        evictable: false,
    }
}

/// Each epoch: one catalog row, one write-ahead change, then a checkpoint that applies it.
#[test]
#[ignore = "runs in a child process of the test below"]
fn workload() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let count: usize = std::env::var(ROWS).unwrap().parse().unwrap();
    let storage = Storage::open_dir(directory).unwrap();
    let mut table = StateTable::new(schema(), [KeyGroup(0)]);
    for epoch in 1..=EPOCHS {
        let change = CatalogChange {
            puts: vec![(epoch.to_be_bytes().to_vec(), Vec::new())],
            deletes: vec![],
        };
        storage.write_catalog(change).unwrap();
        storage.wal_append(1, epoch, b"change".to_vec()).unwrap();
        let first = (count as u64 * epoch) as i64;
        let ids = first..first + count as i64;
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
        let run = Run {
            key_group: KeyGroup(0),
            rows: 0..count,
        };
        table
            .add(&[ids], &Measures::weights(vec![1; count]), &[run])
            .unwrap();
        let checkpoint = Checkpoint {
            epoch: Epoch(epoch),
            deltas: table.commit(true).unwrap().deltas,
            wal_applied: BTreeMap::from([(1, epoch)]),
            ..Checkpoint::default()
        };
        storage.checkpoint(checkpoint).unwrap();
    }
}

/// Runs the workload; whether it came to its end.
fn run_workload(directory: &Path, point: &str, rows: usize) -> bool {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crashes::workload", "--ignored"])
        .env(DIRECTORY, directory)
        .env(ROWS, rows.to_string())
        .env(VARIABLE, point)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// What must hold whenever the workload ended: rows of whole epochs, and every change of a later
/// epoch in the write-ahead log, in order.
fn check(directory: &Path, point: &str, added: usize) {
    let storage = Storage::open_dir(directory).unwrap();
    let Epoch(epoch) = storage.committed_epoch();
    let mut rows = 0;
    let mut table = StateTable::new(schema(), []);
    for (key_group, state) in load_all(&storage, &schema()).unwrap() {
        rows += state.rows();
        table.install(key_group, state).unwrap();
    }
    assert_eq!(rows, epoch as usize * added, "{point}");
    let changes = storage.wal_read(1, 0).unwrap();
    let catalog = storage.catalog_rows().unwrap().len() as u64;
    let last = changes.last().map_or(epoch, |(sequence, _)| *sequence);
    assert!(
        changes.len() as u64 == last - epoch,
        "{point}: a change is missing or left over"
    );
    assert!(last <= catalog && catalog <= epoch + 1, "{point}");
}

#[test]
fn a_restart_after_every_crash_point_finds_whole_epochs() {
    let of_tables = |point: &str| {
        let points = ["table", "incoming", "taking_in", "taken_in", "mark_removed"];
        points.iter().any(|name| point.ends_with(name)) || point.ends_with("table_finished")
    };
    for (point, rows) in STORAGE_POINTS
        .iter()
        .flat_map(|point| SIZES.map(|rows| (point, rows)))
    {
        for nth in ["1", "2", "3"] {
            let directory = tempfile::tempdir().unwrap();
            let armed = format!("{point}:{nth}");
            let ended = run_workload(directory.path(), &armed, rows);
            let never = of_tables(point) && rows == SIZES[0];
            let opened_once = point.starts_with("storage.open") && nth != "1";
            assert_eq!(ended, never || opened_once, "{armed} with {rows} rows");
            check(directory.path(), &armed, rows);
        }
    }
}
