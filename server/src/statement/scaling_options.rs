//! What `ALTER … SET PARALLELISM`, `MOVE KEY GROUP` and `REBALANCE` ask for, checked.

use std::collections::BTreeMap;
use std::time::Duration;

use executor::{Placing, RescaleOptions, RescaleTarget};
use planner::parse::{AlterScaling, Parallelism, ScalingChange};
use scaling::{ExecutorId, KeyGroup, Strategy};

use crate::catalog::Adaptivity;
use crate::error::{Error, Result};
use crate::settings::parse_strategy;
use planner::values::interval::parse_interval;

/// Share of the time that executors of an adaptive relation are busy, unless the user says.
const TARGET_UTILIZATION_DEFAULT: f64 = 0.7;

/// What is allowed, and what holds unless the statement says otherwise.
pub(crate) struct Defaults {
    /// The largest parallelism.
    pub(crate) key_groups: u16,
    /// Most executors of an adaptive relation.
    pub(crate) adaptive_max: usize,
    /// How key groups move.
    pub(crate) strategy: Strategy,
    /// Who asks.
    pub(crate) by: String,
}

/// A checked change.
pub(crate) enum Wanted {
    /// Move key groups once.
    Rescale(RescaleOptions),
    /// From now on, follow the load.
    Adaptive(Adaptivity),
}

/// Checks a statement.
///
/// # Errors
/// [`Error::InvalidValue`] (22023).
pub(crate) fn check(alter: &AlterScaling, defaults: &Defaults) -> Result<Wanted> {
    if alter.change == ScalingChange::Parallelism(Parallelism::Adaptive) {
        return adaptivity(&alter.options, defaults).map(Wanted::Adaptive);
    }
    let mut options = RescaleOptions {
        target: target(&alter.change, defaults.key_groups)?,
        strategy: defaults.strategy,
        placing: Placing::LeastMove,
        max_pause: None,
        by: defaults.by.clone(),
    };
    for (name, value) in &alter.options {
        match name.as_str() {
            "max_pause" => options.max_pause = Some(max_pause(value)?),
            "strategy" => {
                options.strategy =
                    parse_strategy(value).map_err(|hint| invalid(name, value, Some(hint)))?;
            }
            "placing" => options.placing = placing(value, &options.target)?,
            _ => return Err(unknown(name, "max_pause, strategy and placing")),
        }
    }
    let is_restart = options.strategy.mechanism().is_none();
    if is_restart && !matches!(options.target, RescaleTarget::Parallelism(_)) {
        return Err(Error::InvalidValue {
            message: format!(
                "strategy {} cannot move single key groups",
                options.strategy
            ),
            hint: Some("It changes the parallelism only; choose another one.".to_owned()),
        });
    }
    Ok(Wanted::Rescale(options))
}

fn target(change: &ScalingChange, key_groups: u16) -> Result<RescaleTarget> {
    let invalid = |written: String| Error::InvalidValue {
        message: format!("invalid parallelism: {written}"),
        hint: Some(format!(
            "Parallelism is a whole number from 1 to {key_groups}, or ADAPTIVE."
        )),
    };
    match change {
        ScalingChange::Parallelism(Parallelism::Fixed(n)) => usize::try_from(*n)
            .ok()
            .filter(|n| (1..=usize::from(key_groups)).contains(n))
            .map(RescaleTarget::Parallelism)
            .ok_or_else(|| invalid(n.to_string())),
        ScalingChange::Parallelism(Parallelism::Invalid(written)) => Err(invalid(written.clone())),
        ScalingChange::Parallelism(Parallelism::Adaptive) => Err(invalid("ADAPTIVE".to_owned())),
        ScalingChange::Rebalance => Ok(RescaleTarget::Rebalance),
        ScalingChange::MoveKeyGroup {
            key_group,
            executor,
        } => Ok(RescaleTarget::MoveKeyGroup {
            key_group: u16::try_from(*key_group)
                .map(KeyGroup)
                .map_err(|_| no_key_group(*key_group))?,
            executor: u32::try_from(*executor)
                .map(ExecutorId)
                .map_err(|_| no_executor(*executor))?,
        }),
    }
}

