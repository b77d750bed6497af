//! `to_char`, `to_timestamp` and `to_date` of dates and times, with PostgreSQL's templates (manual,
//! table 9.26).
//!
//! ```text
//!   'FMDay, DDth' ──parse──► [Day fill-mode off] [", "] [DD with suffix] ──► text, or fields of a text
//! ```

use arrow::array::timezone::Tz;

use crate::functions::dates::Parts;
use crate::functions::datum::{Datum, Interval};
use crate::functions::function::{Function, function};
use crate::values::datetime::{DAYS, JULIAN_EPOCH, MONTHS, parse_offset};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::temporal::{
    MICROS_DAY, MICROS_HOUR, MICROS_MINUTE, MICROS_SECOND, days_from_civil, days_in_month,
    instant_of, local_micros, offset_seconds,
};
use crate::values::types::SqlType::{
    Date, Float8, Interval as IntervalType, Text, Time, Timestamp, Timestamptz,
};

/// The functions of this family; `to_char` of numbers is in `number_templates.rs`.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("to_timestamp")
            .on([Float8], Timestamptz, |_, a| {
                instant_of_seconds(a[0].float())
            })
            .on([Text, Text], Timestamptz, |call, a| {
                let read = read(a[0].str(), a[1].str())?;
                Ok(Datum::Timestamptz(match read.offset {
                    Some(seconds) => read.local - seconds * MICROS_SECOND,
                    None => instant_of(read.local, call.zone),
                }))
            }),
        function("to_date").on([Text, Text], Date, |_, a| {
            let read = read(a[0].str(), a[1].str())?;
            Ok(Datum::Date(read.local.div_euclid(MICROS_DAY)))
        }),
    ]
}

/// Adds the overloads of dates and times to `to_char`.
pub(crate) fn to_char(function: Function) -> Function {
    function
        .on([Timestamp, Text], Text, |_, a| {
            shown(Moment::of_local(a[0].count()), a[1].str())
        })
        .on([Timestamptz, Text], Text, |call, a| {
            shown(Moment::of_instant(a[0].count(), call.zone), a[1].str())
        })
        .on([IntervalType, Text], Text, |_, a| {
            shown(Moment::of_interval(a[0].interval()), a[1].str())
        })
        .on([Time, Text], Text, |_, a| {
            let micros = a[0].count();
            shown(
                Moment::of_interval(Interval {
                    micros,
                    ..Interval::default()
                }),
                a[1].str(),
            )
        })
}

fn instant_of_seconds<'a>(seconds: f64) -> Result<Datum<'a>> {
    if !seconds.is_finite() || seconds.abs() > 9e12 {
        let message = format!("timestamp out of range: \"{seconds}\"");
        return Err(ValueError::refused(Fault::DatetimeOverflow, message));
    }
    Ok(Datum::Timestamptz(
        (seconds * MICROS_SECOND as f64).round_ties_even() as i64,
    ))
}

/// A pattern of a template. Those of texts come in upper, title and lower case.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pattern {
    Hour12,
    Hour24,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Fraction(u8),
    SecondOfDay,
    Meridiem { dots: bool },
    YearComma,
    Year(u8),
    IsoYear(u8),
    Era { dots: bool },
    Month,
    Mon,
    MonthNumber,
    Day,
    Dy,
    DayOfYear,
    IsoDayOfYear,
    DayOfMonth,
    DayOfWeek,
    IsoDayOfWeek,
    WeekOfMonth,
    WeekOfYear,
    IsoWeek,
    Century,
    Julian,
    Quarter,
    RomanMonth,
    Zone,
    ZoneHours,
    ZoneMinutes,
    Offset,
    Fixed,
}

use Pattern as P;

