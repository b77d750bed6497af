//! NEXMark events generated beforehand: measuring an engine must not measure the generator.
//!
//! Sources of an engine that is given some take their rows from here, whatever their options say of
//! the stream. What each epoch took is noted, so that freshness can be told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ::nexmark::EventGenerator;
use ::nexmark::config::NexmarkConfig;
use arrow::array::RecordBatch;
use planner::dataflow::NexmarkTable;
use planner::source::nexmark_schema;
use scaling::Epoch;

use super::nexmark::{BASE_TIME_DEFAULT, Columns, event_type};
use crate::error::Result;

/// Rows of a stored batch.
const BATCH_ROWS: usize = 8192;
/// Events of the generator's smallest cycle.
const CYCLE: u64 = 50;

/// The first events of the generator with its usual options.
#[derive(Debug)]
pub struct NexmarkEvents {
    events: u64,
    people: Vec<RecordBatch>,
    auctions: Vec<RecordBatch>,
    bids: Vec<RecordBatch>,
    /// Rows that the sources there are will take in all.
    expected: AtomicU64,
    taken: AtomicU64,
    parts: Mutex<Vec<EpochPart>>,
}

/// What one source took in one epoch.
#[derive(Debug, Clone, Copy)]
pub struct EpochPart {
    /// The epoch.
    pub epoch: Epoch,
    /// How many rows.
    pub rows: u64,
    /// When the first one was due.
    pub first_due: Instant,
    /// When the last one was due.
    pub last_due: Instant,
}

/// Where the events of a table are in a cycle: how many, after how many others.
const fn cycle(table: NexmarkTable) -> (u64, u64) {
    match table {
        NexmarkTable::Person => (1, 0),
        NexmarkTable::Auction => (3, 1),
        NexmarkTable::Bid => (46, 4),
    }
}

impl NexmarkEvents {
    /// Generates so many events.
    ///
    /// # Errors
    /// If Arrow cannot hold them.
    pub fn generate(events: u64) -> Result<NexmarkEvents> {
        let tables = [
            NexmarkTable::Person,
            NexmarkTable::Auction,
            NexmarkTable::Bid,
        ];
        let [people, auctions, bids] = tables.map(|table| batches(table, events));
        Ok(NexmarkEvents {
            events,
            people: people?,
            auctions: auctions?,
            bids: bids?,
            expected: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            parts: Mutex::default(),
        })
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.events
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The rows of a table, all its columns.
    #[must_use]
    pub fn table(&self, table: NexmarkTable) -> &[RecordBatch] {
        match table {
            NexmarkTable::Person => &self.people,
            NexmarkTable::Auction => &self.auctions,
            NexmarkTable::Bid => &self.bids,
        }
    }

    /// Forgets the sources there were.
    pub fn reset(&self) {
        self.expected.store(0, Ordering::Release);
        self.taken.store(0, Ordering::Release);
        self.parts().clear();
    }

    /// Whether every source has taken its rows among the first `events`, and there is a source.
    #[must_use]
    pub fn all_taken(&self) -> bool {
        let expected = self.expected.load(Ordering::Acquire);
        expected > 0 && self.taken.load(Ordering::Acquire) >= expected
    }

    /// What was taken, in order for each source.
    #[must_use]
    pub fn taken_parts(&self) -> Vec<EpochPart> {
        self.parts().clone()
    }

    pub(super) fn expect(&self, table: NexmarkTable, events: u64) {
        let rows = rows_before(table, events.min(self.events));
        self.expected.fetch_add(rows, Ordering::AcqRel);
    }

    pub(super) fn note(&self, part: EpochPart) {
        self.parts().push(part);
    }

    /// Rows of a table from number `offset` on that come before event number `end`; as many as lie
    /// side by side.
    pub(super) fn take(&self, table: NexmarkTable, offset: u64, end: u64) -> Option<RecordBatch> {
        let batch = self
            .table(table)
            .get((offset / BATCH_ROWS as u64) as usize)?;
        let first = (offset % BATCH_ROWS as u64) as usize;
        let due = rows_before(table, end).saturating_sub(offset) as usize;
        let rows = due.min(batch.num_rows().saturating_sub(first));
        if rows == 0 {
            return None;
        }
        self.taken.fetch_add(rows as u64, Ordering::AcqRel);
        Some(batch.slice(first, rows))
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<EpochPart>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the event that is row `row` of a table.
pub(super) fn event_of_row(table: NexmarkTable, row: u64) -> u64 {
    let (count, first) = cycle(table);
    row / count * CYCLE + first + row % count
}

/// How many rows of a table come before an event.
pub(super) fn rows_before(table: NexmarkTable, event: u64) -> u64 {
    let (count, first) = cycle(table);
    event / CYCLE * count + (event % CYCLE).saturating_sub(first).min(count)
}

fn batches(table: NexmarkTable, events: u64) -> Result<Vec<RecordBatch>> {
    let config = NexmarkConfig {
        base_time: BASE_TIME_DEFAULT,
        ..NexmarkConfig::default()
    };
    let schema = nexmark_schema(table);
    let mut generator = EventGenerator::new(config).with_type_filter(event_type(table));
    let mut batches = Vec::new();
    let mut left = rows_before(table, events) as usize;
    while left > 0 {
        let rows = left.min(BATCH_ROWS);
        let mut columns = Columns::new(table, rows);
        generator
            .by_ref()
            .take(rows)
            .for_each(|event| columns.append(event));
        batches.push(columns.finish(&schema)?);
        left -= rows;
    }
    Ok(batches)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use super::*;

    #[test]
    fn rows_and_events_agree() {
        for table in [
            NexmarkTable::Person,
            NexmarkTable::Auction,
            NexmarkTable::Bid,
        ] {
            let mut row = 0;
            for (number, event) in (0..500).zip(EventGenerator::new(NexmarkConfig::default())) {
                assert_eq!(rows_before(table, number), row);
                if event.event_type() == event_type(table) {
                    assert_eq!(event_of_row(table, row), number, "row {row} of {table:?}");
                    row += 1;
                }
            }
        }
    }

    #[test]
    fn every_row_is_taken_once() {
        let events = NexmarkEvents::generate(20_000).unwrap();
        let table = NexmarkTable::Bid;
        events.expect(table, 19_999);
        let (mut offset, mut end) = (0, 0);
        while !events.all_taken() {
            end = (end + 777).min(19_999);
            while let Some(batch) = events.take(table, offset, end) {
                offset += batch.num_rows() as u64;
            }
        }
        assert_eq!(offset, rows_before(table, 19_999));
    }
}
