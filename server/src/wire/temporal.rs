//! Dates, times and timestamps as PostgreSQL prints them (DateStyle ISO) and reads them. Intervals
//! are in `interval.rs`.
//!
//! Calendar arithmetic is the proleptic Gregorian one on 64 bit numbers, so that every stored
//! value prints, also those that lie outside of what `chrono` can hold.

use std::fmt::Write as _;

use arrow::array::timezone::Tz;
use chrono::{NaiveDateTime, Offset, TimeZone};

use crate::error::{Error, Result};

pub(crate) const MICROS_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_MINUTE: i64 = 60 * MICROS_SECOND;
pub(crate) const MICROS_HOUR: i64 = 60 * MICROS_MINUTE;
/// Microseconds of a day.
pub const MICROS_DAY: i64 = 24 * MICROS_HOUR;

/// Last year of a timestamp in PostgreSQL.
const YEAR_MAX: i64 = 294_276;
/// First year of a timestamp in PostgreSQL, counted with a year 0.
const YEAR_MIN: i64 = -4_712;

/// Days since 1970-01-01 of a date. Algorithm: Howard Hinnant, "days_from_civil".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
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

fn days_in_month(year: i64, month: i64) -> i64 {
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
fn offset_seconds(micros: i64, zone: Tz) -> i32 {
    chrono::DateTime::from_timestamp_micros(micros).map_or(0, |at| {
        zone.offset_from_utc_datetime(&at.naive_utc())
            .fix()
            .local_minus_utc()
    })
}

/// Where a value starts to be read: what type it is read as, for messages.
struct Input<'a> {
    type_name: &'static str,
    text: &'a str,
}

impl Input<'_> {
    fn invalid(&self) -> Error {
        Error::InvalidDatetime {
            type_name: self.type_name.to_owned(),
            value: self.text.to_owned(),
        }
    }

    fn overflow(&self) -> Error {
        Error::DatetimeOverflow {
            value: self.text.to_owned(),
        }
    }

    /// Splits into date, time and zone, each as text, and reads the era.
    fn parts(&self) -> Result<(Option<i64>, Option<i64>, Option<&str>)> {
        let mut text = self.text.trim();
        let mut before_christ = false;
        for era in [" BC", " bc", " AD", " ad"] {
            if let Some(rest) = text.strip_suffix(era) {
                before_christ = era.eq_ignore_ascii_case(" BC");
                text = rest.trim_end();
            }
        }
        let (date_text, rest) = match text.find(['T', ' ', 't']).filter(|_| !text.contains("t-")) {
            Some(at) if at >= 6 => (&text[..at], text[at + 1..].trim_start()),
            _ => (text, ""),
        };
        let date = Some(self.date(date_text, before_christ)?);
        if rest.is_empty() {
            return Ok((date, None, None));
        }
        let zone_at = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| {
                matches!(c, '+' | '-')
                    || (c.is_ascii_alphabetic() && !matches!(c, 'p' | 'P' | 'm' | 'M' | 'a'))
            })
            .map(|(at, _)| at)
            .filter(|&at| !rest[at..].eq_ignore_ascii_case("AM"));
        let (time_text, zone) = match zone_at {
            Some(at) => (rest[..at].trim_end(), Some(rest[at..].trim())),
            None => (rest, None),
        };
        Ok((date, Some(self.time(time_text)?), zone))
    }

    /// Reads `y-m-d`, `y/m/d` or `yyyymmdd` into days.
    fn date(&self, text: &str, before_christ: bool) -> Result<i64> {
        let number = |part: &str| -> Result<i64> {
            if part.is_empty() || part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(self.invalid());
            }
            part.parse().map_err(|_| self.invalid())
        };
        let parts: Vec<&str> = text.split(['-', '/']).collect();
        let (year, month, day) = match parts[..] {
            [compact] if compact.len() == 8 && compact.is_ascii() => (
                number(&compact[..4])?,
                number(&compact[4..6])?,
                number(&compact[6..])?,
            ),
            [year, month, day] if year.len() >= 3 => (number(year)?, number(month)?, number(day)?),
            _ => return Err(self.invalid()),
        };
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) || year < 1 {
            return Err(self.overflow());
        }
        let year = if before_christ { 1 - year } else { year };
        if !(YEAR_MIN..=YEAR_MAX).contains(&year) {
            return Err(self.overflow());
        }
        Ok(days_from_civil(year, month, day))
    }

    /// Reads `h:m[:s[.f]]`, with AM or PM, into microseconds of the day.
    fn time(&self, text: &str) -> Result<i64> {
        let lower = text.to_ascii_lowercase();
        let (clock, half) = match (lower.strip_suffix("am"), lower.strip_suffix("pm")) {
            (Some(clock), _) => (clock.trim_end(), Some(0)),
            (_, Some(clock)) => (clock.trim_end(), Some(12)),
            _ => (lower.as_str(), None),
        };
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut fields = Vec::new();
        for part in clock.split(':') {
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(self.invalid());
            }
            fields.push(part.parse::<i64>().map_err(|_| self.invalid())?);
        }
        let (mut hour, minute, second) = match fields[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return Err(self.invalid()),
        };
        if let Some(half) = half {
            if !(1..=12).contains(&hour) {
                return Err(self.overflow());
            }
            hour = hour % 12 + half;
        }
        let micros = fraction_micros(fraction).ok_or_else(|| self.invalid())?;
        let total = hour * MICROS_HOUR + minute * MICROS_MINUTE + second * MICROS_SECOND + micros;
        if minute > 59 || second > 60 || !(0..=MICROS_DAY).contains(&total) {
            return Err(self.overflow());
        }
        Ok(total)
    }

    /// Reads `Z`, `+hh[:mm[:ss]]`, `+hhmm` or a name: the offset in seconds, or the zone.
    fn zone(&self, text: &str) -> Result<Tz> {
        if text.eq_ignore_ascii_case("z")
            || text.eq_ignore_ascii_case("utc")
            || text.eq_ignore_ascii_case("gmt")
        {
            return "+00:00".parse().map_err(|_| self.invalid());
        }
        let padded = match text.as_bytes() {
            [b'+' | b'-', _] => format!("{}0{}:00", &text[..1], &text[1..]),
            [b'+' | b'-', _, _] => format!("{text}:00"),
            _ => text.to_owned(),
        };
        padded.parse().map_err(|_| self.invalid())
    }
}

