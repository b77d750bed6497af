//! What a feed keeps: the rows at the last epoch, the changes that led there, and who has read how
//! far.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use scaling::Epoch;
use storage::TableSnapshot;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::feed::{Retention, Start};

/// What an epoch changed; never nothing.
#[derive(Debug)]
pub struct Changes {
    /// The epoch.
    pub epoch: Epoch,
    /// Distinct rows.
    pub rows: RecordBatch,
    /// What the weight of each changed by; never zero.
    pub weights: Vec<i64>,
    bytes: usize,
    came: Instant,
}

/// The state of a feed.
#[derive(Debug)]
pub(super) struct Kept {
    /// The last epoch, and the rows then.
    epoch: Epoch,
    rows: Arc<TableSnapshot>,
    /// All changes after this epoch are here, ascending.
    since: Epoch,
    changes: VecDeque<Arc<Changes>>,
    bytes: usize,
    /// The epoch up to which each reader has read.
    readers: BTreeMap<u64, Epoch>,
    readers_ever: u64,
    /// When the last reader left.
    unread_since: Instant,
    has_ended: bool,
}

/// What comes next for a reader.
pub(super) enum Next {
    Changes(Arc<Changes>),
    /// Nothing changed up to this epoch.
    Advanced(Epoch),
    /// It is at the last epoch.
    NotYet,
    /// There will be no more.
    End,
}

impl Kept {
    pub(super) fn new(epoch: Epoch, rows: Arc<TableSnapshot>) -> Kept {
        Kept {
            epoch,
            rows,
            since: epoch,
            changes: VecDeque::new(),
            bytes: 0,
            readers: BTreeMap::new(),
            readers_ever: 0,
            unread_since: Instant::now(),
            has_ended: false,
        }
    }

    /// Whether an epoch was taken in, or none will be any more.
    pub(super) fn has_reached(&self, epoch: Epoch) -> bool {
        self.epoch >= epoch || self.has_ended
    }

    /// The rows at the last epoch.
    pub(super) fn rows(&self) -> &Arc<TableSnapshot> {
        &self.rows
    }

    pub(super) fn add_reader(&mut self, start: Start) -> Result<u64> {
        let position = match start {
            Start::Now => self.epoch,
            Start::After(epoch) if epoch > self.epoch => {
                return Err(Error::InvalidValue {
                    message: format!("epoch {epoch} has not come yet"),
                    hint: Some(format!("The last epoch is {}.", self.epoch)),
                });
            }
            Start::After(epoch) if epoch < self.since => return Err(self.lost(epoch)),
            Start::After(epoch) => epoch,
        };
        self.readers_ever += 1;
        self.readers.insert(self.readers_ever, position);
        Ok(self.readers_ever)
    }

    pub(super) fn remove_reader(&mut self, number: u64) {
        self.readers.remove(&number);
        self.unread_since = Instant::now();
    }

    /// Up to where a reader has read.
    pub(super) fn position(&self, number: u64) -> Epoch {
        self.readers.get(&number).copied().unwrap_or(self.epoch)
    }

    pub(super) fn is_unread_for(&self, time: Duration) -> bool {
        self.readers.is_empty() && self.unread_since.elapsed() >= time
    }

    /// What comes next for a reader, which has it then.
    pub(super) fn next(&mut self, number: u64) -> Result<Next> {
        let position = self.position(number);
        if position < self.since {
            return Err(self.lost(position));
        }
        let unread = self.changes.partition_point(|c| c.epoch <= position);
        let (next, epoch) = match self.changes.get(unread) {
            Some(changes) => (Next::Changes(Arc::clone(changes)), changes.epoch),
            None if position < self.epoch => (Next::Advanced(self.epoch), self.epoch),
            None if self.has_ended => return Ok(Next::End),
            None => return Ok(Next::NotYet),
        };
        self.readers.insert(number, epoch);
        Ok(next)
    }

