//! The one seam between executors: ordered lanes, addressed by id.
//!
//! ```text
//!   sender ──push──► [ lane: FIFO, bounded by credit ] ──pop──► receiver
//!      ▲                                                           ▲
//!      └── wakes when credit comes back      wakes when a message ─┘
//! ```
//!
//! A lane never blocks a push: a sender asks [`Sender::full`] *before* it takes new input, so
//! a lane holds at most its [`Credit`] plus what one input produced. An executor therefore has a
//! single place where it waits, its [`Inbox`], whatever the number of its channels, and it can
//! still act on its control lane while its output is blocked; DRRS needs exactly that.
//!
//! [`Network`] hands out the two ends by id. Within one process a lane passes Arrow buffers
//! without a copy; nothing above this file holds on to more than ids and messages, so that a
//! lane may as well cross a socket (`wire`): what it carries then has not arrived when it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scaling::{ChannelId, Epoch, ExecutorId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::credit::{CREDIT_MIN, Credit};
use crate::message::{Control, Message, MigrationMessage};
use crate::wire::{self, Framed, Links};
use crate::world;

/// Messages a lane may queue however small they are.
const LANE_MESSAGES_MAX: u64 = 256;

/// What a lane must know of its messages.
pub(crate) trait Queued {
    /// Whether the lane's credit follows its speed.
    const PACED: bool = false;

    /// Bytes of buffers that the message keeps alive; 0 for signals.
    fn bytes(&self) -> u64;

    /// How much credit it takes.
    fn credit(&self) -> u64 {
        self.bytes()
    }
}

/// Where an executor, or a table's writer, waits for anything to happen.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    notify: Notify,
}

impl Inbox {
    /// Wakes the waiting task, or lets its next wait return at once.
    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Returns once something has happened since the last wait.
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    /// As [`Inbox::wait`], but for at most `limit`.
    pub(crate) async fn wait_at_most(&self, limit: Duration) {
        // A time-out and a wake-up mean the same to the caller: look again.
        let _ = tokio::time::timeout(limit, self.notify.notified()).await;
    }
}

/// What a lane remembers of a message that has been sent and not been read.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: u64,
    credit: u64,
    /// Credit in use once it was sent, its own included.
    ahead: u64,
    sent: Instant,
}

/// Where the messages of a lane are.
#[derive(Debug)]
struct Queues<M> {
    /// Not sent yet; within one process, all of them.
    unsent: VecDeque<M>,
    /// Come out of the socket.
    arrived: VecDeque<M>,
    /// Of every message that has not been read, oldest first.
    marks: VecDeque<Mark>,
    /// Bytes that the socket is to take yet, those of a message it is taking included; within one
    /// process, of all that has not been read.
    to_send: u64,
    /// Whether the sender waits for the lane to run dry.
    wakes_when_dry: bool,
}

impl<M> Queues<M> {
    fn is_dry(&self) -> bool {
        self.to_send < CREDIT_MIN
    }
}

/// An ordered, bounded way from one executor to another.
#[derive(Debug)]
pub(crate) struct Lane<M> {
    queues: Mutex<Queues<M>>,
    credit: Credit,
    // Everything in the lane.
    in_use: AtomicU64,
    messages: AtomicU64,
    readable: AtomicU64,
    /// Nobody reads it any more: what is pushed is lost, and it is never full.
    closed: AtomicBool,
    sender: Arc<Inbox>,
    receiver: Arc<Inbox>,
    /// Told of unsent messages, if the lane crosses a socket.
    wire: Option<Arc<Notify>>,
}

impl<M> Drop for Lane<M> {
    fn drop(&mut self) {
        if let Some(wire) = &self.wire {
            wire.notify_one();
        }
    }
}

