//! The old owner's side of a subscale: key groups leave, rows and confirm barriers that still come
//! are re-routed.

use std::collections::{BTreeSet, VecDeque};

use crate::migration::{Migration, Place};
use crate::{
    Action, ChannelId, ExecutorId, KeyGroup, KeyGroupSet, Order, ProtocolError, SubscaleId,
};

/// A subscale this executor is old owner of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Departure {
    pub(super) to: ExecutorId,
    pub(super) key_groups: KeyGroupSet,
    pub(super) unsent: KeyGroupSet,
    pub(super) unconfirmed: BTreeSet<ChannelId>,
    pub(super) any_confirmed: bool,
    /// Whether the coordinator knows that key groups leave now; nobody asks if a barrier signals.
    pub(super) announced: bool,
    pub(super) order: Order,
    /// Key groups the new owner has rows for, oldest wish first.
    pub(super) wanted: VecDeque<KeyGroup>,
}

impl Departure {
    /// The key group to go next, and whether rows are known to wait for it.
    fn next(&self) -> Option<(bool, KeyGroup)> {
        match self.wanted.front() {
            Some(key_group) => Some((true, *key_group)),
            None => self.unsent.first().map(|first| (false, first)),
        }
    }
}

impl Migration {
    pub(super) fn confirm(
        &mut self,
        channel: ChannelId,
        subscale: SubscaleId,
        actions: &mut Vec<Action>,
    ) -> Result<(), ProtocolError> {
        let error = ProtocolError::Subscale {
            subscale,
            what: "a confirm barrier",
        };
        let Some(departure) = self.departures.get_mut(&subscale) else {
            return Err(error);
        };
        if !departure.unconfirmed.remove(&channel) {
            return Err(error);
        }
        departure.any_confirmed = true;
        actions.push(Action::SendReroutedConfirm {
            to: departure.to,
            subscale,
            channel,
        });
        self.close_if_finished(subscale, actions);
        Ok(())
    }

    pub(super) fn poll(&mut self, actions: &mut Vec<Action>) -> Result<(), ProtocolError> {
        let Some((subscale, key_group)) = self.next_to_hand_over() else {
            return Ok(());
        };
        let whole = self
            .departures
            .get(&subscale)
            .filter(|departure| departure.order == Order::Whole);
        let key_groups: Vec<_> = match whole {
            Some(departure) => departure.unsent.iter().collect(),
            None => vec![key_group],
        };
        for key_group in key_groups {
            self.hand_over(subscale, key_group, actions);
        }
        Ok(())
    }

    /// Notes that rows wait for a key group. One that has left is on its way already. Of a subscale
    /// that a barrier signals, the new owner may know earlier.
    pub(super) fn wanted(&mut self, subscale: SubscaleId, key_group: KeyGroup) {
        let Some(departure) = self.departures.get_mut(&subscale) else {
            self.wanted_ahead.insert((subscale, key_group));
            return;
        };
        let known = departure.wanted.contains(&key_group);
        if departure.unsent.contains(key_group) && !known {
            departure.wanted.push_back(key_group);
        }
    }

    /// What was wanted of a subscale before it was opened here.
    pub(super) fn take_wanted_ahead(&mut self, of: SubscaleId) -> VecDeque<KeyGroup> {
        let (wanted, others) = std::mem::take(&mut self.wanted_ahead)
            .into_iter()
            .partition::<BTreeSet<_>, _>(|(subscale, _)| *subscale == of);
        self.wanted_ahead = others;
        wanted.into_iter().map(|(_, key_group)| key_group).collect()
    }

    pub(super) fn next_to_hand_over(&self) -> Option<(SubscaleId, KeyGroup)> {
        if !self.alignment.reading() && self.rules.no_hand_over_before_commit {
            return None;
        }
        let open = self.departures.iter().filter_map(|(id, departure)| {
            let (wanted, key_group) = departure.next()?;
            let begun = (!departure.any_confirmed, !departure.announced);
            Some((!wanted, begun, *id, key_group))
        });
        open.min()
            .map(|(_, _, subscale, key_group)| (subscale, key_group))
    }

    fn hand_over(&mut self, subscale: SubscaleId, key_group: KeyGroup, actions: &mut Vec<Action>) {
        if let Some(departure) = self.departures.get_mut(&subscale) {
            departure.unsent.remove(key_group);
            departure.wanted.retain(|wanted| *wanted != key_group);
            if !std::mem::replace(&mut departure.announced, true) {
                actions.push(Action::Prepared { subscale });
            }
            actions.push(Action::SendState {
                to: departure.to,
                subscale,
                key_group,
            });
            self.set_place(key_group, Place::Left(subscale));
            self.close_if_finished(subscale, actions);
        }
    }

    fn close_if_finished(&mut self, subscale: SubscaleId, actions: &mut Vec<Action>) {
        let confirmed =
            |d: &Departure| d.unconfirmed.is_empty() || !self.rules.close_after_confirms;
        if !self
            .departures
            .get(&subscale)
            .is_some_and(|d| d.unsent.is_empty() && confirmed(d))
        {
            return;
        }
        if let Some(departure) = self.departures.remove(&subscale) {
            for key_group in &departure.key_groups {
                self.set_place(key_group, Place::Elsewhere);
            }
            actions.push(Action::SendSubscaleClosed {
                to: departure.to,
                subscale,
            });
        }
        if self.departures.is_empty() {
            // Wishes that crossed the state they ask for.
            self.wanted_ahead.clear();
        }
    }

    /// Rows in front of the barrier can wait at the new owner exactly for subscales some
    /// predecessor has switched.
    pub(super) fn hand_over_confirmed(&mut self, actions: &mut Vec<Action>) {
        let confirmed = self
            .departures
            .iter()
            .filter(|(_, departure)| departure.any_confirmed);
        let owed: Vec<_> = confirmed
            .flat_map(|(id, d)| d.unsent.iter().map(|key_group| (*id, key_group)))
            .collect();
        for (subscale, key_group) in owed {
            self.hand_over(subscale, key_group, actions);
        }
    }

    pub(super) fn departure_of_row(
        &self,
        channel: ChannelId,
        key_group: KeyGroup,
        subscale: SubscaleId,
    ) -> Result<&Departure, ProtocolError> {
        match self.departures.get(&subscale) {
            Some(departure) if departure.unconfirmed.contains(&channel) => Ok(departure),
            _ => Err(ProtocolError::BehindConfirm {
                channel,
                key_group,
                subscale,
            }),
        }
    }
}
