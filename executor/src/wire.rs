//! Lanes that cross a socket: what moving rows and state costs between machines, on one.
//!
//! ```text
//!   sender ─► unsent ─► Arrow IPC ─ slice by slice ─► loopback socket ─► Arrow ─► arrived ─► receiver
//!                │                       └ the rest of the message waits beside the socket ┘
//!                └ may still be rewritten (take-back)
//! ```
//!
//! Every change batch and every partition is encoded, written to a socket, read and decoded. What
//! else a message has (its kind, subscale, channel, a change of topology) is some dozen bytes and
//! stays in memory. All lanes of one sending executor share its link: each sends a slice of a
//! millisecond in its turn, so that rows wait for a slice of state, never for a whole key group, and
//! a lane that sends little is not held up by one that sends much.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use scaling::{ChannelId, ExecutorId, KeyGroup, SubscaleId};
use storage::{PartitionState, Run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::change::ChangeBatch;
use crate::channel::{Lane, Queued};
use crate::error::Result;
use crate::message::{Message, MigrationMessage};
use crate::wal;
use crate::world;

/// What a link takes of a lane at a time. Timers are no finer: a link that is ahead of its rate by
/// less does not wait.
const SLICE: Duration = Duration::from_millis(1);
/// A link that was idle, or was woken late, may catch up on so much.
const CATCH_UP: Duration = Duration::from_millis(2);

/// The links of the executors: each sends at most so many bytes a second.
#[derive(Debug)]
pub(crate) struct Links {
    bytes_per_second: u64,
    free_at: Mutex<BTreeMap<ExecutorId, Instant>>,
}

impl Links {
    pub(crate) fn new(bytes_per_second: u64) -> Links {
        Links {
            bytes_per_second,
            free_at: Mutex::default(),
        }
    }

    /// Bytes of a slice.
    fn slice(&self) -> usize {
        (self.bytes_per_second as f64 * SLICE.as_secs_f64()).max(1.0) as usize
    }

    /// Returns once the link of `from` may send so many bytes: lanes that ask get their turns in the
    /// order in which they did.
    async fn turn(&self, from: ExecutorId, bytes: usize) {
        let now = world::now();
        let until = {
            let mut links = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let free_at = links.entry(from).or_insert(now);
            let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *free_at = (*free_at).max(now - CATCH_UP) + takes;
            *free_at
        };
        if until > now + SLICE {
            world::sleep(until - now).await;
        }
    }
}

/// A message that can be sent as what Arrow encodes, and the rest.
pub(crate) trait Framed: Queued + Send + Sized + 'static {
    /// What is not Arrow.
    type Rest: Send;

    /// Takes a message apart.
    fn into_frame(self) -> Result<(Self::Rest, Vec<u8>)>;

    /// Puts a message together again.
    fn from_frame(rest: Self::Rest, frame: &[u8]) -> Result<Self>;
}

fn encode(batch: &ChangeBatch) -> Result<(Arc<[Run]>, Vec<u8>)> {
    Ok((Arc::clone(batch.runs()), wal::encode(batch)?))
}

fn decode(runs: Arc<[Run]>, frame: &[u8]) -> Result<ChangeBatch> {
    let rows = wal::decode(frame)?;
    let weights = rows.weights_to_vec().into();
    Ok(ChangeBatch::new(
        rows.columns().clone(),
        Some(weights),
        runs,
    ))
}

/// What is left of a data message.
pub(crate) enum DataRest {
    Batch(Arc<[Run]>),
    Other(Box<Message>),
}

impl Framed for Message {
    type Rest = DataRest;

    fn into_frame(self) -> Result<(DataRest, Vec<u8>)> {
        match self {
            Message::Batch(batch) => {
                let (runs, frame) = encode(&batch)?;
                Ok((DataRest::Batch(runs), frame))
            }
            other => Ok((DataRest::Other(Box::new(other)), Vec::new())),
        }
    }

    fn from_frame(rest: DataRest, frame: &[u8]) -> Result<Message> {
        match rest {
            DataRest::Batch(runs) => Ok(Message::Batch(decode(runs, frame)?)),
            DataRest::Other(message) => Ok(*message),
        }
    }
}

/// What is left of a migration message.
pub(crate) enum MigrationRest {
    State {
        subscale: SubscaleId,
        key_group: KeyGroup,
        /// Where each table's state ends in the frame.
        ends: Vec<usize>,
        sent: Instant,
    },
    Rerouted {
        subscale: SubscaleId,
        channel: ChannelId,
        runs: Arc<[Run]>,
    },
    Other(Box<MigrationMessage>),
}

