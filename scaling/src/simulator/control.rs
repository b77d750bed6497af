//! The control path between conductor, predecessors and executors: slow, lossy, and in order for
//! each pair.
//!
//! ```text
//!   send ─► lost? sent again after a while ─► arrives, perhaps twice ─► in order, once ─► receiver
//! ```
//!
//! Whatever is lost is sent again until it is acknowledged; where the acknowledgement is lost it
//! comes twice. The receiving end puts a pair's messages in order by number and drops what it has
//! had, so the machines see each message once.

use std::collections::BTreeMap;

use crate::simulator::agenda::{Agenda, Due, Nanos};
use crate::simulator::message::Control;
use crate::simulator::random::Random;
use crate::simulator::settings::{Settings, nanos};

/// An end of the control path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Conductor,
    Predecessor(usize),
    Executor(usize),
}

/// Messages from one node to another.
struct Link {
    from: Node,
    to: Node,
    sent: u32,
    /// The first that the receiver has not had.
    expected: u32,
    /// Sent and not yet received, and whether they have arrived.
    under_way: BTreeMap<u32, (Control, bool)>,
}

pub(super) struct ControlPath {
    random: Random,
    delay: Nanos,
    retry: Nanos,
    loss: f64,
    links: Vec<Link>,
    by_ends: BTreeMap<(Node, Node), u32>,
}

impl ControlPath {
    pub(super) fn new(settings: &Settings) -> ControlPath {
        let setup = &settings.setup;
        ControlPath {
            random: Random::new(setup.seed ^ 0xc0_27_01),
            delay: nanos(setup.control_delay),
            retry: nanos(setup.control_retry),
            loss: setup.control_loss,
            links: Vec::new(),
            by_ends: BTreeMap::new(),
        }
    }

    pub(super) fn send(&mut self, from: Node, to: Node, message: Control, agenda: &mut Agenda) {
        let link = *self.by_ends.entry((from, to)).or_insert_with(|| {
            self.links.push(Link {
                from,
                to,
                sent: 0,
                expected: 0,
                under_way: BTreeMap::new(),
            });
            u32::try_from(self.links.len() - 1).expect("fewer pairs than 32 bits")
        });
        let pair = &mut self.links[link as usize];
        let number = pair.sent;
        pair.sent += 1;
        pair.under_way.insert(number, (message, false));
        let mut at = agenda.now() + self.delay;
        while self.random.chance(self.loss) {
            at += self.retry;
        }
        agenda.put(at, Due::Control { link, number });
        if self.random.chance(self.loss) {
            agenda.put(at + self.retry, Due::Control { link, number });
        }
    }

    /// What the receiver gets now that this message has arrived: nothing, or it and those behind
    /// it that were waiting for it.
    pub(super) fn arrive(&mut self, link: u32, number: u32) -> (Node, Node, Vec<Control>) {
        let pair = &mut self.links[link as usize];
        if let Some((_, arrived)) = pair.under_way.get_mut(&number) {
            *arrived = true;
        }
        let mut received = Vec::new();
        while let Some((message, true)) = pair.under_way.get(&pair.expected) {
            received.push(message.clone());
            pair.under_way.remove(&pair.expected);
            pair.expected += 1;
        }
        (pair.from, pair.to, received)
    }

    /// Forgets what is under way: everything has failed.
    pub(super) fn clear(&mut self) {
        self.links.clear();
        self.by_ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Epoch;
    use crate::simulator::setup::Setup;

    #[test]
    fn lost_and_doubled_messages_come_once_and_in_order() {
        let setup = Setup {
            control_loss: 0.5,
            ..Setup::small()
        };
        let settings = Settings::new(&setup, vec![false; 16]);
        let (mut control, mut agenda) = (ControlPath::new(&settings), Agenda::new(0));
        let (from, to) = (Node::Executor(3), Node::Conductor);
        for number in 0..200 {
            let message = Control::Committed(Epoch(number));
            control.send(from, to, message, &mut agenda);
        }
        let (mut received, mut arrivals) = (Vec::new(), 0);
        while let Some(Due::Control { link, number }) = agenda.next() {
            arrivals += 1;
            for message in control.arrive(link, number).2 {
                match message {
                    Control::Committed(epoch) => received.push(epoch.0),
                    other => panic!("nobody sent {other:?}"),
                }
            }
        }
        assert_eq!(received, (0..200).collect::<Vec<_>>());
        assert!(arrivals > 250, "half of all arrive twice: {arrivals}");
    }
}
