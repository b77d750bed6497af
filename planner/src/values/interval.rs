//! Intervals as PostgreSQL prints them (IntervalStyle postgres) and reads them.

use std::fmt::Write as _;

use crate::values::error::{Result, ValueError};
use crate::values::temporal::{
    MICROS_DAY, MICROS_HOUR, MICROS_MINUTE, MICROS_SECOND, write_fraction,
};

/// Writes an interval in style `postgres`.
pub fn write_interval(months: i32, days: i32, micros: i64, out: &mut String) {
    let start = out.len();
    // A part behind a negative one shows its plus sign.
    let mut negative_before = false;
    let mut part = |value: i64, unit: &str, out: &mut String| {
        if value == 0 {
            return;
        }
        let space = if out.len() > start { " " } else { "" };
        let plus = if negative_before && value > 0 {
            "+"
        } else {
            ""
        };
        let plural = if value == 1 { "" } else { "s" };
        let _ = write!(out, "{space}{plus}{value} {unit}{plural}");
        negative_before = value < 0;
    };
    part(i64::from(months / 12), "year", out);
    part(i64::from(months % 12), "mon", out);
    part(i64::from(days), "day", out);
    if micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(' ');
    }
    if micros < 0 {
        out.push('-');
    } else if negative_before {
        out.push('+');
    }
    let magnitude = micros.unsigned_abs();
    let (hour, minute, second) = (
        MICROS_HOUR.unsigned_abs(),
        MICROS_MINUTE.unsigned_abs(),
        MICROS_SECOND.unsigned_abs(),
    );
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        magnitude / hour,
        magnitude / minute % 60,
        magnitude / second % 60
    );
    write_fraction((magnitude % second) as i64, out);
}

/// The text of `INTERVAL 'value' leading TO last`, without its fields: they are the unit of a number
/// that stands alone.
#[must_use]
pub fn with_unit(value: &str, leading: Option<&str>, last: Option<&str>) -> String {
    let Some(unit) = last.or(leading) else {
        return value.to_owned();
    };
    let trimmed = value.trim();
    let is_number = trimmed
        .trim_start_matches(['-', '+'])
        .parse::<f64>()
        .is_ok();
    let minutes_first = leading.is_some_and(|unit| unit.eq_ignore_ascii_case("minute"));
    if is_number {
        format!("{trimmed} {unit}")
    } else if minutes_first && trimmed.matches(':').count() == 1 {
        format!("0:{trimmed}")
    } else {
        value.to_owned()
    }
}

/// Months, days and microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Span {
    months: f64,
    days: f64,
    micros: f64,
}

/// Reads an interval: `1 year 2 mons -3 days 04:05:06.7`, `1-2`, `P1Y2M3DT4H5M6S`, with `ago`.
///
/// # Errors
/// [`ValueError::InvalidDatetime`] or [`ValueError::DatetimeOverflow`].
pub fn parse_interval(text: &str) -> Result<(i32, i32, i64)> {
    let invalid = || ValueError::InvalidDatetime {
        type_name: "interval".to_owned(),
        value: text.to_owned(),
    };
    let trimmed = text.trim();
    let span = match trimmed.strip_prefix(['P', 'p']) {
        Some(iso) => iso_interval(iso).ok_or_else(invalid)?,
        None => verbose_interval(trimmed).ok_or_else(invalid)?,
    };
    // Fractions of a month become days, fractions of a day become time.
    let months = span.months.trunc();
    let days = span.days + (span.months - months) * 30.0;
    let whole_days = days.trunc();
    let micros = (span.micros + (days - whole_days) * MICROS_DAY as f64).round();
    let fits = months.abs() <= f64::from(i32::MAX) && whole_days.abs() <= f64::from(i32::MAX);
    if !fits || micros.abs() >= i64::MAX as f64 {
        return Err(ValueError::DatetimeOverflow {
            value: text.to_owned(),
        });
    }
    Ok((months as i32, whole_days as i32, micros as i64))
}

impl Span {
    fn add(&mut self, value: f64, unit: &str) -> Option<()> {
        let unit = unit.to_ascii_lowercase();
        let unit = unit.as_str();
        // The plural goes; of "s" and "ms" the "s" is all there is of the second.
        let singular = unit
            .strip_suffix('s')
            .filter(|rest| !matches!(*rest, "" | "m"));
        match singular.unwrap_or(unit) {
            "millennium" | "millennia" | "mil" => self.months += value * 12_000.0,
            "century" | "centurie" | "c" | "cent" => self.months += value * 1200.0,
            "decade" | "dec" => self.months += value * 120.0,
            "year" | "yr" | "y" => self.months += value * 12.0,
            "month" | "mon" => self.months += value,
            "week" | "w" => self.days += value * 7.0,
            "day" | "d" => self.days += value,
            "hour" | "hr" | "h" => self.micros += value * MICROS_HOUR as f64,
            "minute" | "min" | "m" => self.micros += value * MICROS_MINUTE as f64,
            "second" | "sec" | "s" => self.micros += value * MICROS_SECOND as f64,
            "millisecond" | "msec" | "ms" => self.micros += value * 1000.0,
            "microsecond" | "usec" | "us" | "u" => self.micros += value,
            _ => return None,
        }
        Some(())
    }
}

