//! How much goes to each key group: uniform, or by Zipf's law.
//!
//! The key group at place `r` of a ranking gets a share proportional to `1 / r^exponent`; exponent
//! 0 is uniform. The ranking is a permutation drawn from the seed, so that the hottest key groups
//! do not lie side by side at one executor.

use crate::KeyGroup;
use crate::simulator::random::Random;

/// The shares of all key groups, as a cumulative table.
#[derive(Clone, Debug)]
pub(super) struct Skew {
    // Key group i has the numbers between bounds[i - 1] and bounds[i] of all u64.
    bounds: Vec<u64>,
    shares: Vec<f64>,
}

impl Skew {
    pub(super) fn new(key_groups: u16, exponent: f64, seed: u64) -> Skew {
        let ranks = permutation(usize::from(key_groups), seed);
        let weights: Vec<f64> = ranks
            .iter()
            .map(|rank| (*rank as f64 + 1.0).powf(-exponent))
            .collect();
        let total: f64 = weights.iter().sum();
        let shares: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let mut sum = 0.0;
        let mut bounds: Vec<u64> = shares
            .iter()
            .map(|share| {
                sum += share;
                (sum * u64::MAX as f64) as u64
            })
            .collect();
        if let Some(last) = bounds.last_mut() {
            *last = u64::MAX;
        }
        Skew { bounds, shares }
    }

    /// The key group of a row, `random` being uniform.
    pub(super) fn pick(&self, random: u64) -> KeyGroup {
        let index = self.bounds.partition_point(|bound| *bound < random);
        KeyGroup(u16::try_from(index).expect("made from a u16 number of key groups"))
    }

    /// This share of a total, for each key group.
    pub(super) fn divide(&self, total: u64) -> Vec<u64> {
        self.shares
            .iter()
            .map(|share| (share * total as f64) as u64)
            .collect()
    }
}

fn permutation(count: usize, seed: u64) -> Vec<usize> {
    let mut random = Random::new(seed);
    let mut places: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        places.swap(last, random.below(last + 1));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_exponent() {
        let mut random = Random::new(3);
        for (exponent, hottest) in [(0.0, 0.01), (1.0, 0.193), (1.5, 0.414)] {
            let skew = Skew::new(100, exponent, 5);
            let mut counts = [0u32; 100];
            for _ in 0..100_000 {
                counts[skew.pick(random.next()).index()] += 1;
            }
            let most = f64::from(counts.into_iter().max().unwrap()) / 100_000.0;
            assert!((most - hottest).abs() < 0.01, "{exponent}: {most}");
            let bytes: u64 = skew.divide(1_000_000).iter().sum();
            assert!((999_000..=1_000_000).contains(&bytes));
        }
    }
}
