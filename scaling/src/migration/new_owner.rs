//! The new owner's side of a subscale: key groups arrive, rows that are too early are held.

use std::collections::BTreeSet;

use crate::migration::{Migration, Place};
use crate::{
    Action, ChannelId, ExecutorId, KeyGroup, KeyGroupSet, Mechanism, Order, ProtocolError,
    SubscaleId,
};

/// A subscale this executor is new owner of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Arrival {
    pub(super) from: ExecutorId,
    pub(super) key_groups: KeyGroupSet,
    pub(super) awaited: KeyGroupSet,
    pub(super) unconfirmed: BTreeSet<ChannelId>,
    pub(super) closed: bool,
    pub(super) mechanism: Mechanism,
    /// Key groups whose first early row has been told to the old owner.
    pub(super) asked_for: KeyGroupSet,
}

impl Migration {
    pub(super) fn state_installed(
        &mut self,
        from: ExecutorId,
        subscale: SubscaleId,
        key_group: KeyGroup,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        let waits_for_confirm = self.waits_for_confirm();
        let me = self.me;
        let arrival = self.arrival(from, subscale, "state")?;
        if !arrival.awaited.remove(key_group) {
            return Err(ProtocolError::KeyGroup {
                me,
                key_group,
                what: "its state",
            });
        }
        self.set_place(
            key_group,
            Place::Arriving {
                subscale,
                installed: true,
            },
        );
        if waits_for_confirm {
            let confirmed = self
                .alignment
                .channels()
                .filter(|channel| !self.unconfirmed(subscale, *channel));
            actions.extend(confirmed.map(|channel| Action::Release {
                key_group,
                channel: Some(channel),
            }));
        } else {
            actions.push(Action::Release {
                key_group,
                channel: None,
            });
        }
        let complete = |arrival: &Arrival| arrival.awaited.is_empty();
        if self.arrivals.get(&subscale).is_some_and(complete) {
            actions.push(Action::Installed { subscale });
        }
        self.finish_if_complete(subscale, actions);
        Ok(())
    }

    pub(super) fn rerouted_confirm(
        &mut self,
        from: ExecutorId,
        subscale: SubscaleId,
        channel: ChannelId,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        let channel = channel.ending_at(self.me);
        let waits_for_confirm = self.waits_for_confirm();
        let arrival = self.arrival(from, subscale, "a re-routed confirm barrier")?;
        if !arrival.unconfirmed.remove(&channel) {
            return Err(ProtocolError::Channel {
                channel,
                what: "a re-routed confirm barrier",
            });
        }
        if waits_for_confirm {
            let installed = arrival
                .key_groups
                .iter()
                .filter(|key_group| !arrival.awaited.contains(*key_group));
            actions.extend(installed.map(|key_group| Action::Release {
                key_group,
                channel: Some(channel),
            }));
        }
        self.finish_if_complete(subscale, actions);
        Ok(())
    }

    pub(super) fn subscale_closed(
        &mut self,
        from: ExecutorId,
        subscale: SubscaleId,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        let arrival = self.arrival(from, subscale, "its closing")?;
        if arrival.closed {
            return Err(ProtocolError::Subscale {
                subscale,
                what: "a second closing",
            });
        }
        arrival.closed = true;
        self.finish_if_complete(subscale, actions);
        Ok(())
    }

    /// Asks the old owner, once, for a key group that rows wait for, if state goes in that order.
    pub(super) fn early(&mut self, key_group: KeyGroup, actions: &mut Vec<Action>) {
        let Place::Arriving {
            subscale,
            installed: false,
        } = self.place(key_group)
        else {
            return;
        };
        if let Some(arrival) = self.arrivals.get_mut(&subscale)
            && arrival.mechanism.order == Order::Wanted
            && arrival.asked_for.insert(key_group)
        {
            actions.push(Action::SendWanted {
                to: arrival.from,
                subscale,
                key_group,
            });
        }
    }

    fn finish_if_complete(&mut self, subscale: SubscaleId, actions: &mut Vec<Action>) {
        let settled =
            |a: &Arrival| a.closed && a.unconfirmed.is_empty() || !self.rules.done_after_confirms;
        if !self
            .arrivals
            .get(&subscale)
            .is_some_and(|a| a.awaited.is_empty() && settled(a))
        {
            return;
        }
        if let Some(arrival) = self.arrivals.remove(&subscale) {
            for key_group in &arrival.key_groups {
                self.set_place(key_group, Place::Local);
            }
            actions.push(Action::Done { subscale });
        }
    }

    fn arrival(
        &mut self,
        from: ExecutorId,
        subscale: SubscaleId,
        what: &'static str,
    ) -> Result<&mut Arrival, ProtocolError> {
        match self.arrivals.get_mut(&subscale) {
            Some(arrival) if arrival.from == from => Ok(arrival),
            _ => Err(ProtocolError::Subscale { subscale, what }),
        }
    }

    pub(super) fn unconfirmed(&self, subscale: SubscaleId, channel: ChannelId) -> bool {
        self.arrivals
            .get(&subscale)
            .is_some_and(|arrival| arrival.unconfirmed.contains(&channel))
    }
}