/// There is no such key group.
pub(crate) fn no_key_group(key_group: u64) -> Error {
    Error::InvalidValue {
        message: format!("there is no key group {key_group}"),
        hint: Some("The table tide.key_groups lists the key groups of each relation.".to_owned()),
    }
}

/// There is no such executor that could own a key group.
pub(crate) fn no_executor(executor: u64) -> Error {
    Error::InvalidValue {
        message: format!("executor {executor} does not own key groups of this relation"),
        hint: Some("The table tide.executors lists the executors of each relation.".to_owned()),
    }
}

fn adaptivity(options: &BTreeMap<String, String>, defaults: &Defaults) -> Result<Adaptivity> {
    let (mut min, mut max) = (1, None);
    let mut target_utilization = TARGET_UTILIZATION_DEFAULT;
    for (name, value) in options {
        match name.as_str() {
            "min" => min = bound(name, value, defaults.key_groups)?,
            "max" => max = Some(bound(name, value, defaults.key_groups)?),
            "target_utilization" => {
                let hint = "It is a share of the time, above 0 and up to 1.";
                target_utilization = value
                    .parse()
                    .ok()
                    .filter(|share: &f64| *share > 0.0 && *share <= 1.0)
                    .ok_or_else(|| invalid(name, value, Some(hint.to_owned())))?;
            }
            _ => return Err(unknown(name, "min, max and target_utilization")),
        }
    }
    let max = max.unwrap_or_else(|| defaults.adaptive_max.max(min));
    if min > max {
        return Err(Error::InvalidValue {
            message: format!("option \"min\" ({min}) is above option \"max\" ({max})"),
            hint: None,
        });
    }
    Ok(Adaptivity {
        min,
        max,
        target_utilization,
    })
}

fn bound(name: &str, value: &str, key_groups: u16) -> Result<usize> {
    let hint = || format!("It is a whole number from 1 to {key_groups}.");
    value
        .parse()
        .ok()
        .filter(|n| (1..=usize::from(key_groups)).contains(n))
        .ok_or_else(|| invalid(name, value, Some(hint())))
}

/// Which key groups executors shall have.
fn placing(value: &str, target: &RescaleTarget) -> Result<Placing> {
    let hint = "It is least_move or ranges, and needs SET PARALLELISM.";
    match (value, target) {
        ("least_move", RescaleTarget::Parallelism(_)) => Ok(Placing::LeastMove),
        ("ranges", RescaleTarget::Parallelism(_)) => Ok(Placing::Ranges),
        _ => Err(invalid("placing", value, Some(hint.to_owned()))),
    }
}

/// A time above zero as PostgreSQL reads settings and intervals; a bare number counts milliseconds.
fn max_pause(value: &str) -> Result<Duration> {
    let micros = match value.trim().parse::<f64>() {
        Ok(milliseconds) => Some(milliseconds * 1000.0),
        Err(_) => match parse_interval(value) {
            Ok((0, days, micros)) => Some(f64::from(days) * 86_400e6 + micros as f64),
            _ => None,
        },
    };
    let in_range = |micros: &f64| *micros >= 1.0 && *micros <= f64::from(i32::MAX) * 1000.0;
    micros
        .filter(in_range)
        .map(|micros| Duration::from_micros(micros as u64))
        .ok_or_else(|| {
            let hint = "It is a time above zero, such as '20ms' or '1s'.";
            invalid("max_pause", value, Some(hint.to_owned()))
        })
}

fn invalid(option: &str, value: &str, hint: Option<String>) -> Error {
    Error::InvalidValue {
        message: format!("invalid value for option \"{option}\": \"{value}\""),
        hint,
    }
}