impl Framed for MigrationMessage {
    type Rest = MigrationRest;

    fn into_frame(self) -> Result<(MigrationRest, Vec<u8>)> {
        match self {
            MigrationMessage::State {
                subscale,
                key_group,
                tables,
                sent,
            } => {
                let (mut frame, mut ends) = (Vec::new(), Vec::new());
                for table in &tables {
                    frame.extend(table.encode()?);
                    ends.push(frame.len());
                }
                let rest = MigrationRest::State {
                    subscale,
                    key_group,
                    ends,
                    sent,
                };
                Ok((rest, frame))
            }
            MigrationMessage::Rerouted {
                subscale,
                channel,
                batch,
            } => {
                let (runs, frame) = encode(&batch)?;
                let rest = MigrationRest::Rerouted {
                    subscale,
                    channel,
                    runs,
                };
                Ok((rest, frame))
            }
            other => Ok((MigrationRest::Other(Box::new(other)), Vec::new())),
        }
    }

    fn from_frame(rest: MigrationRest, frame: &[u8]) -> Result<MigrationMessage> {
        match rest {
            MigrationRest::State {
                subscale,
                key_group,
                ends,
                sent,
            } => {
                let (mut tables, mut start) = (Vec::new(), 0);
                for end in ends {
                    tables.push(PartitionState::decode(&frame[start..end])?);
                    start = end;
                }
                Ok(MigrationMessage::State {
                    subscale,
                    key_group,
                    tables,
                    sent,
                })
            }
            MigrationRest::Rerouted {
                subscale,
                channel,
                runs,
            } => Ok(MigrationMessage::Rerouted {
                subscale,
                channel,
                batch: decode(runs, frame)?,
            }),
            MigrationRest::Other(message) => Ok(*message),
        }
    }
}

type Beside<R> = Arc<Mutex<VecDeque<R>>>;

/// Runs a lane over a socket until the lane is gone.
pub(crate) fn connect<M: Framed>(lane: &Arc<Lane<M>>, from: ExecutorId, links: Arc<Links>) {
    let lane = Arc::downgrade(lane);
    world::spawn(async move {
        if let Err(error) = run(lane, from, links).await {
            tracing::error!(%error, "a lane's socket failed");
        }
    });
}

async fn run<M: Framed>(lane: Weak<Lane<M>>, from: ExecutorId, links: Arc<Links>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let outgoing = TcpStream::connect(listener.local_addr()?).await?;
    let (incoming, _) = listener.accept().await?;
    outgoing.set_nodelay(true)?;
    let beside: Beside<M::Rest> = Arc::default();
    let receiving = receive(Weak::clone(&lane), incoming, Arc::clone(&beside));
    let (sent, received) = tokio::join!(send(lane, outgoing, beside, from, links), receiving);
    sent.and(received)
}

async fn send<M: Framed>(
    lane: Weak<Lane<M>>,
    mut socket: TcpStream,
    beside: Beside<M::Rest>,
    from: ExecutorId,
    links: Arc<Links>,
) -> Result<()> {
    loop {
        let Some(ready) = lane.upgrade().map(|lane| lane.wire_ready()) else {
            return Ok(());
        };
        let Some(message) = lane.upgrade().and_then(|lane| lane.take_unsent()) else {
            ready.notified().await;
            continue;
        };
        // One message is on its way; those behind it may still be taken back.
        let bytes = message.bytes();
        let (rest, frame) = message.into_frame()?;
        let locked = beside.lock();
        locked
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(rest);
        socket.write_u32_le(frame.len() as u32).await?;
        for slice in frame.chunks(links.slice()) {
            links.turn(from, slice.len()).await;
            socket.write_all(slice).await?;
        }
        if let Some(lane) = lane.upgrade() {
            lane.left(bytes);
        }
    }
}

async fn receive<M: Framed>(
    lane: Weak<Lane<M>>,
    mut socket: TcpStream,
    beside: Beside<M::Rest>,
) -> Result<()> {
    let mut frame = Vec::new();
    loop {
        // The sender closes the socket when the lane is gone.
        let Ok(length) = socket.read_u32_le().await else {
            return Ok(());
        };
        frame.resize(length as usize, 0);
        socket.read_exact(&mut frame).await?;
        let rest = beside
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let (Some(rest), Some(lane)) = (rest, lane.upgrade()) else {
            return Ok(());
        };
        lane.arrive(M::from_frame(rest, &frame)?);
    }
}
