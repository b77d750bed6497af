//! `to_char`, `to_timestamp` and `to_date` of dates and times, with PostgreSQL's templates (manual,
//! table 9.26).
//!
//! ```text
//!   'FMDay, DDth' ──parse──► [Day fill-mode off] [", "] [DD with suffix] ──► text, or fields of a text
//! ```

mod read;
mod show;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::functions::datum::{Datum, Interval};
use crate::functions::function::{Function, function};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::temporal::{MICROS_DAY, MICROS_SECOND, instant_of};
use crate::values::types::SqlType::{
    Date, Float8, Interval as IntervalType, Text, Time, Timestamp, Timestamptz,
};

use read::read;
use show::{Moment, shown};

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

/// The parts of a template; those of the last ones are remembered, as a column has one template for
/// all rows.
fn parsed(template: &str) -> Rc<[Node]> {
    const REMEMBERED: usize = 20;
    thread_local! {
        static TEMPLATES: RefCell<VecDeque<(String, Rc<[Node]>)>> = const { RefCell::new(VecDeque::new()) };
    }
    TEMPLATES.with_borrow_mut(|templates| {
        if let Some((_, nodes)) = templates.iter().find(|(known, _)| known == template) {
            return Rc::clone(nodes);
        }
        let nodes: Rc<[Node]> = parse(template).into();
        templates.truncate(REMEMBERED - 1);
        templates.push_front((template.to_owned(), Rc::clone(&nodes)));
        nodes
    })
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
