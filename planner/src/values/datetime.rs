//! Dates and times as PostgreSQL reads them: ISO 8601, names of months, `m/d/y` (DateStyle MDY),
//! numbers run together, eras, offsets and names of zones.
//!
//! ```text
//!   '8-Jan-1999 04:05 PM PST' ──tokens──► date, time, word, word ──fields──► day, time, zone
//! ```
//!
//! As in PostgreSQL's `ParseDateTime` and `DecodeDateTime`, the shape of a token says what it is.
//! Words that depend on the clock (`now`, `today`) and infinite times are not here.

use arrow::array::timezone::Tz;

use crate::values::error::{Result, ValueError};
use crate::values::temporal::{
    MICROS_DAY, MICROS_HOUR, MICROS_MINUTE, MICROS_SECOND, YEAR_MAX, YEAR_MIN, days_from_civil,
    days_in_month, instant_of,
};

/// Julian day of 1970-01-01.
pub(crate) const JULIAN_EPOCH: i64 = 2_440_588;

/// Abbreviations of zones, in seconds east of UTC: those of PostgreSQL's default set in wide use.
const ZONES: &[(&str, i32)] = &[
    ("utc", 0),
    ("gmt", 0),
    ("z", 0),
    ("zulu", 0),
    ("ut", 0),
    ("wet", 0),
    ("west", 3600),
    ("bst", 3600),
    ("cet", 3600),
    ("cest", 7200),
    ("eet", 7200),
    ("eest", 10_800),
    ("msk", 10_800),
    ("ist", 7200),
    ("est", -18_000),
    ("edt", -14_400),
    ("cst", -21_600),
    ("cdt", -18_000),
    ("mst", -25_200),
    ("mdt", -21_600),
    ("pst", -28_800),
    ("pdt", -25_200),
    ("akst", -32_400),
    ("akdt", -28_800),
    ("hst", -36_000),
    ("jst", 32_400),
    ("kst", 32_400),
    ("aest", 36_000),
    ("aedt", 39_600),
    ("acst", 34_200),
    ("acdt", 37_800),
    ("awst", 28_800),
    ("nzst", 43_200),
    ("nzdt", 46_800),
];

/// Short names of the months.
pub(crate) const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Long names of the days of the week, Sunday first.
pub(crate) const DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// Reads a date into days since 1970-01-01.
///
/// # Errors
/// [`ValueError::InvalidDatetime`], [`ValueError::DatetimeOverflow`].
pub fn parse_date(text: &str) -> Result<i32> {
    let input = Input {
        type_name: "date",
        text,
    };
    let day = input.fields()?.day.ok_or_else(|| input.invalid())?;
    i32::try_from(day).map_err(|_| input.overflow())
}

/// Reads a time of day into microseconds.
///
/// # Errors
/// [`ValueError::InvalidDatetime`], [`ValueError::DatetimeOverflow`].
pub fn parse_time(text: &str) -> Result<i64> {
    let input = Input {
        type_name: "time",
        text,
    };
    if let Some(time) = input.compact_time()? {
        return Ok(time);
    }
    input.fields()?.time.ok_or_else(|| input.invalid())
}

/// Reads a timestamp without time zone into microseconds; a zone in the text is ignored, as in
/// PostgreSQL.
///
/// # Errors
/// [`ValueError::InvalidDatetime`], [`ValueError::DatetimeOverflow`].
pub fn parse_timestamp(text: &str) -> Result<i64> {
    let input = Input {
        type_name: "timestamp",
        text,
    };
    let fields = input.fields()?;
    input.local(&fields)
}

/// Reads an instant into microseconds; without a zone in the text it is local time of
/// `session_zone`.
///
/// # Errors
/// [`ValueError::InvalidDatetime`], [`ValueError::DatetimeOverflow`].
pub fn parse_timestamptz(text: &str, session_zone: Tz) -> Result<i64> {
    let input = Input {
        type_name: "timestamp with time zone",
        text,
    };
    let fields = input.fields()?;
    let local = input.local(&fields)?;
    Ok(match fields.zone {
        Some(Zone::Offset(seconds)) => local - i64::from(seconds) * MICROS_SECOND,
        Some(Zone::Named(zone)) => instant_of(local, zone),
        None => instant_of(local, session_zone),
    })
}

