//! How many executors a job needs: the policy behind `SET PARALLELISM = ADAPTIVE`.
//!
//! ```text
//!   demand of a fragment    busy shares of its executors, added up       executors' worth of work done
//!                           ÷ (1 − backpressured share of predecessors)  … and of work that is kept out
//!   executors needed        demand ÷ target utilization, rounded up; the most any fragment needs
//!   decision                the same direction 3 times running, after the cooldown, within bounds
//! ```
//!
//! This is the estimate of DS2 (Kalavri et al., OSDI 2018): what an executor can do is measured by
//! its *busy* time, not by what it happens to be given, so one decision gets there from any
//! parallelism, up or down. A predecessor that waits for room would send `1 / (1 − share)` as much
//! if it could.
//!
//! Scaling in has more hysteresis than scaling out: too few executors cost latency at once, too
//! many cost idle ones. Pure: time is what the caller says it is.

use std::fmt;
use std::time::Duration;

/// What a user may bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveBounds {
    /// Fewest executors; at least 1.
    pub min: usize,
    /// Most executors.
    pub max: usize,
    /// Share of the time executors shall be busy, above 0 and up to 1.
    pub target_utilization: f64,
}

/// What is measured of one fragment. Shares are from 0 to 1, averages of some seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FragmentDemand {
    /// Busy shares of its executors, added up.
    pub busy: f64,
    /// The largest backpressured share of a predecessor.
    pub backpressured: f64,
}

/// A change of parallelism that the policy wants, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Executors now.
    pub from: usize,
    /// Executors wanted.
    pub to: usize,
    /// Executors that the measured demand needs, before bounds.
    pub needed: usize,
    /// The busiest fragment's demand, in executors' worth of work.
    pub demand: f64,
    /// Mean busy share of that fragment's executors now.
    pub utilization: f64,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} executors are kept busy ({:.0} % each), the demand is {:.2} executors: {} are needed",
            one_digit(self.utilization * self.from as f64),
            self.from,
            100.0 * self.utilization,
            self.demand,
            self.needed
        )
    }
}

