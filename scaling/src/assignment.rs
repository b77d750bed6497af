//! Who owns each key group of a fragment, and which assignment to go to when the executors change.
//!
//! Targets are computed here; how they are reached is [`crate::divide`], [`crate::Coordinator`] and
//! [`crate::Migration`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{ExecutorId, KeyGroup, KeyGroupSet};

/// The owner of every key group of one fragment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assignment {
    /// The owner of key group `i` at index `i`.
    pub owners: Vec<ExecutorId>,
}

impl Assignment {
    /// Key groups dealt out in turn, as for a new fragment; executors differ by one key group at
    /// most.
    ///
    /// # Panics
    /// If `executors` is empty and `key_groups` is not 0.
    #[must_use]
    pub fn even(executors: &[ExecutorId], key_groups: u16) -> Assignment {
        let owners = (0..usize::from(key_groups))
            .map(|number| executors[number % executors.len()])
            .collect();
        Assignment { owners }
    }

    /// Contiguous uniform ranges, as the published DRRS set-up has them (drrs.md 4.1): the `i`-th
    /// of `P` executors owns `ceil(i*K/P) ..= floor(((i+1)*K-1)/P)`. Going from one range
    /// assignment to another moves most key groups; [`Assignment::least_move`] is what the engine
    /// uses.
    ///
    /// # Panics
    /// If `executors` is empty and `key_groups` is not 0.
    #[must_use]
    pub fn ranges(executors: &[ExecutorId], key_groups: u16) -> Assignment {
        let total = usize::from(key_groups);
        let owners = (0..total)
            .map(|number| executors[number * executors.len() / total])
            .collect();
        Assignment { owners }
    }

    /// The owner of a key group.
    ///
    /// # Panics
    /// If the fragment has no such key group.
    #[must_use]
    pub fn owner(&self, key_group: KeyGroup) -> ExecutorId {
        self.owners[key_group.index()]
    }

    /// Gives a key group to an executor.
    ///
    /// # Panics
    /// If the fragment has no such key group.
    pub fn set_owner(&mut self, key_group: KeyGroup, owner: ExecutorId) {
        self.owners[key_group.index()] = owner;
    }

    /// The key groups an executor owns.
    #[must_use]
    pub fn owned_by(&self, executor: ExecutorId) -> KeyGroupSet {
        self.iter()
            .filter(|(_, owner)| *owner == executor)
            .map(|(key_group, _)| key_group)
            .collect()
    }

