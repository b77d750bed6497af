//! The sending end of a fragment: every change batch goes to the owners of its key groups.
//!
//! ```text
//!   batch ─► edge 0: key, sort by key group ─► split by owner ─► data lane of each receiver
//!        └─► edge 1: …                                       (one lane a receiver and edge)
//! ```
//!
//! The routing table of an edge is its own copy of the receiving fragment's assignment. A
//! subscale changes it between two batches ([`Dispatcher::switch`]): rows of the moving key
//! groups that are still in the old owner's lane, behind the last barrier, are taken back and
//! sent to the new owner, and the confirm barrier takes their place (`drrs.md` 8.3).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use scaling::{ChannelId, ExecutorId, Subscale, confirm_position};

use crate::change::ChangeBatch;
use crate::channel::{Network, Sender};
use crate::message::{EdgeKey, EdgeSpec, FragmentKey, Message, Routing, Topology, TopologyChange};
use crate::operator::{Barrier, Watermarks};

/// Rows below which a batch is not worth cutting.
const PIECE_ROWS_MIN: u64 = 64;

/// Routes the output of one executor.
pub(crate) struct Dispatcher {
    me: ExecutorId,
    network: Arc<Network>,
    edges: BTreeMap<EdgeKey, Edge>,
}

struct Edge {
    routing: Routing,
    /// By key group.
    owners: Vec<ExecutorId>,
    receivers: BTreeMap<ExecutorId, Sender<Message>>,
}

impl Dispatcher {
    /// A dispatcher without edges.
    #[must_use]
    pub(crate) fn new(me: ExecutorId, network: Arc<Network>) -> Dispatcher {
        Dispatcher {
            me,
            network,
            edges: BTreeMap::new(),
        }
    }

    /// Opens an exchange. Its lanes exist from here on; the receivers may come later.
    pub(crate) fn open(&mut self, spec: EdgeSpec) {
        let mut edge = Edge {
            routing: spec.routing,
            owners: spec.owners,
            receivers: BTreeMap::new(),
        };
        for receiver in spec.receivers {
            edge.receivers
                .insert(receiver, self.lane(spec.key, receiver));
        }
        self.edges.insert(spec.key, edge);
    }

    /// Applies this executor's part of a change of topology.
    pub(crate) fn apply(&mut self, change: &TopologyChange) {
        // In this order: a job that failed comes back under the same name.
        for key in &change.close_edges {
            self.edges.remove(key);
        }
        for spec in &change.open_edges {
            self.open(spec.clone());
        }
        for (key, receiver) in &change.add_receivers {
            let lane = self.lane(*key, *receiver);
            if let Some(edge) = self.edges.get_mut(key) {
                edge.receivers.insert(*receiver, lane);
            }
        }
        for (key, receiver) in &change.remove_receivers {
            if let Some(edge) = self.edges.get_mut(key) {
                edge.receivers.remove(receiver);
            }
        }
    }

    fn lane(&self, key: EdgeKey, receiver: ExecutorId) -> Sender<Message> {
        self.network.sender(ChannelId {
            from: self.me,
            to: receiver,
            input: key.input,
        })
    }

    /// True while some receiver has no credit left: take no new input until it has.
    #[must_use]
    pub(crate) fn full(&self) -> bool {
        self.edges
            .values()
            .any(|edge| edge.receivers.values().any(Sender::full))
    }

    /// Sends the rows of a batch to their owners on every edge.
    pub(crate) fn dispatch(&self, batch: &ChangeBatch) {
        for edge in self.edges.values() {
            edge.dispatch(batch);
        }
    }

    /// Puts a barrier behind everything sent so far, on every lane.
    pub(crate) fn broadcast(
        &self,
        barrier: Barrier,
        topology: &Arc<Topology>,
        watermarks: &Arc<Watermarks>,
    ) {
        for edge in self.edges.values() {
            for lane in edge.receivers.values() {
                let (topology, watermarks) = (Arc::clone(topology), Arc::clone(watermarks));
                lane.push(Message::Barrier(barrier, topology, watermarks));
            }
        }
    }

