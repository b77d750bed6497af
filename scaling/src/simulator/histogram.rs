//! Durations counted in buckets whose width grows with the duration: quantiles within 3 per cent
//! from four kilobytes.
//!
//! ```text
//!   0 1 2 … 31 µs │ 32 … 63 in 32 buckets │ 64 … 127 in 32 │ 128 … 255 in 32 │ …
//! ```

use std::time::Duration;

/// Buckets an octave has, as a power of two.
const BITS: u32 = 5;
const BUCKETS: usize = 1 << BITS;

/// A count of durations by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum_nanos: u128,
    max_nanos: u64,
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn add(&mut self, nanos: u64, times: u32) {
        let index = index(nanos / 1_000);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += times;
        self.total += u64::from(times);
        self.sum_nanos += u128::from(nanos) * u128::from(times);
        self.max_nanos = self.max_nanos.max(nanos);
    }

    /// Counts all that another has counted.
    pub(super) fn merge(&mut self, other: &Histogram) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, more) in self.counts.iter_mut().zip(&other.counts) {
            *mine += more;
        }
        self.total += other.total;
        self.sum_nanos += other.sum_nanos;
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Their mean, exactly; zero if there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let mean = self.sum_nanos / u128::from(self.total.max(1));
        Duration::from_nanos(u64::try_from(mean).expect("a mean is below the largest"))
    }

    /// The longest, exactly; zero if there are none.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// The duration that this share of all, 0 to 1, does not exceed; within 3 per cent.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank.max(1) {
                return Duration::from_micros(upper_bound(index)).min(self.max());
            }
        }
        self.max()
    }
}

fn index(micros: u64) -> usize {
    if micros < BUCKETS as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2() - BITS;
    let inside = (micros >> octave) as usize - BUCKETS;
    (octave as usize + 1) * BUCKETS + inside
}

/// The first microsecond that belongs to a later bucket.
fn upper_bound(index: usize) -> u64 {
    if index < BUCKETS {
        return index as u64 + 1;
    }
    let octave = index / BUCKETS - 1;
    ((index % BUCKETS + BUCKETS + 1) as u64) << octave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_below_its_bound() {
        for micros in (0..100_000).chain([1 << 20, (1 << 30) + 12345, 1 << 40]) {
            let bound = upper_bound(index(micros));
            assert!(micros < bound, "{micros} {bound}");
            assert!(
                bound as f64 <= (micros + 1) as f64 * 1.032,
                "{micros} {bound}"
            );
        }
    }

    #[test]
    fn quantiles_mean_and_longest() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        (1..=1000).for_each(|millis| histogram.add(millis * 1_000_000, 1));
        let within = |share: f64, millis: f64| {
            let found = histogram.quantile(share).as_secs_f64() * 1e3;
            assert!((found / millis - 1.0).abs() < 0.04, "{share}: {found}");
        };
        within(0.5, 500.0);
        within(0.99, 990.0);
        assert_eq!(histogram.quantile(1.0), Duration::from_secs(1));
        assert_eq!(histogram.mean(), Duration::from_micros(500_500));
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.count(), twice.mean()), (2000, histogram.mean()));
    }
}
