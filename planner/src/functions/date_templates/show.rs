//! `to_char`: a moment, or an interval, as a template shows it.

use arrow::array::timezone::Tz;

use crate::functions::dates::Parts;
use crate::functions::datum::{Datum, Interval};
use crate::values::datetime::{DAYS, JULIAN_EPOCH, LONG_MONTHS, MONTHS};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::temporal::{
    MICROS_HOUR, MICROS_MINUTE, MICROS_SECOND, local_micros, offset_seconds, zone_abbreviation,
};

use super::{Case, Node, Pattern, Pattern as P, ROMAN_MONTHS, ordinal_suffix, parsed};

/// What a template shows: a moment, or an interval in the fields of one.
pub(super) struct Moment {
    parts: Parts,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    zone: Option<(i64, String)>,
    is_interval: bool,
}

impl Moment {
    pub(super) fn of_local(micros: i64) -> Self {
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

    pub(super) fn of_instant(micros: i64, zone: Tz) -> Self {
        let offset = i64::from(offset_seconds(micros, zone));
        Self {
            zone: Some((offset, zone_abbreviation(micros, zone))),
            ..Self::of_local(local_micros(micros, zone))
        }
    }

    pub(super) fn of_interval(value: Interval) -> Self {
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

    fn century(&self) -> i64 {
        let year = self.parts.year;
        if self.is_interval {
            year / 100
        } else if year > 0 {
            (year - 1) / 100 + 1
        } else {
            year / 100 - 1
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

/// A moment by a template.
pub(super) fn shown<'a>(moment: Moment, template: &str) -> Result<Datum<'a>> {
    if template.is_empty() {
        return Ok(Datum::Null);
    }
    let mut out = String::new();
    for node in parsed(template).iter() {
        match *node {
            Node::Separator(c) | Node::Literal(c) => out.push(c),
            Node::Pattern {
                pattern,
                case,
                plain,
                ordinal,
                ..
            } => {
                let shown = show(&moment, pattern, &Style { case, plain })?;
                if let (Some(case), true) = (ordinal, pattern.is_number()) {
                    out.push_str(&shown);
                    out.push_str(&case.apply(ordinal_suffix(&shown)));
                } else {
                    out.push_str(&shown);
                }
            }
        }
    }
    Ok(Datum::text(out))
}

fn not_of_interval() -> ValueError {
    ValueError::refused(
        Fault::DatetimeFormat,
        "invalid format specification for an interval value",
    )
}

/// How a pattern is written.
struct Style {
    case: Case,
    /// Without padding.
    plain: bool,
}

impl Style {
    fn number(&self, value: i64, width: usize) -> String {
        let width = width + usize::from(value < 0);
        if self.plain {
            value.to_string()
        } else {
            format!("{value:0width$}")
        }
    }

    fn name(&self, name: &str, width: usize) -> String {
        let name = self.case.apply(name);
        if self.plain {
            name
        } else {
            format!("{name:width$}")
        }
    }

    /// A word of capital letters, or of small ones.
    fn word(&self, word: &str) -> String {
        match self.case {
            Case::Lower => word.to_owned(),
            Case::Upper | Case::Title => word.to_uppercase(),
        }
    }
}

fn show(moment: &Moment, pattern: Pattern, style: &Style) -> Result<String> {
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
    let text = show_time(moment, pattern, style)
        .or_else(|| show_year(moment, pattern, style))
        .or_else(|| show_month(moment, pattern, style))
        .or_else(|| show_day(moment, pattern, style))
        .or_else(|| show_zone(moment, pattern, style));
    Ok(text.unwrap_or_default())
}

fn show_time(moment: &Moment, pattern: Pattern, style: &Style) -> Option<String> {
    Some(match pattern {
        P::Hour24 => style.number(moment.hour, 2),
        P::Hour12 if moment.hour % 12 == 0 => style.number(12, 2),
        P::Hour12 => style.number(moment.hour % 12, 2),
        P::Minute => style.number(moment.minute, 2),
        P::Second => style.number(moment.second, 2),
        P::Fraction(digits) => {
            let unit = 10i64.pow(6 - u32::from(digits));
            format!(
                "{:0width$}",
                moment.micros / unit,
                width = usize::from(digits)
            )
        }
        P::Millisecond => format!("{:03}", moment.micros / 1000),
        P::Microsecond => format!("{:06}", moment.micros),
        P::SecondOfDay => (moment.hour * 3600 + moment.minute * 60 + moment.second).to_string(),
        P::Meridiem { dots } => style.word(match (moment.hour % 24 >= 12, dots) {
            (false, false) => "am",
            (false, true) => "a.m.",
            (true, false) => "pm",
            (true, true) => "p.m.",
        }),
        _ => return None,
    })
}

fn show_year(moment: &Moment, pattern: Pattern, style: &Style) -> Option<String> {
    let digits_of =
        |year: i64, digits: u8| style.number(year % 10i64.pow(digits.into()), digits.into());
    Some(match pattern {
        P::Era { dots } => style.word(match (moment.parts.year > 0, dots) {
            (true, false) => "ad",
            (true, true) => "a.d.",
            (false, false) => "bc",
            (false, true) => "b.c.",
        }),
        P::Year(4) => style.number(moment.year(), 4),
        P::Year(digits) => digits_of(moment.year(), digits),
        P::YearComma => format!("{},{:03}", moment.year() / 1000, moment.year() % 1000),
        P::IsoYear(digits) => digits_of(moment.parts.iso_week().0.abs(), digits),
        P::Century => {
            let century = moment.century();
            if (-99..=99).contains(&century) {
                style.number(century, 2)
            } else {
                century.to_string()
            }
        }
        _ => return None,
    })
}

fn show_month(moment: &Moment, pattern: Pattern, style: &Style) -> Option<String> {
    let month = moment.parts.month;
    let at = usize::try_from(month - 1).ok();
    let of = |names: &[&'static str; 12]| at.and_then(|at| names.get(at).copied());
    // An interval may have no month.
    let none = moment.is_interval && month == 0;
    Some(match pattern {
        P::Month => style.name(of(&LONG_MONTHS)?, 9),
        P::Mon => style.case.apply(of(&MONTHS)?),
        P::MonthNumber => style.number(month, 2),
        P::RomanMonth => {
            let roman = style.word(if none { "xii" } else { of(&ROMAN_MONTHS)? });
            if style.plain {
                roman
            } else {
                format!("{roman:4}")
            }
        }
        P::Quarter if none => String::new(),
        P::Quarter => ((month - 1) / 3 + 1).to_string(),
        _ => return None,
    })
}

fn show_day(moment: &Moment, pattern: Pattern, style: &Style) -> Option<String> {
    let parts = &moment.parts;
    let day_name = DAYS[usize::try_from(parts.day_of_week()).unwrap_or(0)];
    Some(match pattern {
        P::Day => style.name(day_name, 9),
        P::Dy => style.case.apply(&day_name[..3]),
        P::DayOfYear if moment.is_interval => {
            style.number(parts.year * 360 + parts.month * 30 + parts.day, 3)
        }
        P::DayOfYear => style.number(parts.day_of_year(), 3),
        P::IsoDayOfYear => {
            let (_, week) = parts.iso_week();
            style.number((week - 1) * 7 + parts.iso_day_of_week(), 3)
        }
        P::DayOfMonth if style.plain => parts.day.to_string(),
        P::DayOfMonth => format!("{:02}", parts.day),
        P::DayOfWeek => (parts.day_of_week() + 1).to_string(),
        P::IsoDayOfWeek => parts.iso_day_of_week().to_string(),
        P::WeekOfMonth => ((parts.day - 1) / 7 + 1).to_string(),
        P::WeekOfYear => style.number((parts.day_of_year() - 1) / 7 + 1, 2),
        P::IsoWeek => style.number(parts.iso_week().1, 2),
        P::Julian => (parts.date + JULIAN_EPOCH).to_string(),
        _ => return None,
    })
}

fn show_zone(moment: &Moment, pattern: Pattern, style: &Style) -> Option<String> {
    let offset = moment.zone.as_ref().map_or(0, |(offset, _)| *offset);
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    Some(match pattern {
        P::Zone => {
            let (_, abbreviation) = moment.zone.as_ref()?;
            style.word(&abbreviation.to_lowercase())
        }
        P::ZoneHours => format!("{sign}{hours:02}"),
        P::ZoneMinutes => format!("{minutes:02}"),
        P::Offset if minutes == 0 => format!("{sign}{hours:02}"),
        P::Offset => format!("{sign}{hours:02}:{minutes:02}"),
        _ => return None,
    })
}
