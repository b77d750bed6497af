//! Dates, times and intervals: parts of them, rounding, and making them.
//!
//! Fields are looked at in the order of PostgreSQL's manual, table 9.33 and section 9.9.

use arrow::array::timezone::Tz;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ReturnFieldArgs;

use crate::functions::datum::{Datum, Interval};
use crate::functions::decimal::Decimal;
use crate::functions::function::{Call, Function, Returns, function};
use crate::values::datetime::{JULIAN_EPOCH, Zone, parse_offset, zone_of_name};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::temporal::{
    MICROS_DAY, MICROS_HOUR, MICROS_MINUTE, MICROS_SECOND, civil_from_days, days_from_civil,
    days_in_month, instant_of, local_micros, offset_seconds,
};
use crate::values::types::SqlType::{
    Bool, Date, Float8, Int4, Interval as IntervalType, Text, Time, Timestamp, Timestamptz,
};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        date_trunc(),
        function("date_bin")
            .on([IntervalType, Timestamp, Timestamp], Timestamp, |_, a| {
                bin(a).map(Datum::Timestamp)
            })
            .on(
                [IntervalType, Timestamptz, Timestamptz],
                Timestamptz,
                |_, a| bin(a).map(Datum::Timestamptz),
            ),
        extract(),
        date_part(),
        function("age")
            .on([Timestamp, Timestamp], IntervalType, |_, a| {
                Ok(age(a[0].count(), a[1].count()))
            })
            .on([Timestamptz, Timestamptz], IntervalType, |call, a| {
                let local = |d: &Datum<'_>| local_micros(d.count(), call.zone);
                Ok(age(local(&a[0]), local(&a[1])))
            }),
        function("isfinite")
            .on([Date], Bool, |_, _| Ok(Datum::Bool(true)))
            .on([Timestamp], Bool, |_, _| Ok(Datum::Bool(true)))
            .on([Timestamptz], Bool, |_, _| Ok(Datum::Bool(true)))
            .on([IntervalType], Bool, |_, _| Ok(Datum::Bool(true))),
        function("make_date").on([Int4, Int4, Int4], Date, |_, a| {
            let [y, m, d] = [a[0].int(), a[1].int(), a[2].int()];
            Ok(Datum::Date(made_date(y, m, d)?))
        }),
        function("make_time").on([Int4, Int4, Float8], Time, |_, a| {
            Ok(Datum::Time(made_time(
                a[0].int(),
                a[1].int(),
                a[2].float(),
            )?))
        }),
        function("make_timestamp").on([Int4, Int4, Int4, Int4, Int4, Float8], Timestamp, |_, a| {
            made_timestamp(a).map(Datum::Timestamp)
        }),
        function("make_timestamptz")
            .on(
                [Int4, Int4, Int4, Int4, Int4, Float8],
                Timestamptz,
                |call, a| {
                    Ok(Datum::Timestamptz(instant_of(
                        made_timestamp(a)?,
                        call.zone,
                    )))
                },
            )
            .on(
                [Int4, Int4, Int4, Int4, Int4, Float8, Text],
                Timestamptz,
                |_, a| {
                    Ok(Datum::Timestamptz(instant_in(
                        made_timestamp(a)?,
                        a[6].str(),
                    )?))
                },
            ),
        function("make_interval")
            .on(
                [Int4, Int4, Int4, Int4, Int4, Int4, Float8],
                IntervalType,
                |_, a| make_interval(a),
            )
            .optional(7),
        function("justify_days").on([IntervalType], IntervalType, |_, a| {
            Ok(Datum::Interval(justified_days(a[0].interval())))
        }),
        function("justify_hours").on([IntervalType], IntervalType, |_, a| {
            Ok(Datum::Interval(justified_hours(a[0].interval())))
        }),
        function("justify_interval").on([IntervalType], IntervalType, |_, a| {
            Ok(Datum::Interval(justified(a[0].interval())))
        }),
        function("timezone")
            .on([Text, Timestamp], Timestamptz, |_, a| {
                Ok(Datum::Timestamptz(instant_in(a[1].count(), a[0].str())?))
            })
            .on([Text, Timestamptz], Timestamp, |_, a| {
                Ok(Datum::Timestamp(local_in(a[1].count(), a[0].str())?))
            })
            .on([IntervalType, Timestamp], Timestamptz, |_, a| {
                Ok(Datum::Timestamptz(
                    a[1].count().saturating_sub(zone_interval(&a[0])?),
                ))
            })
            .on([IntervalType, Timestamptz], Timestamp, |_, a| {
                Ok(Datum::Timestamp(
                    a[1].count().saturating_add(zone_interval(&a[0])?),
                ))
            }),
        function("overlaps")
            .on(
                [Timestamptz, Timestamptz, Timestamptz, Timestamptz],
                Bool,
                |_, a| Ok(overlaps(a)),
            )
            .on([Time, Time, Time, Time], Bool, |_, a| Ok(overlaps(a))),
        function("pg_timestamp_precision")
            .on([Timestamp, Int4], Timestamp, |_, a| {
                Ok(Datum::Timestamp(to_precision(a)))
            })
            .on([Timestamptz, Int4], Timestamptz, |_, a| {
                Ok(Datum::Timestamptz(to_precision(a)))
            })
            .on([Time, Int4], Time, |_, a| Ok(Datum::Time(to_precision(a)))),
        // What comparisons of intervals compare; they are not stored so.
        function("pg_interval_span").on(
            [IntervalType],
            Returns::Type(DataType::Decimal128(38, 0)),
            |_, a| {
                let unscaled = a[0].interval().span();
                Ok(Datum::Numeric(Decimal { unscaled, scale: 0 }))
            },
        ),
    ]
}