    /// Takes in an epoch.
    pub(super) fn advance(
        &mut self,
        epoch: Epoch,
        rows: Arc<TableSnapshot>,
        changes: Option<(RecordBatch, Vec<i64>)>,
    ) {
        self.epoch = epoch;
        self.rows = rows;
        let Some((rows, weights)) = changes else {
            return;
        };
        let bytes = rows.get_array_memory_size() + size_of_val(&weights[..]);
        self.bytes += bytes;
        self.changes.push_back(Arc::new(Changes {
            epoch,
            rows,
            weights,
            bytes,
            came: Instant::now(),
        }));
    }

    /// Forgets what need not, or must not, be kept.
    pub(super) fn trim(&mut self, retention: Retention) {
        let read_by_all = self.readers.values().min().copied().unwrap_or(self.epoch);
        while let Some(first) = self.changes.front() {
            let is_past = first.epoch <= read_by_all && first.came.elapsed() >= retention.time;
            if !is_past && self.bytes <= retention.bytes_max {
                break;
            }
            self.since = first.epoch;
            self.bytes -= first.bytes;
            self.changes.pop_front();
        }
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    fn lost(&self, position: Epoch) -> Error {
        Error::SubscriptionEnded {
            message: format!(
                "the changes after epoch {position} are not kept any more, only those after {}",
                self.since
            ),
            hint: "Subscribe again without AS OF, which starts with the rows as they are then.",
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn one_row() -> Option<(RecordBatch, Vec<i64>)> {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(Int32Array::from(vec![1]))]).unwrap();
        Some((rows, vec![1]))
    }

    fn kept() -> Kept {
        Kept::new(Epoch(10), Arc::default())
    }

    fn next(kept: &mut Kept, reader: u64) -> String {
        match kept.next(reader) {
            Ok(Next::Changes(changes)) => format!("changes {}", changes.epoch),
            Ok(Next::Advanced(epoch)) => format!("advanced {epoch}"),
            Ok(Next::NotYet) => "not yet".to_owned(),
            Ok(Next::End) => "end".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    const LONG: Retention = Retention {
        time: Duration::from_secs(3600),
        bytes_max: usize::MAX,
    };

    #[tokio::test]
    async fn a_reader_sees_each_epoch_once() {
        let mut kept = kept();
        let reader = kept.add_reader(Start::Now).unwrap();
        assert_eq!(next(&mut kept, reader), "not yet");
        kept.advance(Epoch(11), Arc::default(), one_row());
        kept.advance(Epoch(12), Arc::default(), None);
        assert_eq!(next(&mut kept, reader), "changes 11");
        assert_eq!(next(&mut kept, reader), "advanced 12");
        assert_eq!(next(&mut kept, reader), "not yet");
        let again = kept.add_reader(Start::After(Epoch(10))).unwrap();
        assert_eq!(next(&mut kept, again), "changes 11");
        assert!(kept.add_reader(Start::After(Epoch(13))).is_err());
        kept.end();
        assert_eq!(next(&mut kept, reader), "end");
    }

    #[tokio::test]
    async fn what_a_reader_needs_is_kept_within_the_bytes() {
        let soon = Retention {
            time: Duration::ZERO,
            ..LONG
        };
        let none = Retention {
            bytes_max: 0,
            ..LONG
        };
        let mut kept = kept();
        let reader = kept.add_reader(Start::Now).unwrap();
        kept.advance(Epoch(11), Arc::default(), one_row());
        kept.advance(Epoch(12), Arc::default(), one_row());
        kept.trim(soon);
        assert_eq!(next(&mut kept, reader), "changes 11");
        kept.trim(soon);
        assert!(kept.add_reader(Start::After(Epoch(10))).is_err());
        kept.trim(none);
        assert_eq!(
            next(&mut kept, reader),
            "the changes after epoch 11 are not kept any more, only those after 12"
        );
        kept.remove_reader(reader);
        assert!(kept.is_unread_for(Duration::ZERO));
    }
}
