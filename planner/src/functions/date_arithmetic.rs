//! Sums and differences of dates, times and intervals, as functions: operators become calls of them
//! (`operators.rs`).
//!
//! Months are added by the calendar (the day is the last one of the month at most), days by the
//! clocks of the session's zone, the rest as time that passes.

use arrow::array::timezone::Tz;

use crate::functions::dates::midnight;
use crate::functions::datum::{Datum, Interval};
use crate::functions::function::{Call, Function, function};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::temporal::{
    MICROS_DAY, civil_from_days, days_from_civil, days_in_month, instant_of, local_micros,
};
use crate::values::types::SqlType::{
    Date, Float8, Int4, Interval as IntervalType, Time, Timestamp, Timestamptz,
};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("pg_add")
            .on([Date, Int4], Date, |_, a| {
                Ok(Datum::Date(a[0].count() + a[1].int()))
            })
            .on([Date, Time], Timestamp, |_, a| {
                Ok(Datum::Timestamp(midnight(a[0].count())? + a[1].count()))
            })
            .on([Date, IntervalType], Timestamp, |_, a| {
                shifted(midnight(a[0].count())?, a[1].interval()).map(Datum::Timestamp)
            })
            .on([Timestamp, IntervalType], Timestamp, |_, a| {
                shifted(a[0].count(), a[1].interval()).map(Datum::Timestamp)
            })
            .on([Timestamptz, IntervalType], Timestamptz, |call, a| {
                shifted_instant(call, a[0].count(), a[1].interval())
            })
            .on([Time, IntervalType], Time, |_, a| {
                Ok(Datum::Time(turned(a[0].count(), a[1].interval().micros)))
            })
            .on([IntervalType, IntervalType], IntervalType, |_, a| {
                sum(a[0].interval(), a[1].interval())
            }),
        function("pg_subtract")
            .on([Date, Int4], Date, |_, a| {
                Ok(Datum::Date(a[0].count() - a[1].int()))
            })
            .on([Date, Date], Int4, |_, a| {
                Ok(Datum::Int(a[0].count() - a[1].count()))
            })
            .on([Date, IntervalType], Timestamp, |_, a| {
                shifted(midnight(a[0].count())?, negated(a[1].interval())).map(Datum::Timestamp)
            })
            .on([Timestamp, IntervalType], Timestamp, |_, a| {
                shifted(a[0].count(), negated(a[1].interval())).map(Datum::Timestamp)
            })
            .on([Timestamptz, IntervalType], Timestamptz, |call, a| {
                shifted_instant(call, a[0].count(), negated(a[1].interval()))
            })
            .on([Time, IntervalType], Time, |_, a| {
                Ok(Datum::Time(turned(a[0].count(), -a[1].interval().micros)))
            })
            .on([Time, Time], IntervalType, |_, a| {
                Ok(Datum::Interval(Interval {
                    micros: a[0].count() - a[1].count(),
                    ..Interval::default()
                }))
            })
            .on([Timestamp, Timestamp], IntervalType, |_, a| difference(a))
            .on([Timestamptz, Timestamptz], IntervalType, |_, a| {
                difference(a)
            })
            .on([IntervalType, IntervalType], IntervalType, |_, a| {
                sum(a[0].interval(), negated(a[1].interval()))
            }),
        function("pg_negate").on([IntervalType], IntervalType, |_, a| {
            Ok(Datum::Interval(negated(a[0].interval())))
        }),
        function("pg_multiply").on([IntervalType, Float8], IntervalType, |_, a| {
            scaled(a[0].interval(), a[1].float())
        }),
        function("pg_divide").on([IntervalType, Float8], IntervalType, |_, a| {
            if a[1].float() == 0.0 {
                return Err(ValueError::refused(
                    Fault::DivisionByZero,
                    "division by zero",
                ));
            }
            divided(a[0].interval(), a[1].float())
        }),
    ]
}

fn out_of_range() -> ValueError {
    ValueError::refused(Fault::DatetimeOverflow, "timestamp out of range")
}

fn interval_out_of_range() -> ValueError {
    ValueError::refused(Fault::DatetimeOverflow, "interval out of range")
}

