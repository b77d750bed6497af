//! Bytes that stored databases consist of. A test here that fails means a new format number, and
//! a way to read the old one.

use std::sync::Arc;

use arrow::array::ArrayRef;
use scaling::KeyGroup;
use storage::{TableId, hash_rows, key_group, layout};

use crate::rows::{pools, schema_of};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each value of each pool, one after the other, as a row of one column.
fn each(of_column: impl Fn(&ArrayRef) -> Vec<String>) -> String {
    pools()
        .iter()
        .map(|pool| format!("{}: {}\n", pool.data_type(), of_column(pool).join(" ")))
        .collect()
}

#[test]
fn hashes_are_stable() {
    let hashes = each(|column| {
        let hashes = hash_rows(std::slice::from_ref(column));
        hashes.iter().map(|hash| format!("{hash:016x}")).collect()
    });
    assert_eq!(hashes, include_str!("golden/hashes.txt"));
    let two = hash_rows(&[pools()[0].slice(0, 3), pools()[1].slice(0, 3)]);
    assert_eq!(
        format!("{two:x?}"),
        "[92ad2ab6be8f9779, 4fb2d524ec3805b0, 71fc723e7ffd7977]"
    );
}

#[test]
fn row_bytes_are_stable() {
    let rows = each(|column| {
        let converter = layout::row_converter(&schema_of(std::slice::from_ref(column))).unwrap();
        let rows = converter
            .convert_columns(std::slice::from_ref(column))
            .unwrap();
        rows.iter().map(|row| hex(row.as_ref())).collect()
    });
    assert_eq!(rows, include_str!("golden/rows.txt"));
}

#[test]
fn keys_are_stable() {
    let table = TableId {
        job: 0x0102_0304,
        table: 0x0506,
    };
    let group = KeyGroup(0x0708);
    assert_eq!(
        hex(&layout::partition_prefix(table, group)),
        "0102030405060708"
    );
    assert_eq!(hex(&layout::wal_key(1, 2)), "000000010000000000000002");
    assert_eq!(
        layout::digest_key(table, group),
        b"digest/\x01\x02\x03\x04\x05\x06\x07\x08"
    );
    assert_eq!(layout::catalog_key(b"k"), b"catalog/k");
    assert_eq!(layout::end_of_prefix(&[1, 255, 255]), [2]);
    assert_eq!(
        hex(&layout::key_prefix(table, group, 0x1112_1314_1516_1718)),
        "01020304050607081112131415161718"
    );
    assert_eq!(layout::FORMAT, 3);
}

#[test]
fn key_groups_are_stable_and_even() {
    let groups = [0, 1 << 16, u64::MAX, 0x1234_5678_9abc_def0].map(|hash| key_group(hash, 256).0);
    assert_eq!(groups, [0, 0, 255, 0x56]);
    let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(0..256_000));
    let mut counts = [0; 256];
    for hash in hash_rows(&[numbers]) {
        counts[usize::from(key_group(hash, 256).0)] += 1;
    }
    assert!(
        counts.iter().all(|count| (850..1150).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn equal_numbers_hash_alike_in_every_integer_type() {
    use arrow::array::{Int16Array, Int32Array, Int64Array, LargeStringArray, StringArray};
    let arrays: [ArrayRef; 3] = [
        Arc::new(Int16Array::from(vec![-7, 7])),
        Arc::new(Int32Array::from(vec![-7, 7])),
        Arc::new(Int64Array::from(vec![-7, 7])),
    ];
    let hashes = arrays.map(|array| hash_rows(&[array]));
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
    let small: ArrayRef = Arc::new(StringArray::from(vec!["t"]));
    let large: ArrayRef = Arc::new(LargeStringArray::from(vec!["t"]));
    assert_eq!(hash_rows(&[small]), hash_rows(&[large]));
}

#[test]
fn decimals_of_both_signs_have_hashes_of_their_own() {
    let values = arrow::array::Decimal128Array::from_iter_values(-5000..5000);
    let mut hashes = hash_rows(&[Arc::new(values)]);
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 10_000);
}
