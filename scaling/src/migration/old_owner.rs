//! The old owner's side of a subscale: key groups leave, rows and confirm barriers that still come
//! are re-routed.

use std::collections::BTreeSet;

use crate::migration::{Migration, Place};
use crate::{Action, ChannelId, ExecutorId, KeyGroup, KeyGroupSet, ProtocolError, SubscaleId};

/// A subscale this executor is old owner of.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) to: ExecutorId,
    pub(super) key_groups: KeyGroupSet,
    pub(super) unsent: KeyGroupSet,
    pub(super) unconfirmed: BTreeSet<ChannelId>,
    pub(super) any_confirmed: bool,
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
        if let Some((subscale, key_group)) = self.next_to_hand_over() {
            self.hand_over(subscale, key_group, actions);
        }
        Ok(())
    }

    pub(super) fn next_to_hand_over(&self) -> Option<(SubscaleId, KeyGroup)> {
        if !self.alignment.reading() && self.rules.no_hand_over_before_commit {
            return None;
        }
        let open = self
            .departures
            .iter()
            .filter_map(|(id, d)| d.unsent.first().map(|first| (!d.any_confirmed, *id, first)));
        open.min()
            .map(|(_, subscale, key_group)| (subscale, key_group))
    }

    fn hand_over(&mut self, subscale: SubscaleId, key_group: KeyGroup, actions: &mut Vec<Action>) {
        if let Some(departure) = self.departures.get_mut(&subscale) {
            departure.unsent.remove(key_group);
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