impl<M: Queued> Lane<M> {
    fn new(sender: Arc<Inbox>, receiver: Arc<Inbox>, wire: Option<Arc<Notify>>) -> Arc<Lane<M>> {
        Arc::new(Lane {
            queues: Mutex::new(Queues {
                unsent: VecDeque::new(),
                arrived: VecDeque::new(),
                marks: VecDeque::new(),
                to_send: 0,
                wakes_when_dry: false,
            }),
            credit: Credit::new(),
            in_use: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            readable: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            sender,
            receiver,
            wire,
        })
    }

    /// A lane to an executor that has failed.
    fn new_closed() -> Arc<Lane<M>> {
        let lane = Lane::new(Arc::default(), Arc::default(), None);
        lane.close();
        lane
    }

    fn lock(&self) -> MutexGuard<'_, Queues<M>> {
        // A panic while the lock is held leaves queues of whole messages.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_in(&self, queues: &mut Queues<M>, message: &M) -> Mark {
        let (bytes, credit) = (message.bytes(), message.credit());
        self.messages.fetch_add(1, Ordering::AcqRel);
        let in_use = self.in_use.fetch_add(credit, Ordering::AcqRel);
        queues.to_send += bytes;
        Mark {
            bytes,
            credit,
            ahead: in_use + credit,
            sent: world::now(),
        }
    }

    fn count_out(&self, mark: &Mark) {
        self.in_use.fetch_sub(mark.credit, Ordering::AcqRel);
        self.messages.fetch_sub(1, Ordering::AcqRel);
    }

    /// The queue that the receiver reads.
    fn readable<'a>(&self, queues: &'a mut Queues<M>) -> &'a mut VecDeque<M> {
        if self.wire.is_some() {
            &mut queues.arrived
        } else {
            &mut queues.unsent
        }
    }

    fn sent(&self) {
        match &self.wire {
            Some(wire) => wire.notify_one(),
            None => self.receiver.wake(),
        }
    }

    /// Takes so many bytes off what is to be sent. Whether the sender waited for that.
    fn ran_dry(&self, queues: &mut Queues<M>, bytes: u64) -> bool {
        queues.to_send -= bytes;
        queues.is_dry() && std::mem::take(&mut queues.wakes_when_dry)
    }

    /// What is told of unsent messages.
    pub(crate) fn wire_ready(&self) -> Arc<Notify> {
        Arc::clone(self.wire.as_ref().expect("the lane crosses a socket"))
    }

    /// Takes the next unsent message to the socket; [`Lane::left`] is to follow.
    pub(crate) fn take_unsent(&self) -> Option<M> {
        self.lock().unsent.pop_front()
    }

    /// The socket has taken a message of so many bytes.
    pub(crate) fn left(&self, bytes: u64) {
        let wakes = self.ran_dry(&mut self.lock(), bytes);
        if wakes {
            self.sender.wake();
        }
    }

    /// Hands a message from the socket to the receiver.
    pub(crate) fn arrive(&self, message: M) {
        {
            let mut queues = self.lock();
            self.readable.fetch_add(1, Ordering::AcqRel);
            queues.arrived.push_back(message);
        }
        self.receiver.wake();
    }

    fn queued_bytes(&self) -> u64 {
        self.lock().marks.iter().map(|mark| mark.bytes).sum()
    }

    fn full(&self) -> bool {
        let out_of_credit = self.in_use.load(Ordering::Acquire) >= self.credit.bytes()
            || self.messages.load(Ordering::Acquire) >= LANE_MESSAGES_MAX;
        out_of_credit && !self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Lets go of a sender that waits for the receiver, which has failed.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.sender.wake();
    }
}

/// The sending end of a lane.
#[derive(Debug)]
pub(crate) struct Sender<M>(Arc<Lane<M>>);

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Sender(Arc::clone(&self.0))
    }
}

impl<M: Queued> Sender<M> {
    /// Appends a message; never blocks and never fails.
    pub(crate) fn push(&self, message: M) {
        if self.0.is_closed() {
            return;
        }
        {
            let mut queues = self.0.lock();
            let mark = self.0.count_in(&mut queues, &message);
            queues.marks.push_back(mark);
            if self.0.wire.is_none() {
                self.0.readable.fetch_add(1, Ordering::AcqRel);
            }
            queues.unsent.push_back(message);
        }
        self.0.sent();
    }

