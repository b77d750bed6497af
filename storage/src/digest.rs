//! The digest of the rows of a key group: 128 bits that do not depend on their order.
//!
//! Each row gives 128 bits of its hash and its measures; the digest is their sum, so it follows
//! the changes of rows without looking at the others. A row whose measures are all zero gives
//! nothing. The digest is compared when a key group is handed over, and when one is read from disk.

use crate::hash::{fold, mix, word_of_words};
use crate::measures::{MeasureColumn, Measures};

const LOW_SEED: u64 = 0x1319_8a2e_0370_7344;
const HIGH_SEED: u64 = 0x4528_21e6_38d0_1377;

/// The digest of rows with the given hashes and measures.
pub(crate) fn digest(hashes: &[u64], measures: &Measures) -> u128 {
    let mut lanes: Vec<[u64; 2]> = hashes
        .iter()
        .map(|&hash| [fold(hash, LOW_SEED), fold(hash, HIGH_SEED)])
        .collect();
    for column in &measures.0 {
        match column {
            MeasureColumn::Int64(values) => fold_words(&mut lanes, values, |&v| v as u64),
            MeasureColumn::Int128(values) | MeasureColumn::Greatest(values) => {
                fold_words(&mut lanes, values, |&v| {
                    word_of_words(&[v as u64, (v >> 64) as u64])
                });
            }
            MeasureColumn::Int256(values) => fold_words(&mut lanes, values, |v| {
                let (low, high) = v.to_parts();
                let high_words = [high as u64, (high >> 64) as u64];
                word_of_words(&[low as u64, (low >> 64) as u64, high_words[0], high_words[1]])
            }),
            MeasureColumn::Float64(values) => {
                fold_words(&mut lanes, values, |v| {
                    word_of_words(&[v.high.to_bits(), v.low.to_bits()])
                });
            }
        }
    }
    lanes
        .iter()
        .enumerate()
        .filter(|(row, _)| !measures.is_zero(*row))
        .map(|(_, [low, high])| u128::from(mix(*low)) | u128::from(mix(*high)) << 64)
        .fold(0, u128::wrapping_add)
}

fn fold_words<T>(lanes: &mut [[u64; 2]], values: &[T], word: impl Fn(&T) -> u64) {
    for (lane, value) in lanes.iter_mut().zip(values) {
        let word = word(value);
        lane[0] = fold(lane[0], word);
        lane[1] = fold(lane[1].rotate_left(32), word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_every_part_does() {
        let weights = |w: &[i64]| Measures::weights(w.to_vec());
        let one = digest(&[1, 2, 3], &weights(&[1, 1, 2]));
        assert_eq!(one, digest(&[3, 1, 2], &weights(&[2, 1, 1])));
        assert_ne!(one, digest(&[1, 2, 3], &weights(&[1, 2, 1])));
        assert_ne!(one, digest(&[1, 2, 4], &weights(&[1, 1, 2])));
        assert_eq!(one, digest(&[1, 2, 3, 9], &weights(&[1, 1, 2, 0])));
    }

    #[test]
    fn it_follows_changes() {
        let before = digest(&[1, 2], &Measures::weights(vec![5, 7]));
        let old = digest(&[2], &Measures::weights(vec![7]));
        let new = digest(&[2], &Measures::weights(vec![8]));
        let after = digest(&[1, 2], &Measures::weights(vec![5, 8]));
        assert_eq!(before.wrapping_sub(old).wrapping_add(new), after);
    }
}