/// A local time, taken apart.
pub(crate) struct Parts {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// Days since 1970-01-01.
    pub(crate) date: i64,
    /// Microseconds of the day.
    pub(crate) time: i64,
}

impl Parts {
    pub(crate) fn of(micros: i64) -> Self {
        let date = micros.div_euclid(MICROS_DAY);
        let (year, month, day) = civil_from_days(date);
        Self {
            year,
            month,
            day,
            date,
            time: micros.rem_euclid(MICROS_DAY),
        }
    }

    /// The start of a day since 1970-01-01.
    fn of_date(date: i64) -> Self {
        let (year, month, day) = civil_from_days(date);
        Self {
            year,
            month,
            day,
            date,
            time: 0,
        }
    }

    fn micros(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day) * MICROS_DAY + self.time
    }

    /// Sunday is 0.
    pub(crate) fn day_of_week(&self) -> i64 {
        (self.date + 4).rem_euclid(7)
    }

    /// Monday is 1, Sunday is 7.
    pub(crate) fn iso_day_of_week(&self) -> i64 {
        (self.date + 3).rem_euclid(7) + 1
    }

    pub(crate) fn day_of_year(&self) -> i64 {
        self.date - days_from_civil(self.year, 1, 1) + 1
    }

    /// Year and week by ISO 8601.
    pub(crate) fn iso_week(&self) -> (i64, i64) {
        let thursday = self.date - (self.iso_day_of_week() - 4);
        let (year, ..) = civil_from_days(thursday);
        (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
    }

    /// The year as it is written: there is no year 0.
    pub(crate) fn written_year(&self) -> i64 {
        without_zero(self.year)
    }
}