    /// True while the lane's credit is used up.
    #[must_use]
    pub(crate) fn full(&self) -> bool {
        self.0.full()
    }

    /// The lane's credit in bytes.
    pub(crate) fn credit(&self) -> u64 {
        self.0.credit.bytes()
    }

    /// Whether almost all that was pushed has been sent; within one process, been read. If not,
    /// the sender is woken when it has.
    pub(crate) fn is_dry(&self) -> bool {
        let mut queues = self.0.lock();
        queues.wakes_when_dry = !queues.is_dry();
        !queues.wakes_when_dry
    }

    /// Rewrites what has been pushed and not yet been received; the receiver waits meanwhile.
    /// This is the take-back of the confirm barrier (Qing & Zheng, section 3.1; `drrs.md` 8.3).
    pub(crate) fn rewrite_unsent<R>(&self, rewrite: impl FnOnce(&mut VecDeque<M>) -> R) -> R {
        let result = {
            let queues = &mut *self.0.lock();
            let sent = queues.marks.len() - queues.unsent.len();
            for mark in queues.marks.drain(sent..) {
                self.0.count_out(&mark);
                queues.to_send -= mark.bytes;
            }
            let result = rewrite(&mut queues.unsent);
            for message in std::mem::take(&mut queues.unsent) {
                let mark = self.0.count_in(queues, &message);
                queues.marks.push_back(mark);
                queues.unsent.push_back(message);
            }
            if self.0.wire.is_none() {
                let readable = queues.unsent.len() as u64;
                self.0.readable.store(readable, Ordering::Release);
            }
            result
        };
        self.0.sent();
        result
    }
}

/// The receiving end of a lane.
#[derive(Debug)]
pub(crate) struct Receiver<M>(Arc<Lane<M>>);

impl<M: Queued> Receiver<M> {
    /// Takes the oldest message and gives its credit back.
    pub(crate) fn pop(&self) -> Option<M> {
        if self.is_empty() {
            return None;
        }
        let was_full = self.0.full();
        let (message, mark, ran_dry) = {
            let mut queues = self.0.lock();
            let message = self.0.readable(&mut queues).pop_front()?;
            let mark = queues.marks.pop_front().expect("each message has one");
            self.0.readable.fetch_sub(1, Ordering::AcqRel);
            self.0.count_out(&mark);
            let in_process = self.0.wire.is_none();
            let ran_dry = in_process && self.0.ran_dry(&mut queues, mark.bytes);
            (message, mark, ran_dry)
        };
        if M::PACED && mark.ahead >= CREDIT_MIN {
            self.0.credit.learn(mark.ahead, world::now() - mark.sent);
        }
        if ran_dry || was_full && !self.0.full() {
            self.0.sender.wake();
        }
        Some(message)
    }

    /// Puts what is left of the message just taken back to the head.
    pub(crate) fn put_back(&self, message: M) {
        let queues = &mut *self.0.lock();
        let mark = self.0.count_in(queues, &message);
        if self.0.wire.is_some() {
            queues.to_send -= mark.bytes;
        }
        queues.marks.push_front(mark);
        self.0.readable.fetch_add(1, Ordering::AcqRel);
        self.0.readable(queues).push_front(message);
    }

    /// Looks at the oldest message without taking it.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&M) -> R) -> Option<R> {
        if self.is_empty() {
            return None;
        }
        let mut queues = self.0.lock();
        self.0.readable(&mut queues).front().map(look)
    }

    /// True when nothing is queued.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.readable.load(Ordering::Acquire) == 0
    }
}

