//! The way of a table's writes: write-ahead log first, then the root of the table's dataflow.
//!
//! ```text
//!   sessions ─► queue ─► [ one group: append to the log, one sync ] ─► root's data lane
//!                └──────────────── acknowledged ◄──────────────────────────┘
//! ```
//!
//! Writes that arrive while a sync runs form the next group, so many sessions share one sync. A
//! group is one record of the log, and no write is in two of them: it is durable whole or not at all.
//! What a transaction writes to several tables goes past the queues, as one write of the log.
//! How many bytes wait is bounded: a session whose write has no room waits in front of the queue.
//! A write is acknowledged once it is durable and in the lane: a barrier asked for afterwards
//! goes behind it. The log is cut by the checkpoint that holds the writes.

use std::sync::Arc;
use std::time::Duration;

use storage::{Storage, canary, crash_point};
use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::change::ChangeBatch;
use crate::channel::{Inbox, Sender};
use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::message::Message;
use crate::wal;
use crate::world;

/// Writes that may wait for their turn before a session has to.
const QUEUE_MAX: usize = 256;
/// Bytes of rows of writes to one table that may wait or be under way, unless it is a single write. It is
/// what several groups have, so that the next one waits when one is synced.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Writes of one group.
const GROUP_MAX: usize = 256;
/// Bytes of rows in one group, unless it is a single write.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// A lane that is replaced by a restart wakes nobody: look again after this time.
const CREDIT_WAIT_MAX: Duration = Duration::from_millis(20);

/// Where a table's writes go while its dataflow runs.
pub(crate) struct Root {
    pub(crate) lane: Sender<Message>,
    /// Woken when the lane has credit again.
    pub(crate) inbox: Arc<Inbox>,
    /// Number of the next record of the log.
    pub(crate) next_sequence: u64,
}

struct Request {
    batch: ChangeBatch,
    done: oneshot::Sender<Result<()>>,
    /// Given back when it is answered.
    _room: OwnedSemaphorePermit,
}

/// Takes the writes of one table.
#[derive(Clone)]
pub(crate) struct TableWriter {
    requests: mpsc::Sender<Request>,
    /// Bytes that may be added to what waits.
    room: Arc<Semaphore>,
    /// Whoever holds the lock keeps writes waiting.
    root: Arc<Mutex<Root>>,
}

impl TableWriter {
    /// Starts the writer of a table.
    pub(crate) fn start(job: u32, shared: &Shared, root: Root) -> TableWriter {
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let root = Arc::new(Mutex::new(root));
        // Ends when the last handle is dropped with the queue's sender.
        let (storage, gate) = (Arc::clone(&shared.storage), Arc::clone(&shared.gate));
        world::spawn(run(job, storage, gate, Arc::clone(&root), queue));
        TableWriter {
            requests,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            root,
        }
    }

    /// The root to write to; writes wait while the guard is held.
    pub(crate) async fn root(&self) -> MutexGuard<'_, Root> {
        self.root.lock().await
    }

    /// Bytes of writes that wait or are under way.
    pub(crate) fn queued_bytes(&self) -> u64 {
        (QUEUE_BYTES_MAX - self.room.available_permits()) as u64
    }

    /// Writes changes; durable, and on their way to the views, when it returns.
    pub(crate) async fn write(&self, batch: ChangeBatch) -> Result<()> {
        let bytes = batch.bytes().min(QUEUE_BYTES_MAX) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let room = room.await.map_err(|_| Error::Stopped)?;
        let (done, outcome) = oneshot::channel();
        let request = Request {
            batch,
            done,
            _room: room,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| Error::Stopped)?;
        outcome.await.map_err(|_| Error::Stopped)?
    }
}

/// What a transaction writes to one table.
pub(crate) struct TableWrite {
    pub(crate) table: u32,
    pub(crate) writer: TableWriter,
    pub(crate) batch: ChangeBatch,
}

