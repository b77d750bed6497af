//! What a run is about: one keyed fragment, its input, links and faults, and the scalings asked
//! for.

use std::time::Duration;

use crate::{Early, HoldLimit, Release, Rules, Signal, Strategy};

/// Where a scaling goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// As few key groups as possible move ([`crate::Assignment::least_move`]).
    LeastMove,
    /// Contiguous ranges ([`crate::Assignment::ranges`]), which move most of them.
    Ranges,
    /// Every key group goes to any executor, drawn from the seed: rings of moves.
    Shuffle,
}

/// A change of parallelism that a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// When. One that is still moving by then opens nothing more, and ends early.
    pub at: Duration,
    /// To how many executors.
    pub executors: usize,
    /// Which key groups go where.
    pub plan: Plan,
}

/// Everything a run depends on. Two runs of one set-up are the same to the last event.
///
/// Start from [`Setup::small`] or one of the large ones, and change what matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// From it comes all chance: keys, losses, assignments after a crash.
    pub seed: u64,
    /// Key groups of the fragment.
    pub key_groups: u16,
    /// Executors that feed it.
    pub predecessors: usize,
    /// Executors it starts with, which own contiguous ranges.
    pub executors: usize,
    /// Whether order inside an epoch matters to it.
    pub release: Release,

    /// Rows made a second by all predecessors together, evenly over time.
    pub rows_per_second: u64,
    /// Bytes of a row on a link.
    pub row_bytes: u64,
    /// Zipf exponent of rows over key groups; 0 is uniform.
    pub zipf_exponent: f64,
    /// Input of so long a time exists already when the run begins.
    pub backlog: Duration,
    /// Rows are made until then; the run ends when the last is committed.
    pub input_ends: Duration,
    /// Rows are made in portions, one in each such interval.
    pub portion: Duration,

    /// What an executor needs for a row.
    pub service: Duration,
    /// Rows a message may have.
    pub message_rows_max: u32,
    /// Rows set aside at an executor before channels pause.
    pub hold_limit: HoldLimit,

    /// State of all key groups when the run begins.
    pub state_bytes: u64,
    /// Zipf exponent of that state over key groups; 0 is uniform.
    pub state_zipf_exponent: f64,
    /// What a row adds to the state of its key group, in bytes.
    pub state_bytes_per_row: u64,
    /// State an executor extracts or installs in a second, in bytes. It does nothing else
    /// meanwhile.
    pub copy_bytes_per_second: u64,

    /// What a predecessor or executor sends in a second over all its channels, in bytes.
    pub link_bytes_per_second: u64,
    /// From the end of sending to arrival.
    pub link_delay: Duration,
    /// Rows a channel may have between being sent and being read.
    pub channel_rows_max: u64,
    /// Rows a predecessor may have unsent before it takes no more input.
    pub unsent_rows_max: u64,
    /// Messages a migration channel may have between being sent and being read.
    pub migration_messages_max: usize,
    /// Re-routed rows that may wait at an old owner before it reads no more.
    pub rerouted_rows_max: u64,

    /// From sending a control message to its arrival, if it is not lost.
    pub control_delay: Duration,
    /// How likely one is lost, below 1.
    pub control_loss: f64,
    /// When a lost one is sent again.
    pub control_retry: Duration,

    /// From barrier to barrier.
    pub barrier_interval: Duration,
    /// Barriers that may be under way; the next waits for the end of one.
    pub barriers_under_way_max: u64,

    /// How key groups change their owner.
    pub strategy: Strategy,
    /// The scalings, in order of time.
    pub scalings: Vec<Scaling>,
    /// The pause to keep to, where there are subscales: how long what is open at an executor may
    /// take to move. How fast it moves is found out on the way ([`crate::Pace`]).
    pub max_pause: Duration,
    /// Key groups a subscale may have.
    pub subscale_key_groups_max: usize,
    /// Subscales that may be open at an executor, where there are subscales.
    pub open_subscales_max: usize,

    /// When everything fails. It starts again from the last complete epoch, under any assignment;
    /// a scaling that was under way is lost.
    pub crashes: Vec<Duration>,
    /// From the end of one dataflow to the start of the next, apart from its state.
    pub restart: Duration,
    /// State an executor writes to storage or reads from it in a second, in bytes.
    pub storage_bytes_per_second: u64,

    /// Width of a bucket of the measured series. Scalings should fall on a multiple.
    pub bucket: Duration,
    /// What happens before is not measured as "before".
    pub warm_up: Duration,
    /// A scaling is over when latency has been as it was for so long a time.
    pub stable_for: Duration,
    /// Whether the invariants of drrs.md 8.8 are checked all along.
    pub checks: bool,
    /// The rules of the protocol: all of them, but to show that the checks notice one that is
    /// missing.
    pub rules: Rules,
}

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