fn negated(value: Interval) -> Interval {
    Interval {
        months: -value.months,
        days: -value.days,
        micros: -value.micros,
    }
}

fn sum<'a>(a: Interval, b: Interval) -> Result<Datum<'a>> {
    Ok(Datum::Interval(Interval {
        months: a.months + b.months,
        days: a.days + b.days,
        micros: a
            .micros
            .checked_add(b.micros)
            .ok_or_else(interval_out_of_range)?,
    }))
}

/// A difference of two times: whole days, then the rest.
fn difference<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let micros = args[0].count().checked_sub(args[1].count());
    let micros = micros.ok_or_else(interval_out_of_range)?;
    Ok(Datum::Interval(Interval {
        months: 0,
        days: micros / MICROS_DAY,
        micros: micros % MICROS_DAY,
    }))
}

/// A local time, months and days later.
fn on_calendar(micros: i64, value: Interval) -> Result<i64> {
    let (mut date, time) = (micros.div_euclid(MICROS_DAY), micros.rem_euclid(MICROS_DAY));
    if value.months != 0 {
        let (year, month, day) = civil_from_days(date);
        let months = year * 12 + month - 1 + value.months;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        date = days_from_civil(year, month, day.min(days_in_month(year, month)));
    }
    (date + value.days)
        .checked_mul(MICROS_DAY)
        .and_then(|micros| micros.checked_add(time))
        .ok_or_else(out_of_range)
}

fn shifted(micros: i64, value: Interval) -> Result<i64> {
    on_calendar(micros, value)?
        .checked_add(value.micros)
        .ok_or_else(out_of_range)
}

fn shifted_instant<'a>(call: &Call, instant: i64, value: Interval) -> Result<Datum<'a>> {
    let moved = if value.months == 0 && value.days == 0 {
        instant
    } else {
        in_zone(instant, value, call.zone)?
    };
    let moved = moved.checked_add(value.micros).ok_or_else(out_of_range)?;
    Ok(Datum::Timestamptz(moved))
}

fn in_zone(instant: i64, value: Interval, zone: Tz) -> Result<i64> {
    Ok(instant_of(
        on_calendar(local_micros(instant, zone), value)?,
        zone,
    ))
}

/// A time of day, later by the clock.
fn turned(time: i64, micros: i64) -> i64 {
    (time + micros % MICROS_DAY).rem_euclid(MICROS_DAY)
}

fn scaled<'a>(value: Interval, factor: f64) -> Result<Datum<'a>> {
    spread(
        value.months as f64 * factor,
        value.days as f64 * factor,
        value.micros as f64 * factor,
    )
}

fn divided<'a>(value: Interval, divisor: f64) -> Result<Datum<'a>> {
    spread(
        value.months as f64 / divisor,
        value.days as f64 / divisor,
        value.micros as f64 / divisor,
    )
}

/// Fractions of months become days, those of days become time (`interval_mul` of PostgreSQL).
fn spread<'a>(months: f64, days: f64, micros: f64) -> Result<Datum<'a>> {
    const DAYS_MONTH: f64 = 30.0;
    let fits = |value: f64| value.abs() <= f64::from(i32::MAX);
    if !fits(months) || !fits(days) || micros.is_nan() || micros.abs() > 9e18 {
        return Err(interval_out_of_range());
    }
    // Rounded to microseconds, so that fractions like 0.1 do not leave tiny rests.
    let exact = |value: f64| (value * 1e6).round() / 1e6;
    let month_days = exact((months - months.trunc()) * DAYS_MONTH);
    let mut day_rest = exact(days - days.trunc() + month_days - month_days.trunc());
    let mut whole_days = days.trunc() + month_days.trunc();
    if day_rest.abs() >= 1.0 {
        whole_days += day_rest.trunc();
        day_rest -= day_rest.trunc();
    }
    let micros = (micros + day_rest * MICROS_DAY as f64).round_ties_even();
    Ok(Datum::Interval(Interval {
        months: months as i64,
        days: whole_days as i64,
        micros: micros as i64,
    }))
}