/// A zone in a text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Zone {
    /// Seconds east of UTC.
    Offset(i32),
    Named(Tz),
}

/// The zone of a name, in any case.
pub(crate) fn zone_of_name(name: &str) -> Option<Zone> {
    let lower = name.to_lowercase();
    if let Some((_, seconds)) = ZONES
        .iter()
        .find(|(abbreviation, _)| *abbreviation == lower)
    {
        return Some(Zone::Offset(*seconds));
    }
    if !name.contains(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let titled = titled(&lower);
    let known = [name, titled.as_str()]
        .into_iter()
        .find_map(|name| name.parse().ok());
    known.map(Zone::Named)
}

/// `america/new_york` as `America/New_York`.
fn titled(lower: &str) -> String {
    let mut start = true;
    lower
        .chars()
        .map(|c| {
            let titled = if start { c.to_ascii_uppercase() } else { c };
            start = !c.is_ascii_alphanumeric();
            titled
        })
        .collect()
}

/// What a text says.
#[derive(Default)]
struct Fields {
    /// Days since 1970-01-01.
    day: Option<i64>,
    /// Microseconds of the day.
    time: Option<i64>,
    zone: Option<Zone>,
}

/// Parts of a date, before it is known which is which.
#[derive(Default)]
struct DateParts<'a> {
    numbers: Vec<&'a str>,
    month: Option<i64>,
}

/// A text and the type that it is read as, for messages.
struct Input<'a> {
    type_name: &'static str,
    text: &'a str,
}

impl<'a> Input<'a> {
    fn invalid(&self) -> ValueError {
        ValueError::InvalidDatetime {
            type_name: self.type_name.to_owned(),
            value: self.text.to_owned(),
        }
    }

    fn overflow(&self) -> ValueError {
        ValueError::DatetimeOverflow {
            value: self.text.to_owned(),
        }
    }

    fn local(&self, fields: &Fields) -> Result<i64> {
        let day = fields.day.ok_or_else(|| self.invalid())?;
        day.checked_mul(MICROS_DAY)
            .and_then(|micros| micros.checked_add(fields.time.unwrap_or(0)))
            .ok_or_else(|| self.overflow())
    }

    fn fields(&self) -> Result<Fields> {
        let mut fields = Fields::default();
        let mut parts = DateParts::default();
        let mut before_christ = false;
        let mut half = None;
        for token in tokens(self.text).ok_or_else(|| self.invalid())? {
            match token {
                Token::Time(text) if fields.time.is_none() => fields.time = Some(self.time(text)?),
                Token::Date(text) if fields.day.is_none() && parts.numbers.is_empty() => {
                    self.split_date(text, &mut parts)?;
                }
                Token::Number(digits) => self.number(digits, &mut fields, &mut parts)?,
                Token::Offset(text) if fields.zone.is_none() => {
                    fields.zone = Some(Zone::Offset(self.offset(text)?));
                }
                Token::Word(word) => match word.to_lowercase().as_str() {
                    "bc" => before_christ = true,
                    "ad" | "t" | "on" | "at" => {}
                    "am" => half = Some(0),
                    "pm" => half = Some(12),
                    "epoch" => (fields.day, fields.time) = (Some(0), Some(0)),
                    "infinity" => return Err(self.infinite()),
                    lower => self.word(word, lower, &mut fields, &mut parts)?,
                },
                _ => return Err(self.invalid()),
            }
        }
        if !parts.numbers.is_empty() || parts.month.is_some() {
            fields.day = Some(self.date(&parts, before_christ)?);
        }
        if let Some(half) = half {
            let time = fields.time.ok_or_else(|| self.invalid())?;
            if !(MICROS_HOUR..13 * MICROS_HOUR).contains(&time) && time >= MICROS_HOUR {
                return Err(self.overflow());
            }
            fields.time = Some(time % (12 * MICROS_HOUR) + half * MICROS_HOUR);
        }
        Ok(fields)
    }

    fn infinite(&self) -> ValueError {
        ValueError::NotStorable {
            type_name: self.type_name.to_owned(),
            value: self.text.trim().to_owned(),
        }
    }

