//! Dates, times and timestamps: the calendar, and how PostgreSQL prints them (DateStyle ISO). They
//! are read in `datetime.rs`; intervals are in `interval.rs`.
//!
//! Calendar arithmetic is the proleptic Gregorian one on 64 bit numbers, so that every stored
//! value prints, also those that lie outside of what `chrono` can hold.

use std::fmt::Write as _;

use arrow::array::timezone::Tz;
use chrono::{NaiveDateTime, Offset, TimeZone};
use chrono_tz::OffsetName;

use crate::values::types::UTC;

/// Microseconds of a second.
pub const MICROS_SECOND: i64 = 1_000_000;
/// Microseconds of a minute.
pub const MICROS_MINUTE: i64 = 60 * MICROS_SECOND;
/// Microseconds of an hour.
pub const MICROS_HOUR: i64 = 60 * MICROS_MINUTE;
/// Microseconds of a day.
pub const MICROS_DAY: i64 = 24 * MICROS_HOUR;

/// Last year of a timestamp in PostgreSQL.
pub(crate) const YEAR_MAX: i64 = 294_276;
/// First year of a timestamp in PostgreSQL, counted with a year 0.
pub(crate) const YEAR_MIN: i64 = -4_712;

/// The zone of instants as they are stored.
///
/// # Panics
/// Never: every build knows UTC.
#[must_use]
pub fn utc() -> Tz {
    UTC.parse().expect("an offset is a zone")
}

/// Days since 1970-01-01 of a date. Algorithm: Howard Hinnant, "days_from_civil".
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01.
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days of a month.
#[must_use]
pub fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        _ => 31,
    }
}

/// Writes a date given as days since 1970-01-01.
pub fn write_date(days: i64, out: &mut String) {
    if write_ymd(days, out) {
        out.push_str(" BC");
    }
}

/// Writes the date without its era; returns whether it is before Christ.
fn write_ymd(days: i64, out: &mut String) -> bool {
    let (year, month, day) = civil_from_days(days);
    let shown = if year > 0 { year } else { 1 - year };
    let _ = write!(out, "{shown:04}-{month:02}-{day:02}");
    year <= 0
}

/// Writes a time of day given in microseconds.
pub fn write_time(micros: i64, out: &mut String) {
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        micros / MICROS_HOUR,
        micros / MICROS_MINUTE % 60,
        micros / MICROS_SECOND % 60
    );
    write_fraction(micros % MICROS_SECOND, out);
}