/// Patterns by their names in upper case. Longer names stand before their beginnings.
const PATTERNS: &[(&str, Pattern)] = &[
    ("A.D.", P::Era { dots: true }),
    ("A.M.", P::Meridiem { dots: true }),
    ("AD", P::Era { dots: false }),
    ("AM", P::Meridiem { dots: false }),
    ("B.C.", P::Era { dots: true }),
    ("BC", P::Era { dots: false }),
    ("CC", P::Century),
    ("DAY", P::Day),
    ("DDD", P::DayOfYear),
    ("DD", P::DayOfMonth),
    ("DY", P::Dy),
    ("D", P::DayOfWeek),
    ("FF1", P::Fraction(1)),
    ("FF2", P::Fraction(2)),
    ("FF3", P::Fraction(3)),
    ("FF4", P::Fraction(4)),
    ("FF5", P::Fraction(5)),
    ("FF6", P::Fraction(6)),
    ("FX", P::Fixed),
    ("HH24", P::Hour24),
    ("HH12", P::Hour12),
    ("HH", P::Hour12),
    ("IDDD", P::IsoDayOfYear),
    ("ID", P::IsoDayOfWeek),
    ("IW", P::IsoWeek),
    ("IYYY", P::IsoYear(4)),
    ("IYY", P::IsoYear(3)),
    ("IY", P::IsoYear(2)),
    ("I", P::IsoYear(1)),
    ("J", P::Julian),
    ("MI", P::Minute),
    ("MM", P::MonthNumber),
    ("MONTH", P::Month),
    ("MON", P::Mon),
    ("MS", P::Millisecond),
    ("OF", P::Offset),
    ("P.M.", P::Meridiem { dots: true }),
    ("PM", P::Meridiem { dots: false }),
    ("Q", P::Quarter),
    ("RM", P::RomanMonth),
    ("SSSSS", P::SecondOfDay),
    ("SSSS", P::SecondOfDay),
    ("SS", P::Second),
    ("TZH", P::ZoneHours),
    ("TZM", P::ZoneMinutes),
    ("TZ", P::Zone),
    ("US", P::Microsecond),
    ("WW", P::WeekOfYear),
    ("W", P::WeekOfMonth),
    ("Y,YYY", P::YearComma),
    ("YYYY", P::Year(4)),
    ("YYY", P::Year(3)),
    ("YY", P::Year(2)),
    ("Y", P::Year(1)),
];

impl Pattern {
    fn is_number(self) -> bool {
        !matches!(
            self,
            P::Meridiem { .. }
                | P::Era { .. }
                | P::Month
                | P::Mon
                | P::Day
                | P::Dy
                | P::RomanMonth
                | P::Zone
                | P::Fixed
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Upper,
    Title,
    Lower,
}

impl Case {
    /// Of a name that is written in lower case.
    fn apply(self, name: &str) -> String {
        match self {
            Case::Upper => name.to_uppercase(),
            Case::Lower => name.to_owned(),
            Case::Title => {
                let (first, rest) = name.split_at(1);
                format!("{}{rest}", first.to_uppercase())
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Pattern {
        pattern: Pattern,
        /// As it stands in the template.
        written: String,
        case: Case,
        /// FM: no padding.
        plain: bool,
        /// `TH` or `th` behind a number.
        ordinal: Option<Case>,
    },
    /// A blank, or a punctuation mark that matches others.
    Separator(char),
    Literal(char),
}

fn parse(template: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let plain = ["FM", "fm"].iter().any(|fm| rest.starts_with(fm));
        let translated = ["TM", "tm"].iter().any(|tm| rest.starts_with(tm));
        let prefix = if plain || translated { 2 } else { 0 };
        if let Some((name, pattern)) = pattern_at(&rest[prefix..]) {
            let written = &rest[prefix..prefix + name.len()];
            rest = &rest[prefix + name.len()..];
            let ordinal = [("TH", Case::Upper), ("th", Case::Lower)];
            let ordinal = ordinal.into_iter().find(|(th, _)| rest.starts_with(th));
            rest = &rest[ordinal.map_or(0, |(th, _)| th.len())..];
            nodes.push(Node::Pattern {
                pattern,
                case: case_of(written),
                written: written.to_owned(),
                plain,
                ordinal: ordinal.map(|(_, case)| case),
            });
        } else if prefix > 0 {
            rest = &rest[prefix..];
        } else if c == '"' {
            rest = quoted(&rest[1..], &mut nodes);
        } else if c == '\\' && rest[1..].starts_with('"') {
            nodes.push(Node::Literal('"'));
            rest = &rest[2..];
        } else {
            let separates = c == ' ' || (c.is_ascii_punctuation() && c != '\\');
            nodes.push(if separates {
                Node::Separator(c)
            } else {
                Node::Literal(c)
            });
            rest = &rest[c.len_utf8()..];
        }
    }
    nodes
}

/// The characters up to the next quote; returns what is behind it.
fn quoted<'a>(text: &'a str, nodes: &mut Vec<Node>) -> &'a str {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return &text[at + 1..],
            '\\' => nodes.extend(chars.next().map(|(_, c)| Node::Literal(c))),
            c => nodes.push(Node::Literal(c)),
        }
    }
    ""
}