    /// Routes a subscale's key groups to their new owner from here on, on every edge into
    /// `fragment`; a barrier in front tells everybody.
    pub(crate) fn route(&mut self, fragment: FragmentKey, subscale: &Subscale) {
        let into = |key: &EdgeKey| key.fragment == fragment;
        for (_, edge) in self.edges.iter_mut().filter(|(key, _)| into(key)) {
            edge.set_owner(subscale);
        }
    }

    /// Routes a subscale's key groups to their new owner from here on, on every edge into
    /// `fragment`, and confirms it to the old owner. Returns how many rows were taken back.
    pub(crate) fn switch(&mut self, fragment: FragmentKey, subscale: &Subscale) -> u64 {
        let mut taken_back = 0;
        for (_, edge) in self
            .edges
            .iter_mut()
            .filter(|(key, _)| key.fragment == fragment)
        {
            edge.set_owner(subscale);
            let moved = edge.receivers[&subscale.old_owner]
                .rewrite_unsent(|unsent| take_back(unsent, subscale));
            for batch in moved {
                taken_back += batch.num_rows() as u64;
                edge.receivers[&subscale.new_owner].push(Message::Batch(batch));
            }
        }
        taken_back
    }
}

/// Splits the unsent batches behind the last fence; what moves is returned, in order.
fn take_back(unsent: &mut VecDeque<Message>, subscale: &Subscale) -> Vec<ChangeBatch> {
    let position = confirm_position(unsent.iter(), |message| message.is_fence());
    let behind = unsent.split_off(position);
    unsent.push_back(Message::Confirm(subscale.id));
    let mut moved = Vec::new();
    for message in behind {
        let Message::Batch(batch) = message else {
            unsent.push_back(message);
            continue;
        };
        let class = |key_group| usize::from(subscale.key_groups.contains(key_group));
        let mut parts = batch.partition(class, 2).into_iter();
        unsent.extend(parts.next().flatten().map(Message::Batch));
        moved.extend(parts.next().flatten());
    }
    moved
}

impl Edge {
    fn set_owner(&mut self, subscale: &Subscale) {
        for key_group in &subscale.key_groups {
            self.owners[usize::from(key_group.0)] = subscale.new_owner;
        }
    }

    fn dispatch(&self, batch: &ChangeBatch) {
        let keyed;
        let batch = match &self.routing {
            Routing::Forward => batch,
            Routing::Hash(key) => {
                keyed = batch.keyed(key, self.owners.len() as u16);
                &keyed
            }
        };
        if self.receivers.len() == 1 {
            let lane = self.receivers.values().next();
            push(lane.expect("one receiver"), batch.clone());
            return;
        }
        let receivers: Vec<_> = self.receivers.keys().copied().collect();
        let class = |key_group: scaling::KeyGroup| {
            let owner = self.owners[usize::from(key_group.0)];
            receivers
                .binary_search(&owner)
                .expect("an owner is a receiver")
        };
        let parts = batch.partition(class, receivers.len());
        for (lane, part) in self.receivers.values().zip(parts) {
            if let Some(part) = part {
                push(lane, part);
            }
        }
    }
}

/// Sends a batch in pieces, none of which takes more than half of the lane's credit: signals do not
/// wait for a large statement to be handled.
fn push(lane: &Sender<Message>, batch: ChangeBatch) {
    let rows = batch.num_rows() as u64;
    let rows_max = (rows * (lane.credit() / 2)).div_ceil(batch.bytes().max(1) as u64);
    if rows <= rows_max {
        lane.push(Message::Batch(batch));
        return;
    }
    for piece in batch.pieces(rows_max.max(PIECE_ROWS_MIN) as usize) {
        lane.push(Message::Batch(piece));
    }
}