pub(crate) fn write_fraction(micros: i64, out: &mut String) {
    if micros != 0 {
        let digits = format!("{:06}", micros.abs());
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
}

/// Writes a timestamp without time zone, microseconds since 1970-01-01.
pub fn write_timestamp(micros: i64, out: &mut String) {
    let before_christ = write_ymd(micros.div_euclid(MICROS_DAY), out);
    out.push(' ');
    write_time(micros.rem_euclid(MICROS_DAY), out);
    if before_christ {
        out.push_str(" BC");
    }
}

/// Writes an instant, microseconds since 1970-01-01 UTC, as seen in `zone`.
pub fn write_timestamptz(micros: i64, zone: Tz, out: &mut String) {
    let offset = offset_seconds(micros, zone);
    let local = local_micros(micros, zone);
    let before_christ = write_ymd(local.div_euclid(MICROS_DAY), out);
    out.push(' ');
    write_time(local.rem_euclid(MICROS_DAY), out);
    let magnitude = offset.abs();
    let _ = write!(
        out,
        "{}{:02}",
        if offset < 0 { '-' } else { '+' },
        magnitude / 3600
    );
    if magnitude % 3600 != 0 {
        let _ = write!(out, ":{:02}", magnitude / 60 % 60);
    }
    if magnitude % 60 != 0 {
        let _ = write!(out, ":{:02}", magnitude % 60);
    }
    if before_christ {
        out.push_str(" BC");
    }
}

/// What clocks in `zone` show at an instant, both in microseconds since 1970-01-01.
#[must_use]
pub fn local_micros(micros: i64, zone: Tz) -> i64 {
    micros.saturating_add(i64::from(offset_seconds(micros, zone)) * MICROS_SECOND)
}

/// Seconds east of UTC at an instant; 0 for instants beyond chrono's calendar.
#[must_use]
pub fn offset_seconds(micros: i64, zone: Tz) -> i32 {
    chrono::DateTime::from_timestamp_micros(micros).map_or(0, |at| {
        zone.offset_from_utc_datetime(&at.naive_utc())
            .fix()
            .local_minus_utc()
    })
}

/// What a zone is called at an instant: `CET`, or its offset.
#[must_use]
pub fn zone_abbreviation(micros: i64, zone: Tz) -> String {
    let offset = offset_seconds(micros, zone);
    match zone.to_string().parse::<chrono_tz::Tz>() {
        Ok(named) => {
            chrono::DateTime::from_timestamp_micros(micros).map_or_else(String::new, |at| {
                named
                    .offset_from_utc_datetime(&at.naive_utc())
                    .abbreviation()
                    .unwrap_or_default()
                    .to_owned()
            })
        }
        Err(_) if offset == 0 => "UTC".to_owned(),
        Err(_) => {
            let sign = if offset < 0 { '-' } else { '+' };
            format!("{sign}{:02}", offset.abs() / 3600)
        }
    }
}

/// The instant at which clocks in `zone` show a local time, both in microseconds since 1970-01-01.
#[must_use]
pub fn instant_of(local: i64, zone: Tz) -> i64 {
    let offset = chrono::DateTime::from_timestamp_micros(local)
        .and_then(|at| local_offset(&at.naive_utc(), zone))
        .unwrap_or(0);
    local.saturating_sub(i64::from(offset) * MICROS_SECOND)
}

/// Offset of a local time, in seconds. Times skipped by a change of the clock take the offset before
/// it, times that occur twice the one after it, as in PostgreSQL.
fn local_offset(local: &NaiveDateTime, zone: Tz) -> Option<i32> {
    match zone.offset_from_local_datetime(local) {
        chrono::LocalResult::Single(offset) => Some(offset.fix().local_minus_utc()),
        chrono::LocalResult::Ambiguous(_, second) => Some(second.fix().local_minus_utc()),
        chrono::LocalResult::None => {
            let before = local.checked_sub_signed(chrono::TimeDelta::hours(3))?;
            zone.offset_from_local_datetime(&before)
                .earliest()
                .map(|o| o.fix().local_minus_utc())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::ValueError;
    use crate::values::datetime::{parse_date, parse_time, parse_timestamp, parse_timestamptz};

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    fn zone(name: &str) -> Tz {
        name.parse().unwrap()
    }

    #[test]
    fn dates_go_both_ways() {
        for text in [
            "1970-01-01",
            "2000-02-29",
            "1999-12-31",
            "0001-01-01",
            "10000-01-01",
            "0044-03-15 BC",
        ] {
            let days = parse_date(text).unwrap();
            assert_eq!(written(|out| write_date(i64::from(days), out)), text);
        }
        assert_eq!(
            parse_date("20240229").unwrap(),
            parse_date("2024-02-29").unwrap()
        );
        assert!(matches!(
            parse_date("2023-02-29"),
            Err(ValueError::DatetimeOverflow { .. })
        ));
        assert!(matches!(
            parse_date("2023-13-01"),
            Err(ValueError::DatetimeOverflow { .. })
        ));
        for bad in ["", "x", "2023-1", "2023-01-01-01", "12-31-2020x"] {
            assert!(
                matches!(parse_date(bad), Err(ValueError::InvalidDatetime { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn timestamps_go_both_ways() {
        for text in [
            "2024-05-06 07:08:09",
            "2024-05-06 07:08:09.1",
            "2024-05-06 23:59:59.999999",
            "0001-01-01 00:00:00 BC",
        ] {
            let micros = parse_timestamp(text).unwrap();
            assert_eq!(written(|out| write_timestamp(micros, out)), text);
        }
        assert_eq!(
            parse_timestamp("2024-05-06T07:08").unwrap(),
            parse_timestamp("2024-05-06 07:08:00").unwrap()
        );
        assert_eq!(
            parse_timestamp("2024-05-06 7:08 PM").unwrap(),
            parse_timestamp("2024-05-06 19:08:00").unwrap()
        );
        assert_eq!(
            parse_timestamp("2024-05-06").unwrap(),
            parse_timestamp("2024-05-06 00:00:00+05").unwrap()
        );
    }

    #[test]
    fn instants_are_shown_in_the_session_zone() {
        let micros = parse_timestamptz("2024-07-01 12:00:00+02", zone("UTC")).unwrap();
        assert_eq!(
            written(|out| write_timestamptz(micros, zone("UTC"), out)),
            "2024-07-01 10:00:00+00"
        );
        assert_eq!(
            written(|out| write_timestamptz(micros, zone("Asia/Kolkata"), out)),
            "2024-07-01 15:30:00+05:30"
        );
        assert_eq!(
            written(|out| write_timestamptz(micros, zone("America/New_York"), out)),
            "2024-07-01 06:00:00-04"
        );
        let local = parse_timestamptz("2024-07-01 06:00:00", zone("America/New_York")).unwrap();
        assert_eq!(local, micros);
        assert_eq!(
            parse_timestamptz("2024-07-01T10:00:00Z", zone("Asia/Kolkata")).unwrap(),
            micros
        );
    }

    #[test]
    fn times() {
        assert_eq!(
            written(|out| write_time(parse_time("04:05:06.789").unwrap(), out)),
            "04:05:06.789"
        );
        assert_eq!(
            written(|out| write_time(parse_time("4:05 PM").unwrap(), out)),
            "16:05:00"
        );
        assert!(matches!(
            parse_time("25:00"),
            Err(ValueError::DatetimeOverflow { .. })
        ));
        assert!(matches!(
            parse_time("4"),
            Err(ValueError::InvalidDatetime { .. })
        ));
    }
}
