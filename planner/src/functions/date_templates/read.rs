//! `to_timestamp` and `to_date`: the fields that a text has by a template, and the moment they make.
//!
//! As in PostgreSQL, separators of the template match any in the text, and blanks are skipped.

use crate::functions::dates::Parts;
use crate::values::datetime::{DAYS, JULIAN_EPOCH, LONG_MONTHS, MONTHS, parse_offset};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::temporal::{
    MICROS_DAY, MICROS_HOUR, MICROS_MINUTE, MICROS_SECOND, days_from_civil, days_in_month,
};

use super::{Node, Pattern, Pattern as P, ROMAN_MONTHS, parsed};

/// What a text says by a template.
pub(super) struct Read {
    /// Microseconds since 1970-01-01 by the clock.
    pub(super) local: i64,
    /// Seconds east of UTC.
    pub(super) offset: Option<i64>,
}

/// Fields as they are found.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    before_christ: bool,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    week_of_year: Option<i64>,
    week_of_month: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    twelve_hours: bool,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    second_of_day: Option<i64>,
    zone_hours: Option<i64>,
    zone_minutes: i64,
    offset: Option<i64>,
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    found: Found,
    /// Characters skipped beyond what the template asked for.
    extra: i64,
}

/// Greatest number of a field: with it no date or time overflows while it is computed.
const NUMBER_MAX: i64 = 999_999_999;

