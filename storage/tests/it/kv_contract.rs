//! What every `Kv` promises, on RocksDB and in memory; and what a crash of the one in memory loses.

use std::ops::ControlFlow;
use std::path::Path;

use storage::Error;
use storage::kv::{ColumnFamily, Durability, Kv, WriteSet};
use storage::memory_kv::MemoryKv;
use storage::rocks_kv::RocksKv;

use ColumnFamily::{Meta, State, Wal};

fn put(kv: &dyn Kv, key: &[u8], durability: Durability) {
    let mut writes = WriteSet::default();
    writes.put(State, key, b"v");
    kv.write(writes, durability).unwrap();
}

fn keys(kv: &dyn Kv, family: ColumnFamily, prefix: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    kv.scan(family, prefix, &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    keys
}

fn contract(kv: &dyn Kv) {
    assert_eq!(kv.get(Meta, b"a").unwrap(), None);
    let mut writes = WriteSet::default();
    writes.put(Meta, b"a", b"1");
    writes.put(Meta, b"a", b"2");
    writes.put(Wal, b"a", &[]);
    writes.delete(Wal, b"not there");
    kv.write(writes, Durability::Synced).unwrap();
    assert_eq!(kv.get(Meta, b"a").unwrap(), Some(b"2".to_vec()));
    assert_eq!(kv.get(Wal, b"a").unwrap(), Some(Vec::new()));
    assert_eq!(kv.get(State, b"a").unwrap(), None);

    let ordered: [&[u8]; 5] = [&[1], &[1, 0], &[1, 255], &[1, 255, 255], &[2]];
    for key in [3, 0, 4, 2, 1] {
        put(kv, ordered[key], Durability::Unsynced);
    }
    assert_eq!(keys(kv, State, &[]), ordered);
    assert_eq!(keys(kv, State, &[1]), ordered[..4]);
    assert_eq!(keys(kv, State, &[1, 255]), ordered[2..4]);
    let mut visited = 0;
    kv.scan(State, &[], &mut |_, _| {
        visited += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(visited, 1);

    let of_hash = |hash: u8, row: u8| [[hash; 16].as_slice(), &[row]].concat();
    for (hash, row) in [(7, 1), (7, 0), (9, 0), (8, 0)] {
        put(kv, &of_hash(hash, row), Durability::Unsynced);
    }
    let mut found = Vec::new();
    kv.scan_rows(&[[6; 16], [7; 16], [9; 16], [10; 16]], &mut |key, _| {
        found.push(key.to_vec())
    })
    .unwrap();
    assert_eq!(found, [of_hash(7, 0), of_hash(7, 1), of_hash(9, 0)]);
    let mut writes = WriteSet::default();
    writes.delete_range(State, &[7; 16], &[10; 16]);
    kv.write(writes, Durability::Unsynced).unwrap();
    let mut found = 0;
    kv.scan_rows(&[[7; 16], [8; 16]], &mut |_, _| found += 1)
        .unwrap();
    assert_eq!(found, 0);

    let mut writes = WriteSet::default();
    writes.delete_range(State, &[1, 0], &[2]);
    writes.put(State, &[1, 255], b"again");
    writes.delete(Meta, b"a");
    kv.write(writes, Durability::Synced).unwrap();
    assert_eq!(keys(kv, State, &[]), [vec![1], vec![1, 255], vec![2]]);
    assert_eq!(keys(kv, Meta, &[]), Vec::<Vec<u8>>::new());
}

#[test]
fn memory_keeps_the_contract() {
    contract(&MemoryKv::new());
}

#[test]
fn rocksdb_keeps_the_contract_and_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let kv = RocksKv::open(directory.path()).unwrap();
    contract(&kv);
    drop(kv);
    let kv = RocksKv::open(directory.path()).unwrap();
    assert_eq!(keys(&kv, State, &[]), [vec![1], vec![1, 255], vec![2]]);
}

/// Rows of `state` by hand, beside what a write set made of them.
fn large(kv: &dyn Kv) {
    let key = |n: u32| n.to_be_bytes();
    let mut expected = std::collections::BTreeMap::new();
    let mut change = WriteSet::default();
    change.put(Wal, b"a large change, and no rows", &vec![7; 2 << 20]);
    kv.write(change, Durability::Synced).unwrap();
    let mut first = WriteSet::default();
    first.put(State, &key(7), b"old");
    first.put(State, &key(1_000_000), b"old");
    kv.write(first, Durability::Synced).unwrap();
    for (round, ascending) in [true, true, false].into_iter().enumerate() {
        let value = vec![round as u8; 100];
        let mut writes = WriteSet::default();
        writes.delete_range(State, &key(500_000), &key(2_000_000));
        writes.put(Meta, b"round", &[round as u8]);
        let numbers = (0..60_000u32).filter(|n| n % (round as u32 + 1) == 0);
        for n in numbers {
            if n % 10 == 0 {
                writes.delete(State, &key(n));
                expected.remove(key(n).as_slice());
            } else {
                writes.put(State, &key(n), &value);
                expected.insert(key(n).to_vec(), value.clone());
            }
        }
        if !ascending {
            writes.put(State, &key(7), b"last");
            expected.insert(key(7).to_vec(), b"last".to_vec());
        }
        assert!(writes.bytes() > 1 << 20, "large enough for a table file");
        kv.write(writes, Durability::Synced).unwrap();
        let mut found = std::collections::BTreeMap::new();
        kv.scan(State, &[], &mut |key, value| {
            found.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(found.len(), expected.len(), "round {round}");
        assert!(found == expected, "round {round}");
        assert_eq!(kv.get(Meta, b"round").unwrap(), Some(vec![round as u8]));
    }
}

#[test]
fn large_write_sets_keep_the_contract() {
    large(&MemoryKv::new());
    let directory = tempfile::tempdir().unwrap();
    let kv = RocksKv::open(directory.path()).unwrap();
    large(&kv);
    let before = keys(&kv, State, &[]);
    drop(kv);
    let kv = RocksKv::open(directory.path()).unwrap();
    assert_eq!(keys(&kv, State, &[]), before);
}

#[test]
fn a_crash_loses_a_suffix_of_what_was_not_synced() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let kv = MemoryKv::new();
        put(&kv, &[0], Durability::Unsynced);
        put(&kv, &[1], Durability::Synced);
        for key in 2..6 {
            put(&kv, &[key], Durability::Unsynced);
        }
        assert_eq!(kv.pending(), 4);
        kv.crash(seed);
        let left = keys(&kv, State, &[]);
        assert!(left.len() >= 2, "what was synced stays");
        assert!(
            left.iter().zip(0u8..).all(|(key, n)| *key == [n]),
            "a prefix stays"
        );
        kept.insert(left.len());
    }
    assert_eq!(kept.len(), 5, "every length happens");
}

#[test]
fn a_directory_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let _first = RocksKv::open(directory.path()).unwrap();
    let second = RocksKv::open(directory.path());
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
}

/// The newest log of RocksDB in a directory.
fn log_of(directory: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(directory).unwrap();
    let mut logs: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    logs.pop().unwrap()
}

/// A copy of a database as a crash would leave it: nothing is flushed when it is copied.
fn crashed_copy(keys: u8) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let kv = RocksKv::open(directory.path()).unwrap();
    for key in 0..keys {
        put(&kv, &[key], Durability::Synced);
    }
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        if file.file_name() != "LOCK" {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

#[test]
fn a_torn_tail_is_dropped_and_a_bad_record_in_the_middle_is_refused() {
    let torn = crashed_copy(20);
    let log = log_of(torn.path());
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    let kv = RocksKv::open(torn.path()).unwrap();
    assert_eq!(keys(&kv, State, &[]).len(), 19);
    drop(kv);

    let flipped = crashed_copy(20);
    let log = log_of(flipped.path());
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let opened = RocksKv::open(flipped.path());
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}