    /// A word: a month, a day of the week, a Julian day or a zone.
    fn word(
        &self,
        word: &'a str,
        lower: &str,
        fields: &mut Fields,
        parts: &mut DateParts<'a>,
    ) -> Result<()> {
        if let Some(month) = month_of(lower).filter(|_| parts.month.is_none()) {
            parts.month = Some(month);
        } else if let Some(julian) = lower.strip_prefix('j').and_then(|n| n.parse::<i64>().ok()) {
            fields.day = Some(julian - JULIAN_EPOCH);
        } else if is_day_of_week(lower) {
        } else if let Some(zone) = zone_of_name(word).filter(|_| fields.zone.is_none()) {
            fields.zone = Some(zone);
        } else {
            return Err(self.invalid());
        }
        Ok(())
    }

    /// A number that stands alone.
    fn number(
        &self,
        digits: &'a str,
        fields: &mut Fields,
        parts: &mut DateParts<'a>,
    ) -> Result<()> {
        let date_known = fields.day.is_some() || parts.numbers.len() > 1;
        let plain = !digits.contains('.');
        if date_known && fields.time.is_none() && matches!(digits.len(), 4 | 6) && plain {
            fields.time = Some(self.run_together_time(digits)?);
        } else if parts.numbers.is_empty() && parts.month.is_none() && !date_known {
            match (digits.len(), digits.split_once('.')) {
                (8, None) => parts
                    .numbers
                    .extend([&digits[..4], &digits[4..6], &digits[6..]]),
                (6, None) => parts
                    .numbers
                    .extend([&digits[..2], &digits[2..4], &digits[4..]]),
                // Year and day of the year.
                (_, Some((year, day))) if year.len() == 4 && day.len() == 3 => {
                    let year = self.digits(year)?;
                    fields.day = Some(days_from_civil(year, 1, 1) + self.digits(day)? - 1);
                }
                (_, None) => parts.numbers.push(digits),
                _ => return Err(self.invalid()),
            }
        } else if parts.numbers.len() < 3 && plain {
            parts.numbers.push(digits);
        } else {
            return Err(self.invalid());
        }
        Ok(())
    }

