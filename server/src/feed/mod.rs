//! Changes of relations, epoch by epoch, for whoever subscribes to them.
//!
//! ```text
//!   visible epochs ─► Feed, a task a relation: what differs from the epoch before ─► changes, kept
//!                                                                                     │ │ │
//!                                                            readers, each at its epoch ◄──┘
//! ```
//!
//! A feed begins with the first subscription to its relation, and computes each epoch's changes
//! once for all readers, from two snapshots: so what executors do, and where key groups are, has
//! no part in it. When epochs come faster than their changes are computed, several become one,
//! under the number of the last. Changes are kept until every reader has had them and for a time
//! beyond, so that a client that was cut off can go on; but never more than so many bytes: a
//! reader that falls that far behind is told so. A feed that nobody has read for that time ends.

mod kept;
mod reader;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use executor::Engine;
use scaling::Epoch;
use storage::{DatabaseSnapshot, TableSnapshot};
use tokio::sync::watch;

use crate::error::{Error, Result};
use kept::Kept;

pub use kept::Changes;
pub use reader::{Reader, Step};

/// How much of the past is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// For how long.
    pub time: Duration,
    /// Most bytes of one relation.
    pub bytes_max: usize,
}

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the present epoch.
    Now,
    /// Behind an epoch that was read before.
    After(Epoch),
}

/// The changes of one relation.
#[derive(Debug)]
struct Feed {
    relation: u32,
    retention: Retention,
    kept: Mutex<Kept>,
    /// Woken when an epoch was taken in, or the feed has ended.
    advanced: watch::Sender<()>,
}

/// The feeds of all relations.
#[derive(Debug)]
pub struct Feeds {
    retention: Retention,
    feeds: Arc<Mutex<BTreeMap<u32, Arc<Feed>>>>,
}

impl Feeds {
    /// No feeds yet.
    #[must_use]
    pub fn new(retention: Retention) -> Feeds {
        Feeds {
            retention,
            feeds: Arc::default(),
        }
    }

    /// Reads the changes of a relation; also gives its rows at the epoch where the reader starts,
    /// if that is the present one.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for an epoch to come, [`Error::SubscriptionEnded`] for one whose
    /// changes are not kept, [`Error::UndefinedRelation`] if the relation is gone.
    pub async fn read(
        &self,
        engine: &Engine,
        relation: u32,
        start: Start,
    ) -> Result<(Reader, Arc<TableSnapshot>)> {
        let visible = engine.snapshot().epoch;
        loop {
            let feed = self.feed(engine, relation)?;
            let mut advanced = feed.advanced.subscribe();
            while !feed.kept().has_reached(visible) {
                if advanced.changed().await.is_err() {
                    break;
                }
            }
            // Under the lock of all feeds: a feed that has a reader does not end.
            let feeds = lock(&self.feeds);
            if !feeds
                .get(&relation)
                .is_some_and(|current| Arc::ptr_eq(current, &feed))
            {
                continue; // It has ended meanwhile.
            }
            let mut kept = feed.kept();
            let rows = Arc::clone(kept.rows());
            let number = kept.add_reader(start)?;
            drop(kept);
            return Ok((Reader::new(Arc::clone(&feed), number, advanced), rows));
        }
    }

    /// The feed of a relation; a new one starts with what is visible now.
    fn feed(&self, engine: &Engine, relation: u32) -> Result<Arc<Feed>> {
        let mut feeds = lock(&self.feeds);
        if let Some(feed) = feeds.get(&relation) {
            return Ok(Arc::clone(feed));
        }
        let mut epochs = engine.epochs();
        let now = Arc::clone(&epochs.borrow_and_update());
        let rows = now.tables.get(&relation).ok_or_else(|| gone(relation))?;
        let feed = Arc::new(Feed {
            relation,
            retention: self.retention,
            kept: Mutex::new(Kept::new(now.epoch, Arc::clone(rows))),
            advanced: watch::Sender::new(()),
        });
        feeds.insert(relation, Arc::clone(&feed));
        tokio::spawn(follow(Arc::clone(&self.feeds), Arc::clone(&feed), epochs));
        Ok(feed)
    }
}

impl Feed {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Takes in an epoch: the relation's rows then.
    async fn take(&self, epoch: Epoch, rows: &Arc<TableSnapshot>) -> Result<()> {
        let before = Arc::clone(self.kept().rows());
        let changes = if Arc::ptr_eq(&before, rows) {
            None
        } else {
            let after = Arc::clone(rows);
            tokio::task::spawn_blocking(move || changes(&before, &after))
                .await
                .map_err(|error| Error::Internal(error.to_string()))??
        };
        let mut kept = self.kept();
        kept.advance(epoch, Arc::clone(rows), changes);
        kept.trim(self.retention);
        drop(kept);
        self.advanced.send_replace(());
        Ok(())
    }

    fn end(&self) {
        self.kept().end();
        self.advanced.send_replace(());
    }
}

/// Takes in one visible epoch after the other, until the relation is gone, nobody reads, or the
/// engine stops.
async fn follow(
    feeds: Arc<Mutex<BTreeMap<u32, Arc<Feed>>>>,
    feed: Arc<Feed>,
    mut epochs: watch::Receiver<Arc<DatabaseSnapshot>>,
) {
    while epochs.changed().await.is_ok() {
        let now = Arc::clone(&epochs.borrow_and_update());
        let Some(rows) = now.tables.get(&feed.relation) else {
            break;
        };
        let widths = (width(feed.kept().rows()), width(rows));
        if matches!(widths, (Some(before), Some(now)) if before != now) {
            break; // Its columns were altered: a row is no longer what readers take it for.
        }
        if let Err(error) = feed.take(now.epoch, rows).await {
            tracing::error!(%error, relation = feed.relation, "cannot compute changes");
            break;
        }
        let mut feeds = lock(&feeds);
        if feed.kept().is_unread_for(feed.retention.time) {
            feeds.remove(&feed.relation);
            feed.end();
            return;
        }
    }
    lock(&feeds).remove(&feed.relation);
    feed.end();
}

/// How many columns stored rows have; `None` if there never were any.
fn width(rows: &TableSnapshot) -> Option<usize> {
    let partition = rows.partitions.iter().flatten().next()?;
    Some(partition.schema().fields().len())
}

/// What differs between two epochs, in one batch; `None` if nothing does.
fn changes(
    before: &TableSnapshot,
    after: &TableSnapshot,
) -> Result<Option<(RecordBatch, Vec<i64>)>> {
    let parts = after.changes_since(before)?;
    let Some((first, _)) = parts.first() else {
        return Ok(None);
    };
    let rows = concat_batches(&first.schema(), parts.iter().map(|(rows, _)| rows))?;
    let weights = parts.into_iter().flat_map(|(_, weights)| weights);
    Ok(Some((rows, weights.collect())))
}

fn gone(relation: u32) -> Error {
    Error::UndefinedRelation {
        name: format!("with OID {relation}"),
    }
}

/// What the locks protect is whole between any two of its methods.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