    /// The executors that own something, ascending. An executor without key groups is not in it.
    #[must_use]
    pub fn executors(&self) -> Vec<ExecutorId> {
        self.owners
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// How many key groups the fragment has.
    #[must_use]
    pub fn key_groups(&self) -> u16 {
        u16::try_from(self.owners.len())
            .expect("an assignment is made from a u16 number of key groups")
    }

    /// The assignment over `executors` that is balanced within one key group and moves as few as
    /// possible from this one. Deterministic: it depends on the set of executors, not on their
    /// order.
    ///
    /// ```text
    ///   quota   floor(K/P), one more for the K mod P executors that hold most already
    ///   keep    every executor its lowest key groups, up to its quota
    ///   deal    the rest, ascending, to the executors below their quota, filling one after the other
    /// ```
    ///
    /// # Panics
    /// If `executors` is empty and there are key groups.
    #[must_use]
    pub fn least_move(&self, executors: &[ExecutorId]) -> Assignment {
        if self.owners.is_empty() {
            return self.clone();
        }
        let mut room = self.quotas(executors);
        let mut target = self.clone();
        let mut homeless = VecDeque::new();
        for (key_group, owner) in self.iter() {
            match room.get_mut(&owner) {
                Some(left) if *left > 0 => *left -= 1,
                _ => homeless.push_back(key_group),
            }
        }
        for (executor, left) in room {
            for key_group in homeless.drain(..left) {
                target.set_owner(key_group, executor);
            }
        }
        debug_assert!(
            homeless.is_empty(),
            "the quotas add up to the number of key groups"
        );
        target
    }

    /// An assignment over the same `executors` in which none carries much more than the others,
    /// `weights` being what each key group weighs, with few moves from this one.
    ///
    /// Greedy: as long as it helps by more than 2 % of the mean, one key group goes from the
    /// executor that carries most to the one that carries least, the one that evens these two out
    /// best. A key group heavier than their difference stays: moving it would move the problem.
    ///
    /// # Panics
    /// If `executors` is empty or `weights` are fewer than the key groups.
    #[must_use]
    pub fn rebalance(&self, executors: &[ExecutorId], weights: &[f64]) -> Assignment {
        let mut target = self.clone();
        let mut carried: BTreeMap<ExecutorId, f64> = executors.iter().map(|e| (*e, 0.0)).collect();
        for (key_group, owner) in self.iter() {
            *carried.entry(owner).or_default() += weights[key_group.index()];
        }
        let worthwhile = 0.02 * carried.values().sum::<f64>() / carried.len() as f64;
        for _ in 0..self.owners.len() {
            let by_weight = |a: &(&ExecutorId, &f64), b: &(&ExecutorId, &f64)| a.1.total_cmp(b.1);
            let most = carried.iter().max_by(by_weight).map(|(e, w)| (*e, *w));
            let least = carried.iter().min_by(by_weight).map(|(e, w)| (*e, *w));
            let (Some((most, high)), Some((least, low))) = (most, least) else {
                break;
            };
            let difference = high - low;
            let unevenness = |weight: f64| (difference - 2.0 * weight).abs();
            let candidates = target.iter().filter(|(_, owner)| *owner == most);
            let best = candidates
                .map(|(key_group, _)| (key_group, weights[key_group.index()]))
                .min_by(|a, b| unevenness(a.1).total_cmp(&unevenness(b.1)));
            match best {
                Some((key_group, weight)) if difference - unevenness(weight) > worthwhile => {
                    target.set_owner(key_group, least);
                    *carried.entry(most).or_default() -= weight;
                    *carried.entry(least).or_default() += weight;
                }
                _ => break,
            }
        }
        target
    }

    /// What must move to get from this assignment to `target`, by old and new owner.
    ///
    /// # Panics
    /// If the two have different numbers of key groups.
    #[must_use]
    pub fn moves(&self, target: &Assignment) -> BTreeMap<(ExecutorId, ExecutorId), KeyGroupSet> {
        assert_eq!(
            self.owners.len(),
            target.owners.len(),
            "a fragment's number of key groups is fixed"
        );
        let mut moves: BTreeMap<_, KeyGroupSet> = BTreeMap::new();
        for (key_group, old_owner) in self.iter() {
            let new_owner = target.owner(key_group);
            if new_owner != old_owner {
                moves
                    .entry((old_owner, new_owner))
                    .or_default()
                    .insert(key_group);
            }
        }
        moves
    }

    /// Every key group with its owner, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (KeyGroup, ExecutorId)> + '_ {
        (0..self.key_groups())
            .map(KeyGroup)
            .zip(self.owners.iter().copied())
    }