fn one_digit(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Decisions in the same direction before the first is acted on.
const STREAK: u32 = 3;
/// Time after a rescale before the next one out.
const COOLDOWN_OUT: Duration = Duration::from_secs(10);
/// Time after a rescale before the next one in.
const COOLDOWN_IN: Duration = Duration::from_secs(30);
/// A smaller parallelism is taken only if it would be this far below the target utilization.
const MARGIN_IN: f64 = 0.9;
/// Demand beyond this multiple of what is done is not believed at once.
const BACKPRESSURE_FACTOR_MAX: f64 = 4.0;

/// The policy for one job.
#[derive(Clone, Debug)]
pub struct AdaptivePolicy {
    bounds: AdaptiveBounds,
    direction: std::cmp::Ordering,
    streak: u32,
    rescaled: Option<Duration>,
}

impl AdaptivePolicy {
    /// A policy that has seen nothing yet.
    #[must_use]
    pub fn new(bounds: AdaptiveBounds) -> AdaptivePolicy {
        AdaptivePolicy {
            bounds,
            direction: std::cmp::Ordering::Equal,
            streak: 0,
            rescaled: None,
        }
    }

    /// Notes that the job was rescaled at `now`, by whomever: measures before it mean little.
    pub fn rescaled(&mut self, now: Duration) {
        self.rescaled = Some(now);
        self.streak = 0;
    }

    /// Looks at the measures of a job that runs with `parallelism` executors. `now` is the time
    /// since any fixed moment; calls are some second apart.
    pub fn decide(
        &mut self,
        now: Duration,
        parallelism: usize,
        fragments: &[FragmentDemand],
    ) -> Option<Decision> {
        let target = self.bounds.target_utilization;
        let executors = |demand: f64| ((demand / target).ceil() as usize).max(1);
        let busiest = fragments
            .iter()
            .max_by(|a, b| demand_of(a).total_cmp(&demand_of(b)))?;
        let demand = demand_of(busiest);
        let mut needed = executors(demand);
        if needed < parallelism {
            needed = executors(demand / MARGIN_IN).min(parallelism);
        }
        let to = needed.clamp(self.bounds.min, self.bounds.max.max(self.bounds.min));
        let direction = to.cmp(&parallelism);
        self.streak = if direction == self.direction {
            self.streak.saturating_add(1)
        } else {
            1
        };
        self.direction = direction;
        let cooldown = match direction {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => COOLDOWN_OUT,
            std::cmp::Ordering::Less => COOLDOWN_IN,
        };
        let cooling = self.rescaled.is_some_and(|at| now < at + cooldown);
        if cooling || self.streak < STREAK {
            return None;
        }
        Some(Decision {
            from: parallelism,
            to,
            needed,
            demand,
            utilization: busiest.busy / parallelism as f64,
        })
    }
}

fn demand_of(fragment: &FragmentDemand) -> f64 {
    let let_in = (1.0 - fragment.backpressured).max(1.0 / BACKPRESSURE_FACTOR_MAX);
    fragment.busy / let_in
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: AdaptiveBounds = AdaptiveBounds {
        min: 1,
        max: 16,
        target_utilization: 0.7,
    };

    fn demand(busy: f64, backpressured: f64) -> FragmentDemand {
        FragmentDemand {
            busy,
            backpressured,
        }
    }

    /// Asks `times` times, a second apart, and returns the last answer.
    fn ask(
        policy: &mut AdaptivePolicy,
        from_second: u64,
        times: u64,
        parallelism: usize,
        fragment: FragmentDemand,
    ) -> Option<usize> {
        let mut last = None;
        for second in from_second..from_second + times {
            let now = Duration::from_secs(second);
            last = policy.decide(now, parallelism, &[demand(0.1, 0.0), fragment]);
        }
        last.map(|decision| decision.to)
    }

    #[test]
    fn gets_there_in_one_decision() {
        let mut policy = AdaptivePolicy::new(BOUNDS);
        assert_eq!(ask(&mut policy, 0, 2, 2, demand(1.9, 0.6)), None);
        assert_eq!(ask(&mut policy, 2, 1, 2, demand(1.9, 0.6)), Some(7));
        let mut idle = AdaptivePolicy::new(BOUNDS);
        assert_eq!(ask(&mut idle, 0, 3, 8, demand(1.0, 0.0)), Some(2));
    }

    #[test]
    fn stays_where_it_is_good() {
        let mut policy = AdaptivePolicy::new(BOUNDS);
        assert_eq!(ask(&mut policy, 0, 9, 4, demand(2.7, 0.0)), None);
        // 3 executors would be busy by 69 %, too close to the target to be worth a move.
        assert_eq!(ask(&mut policy, 9, 9, 4, demand(2.07, 0.0)), None);
    }

    #[test]
    fn keeps_to_its_bounds() {
        let bounds = AdaptiveBounds {
            min: 3,
            max: 4,
            ..BOUNDS
        };
        let mut policy = AdaptivePolicy::new(bounds);
        assert_eq!(ask(&mut policy, 0, 3, 3, demand(3.0, 0.9)), Some(4));
        assert_eq!(ask(&mut policy, 3, 9, 4, demand(4.0, 0.9)), None);
        assert_eq!(ask(&mut policy, 12, 3, 4, demand(0.0, 0.0)), Some(3));
    }

    #[test]
    fn cools_down_after_a_rescale_and_longer_before_scaling_in() {
        let mut policy = AdaptivePolicy::new(BOUNDS);
        policy.rescaled(Duration::ZERO);
        assert_eq!(ask(&mut policy, 1, 9, 2, demand(2.0, 0.0)), None);
        assert_eq!(ask(&mut policy, 10, 1, 2, demand(2.0, 0.0)), Some(3));
        let mut policy = AdaptivePolicy::new(BOUNDS);
        policy.rescaled(Duration::ZERO);
        assert_eq!(ask(&mut policy, 1, 29, 4, demand(0.5, 0.0)), None);
        assert_eq!(ask(&mut policy, 30, 1, 4, demand(0.5, 0.0)), Some(1));
    }

    #[test]
    fn a_wavering_demand_moves_nothing() {
        let mut policy = AdaptivePolicy::new(BOUNDS);
        for second in 0..20 {
            let busy = if second % 2 == 0 { 2.0 } else { 1.3 };
            let now = Duration::from_secs(second);
            assert_eq!(policy.decide(now, 2, &[demand(busy, 0.0)]), None);
        }
    }

    #[test]
    fn says_why() {
        let decision = Decision {
            from: 2,
            to: 7,
            needed: 7,
            demand: 4.75,
            utilization: 0.95,
        };
        assert_eq!(
            decision.to_string(),
            "1.9 of 2 executors are kept busy (95 % each), the demand is 4.75 executors: 7 are needed"
        );
    }
}