/// Writes changes of several tables, in ascending order of these: one write of the log, and one
/// epoch. A single table takes the usual way, where writes share a sync.
pub(crate) async fn write_together(shared: Arc<Shared>, mut writes: Vec<TableWrite>) -> Result<()> {
    if writes.len() == 1
        && let Some(write) = writes.pop()
    {
        return write.writer.write(write.batch).await;
    }
    // A task of its own: a caller that stops waiting must not leave it half done.
    let written = world::spawn(async move {
        let mut roots = all_with_credit(&writes, &shared.gate).await;
        crash_point!("transaction.locked");
        let mut records = Vec::with_capacity(writes.len());
        for (write, root) in writes.iter().zip(&roots) {
            let record = wal::encode(&write.batch)?;
            records.push((write.table, root.next_sequence, record));
        }
        let storage = Arc::clone(&shared.storage);
        world::spawn_blocking(move || storage.wal_append_all(records))
            .await
            .map_err(|_| Error::Stopped)??;
        crash_point!("transaction.logged");
        let _root_lanes = shared.root_lanes.lock();
        for (write, root) in writes.iter().zip(&mut roots) {
            let sequence = root.next_sequence;
            root.next_sequence += 1;
            root.lane.push(Message::Write {
                sequence,
                batch: write.batch.clone(),
            });
        }
        crash_point!("transaction.sent");
        Ok(())
    });
    written.await.map_err(|_| Error::Stopped)?
}

/// Locks the roots of all tables once each has credit and the gate is open; like [`with_credit`] it holds no lock while
/// it waits for that.
async fn all_with_credit<'a>(writes: &'a [TableWrite], gate: &Gate) -> Vec<MutexGuard<'a, Root>> {
    loop {
        let mut roots = Vec::with_capacity(writes.len());
        for write in writes {
            roots.push(write.writer.root().await);
        }
        let full = roots.iter().find(|root| root.lane.full());
        let Some(waits) = full.or(roots.first().filter(|_| !gate.is_open())) else {
            return roots;
        };
        let inbox = Arc::clone(&waits.inbox);
        drop(roots);
        inbox.wait_at_most(CREDIT_WAIT_MAX).await;
    }
}

async fn run(
    job: u32,
    storage: Arc<Storage>,
    gate: Arc<Gate>,
    root: Arc<Mutex<Root>>,
    mut queue: mpsc::Receiver<Request>,
) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, GROUP_MAX).await > 0 {
        while !waiting.is_empty() {
            let group: Vec<Request> = waiting.drain(..group_length(&waiting)).collect();
            let mut root = with_credit(&root, &gate).await;
            let outcome = write_group(job, &storage, &mut root, &group).await;
            drop(root);
            let shared = outcome.map_err(Arc::new);
            for request in group {
                let outcome = shared.clone().map_err(|cause| Error::Write { cause });
                // A session that has gone does not wait for its answer.
                let _ = request.done.send(outcome);
            }
        }
    }
}

/// How many of the first writes that wait form a group: at least one.
fn group_length(waiting: &[Request]) -> usize {
    let mut bytes = 0;
    let fitting = waiting.iter().take_while(|request| {
        bytes += request.batch.bytes();
        bytes <= GROUP_BYTES_MAX
    });
    fitting.count().max(1)
}

/// Locks the root once its lane has credit and the gate is open. The lock is not held while waiting, so that a
/// restart of the dataflow can put another lane in place.
async fn with_credit<'a>(root: &'a Mutex<Root>, gate: &Gate) -> MutexGuard<'a, Root> {
    loop {
        let guard = root.lock().await;
        if gate.is_open() && !guard.lane.full() {
            return guard;
        }
        let inbox = Arc::clone(&guard.inbox);
        drop(guard);
        inbox.wait_at_most(CREDIT_WAIT_MAX).await;
    }
}

async fn write_group(
    job: u32,
    storage: &Arc<Storage>,
    root: &mut Root,
    group: &[Request],
) -> Result<()> {
    let batches: Vec<ChangeBatch> = group.iter().map(|request| request.batch.clone()).collect();
    let batch = ChangeBatch::concat(&batches);
    let record = wal::encode(&batch)?;
    crash_point!("write.grouped");
    let sequence = root.next_sequence;
    if !canary!("write.logged") {
        let log = Arc::clone(storage);
        world::spawn_blocking(move || log.wal_append(job, sequence, record))
            .await
            .map_err(|_| Error::Stopped)??;
    }
    crash_point!("write.logged");
    root.next_sequence += 1;
    root.lane.push(Message::Write { sequence, batch });
    crash_point!("write.sent");
    Ok(())
}