fn without_zero(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// The number of a span of years, the first of which starts with year 1.
fn span_of_years(year: i64, years: i64) -> i64 {
    if year > 0 {
        (year + years - 1) / years
    } else {
        -((years - year) / years)
    }
}

/// The first microsecond of a day.
pub(crate) fn midnight(date: i64) -> Result<i64> {
    date.checked_mul(MICROS_DAY).ok_or_else(out_of_range)
}

fn out_of_range() -> ValueError {
    ValueError::refused(Fault::DatetimeOverflow, "timestamp out of range")
}

/// A unit's name in the singular, as PostgreSQL takes it.
fn unit_name(written: &str) -> String {
    let lower = written.trim().to_lowercase();
    let name = match lower.as_str() {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" => "microseconds",
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" => "milliseconds",
        "s" | "sec" | "secs" | "seconds" => "second",
        "m" | "min" | "mins" | "minutes" => "minute",
        "h" | "hr" | "hrs" | "hours" => "hour",
        "d" | "days" => "day",
        "w" | "weeks" => "week",
        "mon" | "mons" | "months" => "month",
        "qtr" => "quarter",
        "y" | "yr" | "yrs" | "years" => "year",
        "dec" | "decs" | "decades" => "decade",
        "c" | "cent" | "centuries" => "century",
        "mil" | "mils" | "millennia" => "millennium",
        _ => return lower,
    };
    name.to_owned()
}

fn unknown_unit(unit: &str, type_name: &str) -> ValueError {
    ValueError::refused(
        Fault::Parameter,
        format!(
            "unit \"{}\" not recognized for type {type_name}",
            unit.to_lowercase()
        ),
    )
}

fn unsupported_unit(unit: &str, type_name: &str) -> ValueError {
    ValueError::refused(
        Fault::Unsupported,
        format!(
            "unit \"{}\" not supported for type {type_name}",
            unit.to_lowercase()
        ),
    )
}

const TIMESTAMP: &str = "timestamp without time zone";
const TIMESTAMPTZ: &str = "timestamp with time zone";

fn date_trunc() -> Function {
    function("date_trunc")
        .on([Text, Timestamp], Timestamp, |_, a| {
            truncated(a[0].str(), a[1].count(), TIMESTAMP).map(Datum::Timestamp)
        })
        .on([Text, Timestamptz], Timestamptz, |call, a| {
            let local = local_micros(a[1].count(), call.zone);
            let truncated = truncated(a[0].str(), local, TIMESTAMPTZ)?;
            Ok(Datum::Timestamptz(instant_of(truncated, call.zone)))
        })
        .on([Text, Timestamptz, Text], Timestamptz, |_, a| {
            let local = local_in(a[1].count(), a[2].str())?;
            let truncated = truncated(a[0].str(), local, TIMESTAMPTZ)?;
            Ok(Datum::Timestamptz(instant_in(truncated, a[2].str())?))
        })
        .on([Text, IntervalType], IntervalType, |_, a| {
            truncated_interval(a[0].str(), a[1].interval()).map(Datum::Interval)
        })
}

fn truncated(unit: &str, micros: i64, type_name: &str) -> Result<i64> {
    let mut parts = Parts::of(micros);
    let step = match unit_name(unit).as_str() {
        "microseconds" => return Ok(micros),
        "milliseconds" => 1000,
        "second" => MICROS_SECOND,
        "minute" => MICROS_MINUTE,
        "hour" => MICROS_HOUR,
        "day" => MICROS_DAY,
        "week" => {
            return Ok((parts.date - (parts.iso_day_of_week() - 1)) * MICROS_DAY);
        }
        larger => {
            let year = parts.year;
            (parts.year, parts.month) = match larger {
                "month" => (year, parts.month),
                "quarter" => (year, (parts.month - 1) / 3 * 3 + 1),
                "year" => (year, 1),
                "decade" => (year.div_euclid(10) * 10, 1),
                "century" => ((year - 1).div_euclid(100) * 100 + 1, 1),
                "millennium" => ((year - 1).div_euclid(1000) * 1000 + 1, 1),
                _ => return Err(unknown_unit(unit, type_name)),
            };
            (parts.day, parts.time) = (1, 0);
            return Ok(parts.micros());
        }
    };
    Ok(micros - micros.rem_euclid(step))
}

fn truncated_interval(unit: &str, value: Interval) -> Result<Interval> {
    let months = |step: i64| Interval {
        months: value.months / step * step,
        ..Interval::default()
    };
    let micros = |step: i64| Interval {
        micros: value.micros / step * step,
        ..value
    };
    Ok(match unit_name(unit).as_str() {
        "microseconds" => value,
        "milliseconds" => micros(1000),
        "second" => micros(MICROS_SECOND),
        "minute" => micros(MICROS_MINUTE),
        "hour" => micros(MICROS_HOUR),
        "day" => Interval { micros: 0, ..value },
        "month" => months(1),
        "quarter" => months(3),
        "year" => months(12),
        "decade" => months(120),
        "century" => months(1200),
        "millennium" => months(12_000),
        "week" => return Err(unsupported_unit(unit, "interval")),
        _ => return Err(unknown_unit(unit, "interval")),
    })
}

fn bin(args: &[Datum<'_>]) -> Result<i64> {
    let stride = args[0].interval();
    if stride.months != 0 {
        return Err(ValueError::refused(
            Fault::Unsupported,
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let step = i64::try_from(stride.span()).map_err(|_| out_of_range())?;
    if step <= 0 {
        return Err(ValueError::refused(
            Fault::DatetimeOverflow,
            "stride must be greater than zero",
        ));
    }
    let (at, origin) = (args[1].count(), args[2].count());
    let behind = at.checked_sub(origin).ok_or_else(out_of_range)?;
    Ok(at - behind.rem_euclid(step))
}

/// What a field of a date or time has as its value.
enum Field {
    Whole(i64),
    /// Of a second, in microseconds, with so many digits behind the point.
    Micros(i64, u8),
}

impl Field {
    fn numeric(self) -> Decimal {
        match self {
            Field::Whole(value) => Decimal::from(value),
            Field::Micros(micros, scale) => Decimal {
                unscaled: micros.into(),
                scale,
            },
        }
    }
}

fn extract() -> Function {
    let returns = || Returns::By(extracted_type);
    function("extract")
        .on([Text, Timestamp], returns(), extracted)
        .on([Text, Timestamptz], returns(), extracted)
        .on([Text, Date], returns(), extracted)
        .on([Text, Time], returns(), extracted)
        .on([Text, IntervalType], returns(), |call, a| {
            extracted(call, a)
        })
}

/// `numeric` with as many digits behind the point as the field has.
fn extracted_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let unit = match args.scalar_arguments.first() {
        Some(Some(ScalarValue::Utf8(Some(unit)))) => unit_name(unit),
        _ => "epoch".to_owned(),
    };
    let is_date = args
        .arg_fields
        .get(1)
        .is_some_and(|f| *f.data_type() == DataType::Date32);
    match unit.as_str() {
        "epoch" if is_date => DataType::Decimal128(38, 0),
        "epoch" | "second" => DataType::Decimal128(38, 6),
        "milliseconds" => DataType::Decimal128(38, 3),
        "julian" if !is_date => DataType::Decimal128(38, 20),
        _ => DataType::Decimal128(38, 0),
    }
}

fn extracted<'a>(call: &Call, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Numeric(field(call.zone, args)?))
}

fn date_part() -> Function {
    fn part<'a>(call: &Call, args: &[Datum<'a>]) -> Result<Datum<'a>> {
        Ok(Datum::Float(field(call.zone, args)?.to_f64()))
    }
    let mut parts = function("date_part");
    for of in [Timestamp, Timestamptz, Time, IntervalType] {
        parts = parts.on([Text, of], Float8, part);
    }
    parts.on([Text, Date], Float8, |call, args| {
        // As of midnight.
        let midnight = Datum::Timestamp(midnight(args[1].count())?);
        part(call, &[args[0].clone(), midnight])
    })
}