fn unknown(option: &str, known: &str) -> Error {
    Error::InvalidValue {
        message: format!("unrecognized option \"{option}\""),
        hint: Some(format!("The options here are {known}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(sql: &str) -> Result<Wanted> {
        let planner::parse::Statement::AlterScaling(alter) =
            planner::parse(sql).unwrap().remove(0).statement
        else {
            panic!("{sql}")
        };
        let defaults = Defaults {
            key_groups: 256,
            adaptive_max: 2,
            strategy: Strategy::Otfs,
            by: "root".to_owned(),
        };
        check(&alter, &defaults)
    }

    fn rescale(change: &str) -> RescaleOptions {
        match checked(&format!("ALTER TABLE t {change}")) {
            Ok(Wanted::Rescale(options)) => options,
            _ => panic!("{change}"),
        }
    }

    #[test]
    fn times_are_read_as_settings_and_intervals() {
        for (text, micros) in [
            ("'20ms'", 20_000),
            ("20", 20_000),
            ("'1s'", 1_000_000),
            ("'1.5 s'", 1_500_000),
            ("'250us'", 250),
            ("'2 min'", 120_000_000),
            ("'00:00:01'", 1_000_000),
            ("'1 millisecond'", 1000),
        ] {
            let options = rescale(&format!("REBALANCE WITH (max_pause = {text})"));
            let expected = Some(Duration::from_micros(micros));
            assert_eq!(options.max_pause, expected, "{text}");
        }
        for bad in [
            "0",
            "-1",
            "'-20ms'",
            "'0s'",
            "''",
            "'soon'",
            "'20 parsec'",
            "'1 month'",
            "'inf'",
            "'nan'",
        ] {
            let sql = format!("ALTER TABLE t SET PARALLELISM = 2 WITH (max_pause = {bad})");
            assert!(
                matches!(checked(&sql), Err(Error::InvalidValue { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_strategy_is_that_of_the_statement_or_the_session() {
        assert_eq!(rescale("SET PARALLELISM = 2").strategy, Strategy::Otfs);
        let options = rescale("MOVE KEY GROUP 1 TO EXECUTOR 2 WITH (strategy = 'meces')");
        assert_eq!(options.strategy, Strategy::Meces);
        assert!(checked("ALTER TABLE t REBALANCE WITH (strategy = unbound)").is_err());
        assert!(checked("ALTER TABLE t REBALANCE WITH (strategy = stop_restart)").is_err());
        assert!(checked("ALTER TABLE t REBALANCE WITH (speed = high)").is_err());
        assert!(checked("ALTER TABLE t MOVE KEY GROUP 70000 TO EXECUTOR 1").is_err());
    }

    #[test]
    fn adaptive_bounds_are_checked() {
        let adaptive = |options: &str| {
            let sql = format!("ALTER TABLE t SET PARALLELISM = ADAPTIVE WITH ({options})");
            match checked(&sql) {
                Ok(Wanted::Adaptive(adaptivity)) => Some(adaptivity),
                Ok(Wanted::Rescale(_)) => panic!("{options}"),
                Err(_) => None,
            }
        };
        let bounds = |min, max, target_utilization| {
            Some(Adaptivity {
                min,
                max,
                target_utilization,
            })
        };
        assert_eq!(adaptive(""), bounds(1, 2, 0.7));
        assert_eq!(adaptive("min = 3"), bounds(3, 3, 0.7));
        let all = "min = 2, max = 256, target_utilization = 1";
        assert_eq!(adaptive(all), bounds(2, 256, 1.0));
        for bad in [
            "min = 0",
            "max = 257",
            "min = 4, max = 3",
            "target_utilization = 0",
            "target_utilization = 1.01",
            "target_utilization = nan",
            "max_pause = '1s'",
        ] {
            assert_eq!(adaptive(bad), None, "{bad}");
        }
    }
}