/// Reads a text by a template.
pub(super) fn read(text: &str, template: &str) -> Result<Read> {
    let nodes = parsed(template);
    let mut reader = Reader {
        text,
        rest: text,
        found: Found::default(),
        extra: 0,
    };
    for (at, node) in nodes.iter().enumerate() {
        if reader.rest.is_empty() {
            break;
        }
        if at == 0 {
            reader.skip_blanks();
        }
        reader.node(node, nodes.get(at + 1))?;
    }
    reader.finish()
}

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        let trimmed = self.rest.trim_start();
        self.extra += i64::try_from(self.rest.len() - trimmed.len()).unwrap_or(0);
        self.rest = trimmed;
    }

    fn node(&mut self, node: &Node, next: Option<&Node>) -> Result<()> {
        match node {
            Node::Separator(_) => {
                self.extra -= 1;
                let c = self.rest.chars().next();
                let c = c.filter(|c| c.is_whitespace() || c.is_ascii_punctuation());
                if let Some(c) = c {
                    self.rest = &self.rest[c.len_utf8()..];
                    self.extra += 1;
                }
            }
            Node::Literal(_) => {
                if self.extra > 0 {
                    self.extra -= 1;
                } else {
                    let width = self.rest.chars().next().map_or(0, char::len_utf8);
                    self.rest = &self.rest[width..];
                }
            }
            Node::Pattern {
                pattern,
                written,
                plain,
                ordinal,
                ..
            } => {
                self.skip_blanks();
                let bounded = !plain && follows_digits(next, ordinal.is_some());
                self.field(*pattern, written, bounded)?;
                if ordinal.is_some() {
                    self.rest = self.rest.get(2..).unwrap_or("");
                }
                self.extra = 0;
                self.skip_blanks();
            }
        }
        Ok(())
    }

    /// A whole number of at most `width` characters if its end is not to be seen otherwise.
    fn number(&mut self, name: &str, width: usize, bounded: bool) -> Result<(i64, usize)> {
        let rest = self.rest.trim_start();
        let signed = rest.starts_with(['-', '+']);
        let digits = rest[usize::from(signed)..]
            .bytes()
            .take_while(u8::is_ascii_digit)
            .count();
        let mut end = usize::from(signed) + digits;
        if bounded {
            end = end.min(width);
        }
        let number = rest[..end].parse::<i64>().map_err(|_| {
            let shown: String = rest.chars().take(width).collect();
            ValueError::refused(
                Fault::DatetimeFormat,
                format!("invalid value \"{shown}\" for \"{name}\""),
            )
        })?;
        if number.abs() > NUMBER_MAX {
            let message = format!("value for \"{name}\" in source string is out of range");
            return Err(ValueError::refused(Fault::DatetimeOverflow, message));
        }
        self.rest = &rest[end..];
        Ok((number, end - usize::from(signed)))
    }

    /// One of some names, in any case.
    fn name(&mut self, pattern: &str, names: &[&str]) -> Result<i64> {
        let starts = |name: &str| {
            let start = self.rest.get(..name.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        let found = names
            .iter()
            .enumerate()
            .filter(|(_, name)| starts(name))
            .max_by_key(|(_, name)| name.len());
        match found {
            Some((at, name)) => {
                self.rest = &self.rest[name.len()..];
                Ok(i64::try_from(at).unwrap_or(0))
            }
            None => {
                let shown: String = self.rest.split_whitespace().next().unwrap_or("").to_owned();
                let message = format!("invalid value \"{shown}\" for \"{pattern}\"");
                Err(ValueError::refused(Fault::DatetimeFormat, message))
            }
        }
    }

    fn field(&mut self, pattern: Pattern, name: &str, bounded: bool) -> Result<()> {
        let number = |reader: &mut Self, width: usize| {
            reader.number(name, width, bounded).map(|(value, _)| value)
        };
        match pattern {
            P::Hour24 => {
                self.found.hour = number(self, 2)?;
                self.found.twelve_hours = false;
            }
            P::Hour12 => {
                self.found.hour = number(self, 2)?;
                self.found.twelve_hours = true;
            }
            P::Minute => self.found.minute = number(self, 2)?,
            P::Second => self.found.second = number(self, 2)?,
            P::SecondOfDay => self.found.second_of_day = Some(number(self, 5)?),
            P::Millisecond => self.found.micros = self.fraction(name, 3, bounded)?,
            P::Microsecond => self.found.micros = self.fraction(name, 6, bounded)?,
            P::Fraction(digits) => {
                self.found.micros = self.fraction(name, digits.into(), bounded)?
            }
            P::Meridiem { dots } => {
                let names: &[&str] = if dots {
                    &["a.m.", "p.m."]
                } else {
                    &["am", "pm"]
                };
                self.found.afternoon = Some(self.name(name, names)? == 1);
                self.found.twelve_hours = true;
            }
            P::Era { dots } => {
                let names: &[&str] = if dots {
                    &["a.d.", "b.c."]
                } else {
                    &["ad", "bc"]
                };
                self.found.before_christ = self.name(name, names)? == 1;
            }
            P::Year(width) => {
                let (year, digits) = self.number(name, width.into(), bounded)?;
                self.found.year = Some(if digits < 4 { partial_year(year) } else { year });
            }
            P::IsoYear(width) => {
                let (year, digits) = self.number(name, width.into(), bounded)?;
                self.found.iso_year = Some(if digits < 4 { partial_year(year) } else { year });
            }
            P::YearComma => {
                let (thousands, _) = self.number(name, 3, false)?;
                self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
                let (rest, _) = self.number(name, 3, true)?;
                self.found.year = Some(thousands * 1000 + rest);
            }
            P::Month => self.found.month = Some(self.name(name, &LONG_MONTHS)? + 1),
            P::Mon => self.found.month = Some(self.name(name, &MONTHS)? + 1),
            P::RomanMonth => self.found.month = Some(self.name(name, &ROMAN_MONTHS)? + 1),
            P::MonthNumber => self.found.month = Some(number(self, 2)?),
            P::Day => {
                self.name(name, &DAYS)?;
            }
            P::Dy => {
                self.name(name, &DAYS.map(|day| &day[..3]))?;
            }
            P::DayOfYear => self.found.day_of_year = Some(number(self, 3)?),
            P::IsoDayOfYear => {
                let day = number(self, 3)?;
                self.found.iso_week = Some(1);
                self.found.iso_day = Some(day);
            }
            P::DayOfMonth => self.found.day = Some(number(self, 2)?),
            P::DayOfWeek => {
                number(self, 1)?;
            }
            P::IsoDayOfWeek => self.found.iso_day = Some(number(self, 1)?),
            P::WeekOfMonth => self.found.week_of_month = Some(number(self, 1)?),
            P::WeekOfYear => self.found.week_of_year = Some(number(self, 2)?),
            P::IsoWeek => self.found.iso_week = Some(number(self, 2)?),
            P::Century => self.found.century = Some(number(self, 2)?),
            P::Julian => self.found.julian = Some(number(self, 7)?),
            P::Quarter => {
                number(self, 1)?;
            }
            P::ZoneHours => self.found.zone_hours = Some(self.number(name, 3, true)?.0),
            P::ZoneMinutes => self.found.zone_minutes = number(self, 2)?,
            P::Offset => self.found.offset = Some(self.offset(name)?),
            P::Zone => {
                let message = "formatting field \"TZ\" is only supported in to_char";
                return Err(ValueError::refused(Fault::Unsupported, message));
            }
            P::Fixed => {}
        }
        Ok(())
    }

    /// Digits behind a second, in microseconds.
    fn fraction(&mut self, name: &str, width: usize, bounded: bool) -> Result<i64> {
        let (value, digits) = self.number(name, width, bounded)?;
        let exponent = 6 - i64::try_from(digits).unwrap_or(6);
        Ok(match u32::try_from(exponent) {
            Ok(more) => value * 10i64.pow(more),
            Err(_) => value / 10i64.pow(u32::try_from(-exponent).unwrap_or(0)),
        })
    }

    fn offset(&mut self, name: &str) -> Result<i64> {
        let end = self
            .rest
            .find(|c: char| !matches!(c, '+' | '-' | ':' | '0'..='9'))
            .unwrap_or(self.rest.len());
        let offset = parse_offset(&self.rest[..end]).ok_or_else(|| {
            let message = format!("invalid value \"{}\" for \"{name}\"", &self.rest[..end]);
            ValueError::refused(Fault::DatetimeFormat, message)
        })?;
        self.rest = &self.rest[end..];
        Ok(offset.into())
    }

    fn overflow(&self) -> ValueError {
        ValueError::DatetimeOverflow {
            value: self.text.to_owned(),
        }
    }

    fn finish(self) -> Result<Read> {
        let midnight = self.day()?.checked_mul(MICROS_DAY);
        let local = midnight.ok_or_else(|| self.overflow())? + self.time()?;
        let found = &self.found;
        let hours = found.zone_hours.map(|hours| {
            let minutes = found.zone_minutes * if hours < 0 { -1 } else { 1 };
            hours * 3600 + minutes * 60
        });
        Ok(Read {
            local,
            offset: hours.or(found.offset),
        })
    }

    fn time(&self) -> Result<i64> {
        let found = &self.found;
        let mut hour = found.hour;
        if found.twelve_hours {
            let midnight = hour == 0 && found.afternoon.is_none();
            if !midnight && !(1..=12).contains(&hour) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                return Err(ValueError::refused(Fault::DatetimeFormat, message));
            }
            match found.afternoon {
                Some(true) if hour < 12 => hour += 12,
                Some(false) if hour == 12 => hour = 0,
                _ => {}
            }
        }
        let (mut minute, mut second) = (found.minute, found.second);
        if let Some(of_day) = found.second_of_day {
            (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        }
        let in_range = (0..24).contains(&hour)
            && (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..MICROS_SECOND).contains(&found.micros);
        if !in_range {
            return Err(self.overflow());
        }
        Ok(hour * MICROS_HOUR + minute * MICROS_MINUTE + second * MICROS_SECOND + found.micros)
    }

    /// Days since 1970-01-01.
    fn day(&self) -> Result<i64> {
        let found = &self.found;
        if let Some(julian) = found.julian {
            return Ok(julian - JULIAN_EPOCH);
        }
        if let Some(week) = found.iso_week {
            let year = found
                .iso_year
                .or(found.year)
                .ok_or_else(|| self.overflow())?;
            let fourth = Parts::of(days_from_civil(year, 1, 4) * MICROS_DAY);
            let monday = fourth.date - (fourth.iso_day_of_week() - 1);
            return Ok(monday + (week - 1) * 7 + found.iso_day.unwrap_or(1) - 1);
        }
        let year = self.year();
        if let Some(day) = found.day_of_year {
            let days = if days_in_month(year, 2) == 29 {
                366
            } else {
                365
            };
            if !(1..=days).contains(&day) {
                return Err(self.overflow());
            }
            return Ok(days_from_civil(year, 1, 1) + day - 1);
        }
        if let Some(week) = found.week_of_year {
            return Ok(days_from_civil(year, 1, 1) + (week - 1) * 7);
        }
        let month = found.month.unwrap_or(1);
        let day = match found.week_of_month {
            Some(week) => (week - 1) * 7 + 1,
            None => found.day.unwrap_or(1),
        };
        if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
            return Err(self.overflow());
        }
        Ok(days_from_civil(year, month, day))
    }

    /// Counted with a year 0, which is 1 before Christ; that is also the year if none is found.
    fn year(&self) -> i64 {
        let found = &self.found;
        match (found.year, found.century) {
            (Some(year), _) if found.before_christ => 1 - year,
            (Some(year), Some(century)) => (century - 1) * 100 + year % 100,
            (Some(year), None) => {
                if year < 0 {
                    year + 1
                } else {
                    year
                }
            }
            (None, Some(century)) => (century - 1) * 100 + 1,
            (None, None) => 0,
        }
    }
}

/// Whether the next node starts with a digit, so that only its width ends a number.
fn follows_digits(next: Option<&Node>, ordinal: bool) -> bool {
    match next {
        _ if ordinal => true,
        Some(Node::Pattern { pattern, .. }) => pattern.is_number(),
        Some(Node::Literal(c)) => c.is_ascii_digit(),
        _ => false,
    }
}

/// The year nearest to 2020 that ends with so few digits.
fn partial_year(year: i64) -> i64 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}