impl Setup {
    /// A fragment of a few executors and a few thousand rows with every check: for tests.
    #[must_use]
    pub fn small() -> Setup {
        Setup {
            seed: 1,
            key_groups: 16,
            predecessors: 3,
            executors: 2,
            release: Release::Commutative,
            rows_per_second: 1_500,
            row_bytes: 100,
            zipf_exponent: 0.0,
            backlog: Duration::ZERO,
            input_ends: Duration::from_secs(3),
            portion: Duration::from_millis(10),
            service: Duration::from_millis(1),
            message_rows_max: 16,
            hold_limit: HoldLimit {
                rows: 200,
                bytes: u64::MAX,
            },
            state_bytes: 16 * MIB,
            state_zipf_exponent: 0.0,
            state_bytes_per_row: 0,
            copy_bytes_per_second: 2 * GIB,
            link_bytes_per_second: 125_000_000,
            link_delay: Duration::from_micros(100),
            channel_rows_max: 50,
            unsent_rows_max: 1_000,
            migration_messages_max: 64,
            // The re-route buffer of the prototype is 1 MiB (drrs.md 4.4), here of 2 KiB rows.
            rerouted_rows_max: 512,
            control_delay: Duration::from_micros(200),
            control_loss: 0.0,
            control_retry: Duration::from_millis(20),
            barrier_interval: Duration::from_millis(100),
            barriers_under_way_max: 1,
            strategy: Strategy::Drrs,
            scalings: vec![Scaling {
                at: Duration::from_secs(1),
                executors: 3,
                plan: Plan::LeastMove,
            }],
            max_pause: Duration::from_millis(100),
            subscale_key_groups_max: 8,
            open_subscales_max: crate::OPEN_SUBSCALES_MAX,
            crashes: Vec::new(),
            restart: Duration::from_millis(50),
            storage_bytes_per_second: 500_000_000,
            bucket: Duration::from_millis(100),
            warm_up: Duration::from_millis(200),
            stable_for: Duration::from_millis(500),
            checks: true,
            rules: Rules::default(),
        }
    }

    /// The published set-up of NEXMark Q7 (drrs.md 7.1): 128 key groups in ranges, 8 executors to
    /// 12, 16 predecessors, a millisecond a row. What the publication does not fix: 6,000 rows a
    /// second, three quarters of what 8 executors can do; 1 GiB of window content; links of 1
    /// Gbit/s.
    #[must_use]
    pub fn published_8_to_12() -> Setup {
        Setup {
            key_groups: 128,
            predecessors: 16,
            executors: 8,
            rows_per_second: 6_000,
            row_bytes: 2_048,
            input_ends: Duration::from_secs(90),
            state_bytes: GIB,
            channel_rows_max: 32,
            unsent_rows_max: 2_000,
            barrier_interval: Duration::from_secs(1),
            scalings: vec![Scaling {
                at: Duration::from_secs(30),
                executors: 12,
                plan: Plan::Ranges,
            }],
            subscale_key_groups_max: 16,
            restart: Duration::from_secs(3),
            bucket: Duration::from_millis(500),
            warm_up: Duration::from_secs(10),
            stable_for: Duration::from_secs(10),
            checks: false,
            ..Setup::small()
        }
    }