fn pattern_at(text: &str) -> Option<(&'static str, Pattern)> {
    PATTERNS.iter().copied().find(|(name, pattern)| {
        let Some(start) = text.get(..name.len()) else {
            return false;
        };
        if pattern.is_number() || matches!(pattern, P::Fixed) {
            // In one case or the other.
            start == *name || start == name.to_lowercase()
        } else {
            start == *name
                || start == name.to_lowercase()
                || start == Case::Title.apply(&name.to_lowercase())
        }
    })
}

fn case_of(written: &str) -> Case {
    let mut letters = written.chars().filter(char::is_ascii_alphabetic);
    match (letters.next(), letters.next()) {
        (Some(first), _) if first.is_ascii_lowercase() => Case::Lower,
        (_, Some(second)) if second.is_ascii_lowercase() => Case::Title,
        _ => Case::Upper,
    }
}

/// What a template shows: a moment, or an interval in the fields of one.
struct Moment {
    parts: Parts,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    zone: Option<(i64, String)>,
    is_interval: bool,
}

impl Moment {
    fn of_local(micros: i64) -> Self {
        let parts = Parts::of(micros);
        let time = parts.time;
        Self {
            hour: time / MICROS_HOUR,
            minute: time / MICROS_MINUTE % 60,
            second: time / MICROS_SECOND % 60,
            micros: time % MICROS_SECOND,
            zone: None,
            is_interval: false,
            parts,
        }
    }

    fn of_instant(micros: i64, zone: Tz) -> Self {
        let offset = i64::from(offset_seconds(micros, zone));
        Self {
            zone: Some((
                offset,
                crate::values::temporal::zone_abbreviation(micros, zone),
            )),
            ..Self::of_local(local_micros(micros, zone))
        }
    }

    fn of_interval(value: Interval) -> Self {
        let time = value.micros;
        Self {
            parts: Parts {
                year: value.months / 12,
                month: value.months % 12,
                day: value.days,
                date: 0,
                time,
            },
            hour: time / MICROS_HOUR,
            minute: time / MICROS_MINUTE % 60,
            second: time / MICROS_SECOND % 60,
            micros: time % MICROS_SECOND,
            zone: None,
            is_interval: true,
        }
    }

    fn year(&self) -> i64 {
        if self.is_interval {
            self.parts.year
        } else {
            self.parts.written_year().abs()
        }
    }
}

fn shown<'a>(moment: Moment, template: &str) -> Result<Datum<'a>> {
    if template.is_empty() {
        return Ok(Datum::Null);
    }
    let mut out = String::new();
    for node in parse(template) {
        match node {
            Node::Separator(c) | Node::Literal(c) => out.push(c),
            Node::Pattern {
                pattern,
                case,
                plain,
                ordinal,
                ..
            } => {
                let start = out.len();
                show(&moment, pattern, case, plain, &mut out)?;
                if let (Some(case), true) = (ordinal, pattern.is_number()) {
                    let suffix = ordinal_suffix(&out[start..]);
                    out.push_str(&case.apply(suffix));
                }
            }
        }
    }
    Ok(Datum::text(out))
}