/// All lanes of the running dataflows, by id.
///
/// An end can be asked for before the other one exists, and any number of times. Lanes of an
/// executor go when [`Network::remove`] is called for it, or [`Network::close`] if its senders are
/// not yet told.
#[derive(Debug, Default)]
pub(crate) struct Network {
    lanes: Mutex<Lanes>,
    /// The links between executors, if they are to have any.
    links: Option<Arc<Links>>,
}

#[derive(Debug, Default)]
struct Lanes {
    /// Who is no executor: its lanes cross no socket.
    outside: BTreeSet<ExecutorId>,
    /// Who has failed, with the last barrier that may still tell others of its lanes.
    failed: BTreeMap<ExecutorId, Epoch>,
    inboxes: BTreeMap<ExecutorId, Arc<Inbox>>,
    control: BTreeMap<ExecutorId, Arc<Lane<Control>>>,
    data: BTreeMap<ChannelId, Arc<Lane<Message>>>,
    migration: BTreeMap<(ExecutorId, ExecutorId), Arc<Lane<MigrationMessage>>>,
}

impl Lanes {
    fn inbox(&mut self, executor: ExecutorId) -> Arc<Inbox> {
        Arc::clone(self.inboxes.entry(executor).or_default())
    }

    fn has_failed(&self, from: ExecutorId, to: ExecutorId) -> bool {
        self.failed.contains_key(&from) || self.failed.contains_key(&to)
    }
}

impl Network {
    /// Lanes within the process, or over sockets whose senders are limited to so many bytes a
    /// second.
    pub(crate) fn new(link_bytes_per_second: Option<u64>) -> Network {
        Network {
            lanes: Mutex::default(),
            links: link_bytes_per_second.map(|rate| Arc::new(Links::new(rate))),
        }
    }

    /// Lanes from here cross no socket.
    pub(crate) fn is_outside(&self, outside: ExecutorId) {
        self.lock().outside.insert(outside);
    }