    fn digits(&self, text: &str) -> Result<i64> {
        if text.is_empty() || text.len() > 6 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.invalid());
        }
        text.parse().map_err(|_| self.invalid())
    }

    fn split_date(&self, text: &'a str, parts: &mut DateParts<'a>) -> Result<()> {
        for part in text.split(['-', '/', '.']) {
            if part.bytes().all(|b| b.is_ascii_digit()) {
                parts.numbers.push(part);
            } else {
                let month = month_of(&part.to_lowercase()).filter(|_| parts.month.is_none());
                parts.month = Some(month.ok_or_else(|| self.invalid())?);
            }
        }
        if parts.numbers.len() + usize::from(parts.month.is_some()) != 3 {
            return Err(self.invalid());
        }
        Ok(())
    }

    /// Which part is year, month and day. A number of more than two digits is the year.
    fn date(&self, parts: &DateParts<'_>, before_christ: bool) -> Result<i64> {
        let long = |text: &str| text.len() > 2;
        let (year, month, day) = match (&parts.numbers[..], parts.month) {
            ([year, month, day], None) if long(year) => (year, self.digits(month)?, day),
            ([month, day, year], None) if long(year) => (year, self.digits(month)?, day),
            // Six digits run together are year, month, day; with a separator month, day, year.
            ([first, second, third], None) => {
                if self.text.trim().bytes().all(|b| b.is_ascii_digit()) {
                    (first, self.digits(second)?, third)
                } else {
                    (third, self.digits(first)?, second)
                }
            }
            ([year, day], Some(month)) if long(year) => (year, month, day),
            ([day, year], Some(month)) => (year, month, day),
            _ => return Err(self.invalid()),
        };
        let short = year.len() <= 2;
        let (year, day) = (self.digits(year)?, self.digits(day)?);
        let year = match (short, year) {
            (true, 0..70) => year + 2000,
            (true, _) => year + 1900,
            _ => year,
        };
        self.checked_date(year, month, day, before_christ)
    }

    fn checked_date(&self, year: i64, month: i64, day: i64, before_christ: bool) -> Result<i64> {
        if !(1..=12).contains(&month) || day < 1 || year < 1 {
            return Err(self.overflow());
        }
        let year = if before_christ { 1 - year } else { year };
        if day > days_in_month(year, month) || !(YEAR_MIN..=YEAR_MAX).contains(&year) {
            return Err(self.overflow());
        }
        Ok(days_from_civil(year, month, day))
    }

    /// `040506` or `0405`, if that is all there is.
    fn compact_time(&self) -> Result<Option<i64>> {
        let text = self.text.trim();
        if matches!(text.len(), 4 | 6) && text.bytes().all(|b| b.is_ascii_digit()) {
            return self.run_together_time(text).map(Some);
        }
        Ok(None)
    }

    fn run_together_time(&self, digits: &str) -> Result<i64> {
        let second = digits.get(4..).filter(|s| !s.is_empty()).unwrap_or("0");
        self.clock(
            self.digits(&digits[..2])?,
            self.digits(&digits[2..4])?,
            self.digits(second)?,
            0,
        )
    }

    /// Reads `h:m[:s[.f]]` into microseconds of the day.
    fn time(&self, text: &str) -> Result<i64> {
        let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fields: Vec<i64> = clock
            .split(':')
            .map(|part| self.digits(part))
            .collect::<Result<_>>()?;
        let micros = fraction_micros(fraction).ok_or_else(|| self.invalid())?;
        match fields[..] {
            [hour, minute] if fraction.is_empty() => self.clock(hour, minute, 0, 0),
            [hour, minute, second] => self.clock(hour, minute, second, micros),
            _ => Err(self.invalid()),
        }
    }

    fn clock(&self, hour: i64, minute: i64, second: i64, micros: i64) -> Result<i64> {
        let total = hour * MICROS_HOUR + minute * MICROS_MINUTE + second * MICROS_SECOND + micros;
        if minute > 59 || second > 60 || !(0..=MICROS_DAY).contains(&total) {
            return Err(self.overflow());
        }
        Ok(total)
    }

    /// Reads `+hh[:mm[:ss]]` or `+hhmm` into seconds.
    fn offset(&self, text: &str) -> Result<i32> {
        parse_offset(text).ok_or_else(|| self.invalid())
    }
}

/// Reads `+hh[:mm[:ss]]` or `+hhmm` into seconds.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let unsigned = text
        .strip_prefix(['+', '-'])
        .filter(|text| text.is_ascii())?;
    let spread;
    let unsigned = if matches!(unsigned.len(), 3 | 4) && !unsigned.contains(':') {
        let (hours, minutes) = unsigned.split_at(unsigned.len() - 2);
        spread = format!("{hours}:{minutes}");
        &spread
    } else {
        unsigned
    };
    let fields: Vec<i32> = unsigned
        .split(':')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [hours, minutes, seconds] = match fields[..] {
        [hours] => [hours, 0, 0],
        [hours, minutes] => [hours, minutes, 0],
        [hours, minutes, seconds] => [hours, minutes, seconds],
        _ => return None,
    };
    let in_range = hours <= 15 && minutes < 60 && seconds < 60;
    in_range.then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// The names of the months in lower case.
pub(crate) const LONG_MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn month_of(lower: &str) -> Option<i64> {
    let at = LONG_MONTHS.iter().zip(MONTHS).position(|(long, short)| {
        *long == lower || short == lower || (lower == "sept" && short == "sep")
    })?;
    i64::try_from(at + 1).ok()
}

fn is_day_of_week(lower: &str) -> bool {
    lower.len() >= 3
        && DAYS
            .iter()
            .any(|day| *day == lower || day.starts_with(lower))
}

