//! What the barrier under way, and the checkpoint being written, wait for: seen at any time, and
//! said in the log when they take long.

use std::collections::BTreeMap;
use std::time::Duration;

use scaling::{Epoch, ExecutorId};
use storage::Error as StorageError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Conductor, Persisting};
use crate::job::Job;
use crate::message::FragmentKey;
use crate::world;

/// The time after which the log says what a barrier or a checkpoint waits for; again after twice
/// that, and so on.
const SLOW: Duration = Duration::from_secs(10);

/// A checkpoint that is being written.
pub(super) struct Writing {
    pub(super) epoch: Epoch,
    pub(super) task: JoinHandle<Result<(), StorageError>>,
    /// Who waits for it.
    pub(super) persisting: Persisting,
    pub(super) patience: Patience,
}

/// How long something has been waited for, and when that is worth a word.
pub(super) struct Patience {
    pub(super) since: Instant,
    after: Duration,
}

impl Patience {
    pub(super) fn begin() -> Self {
        Self {
            since: world::now(),
            after: SLOW,
        }
    }

    fn ends(&self) -> Instant {
        self.since + self.after
    }

    /// How long it has been, when that is to be said.
    fn spoken(&mut self) -> Option<Duration> {
        let now = world::now();
        (now >= self.ends()).then(|| {
            self.after *= 2;
            now - self.since
        })
    }
}

/// Something that an epoch waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct BarrierStatus {
    /// The epoch that the barrier ends.
    pub epoch: Epoch,
    /// Since when: the barrier was sent, or the checkpoint handed over.
    pub age: Duration,
    /// What is waited for.
    pub waits_for: BarrierWait,
}

/// What an epoch waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum BarrierWait {
    /// An executor has yet to report the barrier.
    Executor {
        /// Its job.
        job: u32,
        /// Its fragment; none if it is about to leave.
        fragment: Option<usize>,
        /// The executor.
        executor: ExecutorId,
        /// Who sends to it and has not reported either. Where there is nobody, the wait begins.
        behind: Vec<ExecutorId>,
    },
    /// Its checkpoint is being written.
    Checkpoint,
}

impl Conductor {
    /// What the barrier under way and the checkpoint being written wait for.
    pub(super) fn barriers(&self) -> Vec<BarrierStatus> {
        let mut waits = Vec::new();
        if let Some(writing) = &self.checkpoint {
            waits.push(BarrierStatus {
                epoch: writing.epoch,
                age: world::now() - writing.patience.since,
                waits_for: BarrierWait::Checkpoint,
            });
        }
        let Some(in_flight) = &self.in_flight else {
            return waits;
        };
        let placed: BTreeMap<ExecutorId, FragmentKey> = (self.jobs.iter())
            .flat_map(Job::fragments)
            .flat_map(|(key, _, placement)| placement.executors.iter().map(move |&id| (id, key)))
            .collect();
        for &executor in &in_flight.waiting {
            let key = placed.get(&executor);
            let channels = key.map(|&key| self.jobs.channels_into(key, executor));
            let senders = channels.into_iter().flatten().map(|channel| channel.from);
            let mut behind: Vec<_> = senders
                .filter(|sender| in_flight.waiting.contains(sender))
                .collect();
            behind.dedup();
            waits.push(BarrierStatus {
                epoch: in_flight.barrier.epoch,
                age: world::now() - in_flight.patience.since,
                waits_for: BarrierWait::Executor {
                    job: in_flight.owner.get(&executor).copied().unwrap_or_default(),
                    fragment: key.map(|key| key.fragment),
                    executor,
                    behind,
                },
            });
        }
        waits
    }

    /// When something will have taken so long that the log says it.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let barrier = self.in_flight.iter().map(|barrier| &barrier.patience);
        let checkpoint = self.checkpoint.iter().map(|writing| &writing.patience);
        barrier.chain(checkpoint).map(Patience::ends).min()
    }

    /// Says in the log what takes long.
    pub(super) fn say_what_is_slow(&mut self) {
        if let Some(writing) = &mut self.checkpoint
            && let Some(age) = writing.patience.spoken()
        {
            tracing::warn!(epoch = %writing.epoch, ?age, "a checkpoint is still being written");
        }
        let barrier = self.in_flight.as_mut();
        if let Some(age) = barrier.and_then(|barrier| barrier.patience.spoken()) {
            let waits = self.barriers().into_iter();
            // Those that wait for others say nothing new.
            let first: Vec<_> = waits
                .filter_map(|wait| match wait.waits_for {
                    BarrierWait::Executor {
                        job,
                        executor,
                        behind,
                        ..
                    } if behind.is_empty() => Some(format!("{executor} of relation {job}")),
                    _ => None,
                })
                .collect();
            tracing::warn!(epoch = %self.epoch, ?age, waits_for = ?first, "a barrier is still under way");
        }
    }
}
