//! What is measured: tables, a view over them, rows that are there before and rows that come.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// A workload. `created`, microseconds since the start, is a column of every arriving row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// The table that rows arrive at.
    pub(super) table: &'static str,
    /// A second table, loaded beforehand.
    pub(super) other: Option<&'static str>,
    /// The view that is rescaled.
    pub(super) view: &'static str,
    /// Keys, each of which is loaded beforehand.
    pub(super) keys: u64,
    /// Bytes of text in each loaded row, so that state has a size.
    pub(super) padding: usize,
    /// Exponent of the Zipf distribution of arriving keys; 0 is uniform.
    pub(super) skew: f64,
}

const INPUT: &str = "CREATE TABLE input (k bigint, v bigint, created bigint, pad text)";

/// A keyed aggregate with wide state.
const KEYED: &str = "CREATE MATERIALIZED VIEW v AS SELECT k, pad, count(*) AS n, \
                     sum(v) AS total, sum(created) AS born FROM input GROUP BY k, pad";

/// The workloads, by name.
pub(super) const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "aggregate",
        what: "keyed aggregate, uniform keys, wide state",
        table: INPUT,
        other: None,
        view: KEYED,
        keys: 200_000,
        padding: 200,
        skew: 0.0,
    },
    Workload {
        name: "skewed",
        what: "keyed aggregate, Zipf 1 keys, wide state",
        table: INPUT,
        other: None,
        view: KEYED,
        keys: 200_000,
        padding: 200,
        skew: 1.0,
    },
    Workload {
        name: "hot",
        what: "keyed aggregate, Zipf 1.5 keys (two of five rows have one key), wide state",
        table: INPUT,
        other: None,
        view: KEYED,
        keys: 200_000,
        padding: 200,
        skew: 1.5,
    },
    Workload {
        name: "q7",
        what: "highest bid of a bidder and window (the shape of NEXMark Q7)",
        table: INPUT,
        other: None,
        view: "CREATE MATERIALIZED VIEW v AS SELECT k, created / 10000000 AS window_start, \
               max(v) AS price, sum(created) AS born, count(*) AS n FROM input GROUP BY k, created / 10000000",
        keys: 100_000,
        padding: 0,
        skew: 1.0,
    },
    Workload {
        name: "join",
        what: "stream joined with a loaded table, 1:1 (the shape of NEXMark Q8)",
        table: INPUT,
        other: Some("CREATE TABLE other (k bigint, name text)"),
        view: "CREATE MATERIALIZED VIEW v AS SELECT other.k, other.name, input.v, input.created \
               FROM other JOIN input ON other.k = input.k",
        keys: 200_000,
        padding: 200,
        skew: 0.0,
    },
    Workload {
        name: "history",
        what: "history of a key that grows with every row",
        table: INPUT,
        other: None,
        view: "CREATE MATERIALIZED VIEW v AS SELECT k, v, pad, count(*) AS n, sum(created) AS born \
               FROM input GROUP BY k, v, pad",
        keys: 100_000,
        padding: 100,
        skew: 0.5,
    },
];

impl Workload {
    /// By its name.
    pub(super) fn named(name: &str) -> Option<Workload> {
        WORKLOADS.into_iter().find(|workload| workload.name == name)
    }

    fn padding_of(&self, key: u64) -> String {
        let mut text = format!("{key:x}-");
        while text.len() < self.padding {
            text.push((b'a' + (text.len() % 23) as u8) as char);
        }
        text
    }

    /// Rows of `keys`, of the table that rows arrive at. What `v` is follows from the number of
    /// the row, `first` being the first's.
    pub(super) fn rows(&self, keys: &[u64], created: &[i64], first: u64) -> RecordBatch {
        let values = (first..).take(keys.len());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(keys.iter().map(|key| *key as i64).collect::<Int64Array>()),
            Arc::new(
                values
                    .map(|n| (n % 1_000_003) as i64)
                    .collect::<Int64Array>(),
            ),
            Arc::new(Int64Array::from(created.to_vec())),
            Arc::new(
                keys.iter()
                    .map(|key| Some(self.padding_of(*key)))
                    .collect::<StringArray>(),
            ),
        ];
        batch(
            &[
                ("k", DataType::Int64),
                ("v", DataType::Int64),
                ("created", DataType::Int64),
                ("pad", DataType::Utf8),
            ],
            columns,
        )
    }

    /// Rows of the second table.
    pub(super) fn other_rows(&self, keys: &[u64]) -> RecordBatch {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(keys.iter().map(|key| *key as i64).collect::<Int64Array>()),
            Arc::new(
                keys.iter()
                    .map(|key| Some(self.padding_of(*key)))
                    .collect::<StringArray>(),
            ),
        ];
        batch(&[("k", DataType::Int64), ("name", DataType::Utf8)], columns)
    }
}

fn batch(fields: &[(&str, DataType)], columns: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, kind)| Field::new(*name, kind.clone(), true))
        .collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns).expect("the columns are of these types")
}

/// Draws keys: a permutation of them by Zipf's law, so that hot keys are spread over key groups.
pub(super) struct Keys {
    count: u64,
    cumulative: Vec<f64>,
    state: u64,
}

impl Keys {
    pub(super) fn new(count: u64, skew: f64, seed: u64) -> Keys {
        let mut sum = 0.0;
        let cumulative = if skew == 0.0 {
            Vec::new()
        } else {
            (1..=count)
                .map(|rank| {
                    sum += (rank as f64).powf(-skew);
                    sum
                })
                .collect()
        };
        Keys {
            count,
            cumulative,
            state: seed,
        }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: OOPSLA 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn next(&mut self) -> u64 {
        let random = self.random();
        let Some(total) = self.cumulative.last() else {
            return random % self.count;
        };
        let point = (random >> 11) as f64 / (1u64 << 53) as f64 * total;
        let rank = self.cumulative.partition_point(|sum| *sum <= point) as u64;
        rank.min(self.count - 1).wrapping_mul(7919) % self.count
    }
}