    /// The published synthetic set-up (drrs.md 7.1): 256 key groups in ranges, 25 executors to 30,
    /// 12 predecessors, Zipf 1.5, a millisecond a row of 1,000 bytes, and 5 to 30 GB of state.
    ///
    /// 2,000 rows a second, of the published 1,000 to 15,000: with Zipf 1.5 the hottest key group
    /// alone then keeps an executor busy for eight tenths of its time, and beyond that no
    /// assignment could serve it.
    #[must_use]
    pub fn published_25_to_30(total_state_bytes: u64) -> Setup {
        Setup {
            key_groups: 256,
            predecessors: 12,
            executors: 25,
            rows_per_second: 2_000,
            row_bytes: 1_000,
            zipf_exponent: 1.5,
            input_ends: Duration::from_secs(180),
            state_bytes: total_state_bytes,
            scalings: vec![Scaling {
                at: Duration::from_secs(60),
                executors: 30,
                plan: Plan::Ranges,
            }],
            stable_for: Duration::from_secs(30),
            ..Setup::published_8_to_12()
        }
    }

    /// Ten times what was published: 100 executors to 200 with 1,024 key groups and 20 GiB, as few
    /// moves as possible, links of 10 Gbit/s.
    #[must_use]
    pub fn beyond_100_to_200() -> Setup {
        Setup {
            key_groups: 1_024,
            predecessors: 32,
            executors: 100,
            rows_per_second: 80_000,
            row_bytes: 200,
            portion: Duration::from_millis(40),
            input_ends: Duration::from_secs(40),
            state_bytes: 20 * GIB,
            link_bytes_per_second: 1_250_000_000,
            scalings: vec![Scaling {
                at: Duration::from_secs(15),
                executors: 200,
                plan: Plan::LeastMove,
            }],
            warm_up: Duration::from_secs(5),
            ..Setup::published_8_to_12()
        }
    }

    /// The same without any scaling.
    #[must_use]
    pub fn unscaled(&self) -> Setup {
        Setup {
            scalings: Vec::new(),
            ..self.clone()
        }
    }

    /// The same by another strategy.
    #[must_use]
    pub fn with_strategy(&self, strategy: Strategy) -> Setup {
        Setup {
            strategy,
            ..self.clone()
        }
    }

    /// # Panics
    /// If no run could come of it.
    pub(super) fn check(&self) {
        assert!(self.key_groups > 0, "there is no key group");
        assert!(self.predecessors > 0, "there is no predecessor");
        assert!(
            self.executors > 0 && self.scalings.iter().all(|s| s.executors > 0),
            "there is no executor"
        );
        assert!(
            !self.portion.is_zero() && !self.bucket.is_zero() && !self.barrier_interval.is_zero(),
            "time does not go on"
        );
        assert!(
            self.message_rows_max > 0
                && self.channel_rows_max > 0
                && self.unsent_rows_max > 0
                && self.migration_messages_max > 0
                && self.rerouted_rows_max > 0
                && self.barriers_under_way_max > 0
                && self.open_subscales_max > 0
                && self.hold_limit.rows > 0
                && self.hold_limit.bytes > 0,
            "a limit of 0 stops everything"
        );
        assert!(
            self.link_bytes_per_second > 0
                && self.copy_bytes_per_second > 0
                && self.storage_bytes_per_second > 0,
            "a rate of 0 stops everything"
        );
        assert!(
            (0.0..1.0).contains(&self.control_loss),
            "every control message is lost"
        );
        assert!(
            self.scalings.is_sorted_by_key(|scaling| scaling.at) && self.crashes.is_sorted(),
            "scalings and crashes are in order of time"
        );
        let stops_for_confirm = self.release == Release::Ordered
            && self.strategy.mechanism().is_some_and(|mechanism| {
                mechanism.early != Early::Hold && mechanism.signal == Signal::Priority
            });
        assert!(
            !stops_for_confirm,
            "whole executors that stop for a confirm barrier deadlock in rings"
        );
    }
}
