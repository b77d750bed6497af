//! How large the next subscale may be, so that what is open at an executor moves within a stated
//! pause.
//!
//! ```text
//!   subscale opened ─► moved: so many key groups and bytes in so long ─► speed ─► division of the next
//! ```
//!
//! A barrier waits for what is open, and a row for its key group, so the pause bounds both. How fast
//! state moves is not known before some has moved: it may be memory or a slow link, and rows take
//! their share of it. So the first subscales are of one key group, and from one to the next the
//! number of key groups at most doubles, as TCP's slow start does. What was slower than thought
//! counts at once, what was faster counts little by little: a pause that is too long cannot be taken
//! back. Time is an input.
//!
//! Not here: which subscale is next ([`crate::Coordinator`]), which cuts it off when it opens it.

use std::time::Duration;

use crate::{Division, OPEN_SUBSCALES_MAX};

/// The pause that is kept to unless the user says otherwise.
pub const PAUSE_DEFAULT: Duration = Duration::from_millis(20);

/// Key groups of one subscale at most, however fast they move.
const KEY_GROUPS_MAX: usize = 16;

/// How fast state moves: a time for each key group, and one for its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HandOverSpeed {
    /// Seconds.
    fixed: Measured,
    /// Seconds a byte.
    per_byte: Measured,
}

/// A time that leans to the slow side of what was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    seconds: f64,
    seen: bool,
}

impl Measured {
    /// The weight of a measurement that is slower than thought.
    const SLOWER: f64 = 0.5;
    /// The weight of one that is faster.
    const FASTER: f64 = 0.25;

    fn guess(seconds: f64) -> Measured {
        Measured {
            seconds,
            seen: false,
        }
    }

    fn learn(&mut self, seconds: f64) {
        let weight = match (self.seen, seconds > self.seconds) {
            (false, _) => 1.0,
            (true, true) => Measured::SLOWER,
            (true, false) => Measured::FASTER,
        };
        self.seconds += weight * (seconds - self.seconds);
        self.seen = true;
    }
}

impl Default for HandOverSpeed {
    /// Before anything was measured: 50 µs, and 250 MB/s.
    fn default() -> HandOverSpeed {
        HandOverSpeed {
            fixed: Measured::guess(50e-6),
            per_byte: Measured::guess(1.0 / 250e6),
        }
    }
}

impl HandOverSpeed {
    /// Below so many bytes a key group tells of the fixed part, above of the speed.
    const LARGE: u64 = 64 << 10;

    /// Learns from key groups that moved together.
    pub fn learn(&mut self, key_groups: usize, bytes: u64, took: Duration) {
        let (count, seconds) = (key_groups.max(1), took.as_secs_f64());
        if bytes / (count as u64) < Self::LARGE {
            self.fixed.learn(seconds / count as f64);
        } else {
            let of_bytes = seconds - self.fixed.seconds * count as f64;
            self.per_byte.learn(of_bytes.max(0.0) / bytes as f64);
        }
    }

    /// How long so many key groups with so many bytes take.
    #[must_use]
    pub fn time(&self, key_groups: usize, bytes: u64) -> Duration {
        let seconds = self.fixed.seconds * key_groups as f64 + self.per_byte.seconds * bytes as f64;
        Duration::from_secs_f64(seconds.max(0.0))
    }

    /// Whether anything was measured.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.fixed.seen || self.per_byte.seen
    }

    /// What one subscale may be so that all that is open at an executor moves within `pause`: half
    /// of its share of the time for the number of key groups, half for their bytes.
    #[must_use]
    pub fn division(&self, pause: Duration) -> Division {
        let half = share(pause).as_secs_f64() / 2.0;
        Division {
            bytes_max: (half / self.per_byte.seconds.max(1e-15)) as u64,
            key_groups_max: ((half / self.fixed.seconds.max(1e-9)) as usize)
                .clamp(1, KEY_GROUPS_MAX),
        }
    }
}

/// The part of a pause that one of the open subscales may take.
fn share(pause: Duration) -> Duration {
    pause / OPEN_SUBSCALES_MAX as u32
}

/// Sizes the subscales of one scaling. See the header.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    pause: Duration,
    speed: HandOverSpeed,
    /// As far as the number of key groups has come.
    key_groups_max: usize,
}

impl Pace {
    /// To keep to a pause, with what earlier scalings have shown of the speed.
    #[must_use]
    pub fn new(pause: Duration, speed: HandOverSpeed) -> Pace {
        Pace {
            pause,
            key_groups_max: if speed.is_known() { KEY_GROUPS_MAX } else { 1 },
            speed,
        }
    }

