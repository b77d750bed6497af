//! Subscales: the moving key groups of a scaling, cut into pieces that move independently of each
//! other.
//!
//! A barrier that meets an open subscale waits for at most the state of that subscale, so its size
//! is what bounds the delay of an epoch: the byte budget is the copy rate times the delay one is
//! ready to pay (drrs.md 8.12).

use std::collections::BTreeMap;
use std::fmt;

use crate::{ExecutorId, KeyGroup, KeyGroupSet, SubscaleId};

/// Key groups that move together from one owner to another, with their own confirm barriers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscale {
    /// Its name in every message about it.
    pub id: SubscaleId,
    /// The executor the key groups leave.
    pub old_owner: ExecutorId,
    /// The executor they go to.
    pub new_owner: ExecutorId,
    /// What moves.
    pub key_groups: KeyGroupSet,
}

impl fmt::Display for Subscale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}>{}:{}",
            self.id, self.old_owner, self.new_owner, self.key_groups
        )
    }
}

/// How large a subscale may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Division {
    /// Most bytes of state in one subscale; a single key group above it is a subscale alone.
    pub bytes_max: u64,
    /// Most key groups in one subscale; 0 counts as 1.
    pub key_groups_max: usize,
}

impl Division {
    /// All in one.
    pub const WHOLE: Division = Division {
        bytes_max: u64::MAX,
        key_groups_max: usize::MAX,
    };

    /// How many of the first key groups, of these sizes, make up one subscale: at least one.
    #[must_use]
    pub fn fitting(&self, sizes: impl Iterator<Item = u64>) -> usize {
        let mut bytes = 0u64;
        let fits = |size: &u64| {
            bytes = bytes.saturating_add(*size);
            bytes <= self.bytes_max
        };
        let most = self.key_groups_max.max(1);
        sizes.take(most).take_while(fits).count().max(1)
    }
}

impl Default for Division {
    /// 8 MiB, which an in-memory hand-over copies well within one barrier interval, and 8 key
    /// groups.
    fn default() -> Division {
        Division {
            bytes_max: 8 << 20,
            key_groups_max: 8,
        }
    }
}

/// Divides the moves of a scaling into subscales, pair by pair, key groups ascending, ids ascending
/// from `first_id`.
///
/// `sizes` estimates the bytes of a key group's state. Where the count alone divides, pieces differ
/// by one key group at most, so that no lonely rest is left over.
#[must_use]
pub fn divide(
    moves: &BTreeMap<(ExecutorId, ExecutorId), KeyGroupSet>,
    sizes: &dyn Fn(KeyGroup) -> u64,
    division: &Division,
    first_id: SubscaleId,
) -> Vec<Subscale> {
    let mut subscales = Vec::new();
    for (&(old_owner, new_owner), key_groups) in moves {
        for piece in pieces(key_groups, sizes, division) {
            let id = SubscaleId(first_id.0 + subscales.len() as u64);
            subscales.push(Subscale {
                id,
                old_owner,
                new_owner,
                key_groups: piece,
            });
        }
    }
    subscales
}

fn pieces(
    key_groups: &KeyGroupSet,
    sizes: &dyn Fn(KeyGroup) -> u64,
    division: &Division,
) -> Vec<KeyGroupSet> {
    let count = key_groups.len();
    let even = count.div_ceil(count.div_ceil(division.key_groups_max.max(1)).max(1));
    let mut pieces: Vec<KeyGroupSet> = Vec::new();
    let mut last_bytes = 0u64;
    for key_group in key_groups {
        let bytes = sizes(key_group);
        match pieces.last_mut() {
            Some(last)
                if last.len() < even && last_bytes.saturating_add(bytes) <= division.bytes_max =>
            {
                last.insert(key_group);
                last_bytes += bytes;
            }
            _ => {
                pieces.push(KeyGroupSet::from_iter([key_group]));
                last_bytes = bytes;
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(
        moves: &[(u32, u32, &[u16])],
        sizes: &dyn Fn(KeyGroup) -> u64,
        division: Division,
    ) -> Vec<String> {
        let moves = moves
            .iter()
            .map(|(o, n, set)| {
                (
                    (ExecutorId(*o), ExecutorId(*n)),
                    set.iter().copied().map(KeyGroup).collect(),
                )
            })
            .collect();
        divide(&moves, sizes, &division, SubscaleId(10))
            .iter()
            .map(Subscale::to_string)
            .collect()
    }

    #[test]
    fn divides_by_count_without_lonely_rests() {
        let division = Division {
            bytes_max: u64::MAX,
            key_groups_max: 3,
        };
        let all = [(0, 1, [0, 1, 2, 3].as_slice()), (2, 0, &[7])];
        assert_eq!(
            divided(&all, &|_| 1, division),
            ["s10 e0>e1:0-1", "s11 e0>e1:2-3", "s12 e2>e0:7"]
        );
    }

    #[test]
    fn divides_by_bytes_and_lets_a_large_key_group_go_alone() {
        let division = Division {
            bytes_max: 100,
            key_groups_max: 10,
        };
        let bytes = |key_group: KeyGroup| [40, 60, 1, 5000, 1, 99, 1][key_group.index()];
        let all = [(0, 1, [0, 1, 2, 3, 4, 5, 6].as_slice())];
        assert_eq!(
            divided(&all, &bytes, division),
            [
                "s10 e0>e1:0-1",
                "s11 e0>e1:2",
                "s12 e0>e1:3",
                "s13 e0>e1:4-5",
                "s14 e0>e1:6"
            ]
        );
    }

    #[test]
    fn nothing_to_move_is_no_subscale() {
        assert!(divided(&[], &|_| 1, Division::default()).is_empty());
        assert!(divided(&[(0, 1, &[])], &|_| 1, Division::default()).is_empty());
        assert_eq!(
            divided(
                &[(0, 1, &[1, 2])],
                &|_| 1,
                Division {
                    bytes_max: 0,
                    key_groups_max: 0
                }
            )
            .len(),
            2
        );
    }
}