fn field(zone: Tz, args: &[Datum<'_>]) -> Result<Decimal> {
    let unit = args[0].str();
    let name = unit_name(unit);
    let field = match &args[1] {
        Datum::Interval(value) => return interval_field(&name, unit, *value),
        Datum::Time(time) => time_field(&name, *time)
            .or_else(|| (name == "epoch").then_some(Field::Micros(*time, 6)))
            .ok_or_else(|| unsupported_or_unknown(&name, unit, "time without time zone"))?,
        Datum::Date(days) => date_field(&name, &Parts::of_date(*days))
            .or_else(|| match name.as_str() {
                "epoch" => Some(Field::Whole(days * 86_400)),
                "julian" => Some(Field::Whole(days + JULIAN_EPOCH)),
                _ => None,
            })
            .ok_or_else(|| unsupported_or_unknown(&name, unit, "date"))?,
        Datum::Timestamptz(micros) => match zone_field(&name, *micros, zone) {
            Some(field) => field,
            None if name == "epoch" => Field::Micros(*micros, 6),
            None => return timestamp_field(&name, unit, local_micros(*micros, zone), TIMESTAMPTZ),
        },
        other => return timestamp_field(&name, unit, other.count(), TIMESTAMP),
    };
    Ok(field.numeric())
}

fn timestamp_field(name: &str, unit: &str, micros: i64, type_name: &str) -> Result<Decimal> {
    let parts = Parts::of(micros);
    let field = date_field(name, &parts).or_else(|| time_field(name, parts.time));
    match (field, name) {
        (Some(field), _) => Ok(field.numeric()),
        (None, "epoch") => Ok(Field::Micros(micros, 6).numeric()),
        (None, "julian") => {
            let julian = (parts.date + JULIAN_EPOCH) * MICROS_DAY + parts.time;
            Decimal::from(julian).divided(Decimal::from(MICROS_DAY), 20)
        }
        _ => Err(unsupported_or_unknown(name, unit, type_name)),
    }
}

fn unsupported_or_unknown(name: &str, unit: &str, type_name: &str) -> ValueError {
    const UNITS: [&str; 23] = [
        "microseconds",
        "milliseconds",
        "second",
        "minute",
        "hour",
        "day",
        "week",
        "month",
        "quarter",
        "year",
        "decade",
        "century",
        "millennium",
        "epoch",
        "julian",
        "dow",
        "isodow",
        "doy",
        "isoyear",
        "timezone",
        "timezone_hour",
        "timezone_minute",
        "timezone_second",
    ];
    if UNITS.contains(&name) {
        unsupported_unit(unit, type_name)
    } else {
        unknown_unit(unit, type_name)
    }
}

fn date_field(name: &str, parts: &Parts) -> Option<Field> {
    let (iso_year, week) = parts.iso_week();
    Some(Field::Whole(match name {
        "day" => parts.day,
        "month" => parts.month,
        "quarter" => (parts.month - 1) / 3 + 1,
        "year" => parts.written_year(),
        "decade" => parts.year.div_euclid(10),
        "century" => span_of_years(parts.year, 100),
        "millennium" => span_of_years(parts.year, 1000),
        "dow" => parts.day_of_week(),
        "isodow" => parts.iso_day_of_week(),
        "doy" => parts.day_of_year(),
        "week" => week,
        "isoyear" => without_zero(iso_year),
        _ => return None,
    }))
}

fn time_field(name: &str, time: i64) -> Option<Field> {
    let of_minute = time % MICROS_MINUTE;
    Some(match name {
        "hour" => Field::Whole(time / MICROS_HOUR),
        "minute" => Field::Whole(time / MICROS_MINUTE % 60),
        "second" => Field::Micros(of_minute, 6),
        "milliseconds" => Field::Micros(of_minute, 3),
        "microseconds" => Field::Whole(of_minute),
        _ => return None,
    })
}

fn zone_field(name: &str, micros: i64, zone: Tz) -> Option<Field> {
    let offset = i64::from(offset_seconds(micros, zone));
    Some(Field::Whole(match name {
        "timezone" => offset,
        "timezone_hour" => offset / 3600,
        "timezone_minute" => offset / 60 % 60,
        _ => return None,
    }))
}

fn interval_field(name: &str, unit: &str, value: Interval) -> Result<Decimal> {
    let (years, months) = (value.months / 12, value.months % 12);
    let whole = match name {
        "year" => years,
        "month" => months,
        "quarter" => months / 3 + 1,
        "decade" => years / 10,
        "century" => years / 100,
        "millennium" => years / 1000,
        "day" => value.days,
        "epoch" => {
            // A year has 365.25 days here, a month 30.
            let days = years * 1461 * 6 + (months * 30 + value.days) * 24;
            let unscaled = i128::from(days) * i128::from(MICROS_HOUR) + i128::from(value.micros);
            return Ok(Decimal { unscaled, scale: 6 });
        }
        _ => {
            let field = time_field(name, value.micros);
            return field
                .map(Field::numeric)
                .ok_or_else(|| unsupported_or_unknown(name, unit, "interval"));
        }
    };
    Ok(Decimal::from(whole))
}

/// Years, months and days between two local times, then the rest.
fn age<'a>(later: i64, earlier: i64) -> Datum<'a> {
    if later < earlier {
        let Datum::Interval(value) = age(earlier, later) else {
            return Datum::Null;
        };
        return Datum::Interval(Interval {
            months: -value.months,
            days: -value.days,
            micros: -value.micros,
        });
    }
    let (to, from) = (Parts::of(later), Parts::of(earlier));
    let mut micros = to.time - from.time;
    let mut days = to.day - from.day;
    let mut months = (to.year - from.year) * 12 + to.month - from.month;
    if micros < 0 {
        micros += MICROS_DAY;
        days -= 1;
    }
    if days < 0 {
        // Days of the earlier month, as PostgreSQL counts them.
        days += days_in_month(from.year, from.month);
        months -= 1;
    }
    Datum::Interval(Interval {
        months,
        days,
        micros,
    })
}

fn made_date(year: i64, month: i64, day: i64) -> Result<i64> {
    let out_of_range = || {
        let shown = format!("date field value out of range: {year}-{month:02}-{day:02}");
        ValueError::refused(Fault::DatetimeOverflow, shown)
    };
    // A negative year counts before Christ.
    let counted = if year < 0 { year + 1 } else { year };
    let valid = year != 0
        && (-4712..=294_276).contains(&counted)
        && (1..=12).contains(&month)
        && (1..=days_in_month(counted, month)).contains(&day);
    if valid {
        Ok(days_from_civil(counted, month, day))
    } else {
        Err(out_of_range())
    }
}

fn made_time(hour: i64, minute: i64, second: f64) -> Result<i64> {
    let in_range =
        (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&second);
    if in_range {
        let micros = (second * MICROS_SECOND as f64).round_ties_even() as i64;
        let total = hour * MICROS_HOUR + minute * MICROS_MINUTE + micros;
        if total <= MICROS_DAY {
            return Ok(total);
        }
    }
    let shown = format!("time field value out of range: {hour}:{minute:02}:{second:02}");
    Err(ValueError::refused(Fault::DatetimeOverflow, shown))
}

fn made_timestamp(args: &[Datum<'_>]) -> Result<i64> {
    let [year, month, day] = [args[0].int(), args[1].int(), args[2].int()];
    let date = made_date(year, month, day)?;
    Ok(midnight(date)? + made_time(args[3].int(), args[4].int(), args[5].float())?)
}

fn make_interval<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let whole = |at: usize| args.get(at).map_or(0, Datum::int);
    let seconds = args.get(6).map_or(0.0, Datum::float);
    let micros = (seconds * MICROS_SECOND as f64).round_ties_even();
    if micros.is_nan() || micros.abs() > 9e18 {
        return Err(ValueError::refused(
            Fault::DatetimeOverflow,
            "interval out of range",
        ));
    }
    Ok(Datum::Interval(Interval {
        months: whole(0) * 12 + whole(1),
        days: whole(2) * 7 + whole(3),
        micros: whole(4) * MICROS_HOUR + whole(5) * MICROS_MINUTE + micros as i64,
    }))
}

fn justified_days(value: Interval) -> Interval {
    let mut months = value.months + value.days / 30;
    let mut days = value.days % 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Interval {
        months,
        days,
        ..value
    }
}

fn justified_hours(value: Interval) -> Interval {
    let days = value.days + value.micros / MICROS_DAY;
    let (days, micros) = of_one_sign(days, value.micros % MICROS_DAY);
    Interval {
        days,
        micros,
        ..value
    }
}

/// Days and microseconds of less than a day, so that both have one sign.
fn of_one_sign(days: i64, micros: i64) -> (i64, i64) {
    if days > 0 && micros < 0 {
        (days - 1, micros + MICROS_DAY)
    } else if days < 0 && micros > 0 {
        (days + 1, micros - MICROS_DAY)
    } else {
        (days, micros)
    }
}

fn justified(value: Interval) -> Interval {
    let value = justified_days(justified_hours(value));
    let Interval {
        mut months,
        mut days,
        micros,
    } = value;
    if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
        (months, days) = (months + 1, days - 30);
    }
    let (days, micros) = of_one_sign(days, micros);
    Interval {
        months,
        days,
        micros,
    }
}