/// `st`, `nd`, `rd` or `th` of a number.
pub(crate) fn ordinal_suffix(number: &str) -> &'static str {
    let mut last = number.bytes().rev();
    match (last.next(), last.next()) {
        (_, Some(b'1')) => "th",
        (Some(b'1'), _) => "st",
        (Some(b'2'), _) => "nd",
        (Some(b'3'), _) => "rd",
        _ => "th",
    }
}

const ROMAN_MONTHS: [&str; 12] = [
    "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii",
];

const LONG_MONTHS: [&str; 12] = [
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

fn not_of_interval() -> ValueError {
    ValueError::refused(
        Fault::DatetimeFormat,
        "invalid format specification for an interval value",
    )
}

fn show(
    moment: &Moment,
    pattern: Pattern,
    case: Case,
    plain: bool,
    out: &mut String,
) -> Result<()> {
    let parts = &moment.parts;
    let number = |value: i64, width: usize| {
        let width = width + usize::from(value < 0);
        if plain {
            value.to_string()
        } else {
            format!("{value:0width$}")
        }
    };
    let name = |name: &str, width: usize| {
        let name = case.apply(name);
        if plain {
            name
        } else {
            format!("{name:width$}")
        }
    };
    let needs_date = matches!(
        pattern,
        P::Month
            | P::Mon
            | P::Day
            | P::Dy
            | P::Zone
            | P::ZoneHours
            | P::ZoneMinutes
            | P::Offset
            | P::Era { .. }
            | P::IsoYear(_)
            | P::IsoWeek
            | P::IsoDayOfWeek
            | P::IsoDayOfYear
            | P::DayOfWeek
    );
    if moment.is_interval && needs_date {
        return Err(not_of_interval());
    }
    let month_at = |names: &[&'static str; 12]| {
        usize::try_from(parts.month - 1)
            .ok()
            .and_then(|at| names.get(at).copied())
    };
    let day_at = usize::try_from(parts.day_of_week()).unwrap_or(0);
    let text = match pattern {
        P::Hour24 => number(moment.hour, 2),
        P::Hour12 => number(
            match moment.hour % 12 {
                0 => 12,
                hour => hour,
            },
            2,
        ),
        P::Minute => number(moment.minute, 2),
        P::Second => number(moment.second, 2),
        P::Fraction(digits) => {
            let width = usize::from(digits);
            format!(
                "{:0width$}",
                moment.micros / 10i64.pow(6 - u32::from(digits))
            )
        }
        P::Millisecond => format!("{:03}", moment.micros / 1000),
        P::Microsecond => format!("{:06}", moment.micros),
        P::SecondOfDay => (moment.hour * 3600 + moment.minute * 60 + moment.second).to_string(),
        P::Meridiem { dots } => {
            let half = if moment.hour % 24 >= 12 { "p" } else { "a" };
            let written = if dots {
                format!("{half}.m.")
            } else {
                format!("{half}m")
            };
            if case == Case::Lower {
                written
            } else {
                written.to_uppercase()
            }
        }
        P::Era { dots } => {
            let era = if parts.year > 0 {
                ("a", "d")
            } else {
                ("b", "c")
            };
            let dot = if dots { "." } else { "" };
            let written = format!("{}{dot}{}{dot}", era.0, era.1);
            if case == Case::Lower {
                written
            } else {
                written.to_uppercase()
            }
        }
        P::Year(4) => number(moment.year(), 4),
        P::Year(digits) => number(moment.year() % 10i64.pow(digits.into()), digits.into()),
        P::YearComma => format!("{},{:03}", moment.year() / 1000, moment.year() % 1000),
        P::IsoYear(digits) => {
            let (year, _) = parts.iso_week();
            number(year.abs() % 10i64.pow(digits.into()), digits.into())
        }
        P::Month => month_at(&LONG_MONTHS)
            .map(|month| name(month, 9))
            .unwrap_or_default(),
        P::Mon => month_at(&MONTHS)
            .map(|month| case.apply(month))
            .unwrap_or_default(),
        P::MonthNumber => number(parts.month, 2),
        P::RomanMonth => {
            let month = if moment.is_interval && parts.month == 0 {
                Some("xii")
            } else {
                month_at(&ROMAN_MONTHS)
            };
            let upper = if case == Case::Lower {
                Case::Lower
            } else {
                Case::Upper
            };
            let roman = month.map(|month| upper.apply(month)).unwrap_or_default();
            if plain { roman } else { format!("{roman:4}") }
        }
        P::Day => name(DAYS[day_at], 9),
        P::Dy => case.apply(&DAYS[day_at][..3]),
        P::DayOfYear if moment.is_interval => {
            number(parts.year * 360 + parts.month * 30 + parts.day, 3)
        }
        P::DayOfYear => number(parts.day_of_year(), 3),
        P::IsoDayOfYear => {
            let (_, week) = parts.iso_week();
            number((week - 1) * 7 + parts.iso_day_of_week(), 3)
        }
        P::DayOfMonth if plain => parts.day.to_string(),
        P::DayOfMonth => format!("{:02}", parts.day),
        P::DayOfWeek => (parts.day_of_week() + 1).to_string(),
        P::IsoDayOfWeek => parts.iso_day_of_week().to_string(),
        P::WeekOfMonth => ((parts.day - 1) / 7 + 1).to_string(),
        P::WeekOfYear => number((parts.day_of_year() - 1) / 7 + 1, 2),
        P::IsoWeek => number(parts.iso_week().1, 2),
        P::Century => {
            let year = parts.year;
            let century = if moment.is_interval {
                year / 100
            } else if year > 0 {
                (year - 1) / 100 + 1
            } else {
                year / 100 - 1
            };
            if (-99..=99).contains(&century) {
                number(century, 2)
            } else {
                century.to_string()
            }
        }
        P::Julian => (parts.date + JULIAN_EPOCH).to_string(),
        P::Quarter if moment.is_interval && parts.month == 0 => String::new(),
        P::Quarter => ((parts.month - 1) / 3 + 1).to_string(),
        P::Zone => match &moment.zone {
            Some((_, abbreviation)) if case == Case::Lower => abbreviation.to_lowercase(),
            Some((_, abbreviation)) => abbreviation.clone(),
            None => String::new(),
        },
        P::ZoneHours => {
            let offset = zone_offset(moment);
            format!("{}{:02}", sign_of(offset), offset.abs() / 3600)
        }
        P::ZoneMinutes => format!("{:02}", zone_offset(moment).abs() / 60 % 60),
        P::Offset => {
            let offset = zone_offset(moment);
            let minutes = match offset.abs() / 60 % 60 {
                0 => String::new(),
                minutes => format!(":{minutes:02}"),
            };
            format!("{}{:02}{minutes}", sign_of(offset), offset.abs() / 3600)
        }
        P::Fixed => String::new(),
    };
    out.push_str(&text);
    Ok(())
}

fn zone_offset(moment: &Moment) -> i64 {
    moment.zone.as_ref().map_or(0, |(offset, _)| *offset)
}

fn sign_of(offset: i64) -> char {
    if offset < 0 { '-' } else { '+' }
}

/// What a text says by a template.
struct Read {
    /// Microseconds since 1970-01-01 by the clock.
    local: i64,
    /// Seconds east of UTC.
    offset: Option<i64>,
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

fn read(text: &str, template: &str) -> Result<Read> {
    let nodes = parse(template);
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
                if c.is_some_and(|c| c.is_whitespace() || c.is_ascii_punctuation()) {
                    self.rest = &self.rest[1..];
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
        self.rest = &rest[end..];
        Ok((number, end - usize::from(signed)))
    }

    /// One of some names, in any case.
    fn name(&mut self, pattern: &str, names: &[&str]) -> Result<i64> {
        let lower = self.rest.to_lowercase();
        let found = names
            .iter()
            .enumerate()
            .filter(|(_, name)| lower.starts_with(**name))
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
        let local = self.day()? * MICROS_DAY + self.time()?;
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
            if !(1..=12).contains(&hour) && !(hour == 0 && found.afternoon.is_none()) {
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