/// Digits behind a decimal point as microseconds, rounded; `None` if they are not digits.
fn fraction_micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(6)
        .collect();
    let up = fraction.as_bytes().get(6).is_some_and(|&d| d >= b'5');
    Some(kept.parse::<i64>().ok()? + i64::from(up))
}

/// Reads a date into days since 1970-01-01.
///
/// # Errors
/// [`Error::InvalidDatetime`], [`Error::DatetimeOverflow`].
pub fn parse_date(text: &str) -> Result<i32> {
    let input = Input {
        type_name: "date",
        text,
    };
    let (date, _, _) = input.parts()?;
    let days = date.ok_or_else(|| input.invalid())?;
    i32::try_from(days).map_err(|_| input.overflow())
}

/// Reads a time of day into microseconds.
///
/// # Errors
/// [`Error::InvalidDatetime`], [`Error::DatetimeOverflow`].
pub fn parse_time(text: &str) -> Result<i64> {
    Input {
        type_name: "time",
        text,
    }
    .time(text.trim())
}

/// Reads a timestamp without time zone into microseconds; a zone in the text is ignored, as in PostgreSQL.
///
/// # Errors
/// [`Error::InvalidDatetime`], [`Error::DatetimeOverflow`].
pub fn parse_timestamp(text: &str) -> Result<i64> {
    let input = Input {
        type_name: "timestamp",
        text,
    };
    let (date, time, _) = input.parts()?;
    let days = date.ok_or_else(|| input.invalid())?;
    days.checked_mul(MICROS_DAY)
        .and_then(|d| d.checked_add(time.unwrap_or(0)))
        .ok_or_else(|| input.overflow())
}

/// Reads an instant into microseconds; without a zone in the text it is local time of `session_zone`.
///
/// # Errors
/// [`Error::InvalidDatetime`], [`Error::DatetimeOverflow`].
pub fn parse_timestamptz(text: &str, session_zone: Tz) -> Result<i64> {
    let input = Input {
        type_name: "timestamp with time zone",
        text,
    };
    let (date, time, zone) = input.parts()?;
    let days = date.ok_or_else(|| input.invalid())?;
    let local = days
        .checked_mul(MICROS_DAY)
        .and_then(|d| d.checked_add(time.unwrap_or(0)))
        .ok_or_else(|| input.overflow())?;
    let zone = zone.map_or(Ok(session_zone), |zone| input.zone(zone))?;
    let offset = chrono::DateTime::from_timestamp_micros(local)
        .and_then(|at| local_offset(&at.naive_utc(), zone))
        .unwrap_or(0);
    Ok(local - i64::from(offset) * MICROS_SECOND)
}

/// Offset of a local time. Times skipped by a change of the clock take the offset before it.
fn local_offset(local: &NaiveDateTime, zone: Tz) -> Option<i32> {
    match zone.offset_from_local_datetime(local) {
        chrono::LocalResult::Single(offset) => Some(offset.fix().local_minus_utc()),
        chrono::LocalResult::Ambiguous(first, _) => Some(first.fix().local_minus_utc()),
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
            Err(Error::DatetimeOverflow { .. })
        ));
        assert!(matches!(
            parse_date("2023-13-01"),
            Err(Error::DatetimeOverflow { .. })
        ));
        for bad in ["", "x", "2023", "2023-1", "2023-01-01-01", "12-31-2020x"] {
            assert!(
                matches!(parse_date(bad), Err(Error::InvalidDatetime { .. })),
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
            Err(Error::DatetimeOverflow { .. })
        ));
        assert!(matches!(
            parse_time("4"),
            Err(Error::InvalidDatetime { .. })
        ));
    }
}