/// A zone by its name. An offset in it is POSIX's: positive west of Greenwich.
fn named_zone(name: &str) -> Result<Zone> {
    let offset = || match parse_offset(name) {
        Some(seconds) => Some(seconds),
        None if name.starts_with(|c: char| c.is_ascii_digit()) => parse_offset(&format!("+{name}")),
        None => None,
    };
    zone_of_name(name)
        .or_else(|| offset().map(|seconds| Zone::Offset(-seconds)))
        .ok_or_else(|| {
            let message = format!("time zone \"{name}\" not recognized");
            ValueError::refused(Fault::Parameter, message)
        })
}

fn instant_in(local: i64, zone: &str) -> Result<i64> {
    Ok(match named_zone(zone)? {
        Zone::Offset(seconds) => local.saturating_sub(i64::from(seconds) * MICROS_SECOND),
        Zone::Named(zone) => instant_of(local, zone),
    })
}

fn local_in(instant: i64, zone: &str) -> Result<i64> {
    Ok(match named_zone(zone)? {
        Zone::Offset(seconds) => instant.saturating_add(i64::from(seconds) * MICROS_SECOND),
        Zone::Named(zone) => local_micros(instant, zone),
    })
}

fn zone_interval(zone: &Datum<'_>) -> Result<i64> {
    let value = zone.interval();
    if value.months != 0 || value.days != 0 {
        return Err(ValueError::refused(
            Fault::Parameter,
            "interval time zone must not include months or days",
        ));
    }
    Ok(value.micros)
}

/// Whether two spans share a moment; a span without length is a moment.
fn overlaps<'a>(args: &[Datum<'a>]) -> Datum<'a> {
    let ordered = |a: i64, b: i64| (a.min(b), a.max(b));
    let (s1, e1) = ordered(args[0].count(), args[1].count());
    let (s2, e2) = ordered(args[2].count(), args[3].count());
    Datum::Bool(match s1.cmp(&s2) {
        std::cmp::Ordering::Greater => s1 < e2,
        std::cmp::Ordering::Less => s2 < e1,
        std::cmp::Ordering::Equal => true,
    })
}

/// Rounded to so many digits of a second, half away from zero.
fn to_precision(args: &[Datum<'_>]) -> i64 {
    let digits = args[1].int().clamp(0, 6);
    let step = 10i64.pow(6 - digits as u32);
    let at = args[0].count();
    let rest = at.rem_euclid(step);
    let down = at - rest;
    if rest * 2 >= step { down + step } else { down }
}