/// Digits behind a decimal point as microseconds, rounded; `None` if they are not digits.
pub(crate) fn fraction_micros(fraction: &str) -> Option<i64> {
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

enum Token<'a> {
    /// With colons.
    Time(&'a str),
    /// Parts with `-`, `/` or two points between them.
    Date(&'a str),
    /// Digits, with one point or none.
    Number(&'a str),
    /// With its sign.
    Offset(&'a str),
    Word(&'a str),
}

/// Splits a text into tokens; `None` if there is a character that belongs to none.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match c {
            c if c.is_ascii_whitespace() || c == ',' => 1,
            '0'..='9' => {
                let token = number_token(rest);
                let length = match &token {
                    Token::Time(t) | Token::Date(t) | Token::Number(t) => t.len(),
                    Token::Offset(_) | Token::Word(_) => return None,
                };
                tokens.push(token);
                length
            }
            '+' | '-' => {
                let length = span(&rest[1..], |c| c.is_ascii_digit() || c == ':') + 1;
                if length == 1 {
                    // A sign before "infinity", and hyphens between words.
                    1
                } else {
                    tokens.push(Token::Offset(&rest[..length]));
                    length
                }
            }
            c if c.is_ascii_alphabetic() => {
                let (token, length) = word_token(rest);
                tokens.push(token);
                length
            }
            _ => return None,
        };
        at += length;
    }
    (!tokens.is_empty()).then_some(tokens)
}

fn span(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !belongs(c)).unwrap_or(text.len())
}

fn number_token(rest: &str) -> Token<'_> {
    let digits = span(rest, |c| c.is_ascii_digit());
    match rest[digits..].chars().next() {
        Some(':') => {
            Token::Time(&rest[..span(rest, |c| c.is_ascii_digit() || c == ':' || c == '.')])
        }
        Some(delimiter @ ('-' | '/' | '.')) => {
            let alphanumeric = |c: char| c.is_ascii_alphanumeric();
            let second = digits + 1 + span(&rest[digits + 1..], alphanumeric);
            if rest[second..].starts_with(delimiter) {
                let third =
                    second + span(&rest[second..], |c| c.is_ascii_digit() || c == delimiter);
                Token::Date(&rest[..third])
            } else if delimiter == '.' {
                Token::Number(&rest[..second])
            } else {
                // `2023-1`: a date of two parts is none; it is refused as one.
                Token::Date(&rest[..second])
            }
        }
        _ => Token::Number(&rest[..digits]),
    }
}

fn word_token(rest: &str) -> (Token<'_>, usize) {
    let letters = span(rest, |c| c.is_ascii_alphabetic());
    let tail = &rest[letters..];
    let is_month = month_of(&rest[..letters].to_lowercase()).is_some();
    if is_month && tail.starts_with(['-', '/', '.']) {
        let length = letters + span(tail, |c| c.is_ascii_digit() || matches!(c, '-' | '/' | '.'));
        if length > letters + 1 {
            return (Token::Date(&rest[..length]), length);
        }
    }
    let word = if rest.starts_with(['T', 't']) && letters == 1 {
        1
    } else {
        span(rest, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '/' | '_')
        })
    };
    (Token::Word(&rest[..word]), word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use super::*;

    fn days(text: &str) -> i32 {
        parse_date(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn dates_in_many_notations() {
        let wanted = days("1999-01-08");
        for text in [
            "January 8, 1999",
            "1/8/1999",
            "19990108",
            "990108",
            "1999.008",
            "Jan-08-1999",
            "08-Jan-1999",
            "8-Jan-1999",
            "Jan 8 1999",
            "J2451187",
            "1999-Jan-08",
            "Fri Jan 8 1999",
        ] {
            assert_eq!(days(text), wanted, "{text}");
        }
    }

    #[test]
    fn instants_with_zones_of_all_kinds() {
        let utc = crate::values::temporal::utc();
        let wanted = parse_timestamptz("2024-01-15 17:00:00+00", utc).unwrap();
        for text in [
            "2024-01-15 12:00 America/New_York",
            "2024-01-15 12:00 EST",
            "2024-01-15T17:00:00Z",
            "2024-01-15 17:00",
            "2024-01-15 22:30:00+05:30",
            "2024-01-15 05:00 PM UTC",
            "20240115 170000",
            "20240115T170000",
            "Mon Jan 15 17:00:00 2024",
        ] {
            assert_eq!(parse_timestamptz(text, utc).unwrap(), wanted, "{text}");
        }
    }
}
