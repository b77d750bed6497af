//! Slows down who guesses passwords: after each wrong one, the answer to the next wrong one from
//! the same address takes longer. A right one is never slowed down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After the first wrong password.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// After many.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An address without a wrong password for so long starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Addresses that are remembered; with more of them all pauses are the longest.
const ADDRESSES_MAX: usize = 10_000;

/// Who gave wrong passwords of late.
#[derive(Debug, Default)]
pub struct Guessing {
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Guessing {
    /// A wrong password came from an address; gives how long it waits for its answer.
    pub fn note(&self, address: IpAddr) -> Duration {
        self.note_at(address, Instant::now())
    }

    fn note_at(&self, address: IpAddr, now: Instant) -> Duration {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (_, last)| now.duration_since(*last) < FORGOTTEN_AFTER);
        if wrong.len() >= ADDRESSES_MAX && !wrong.contains_key(&address) {
            return PAUSE_MAX;
        }
        let (count, last) = wrong.entry(address).or_insert((0, now));
        *last = now;
        let pause = PAUSE_MIN.saturating_mul(1 << (*count).min(16));
        *count += 1;
        pause.min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_are_forgotten() {
        let guessing = Guessing::default();
        let (start, here) = (Instant::now(), IpAddr::from([127, 0, 0, 1]));
        let pauses: Vec<u128> = (0..8)
            .map(|_| guessing.note_at(here, start).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        let there = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(guessing.note_at(there, start), PAUSE_MIN);
        let later = start + FORGOTTEN_AFTER;
        assert_eq!(guessing.note_at(here, later), PAUSE_MIN);
    }
}