    fn open<M: Framed>(
        &self,
        from: ExecutorId,
        inboxes: (Arc<Inbox>, Arc<Inbox>),
        outside: bool,
    ) -> Arc<Lane<M>> {
        let links = self.links.as_ref().filter(|_| !outside);
        let lane = Lane::new(inboxes.0, inboxes.1, links.map(|_| Arc::default()));
        if let Some(links) = links {
            wire::connect(&lane, from, Arc::clone(links));
        }
        lane
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of everything in the lanes between executors.
    pub(crate) fn queued_bytes(&self) -> u64 {
        let lanes = self.lock();
        let data = lanes.data.values().map(|lane| lane.queued_bytes());
        let migration = lanes.migration.values().map(|lane| lane.queued_bytes());
        data.chain(migration).sum()
    }

    /// Where `executor` waits.
    pub(crate) fn inbox(&self, executor: ExecutorId) -> Arc<Inbox> {
        self.lock().inbox(executor)
    }

    fn control(&self, executor: ExecutorId) -> Arc<Lane<Control>> {
        let mut lanes = self.lock();
        if lanes.has_failed(executor, executor) {
            return Lane::new_closed();
        }
        let inbox = lanes.inbox(executor);
        Arc::clone(
            lanes
                .control
                .entry(executor)
                .or_insert_with(|| Lane::new(Arc::new(Inbox::default()), inbox, None)),
        )
    }

    fn data(&self, channel: ChannelId) -> Arc<Lane<Message>> {
        let mut lanes = self.lock();
        if lanes.has_failed(channel.from, channel.to) {
            return Lane::new_closed();
        }
        let inboxes = (lanes.inbox(channel.from), lanes.inbox(channel.to));
        let outside = lanes.outside.contains(&channel.from);
        let open = || self.open(channel.from, inboxes, outside);
        Arc::clone(lanes.data.entry(channel).or_insert_with(open))
    }

    fn migration(&self, from: ExecutorId, to: ExecutorId) -> Arc<Lane<MigrationMessage>> {
        let mut lanes = self.lock();
        if lanes.has_failed(from, to) {
            return Lane::new_closed();
        }
        let inboxes = (lanes.inbox(from), lanes.inbox(to));
        let open = || self.open(from, inboxes, false);
        Arc::clone(lanes.migration.entry((from, to)).or_insert_with(open))
    }

    /// The priority lane to `executor`: overtakes all rows.
    pub(crate) fn control_sender(&self, executor: ExecutorId) -> Sender<Control> {
        Sender(self.control(executor))
    }

    /// The receiving end of the priority lane of `executor`.
    pub(crate) fn control_receiver(&self, executor: ExecutorId) -> Receiver<Control> {
        Receiver(self.control(executor))
    }

    /// The sending end of a data lane.
    pub(crate) fn sender(&self, channel: ChannelId) -> Sender<Message> {
        Sender(self.data(channel))
    }

    /// The receiving end of a data lane.
    pub(crate) fn receiver(&self, channel: ChannelId) -> Receiver<Message> {
        Receiver(self.data(channel))
    }

    /// The old owner's end of a migration channel.
    pub(crate) fn migration_sender(
        &self,
        from: ExecutorId,
        to: ExecutorId,
    ) -> Sender<MigrationMessage> {
        Sender(self.migration(from, to))
    }

    /// The new owner's end of a migration channel.
    pub(crate) fn migration_receiver(
        &self,
        from: ExecutorId,
        to: ExecutorId,
    ) -> Receiver<MigrationMessage> {
        Receiver(self.migration(from, to))
    }

    /// Forgets every lane to and from `executor`; ends still held by others stay usable.
    pub(crate) fn remove(&self, executor: ExecutorId) {
        let mut lanes = self.lock();
        lanes.outside.remove(&executor);
        lanes.inboxes.remove(&executor);
        lanes.control.remove(&executor);
        lanes
            .data
            .retain(|channel, _| channel.from != executor && channel.to != executor);
        lanes
            .migration
            .retain(|(from, to), _| *from != executor && *to != executor);
    }

    /// Forgets every lane to and from an executor that has failed. Its senders may push until they
    /// are told, and may open lanes to it that a barrier up to `epoch` speaks of: all that is lost,
    /// and nobody waits for it.
    pub(crate) fn close(&self, executor: ExecutorId, epoch: Epoch) {
        {
            let mut lanes = self.lock();
            for (_, lane) in lanes.data.iter().filter(|(id, _)| id.to == executor) {
                lane.close();
            }
            lanes.failed.insert(executor, epoch);
        }
        self.remove(executor);
    }

    /// A barrier is through everywhere: what earlier ones told has been done.
    pub(crate) fn passed(&self, epoch: Epoch) {
        self.lock().failed.retain(|_, last| *last >= epoch);
    }

    /// Forgets the migration channel of a pair.
    pub(crate) fn remove_migration(&self, from: ExecutorId, to: ExecutorId) {
        self.lock().migration.remove(&(from, to));
    }
}

#[cfg(test)]
mod tests {
    use scaling::SubscaleId;

    use super::*;

    #[test]
    fn nobody_waits_for_an_executor_that_has_failed() {
        let network = Network::new(None);
        let channel = ChannelId {
            from: ExecutorId(1),
            to: ExecutorId(2),
            input: 0,
        };
        let fill = |lane: &Sender<Message>| {
            for _ in 0..LANE_MESSAGES_MAX {
                lane.push(Message::Confirm(SubscaleId(1)));
            }
        };
        let lane = network.sender(channel);
        fill(&lane);
        assert!(lane.full());
        network.close(channel.to, Epoch(7));
        assert!(!lane.full());
        // A barrier that was under way may tell of the lane later.
        network.passed(Epoch(7));
        let late = network.sender(channel);
        fill(&late);
        assert!(!late.full());
        network.passed(Epoch(8));
        assert!(network.lock().failed.is_empty() && network.lock().data.is_empty());
    }
}
