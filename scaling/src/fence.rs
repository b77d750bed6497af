//! Where in a predecessor's unsent queue the confirm barrier goes when it switches a subscale
//! (drrs.md 8.3).
//!
//! ```text
//!   unsent queue to the old owner     batch a │ barrier 7 │ batch b │ batch c
//!                                                          ▲
//!            confirm barrier goes here ────────────────────┘
//!                  a stays as it is; the old owner processes it, or re-routes what has already left
//!                  b and c are split: moving rows go, in order, to the end of the queue to the new owner,
//!                  the others stay where they are
//! ```
//!
//! The confirm barrier overtakes rows, so that a move need not wait for a backlog, but never a
//! barrier or a watermark. A predecessor puts barrier `n` into all its queues at once; so a switch
//! lies before barrier `n` towards the old owner exactly if it does towards the new one, and the
//! rows that go over arrive in the epoch they were made in.

/// The index in the unsent queue (front first) at which the confirm barrier is inserted: behind the
/// last fence, 0 if there is none. Messages at this index and behind are split, those in front are
/// left alone.
///
/// `is_fence` is true of barriers and watermarks.
#[must_use]
pub fn confirm_position<'a, M: 'a>(
    unsent: impl Iterator<Item = &'a M>,
    is_fence: impl Fn(&M) -> bool,
) -> usize {
    unsent
        .enumerate()
        .filter(|(_, message)| is_fence(message))
        .last()
        .map_or(0, |(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_behind_the_last_fence() {
        let position = |queue: &str| confirm_position(queue.as_bytes().iter(), |m| *m == b'|');
        assert_eq!(position(""), 0);
        assert_eq!(position("aaa"), 0);
        assert_eq!(position("|"), 1);
        assert_eq!(position("a|bb"), 2);
        assert_eq!(position("a|b|"), 4);
    }
}