fn verbose_interval(text: &str) -> Option<Span> {
    let mut span = Span::default();
    let mut words = text.trim_start_matches('@').split_whitespace().peekable();
    words.peek()?;
    let mut ago = false;
    while let Some(word) = words.next() {
        if word.eq_ignore_ascii_case("ago") {
            ago = true;
        } else if word.contains(':') {
            span.micros += clock_micros(word)?;
        } else if let Some((years, months)) = word.get(1..).and_then(|_| split_year_month(word)) {
            span.months += years * 12.0 + months;
        } else {
            let unit_at = word.find(|c: char| c.is_ascii_alphabetic());
            let (number, unit) = match unit_at {
                Some(at) => (&word[..at], &word[at..]),
                // `3 4:05`: days in front of a time.
                None if words.peek().is_some_and(|next| next.contains(':')) => (word, "day"),
                // A number without unit at the end counts seconds.
                None => (word, words.next().unwrap_or("second")),
            };
            span.add(number.parse().ok()?, unit)?;
        }
    }
    if ago {
        span = Span {
            months: -span.months,
            days: -span.days,
            micros: -span.micros,
        };
    }
    Some(span)
}

fn split_year_month(word: &str) -> Option<(f64, f64)> {
    let (sign, unsigned) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.strip_prefix('+').unwrap_or(word)),
    };
    let (years, months) = unsigned.split_once('-')?;
    Some((
        sign * f64::from(years.parse::<u32>().ok()?),
        sign * f64::from(months.parse::<u32>().ok()?),
    ))
}

fn clock_micros(word: &str) -> Option<f64> {
    let (sign, unsigned) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut parts = unsigned.split(':');
    let hours: u32 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok().filter(|m| *m < 60)?;
    let seconds: f64 = parts.next().map_or(Some(0.0), |s| s.parse().ok())?;
    if parts.next().is_some() || !(0.0..61.0).contains(&seconds) {
        return None;
    }
    let whole = f64::from(hours) * MICROS_HOUR as f64 + f64::from(minutes) * MICROS_MINUTE as f64;
    Some(sign * (whole + (seconds * MICROS_SECOND as f64).round()))
}

fn iso_interval(text: &str) -> Option<Span> {
    let mut span = Span::default();
    let (date, time) = text.split_once(['T', 't']).unwrap_or((text, ""));
    if let [years, months, days] = date.split('-').collect::<Vec<_>>()[..]
        && !date.starts_with('-')
    {
        // The alternative format: P0001-02-03T04:05:06.
        span.months = years.parse::<f64>().ok()? * 12.0 + months.parse::<f64>().ok()?;
        span.days = days.parse().ok()?;
        span.micros = if time.is_empty() {
            0.0
        } else {
            clock_micros(time)?
        };
        return Some(span);
    }
    for (part, is_time) in [(date, false), (time, true)] {
        let mut rest = part;
        while !rest.is_empty() {
            let at = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let value: f64 = rest[..at].parse().ok()?;
            match (rest.as_bytes()[at].to_ascii_uppercase(), is_time) {
                (b'Y', false) => span.months += value * 12.0,
                (b'M', false) => span.months += value,
                (b'W', false) => span.days += value * 7.0,
                (b'D', false) => span.days += value,
                (b'H', true) => span.micros += value * MICROS_HOUR as f64,
                (b'M', true) => span.micros += value * MICROS_MINUTE as f64,
                (b'S', true) => span.micros += value * MICROS_SECOND as f64,
                _ => return None,
            }
            rest = &rest[at + 1..];
        }
    }
    (!text.is_empty()).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_in_postgres_style() {
        for (text, printed) in [
            (
                "1 year 2 months 3 days 04:05:06",
                "1 year 2 mons 3 days 04:05:06",
            ),
            ("-1 day +2 hours", "-1 days +02:00:00"),
            ("1 month ago", "-1 mons"),
            ("0", "00:00:00"),
            ("1.5 days", "1 day 12:00:00"),
            ("90 minutes", "01:30:00"),
            ("20ms", "00:00:00.02"),
            ("3 mins 2 secs", "00:03:02"),
            ("1-2", "1 year 2 mons"),
            ("P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
            ("-00:00:01.5", "-00:00:01.5"),
            ("2 weeks", "14 days"),
        ] {
            let (months, days, micros) = parse_interval(text).unwrap();
            assert_eq!(written(months, days, micros), printed, "{text}");
        }
        for bad in ["", "x", "1 fortnight", "P", "1:99"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }

    fn written(months: i32, days: i32, micros: i64) -> String {
        let mut out = String::new();
        write_interval(months, days, micros, &mut out);
        out
    }
}