    /// What the next subscale may be.
    #[must_use]
    pub fn division(&self) -> Division {
        let by_speed = self.speed.division(self.pause);
        Division {
            key_groups_max: by_speed.key_groups_max.min(self.key_groups_max),
            ..by_speed
        }
    }

    /// Learns from a subscale whose state has arrived, from the first key group that left to the
    /// last that came. One large key group that takes long says nothing of many small ones.
    pub fn moved(&mut self, key_groups: usize, bytes: u64, took: Duration) {
        self.speed.learn(key_groups, bytes, took);
        let share = share(self.pause);
        if took <= share {
            let next = (2 * key_groups).clamp(1, KEY_GROUPS_MAX);
            self.key_groups_max = self.key_groups_max.max(next);
        } else if key_groups > 1 {
            self.shrink(share.as_secs_f64() / took.as_secs_f64());
        }
    }

    /// Learns from a barrier that waited for state.
    pub fn barrier_waited(&mut self, waited: Duration) {
        if waited > self.pause {
            self.shrink(self.pause.as_secs_f64() / waited.as_secs_f64());
        }
    }

    fn shrink(&mut self, factor: f64) {
        let fits = (self.key_groups_max as f64 * factor) as usize;
        self.key_groups_max = fits.max(1);
    }

    /// What is known of the speed now.
    #[must_use]
    pub fn speed(&self) -> HandOverSpeed {
        self.speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Moves key groups of one size at a constant speed; returns how many each subscale had.
    fn subscales(pace: &mut Pace, each: u64, seconds: impl Fn(usize, u64) -> f64) -> Vec<usize> {
        let mut counts = Vec::new();
        for _ in 0..8 {
            let division = pace.division();
            let by_bytes = (division.bytes_max / each.max(1)) as usize;
            let count = by_bytes.clamp(1, division.key_groups_max);
            let bytes = count as u64 * each;
            pace.moved(count, bytes, Duration::from_secs_f64(seconds(count, bytes)));
            counts.push(count);
        }
        counts
    }

    #[test]
    fn begins_small_and_doubles_where_state_moves_fast() {
        let mut pace = Pace::new(Duration::from_millis(20), HandOverSpeed::default());
        let in_memory = |count: usize, bytes: u64| count as f64 * 20e-6 + bytes as f64 / 1e9;
        let counts = subscales(&mut pace, 1 << 16, in_memory);
        assert_eq!(counts, [1, 2, 4, 8, 16, 16, 16, 16]);
        let mut next = Pace::new(Duration::from_millis(20), pace.speed());
        assert_eq!(subscales(&mut next, 1 << 16, in_memory)[0], 16);
    }

    #[test]
    fn keeps_to_the_pause_on_a_slow_link_from_the_first_subscale_on() {
        let mut pace = Pace::new(Duration::from_millis(20), HandOverSpeed::default());
        let link = |_: usize, bytes: u64| bytes as f64 / 20e6;
        let counts = subscales(&mut pace, MIB / 10, link);
        assert_eq!(
            counts, [1; 8],
            "a tenth of a MiB takes 5 ms, a share is 10 ms"
        );
        let counts = subscales(&mut pace, MIB / 10, |_, bytes| bytes as f64 / 200e6);
        assert_eq!(
            counts,
            [1, 1, 1, 2, 2, 3, 3, 4],
            "faster again: little by little"
        );
    }

    #[test]
    fn a_barrier_that_waits_too_long_makes_subscales_smaller() {
        let mut pace = Pace::new(Duration::from_millis(10), HandOverSpeed::default());
        subscales(&mut pace, 100, |count, _| count as f64 * 1e-6);
        assert_eq!(pace.division().key_groups_max, 16);
        pace.barrier_waited(Duration::from_millis(8));
        assert_eq!(pace.division().key_groups_max, 16);
        pace.barrier_waited(Duration::from_millis(40));
        assert_eq!(pace.division().key_groups_max, 4);
    }

    #[test]
    fn speed_is_learnt_from_what_moved() {
        let mut speed = HandOverSpeed::default();
        assert!(!speed.is_known());
        for _ in 0..100 {
            speed.learn(1, 100, Duration::from_micros(10));
            speed.learn(1, MIB, Duration::from_micros(10 + 1000));
        }
        let expected = speed.time(10, 10 * MIB).as_secs_f64();
        assert!((expected - 0.0101).abs() < 0.001, "{expected}");
        let bytes_max = speed.division(Duration::from_millis(40)).bytes_max;
        assert!((9 * MIB..12 * MIB).contains(&bytes_max), "{bytes_max}");
    }
}
