//! The one source of chance: SplitMix64, so that a seed is a run.

/// A deterministic stream of numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number in `0..bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a machine word has at most 64 bits");
        usize::try_from(self.next() % bound).expect("it is below a usize")
    }

    /// True with this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        (self.next() >> 11) as f64 / ((1u64 << 53) as f64) < probability
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The `number`-th of a stream of numbers without walking through it: what a predecessor that
/// starts again in the middle needs.
pub(super) fn nth(stream: u64, number: u64) -> u64 {
    mix(stream.wrapping_add(number.wrapping_mul(STEP)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_and_jumping_meet() {
        let mut walked = Random::new(7);
        for number in 1..100 {
            assert_eq!(walked.next(), nth(7, number));
        }
    }

    #[test]
    fn chances_are_as_asked() {
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| !random.chance(0.0)));
        let half = (0..10_000).filter(|_| random.chance(0.5)).count();
        assert!((4_800..5_200).contains(&half), "{half}");
    }
}