    /// How many key groups each executor shall own: the larger quotas go where they save moves.
    fn quotas(&self, executors: &[ExecutorId]) -> BTreeMap<ExecutorId, usize> {
        let executors: BTreeSet<ExecutorId> = executors.iter().copied().collect();
        assert!(
            !executors.is_empty(),
            "key groups need at least one executor"
        );
        let mut by_holding: Vec<_> = executors
            .into_iter()
            .map(|e| (self.owned_by(e).len(), e))
            .collect();
        by_holding.sort_by_key(|(held, executor)| (std::cmp::Reverse(*held), *executor));
        let (floor, larger) = (
            self.owners.len() / by_holding.len(),
            self.owners.len() % by_holding.len(),
        );
        let quota = |place: usize| if place < larger { floor + 1 } else { floor };
        by_holding
            .iter()
            .enumerate()
            .map(|(place, (_, executor))| (*executor, quota(place)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executors(count: u32) -> Vec<ExecutorId> {
        (0..count).map(ExecutorId).collect()
    }

    fn moved(from: &Assignment, to: &Assignment) -> usize {
        from.moves(to).values().map(KeyGroupSet::len).sum()
    }

    fn sizes(assignment: &Assignment, executors: &[ExecutorId]) -> Vec<usize> {
        executors
            .iter()
            .map(|e| assignment.owned_by(*e).len())
            .collect()
    }

    #[test]
    fn ranges_reproduce_the_published_counts() {
        for (key_groups, from, to, moves, pairs) in [
            (128, 8, 12, 111, 14),
            (256, 25, 30, 229, 45),
            (128, 12, 8, 111, 14),
            (128, 8, 16, 120, 15),
        ] {
            let old = Assignment::ranges(&executors(from), key_groups);
            let new = Assignment::ranges(&executors(to), key_groups);
            assert_eq!(
                (moved(&old, &new), old.moves(&new).len()),
                (moves, pairs),
                "{from} -> {to}"
            );
        }
        let two = Assignment::ranges(&executors(2), 5);
        assert_eq!(two.owned_by(ExecutorId(0)).to_string(), "0-2");
    }

    #[test]
    fn least_move_is_balanced_and_moves_only_the_surplus() {
        for key_groups in [1, 2, 7, 16, 128] {
            for from in 1..=9 {
                for to in 1..=9 {
                    let old = Assignment::even(&executors(from), key_groups);
                    let new = old.least_move(&executors(to));
                    let held = sizes(&new, &executors(to));
                    let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
                    assert!(most - least <= 1, "{held:?}");
                    assert_eq!(held.iter().sum::<usize>(), usize::from(key_groups));
                    let before = sizes(&old, &executors(to));
                    let gained: usize = before
                        .iter()
                        .zip(&held)
                        .map(|(b, h)| h.saturating_sub(*b))
                        .sum();
                    assert_eq!(moved(&old, &new), gained, "{from} -> {to} of {key_groups}");
                    if from == to {
                        assert_eq!(old, new);
                    }
                }
            }
        }
    }

    #[test]
    fn least_move_8_to_12_moves_40_of_128() {
        let old = Assignment::even(&executors(8), 128);
        assert_eq!(moved(&old, &old.least_move(&executors(12))), 40);
    }

    #[test]
    fn least_move_ignores_order_and_repetition_of_executors() {
        let old = Assignment::even(&executors(3), 16);
        let forward = old.least_move(&[ExecutorId(1), ExecutorId(7), ExecutorId(9)]);
        let backward =
            old.least_move(&[ExecutorId(9), ExecutorId(7), ExecutorId(1), ExecutorId(9)]);
        assert_eq!(forward, backward);
        assert_eq!(
            forward.executors(),
            vec![ExecutorId(1), ExecutorId(7), ExecutorId(9)]
        );
    }

    #[test]
    fn rebalance_moves_few_key_groups_from_the_busiest_executor() {
        let old = Assignment::even(&executors(2), 8);
        let even = [1.0; 8];
        assert_eq!(old.rebalance(&executors(2), &even), old);
        let hot = [9.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0];
        let new = old.rebalance(&executors(2), &hot);
        let load = |a: &Assignment, e: u32| -> f64 {
            let owned = a.owned_by(ExecutorId(e));
            owned.iter().map(|key_group| hot[key_group.index()]).sum()
        };
        assert_eq!((load(&old, 0), load(&old, 1)), (18.0, 4.0));
        assert!((load(&new, 0) - load(&new, 1)).abs() <= 3.0);
        assert!(moved(&old, &new) <= 3);
    }

    #[test]
    fn one_hot_key_group_is_not_sent_around() {
        let old = Assignment::even(&executors(3), 3);
        assert_eq!(old.rebalance(&executors(3), &[9.0, 0.1, 0.1]), old);
    }

    #[test]
    fn rebalance_uses_an_executor_that_owns_nothing() {
        let old = Assignment::even(&executors(1), 4);
        let new = old.rebalance(&executors(2), &[1.0; 4]);
        assert_eq!(sizes(&new, &executors(2)), [2, 2]);
    }

    #[test]
    fn moves_lists_pairs() {
        let old = Assignment::even(&executors(2), 4);
        let mut new = old.clone();
        new.set_owner(KeyGroup(0), ExecutorId(5));
        new.set_owner(KeyGroup(1), ExecutorId(0));
        new.set_owner(KeyGroup(2), ExecutorId(5));
        let moves: Vec<_> = old
            .moves(&new)
            .into_iter()
            .map(|((o, n), set)| format!("{o}>{n}:{set}"))
            .collect();
        assert_eq!(moves, ["e0>e5:0,2", "e1>e0:1"]);
    }
}
