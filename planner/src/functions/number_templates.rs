//! `to_char` and `to_number` of numbers, with PostgreSQL's templates (manual, table 9.28).
//!
//! The rules are those of `NUM_processor` in PostgreSQL's `formatting.c`, whose results depend on
//! the order in which it looks at digits, blanks and signs; so the order is the same here.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ReturnFieldArgs;

use crate::functions::date_templates::{self, ordinal_suffix};
use crate::functions::datum::Datum;
use crate::functions::decimal::Decimal;
use crate::functions::function::{Function, Returns, function};
use crate::types::NUMERIC_DEFAULT;
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Float8, Numeric, Text};

/// Digits that a double has.
const FLOAT_DIGITS: usize = 15;

/// The functions of this family, and all of `to_char`.
pub(crate) fn functions() -> Vec<Function> {
    let to_char = function("to_char")
        .on([Numeric(None), Text], Text, |_, a| {
            to_char(&Amount::Exact(a[0].numeric()?), a[1].str())
        })
        .on([Float8, Text], Text, |_, a| {
            to_char(&Amount::Float(a[0].float()), a[1].str())
        });
    vec![
        date_templates::to_char(to_char),
        function("to_number").on([Text, Text], Returns::By(number_type), |_, a| {
            to_number(a[0].str(), a[1].str())
        }),
    ]
}

/// A number that is shown.
enum Amount {
    Exact(Decimal),
    Float(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pattern {
    Nine,
    Zero,
    Point,
    Comma,
    Group,
    Currency,
    Blank,
    Sign,
    Minus,
    Plus,
    PlusMinus,
    Brackets,
    Roman { upper: bool },
    Ordinal { upper: bool },
    Shift,
    Exponent,
    Fill,
    Ignored,
}

use Pattern as P;

/// Longer names stand before their beginnings.
const PATTERNS: &[(&str, Pattern)] = &[
    (",", P::Comma),
    (".", P::Point),
    ("0", P::Zero),
    ("9", P::Nine),
    ("B", P::Blank),
    ("C", P::Ignored),
    ("D", P::Point),
    ("EEEE", P::Exponent),
    ("FM", P::Fill),
    ("G", P::Group),
    ("L", P::Currency),
    ("MI", P::Minus),
    ("PL", P::Plus),
    ("PR", P::Brackets),
    ("RN", P::Roman { upper: true }),
    ("SG", P::PlusMinus),
    ("SP", P::Ignored),
    ("S", P::Sign),
    ("TH", P::Ordinal { upper: true }),
    ("V", P::Shift),
];

enum Node {
    Pattern(Pattern),
    Literal(char),
}

/// Where a sign is anchored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Anchor {
    None,
    Before,
    Behind,
}

/// A template and what is known of it as a whole.
struct Template {
    nodes: Vec<Node>,
    /// Digits in front of the point, and behind it.
    before: usize,
    behind: usize,
    /// Digits behind `V`.
    shift: usize,
    has_point: bool,
    has_zero: bool,
    fill: bool,
    sign: bool,
    brackets: bool,
    minus: bool,
    plus: bool,
    shifts: bool,
    roman: Option<bool>,
    exponent: bool,
    anchor: Anchor,
    /// Digits in front of the sign.
    before_sign: usize,
    zero_start: usize,
    zero_end: usize,
}

impl Template {
    fn parse(text: &str) -> Result<Self> {
        let mut template = Self {
            nodes: Vec::new(),
            before: 0,
            behind: 0,
            shift: 0,
            has_point: false,
            has_zero: false,
            fill: false,
            sign: false,
            brackets: false,
            minus: false,
            plus: false,
            shifts: false,
            roman: None,
            exponent: false,
            anchor: Anchor::None,
            before_sign: 0,
            zero_start: 0,
            zero_end: 0,
        };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some((name, pattern)) = pattern_at(rest) {
                template.add(pattern)?;
                template.nodes.push(Node::Pattern(pattern));
                rest = &rest[name.len()..];
            } else if c == '"' {
                rest = template.quoted(&rest[1..]);
            } else if c == '\\' && rest[1..].starts_with('"') {
                template.nodes.push(Node::Literal('"'));
                rest = &rest[2..];
            } else {
                template.nodes.push(Node::Literal(c));
                rest = &rest[c.len_utf8()..];
            }
        }
        Ok(template)
    }

    fn quoted<'a>(&mut self, text: &'a str) -> &'a str {
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return &text[at + 1..],
                '\\' => self
                    .nodes
                    .extend(chars.next().map(|(_, c)| Node::Literal(c))),
                c => self.nodes.push(Node::Literal(c)),
            }
        }
        ""
    }

    /// Counts a pattern.
    fn add(&mut self, pattern: Pattern) -> Result<()> {
        let wrong = |message: &str| Err(ValueError::refused(Fault::Text, message));
        match pattern {
            P::Nine | P::Zero if self.brackets => return wrong("\"9\" must be ahead of \"PR\""),
            P::Nine if self.shifts => self.shift += 1,
            P::Nine if self.has_point => self.behind += 1,
            P::Nine => self.before += 1,
            P::Zero => {
                if !self.has_zero && !self.has_point {
                    self.has_zero = true;
                    self.zero_start = self.before + 1;
                }
                if self.has_point {
                    self.behind += 1;
                } else {
                    self.before += 1;
                }
                self.zero_end = self.before + self.behind;
            }
            P::Point if self.has_point => return wrong("multiple decimal points"),
            P::Point if self.shifts => return wrong("cannot use \"V\" and decimal point together"),
            P::Point => self.has_point = true,
            P::Fill => self.fill = true,
            P::Sign if self.sign => return wrong("cannot use \"S\" twice"),
            P::Sign if self.plus || self.minus || self.brackets => {
                return wrong("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
            }
            P::Sign => {
                self.sign = true;
                if self.has_point {
                    self.anchor = Anchor::Behind;
                } else {
                    self.anchor = Anchor::Before;
                    self.before_sign = self.before;
                }
            }
            P::Minus => self.minus = true,
            P::Plus => self.plus = true,
            P::PlusMinus => (self.minus, self.plus) = (true, true),
            P::Brackets => self.brackets = true,
            P::Roman { upper } => self.roman = Some(upper),
            P::Shift if self.has_point => {
                return wrong("cannot use \"V\" and decimal point together");
            }
            P::Shift => self.shifts = true,
            P::Exponent => self.exponent = true,
            P::Comma | P::Group | P::Currency | P::Blank | P::Ordinal { .. } | P::Ignored => {}
        }
        Ok(())
    }
}

fn pattern_at(text: &str) -> Option<(&'static str, Pattern)> {
    PATTERNS.iter().find_map(|(name, pattern)| {
        let start = text.get(..name.len())?;
        let pattern = match pattern {
            P::Roman { .. } => P::Roman {
                upper: start == *name,
            },
            P::Ordinal { .. } => P::Ordinal {
                upper: start == *name,
            },
            other => *other,
        };
        (start == *name || start == name.to_lowercase()).then_some((*name, pattern))
    })
}

fn to_char<'a>(amount: &Amount, text: &str) -> Result<Datum<'a>> {
    let mut template = Template::parse(text)?;
    if template.exponent {
        return Ok(Datum::text(scientific(amount, template.behind)));
    }
    if let Some(upper) = template.roman {
        let roman = roman(amount, upper);
        let padded = if template.fill {
            roman
        } else {
            format!("{roman:>15}")
        };
        return Ok(Datum::text(padded));
    }
    let shown = digits(amount, &mut template)?;
    let (negative, digits) = match shown.strip_prefix('-') {
        Some(rest) => (true, rest.to_owned()),
        None => (false, shown),
    };
    let whole = digits.find('.').unwrap_or(digits.len());
    let blanks = template.before.saturating_sub(whole);
    let number = if whole > template.before {
        let mut marks = "#".repeat(template.before + template.behind + 1);
        marks.replace_range(template.before..=template.before, ".");
        marks
    } else {
        digits
    };
    Ok(Datum::text(
        Writer::new(template, number, negative, blanks).write(),
    ))
}

/// The number with the digits that the template shows behind the point.
fn digits(amount: &Amount, template: &mut Template) -> Result<String> {
    let behind = template.behind;
    if template.shifts {
        template.before += template.shift;
    }
    match amount {
        Amount::Exact(value) => {
            let shift = u8::try_from(template.shift).unwrap_or(u8::MAX);
            let shifted = if template.shifts {
                let factor = 10i128.checked_pow(shift.into());
                let unscaled = factor.and_then(|factor| value.unscaled.checked_mul(factor));
                Decimal {
                    unscaled: unscaled.ok_or_else(|| {
                        ValueError::refused(Fault::OutOfRange, "value overflows numeric format")
                    })?,
                    scale: value.scale,
                }
            } else {
                *value
            };
            let scale = u8::try_from(behind).unwrap_or(u8::MAX);
            match shifted.rescaled(scale) {
                Ok(rounded) => Ok(rounded.to_string()),
                Err(_) => Ok(format!("{shifted:0<width$}", width = behind)),
            }
        }
        Amount::Float(value) => {
            let shifted = value * 10f64.powi(i32::try_from(template.shift).unwrap_or(0));
            let whole = format!("{:.0}", shifted.abs()).len();
            let kept = FLOAT_DIGITS.saturating_sub(whole).min(behind);
            template.behind = kept;
            Ok(format!("{shifted:.kept$}"))
        }
    }
}

/// `4.86e-04`, with a blank in the place of the sign.
fn scientific(amount: &Amount, digits: usize) -> String {
    let value = match amount {
        Amount::Exact(value) => value.to_f64(),
        Amount::Float(value) => *value,
    };
    let shown = format!("{value:.digits$e}");
    let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let blank = if value < 0.0 { "" } else { " " };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{blank}{mantissa}e{sign}{:02}", exponent.abs())
}

fn roman(amount: &Amount, upper: bool) -> String {
    const NUMERALS: [(i64, &str); 13] = [
        (1000, "m"),
        (900, "cm"),
        (500, "d"),
        (400, "cd"),
        (100, "c"),
        (90, "xc"),
        (50, "l"),
        (40, "xl"),
        (10, "x"),
        (9, "ix"),
        (5, "v"),
        (4, "iv"),
        (1, "i"),
    ];
    let rounded = match amount {
        Amount::Exact(value) => value.rounded(0).map_or(0, |value| value.unscaled as i64),
        Amount::Float(value) => value.round_ties_even() as i64,
    };
    if !(1..4000).contains(&rounded) {
        return "#".repeat(15);
    }
    let mut rest = rounded;
    let mut out = String::new();
    for (value, numeral) in NUMERALS {
        while rest >= value {
            out.push_str(numeral);
            rest -= value;
        }
    }
    if upper { out.to_uppercase() } else { out }
}

/// Writes a number by a template. Field names follow `NUMProc`.
struct Writer {
    template: Template,
    number: Vec<u8>,
    /// The next of its digits.
    next: usize,
    negative: bool,
    blanks: usize,
    /// The last digit behind the point that is not a zero to be left out.
    last_relevant: Option<usize>,
    sign_written: bool,
    /// Positions counted, and the current one.
    count: usize,
    current: usize,
    inside: bool,
    out: String,
}

impl Writer {
    fn new(mut template: Template, number: String, negative: bool, blanks: usize) -> Self {
        template.zero_start = template.zero_start.saturating_sub(1);
        let sign_written = if template.plus || template.minus {
            !template.plus || template.minus
        } else {
            if !negative && template.fill {
                template.brackets = false;
            }
            if template.anchor == Anchor::Before && template.before == template.before_sign {
                template.anchor = Anchor::Behind;
            }
            !negative && template.fill && !template.sign
        };
        let number = number.into_bytes();
        let mut last_relevant = None;
        if template.fill && template.has_point {
            last_relevant = last_relevant_digit(&number);
            if let Some(last) = last_relevant
                && template.zero_end > blanks
            {
                let last_zero = (number.len() - 1).min(template.zero_end - blanks);
                last_relevant = Some(last.max(last_zero));
            }
        }
        let digits = (template.behind + template.before).saturating_sub(1);
        Self {
            count: digits + usize::from(!sign_written && blanks == 0),
            template,
            number,
            next: 0,
            negative,
            blanks,
            last_relevant,
            sign_written,
            current: 0,
            inside: false,
            out: String::new(),
        }
    }

    fn write(mut self) -> String {
        for node in std::mem::take(&mut self.template.nodes) {
            match node {
                Node::Literal(c) => self.out.push(c),
                Node::Pattern(pattern) => self.pattern(pattern),
            }
        }
        self.out
    }

    fn pattern(&mut self, pattern: Pattern) {
        let fill = self.template.fill;
        match pattern {
            P::Nine | P::Zero | P::Point => self.digit(pattern),
            P::Comma | P::Group if self.inside => self.out.push(','),
            P::Comma | P::Group if fill => {}
            P::Comma | P::Group | P::Currency => self.out.push(' '),
            P::Ordinal { upper } => {
                let hidden = self.number.first() == Some(&b'#') || self.negative;
                if !hidden && !self.template.has_point {
                    let number = String::from_utf8_lossy(&self.number).into_owned();
                    let suffix = ordinal_suffix(&number);
                    self.out.push_str(&if upper {
                        suffix.to_uppercase()
                    } else {
                        suffix.to_owned()
                    });
                }
            }
            P::Minus if self.negative => self.out.push('-'),
            P::Plus if !self.negative => self.out.push('+'),
            P::Minus | P::Plus if fill => {}
            P::Minus | P::Plus => self.out.push(' '),
            P::PlusMinus => self.out.push(if self.negative { '-' } else { '+' }),
            P::Blank
            | P::Sign
            | P::Brackets
            | P::Roman { .. }
            | P::Shift
            | P::Exponent
            | P::Fill
            | P::Ignored => {}
        }
    }

    /// `0.1` by `9.9` has a blank where its zero would be.
    fn is_blank_before_point(&self) -> bool {
        !self.template.has_zero
            && self.next == 0
            && self.number.first() == Some(&b'0')
            && self.template.behind != 0
    }

    fn ends_at_point(&self) -> bool {
        self.last_relevant.is_some_and(|at| self.number[at] == b'.')
    }

    fn digit(&mut self, pattern: Pattern) {
        self.inside = false;
        self.leading_sign();
        let starts_with_zero = self.template.has_zero && self.template.zero_start <= self.current;
        if self.current < self.blanks && !starts_with_zero {
            if !self.template.fill {
                self.out.push(' ');
            }
        } else if self.current < self.blanks {
            self.out.push('0');
            self.inside = true;
        } else {
            self.number_digit(pattern);
            self.next += usize::from(self.next < self.number.len());
        }
        self.trailing_sign();
        self.current += 1;
    }

    fn number_digit(&mut self, pattern: Pattern) {
        let Some(digit) = self.number.get(self.next).copied() else {
            return;
        };
        if digit == b'.' {
            self.out.push('.');
        } else if self.last_relevant.is_some_and(|at| self.next > at) && pattern != P::Zero {
        } else if self.is_blank_before_point() {
            if !self.template.fill {
                self.out.push(' ');
            } else if self.ends_at_point() {
                self.out.push('0');
            }
        } else {
            self.out.push(char::from(digit));
            self.inside = true;
        }
    }

    fn leading_sign(&mut self) {
        let template = &self.template;
        let starts = self.current >= self.blanks
            || (template.has_zero && template.zero_start == self.current);
        if self.sign_written || !starts || (self.is_blank_before_point() && !self.ends_at_point()) {
            return;
        }
        if template.sign {
            if template.anchor == Anchor::Before {
                self.out.push(if self.negative { '-' } else { '+' });
                self.sign_written = true;
            }
        } else {
            match (template.brackets, self.negative) {
                (true, negative) => self.out.push(if negative { '<' } else { ' ' }),
                (false, true) => self.out.push('-'),
                (false, false) if !template.fill => self.out.push(' '),
                (false, false) => {}
            }
            self.sign_written = true;
        }
    }

    fn trailing_sign(&mut self) {
        let template = &self.template;
        let mut end = self.count + usize::from(self.blanks > 0) + usize::from(template.has_point);
        if self.last_relevant == Some(self.next) {
            end = self.current;
        }
        if self.current + 1 != end {
            return;
        }
        if self.sign_written && template.brackets {
            self.out.push(if self.negative { '>' } else { ' ' });
        } else if template.sign && template.anchor == Anchor::Behind {
            self.out.push(if self.negative { '-' } else { '+' });
        }
    }
}

/// The point, or the last digit behind it that is not 0.
fn last_relevant_digit(number: &[u8]) -> Option<usize> {
    let point = number.iter().position(|digit| *digit == b'.')?;
    let behind = number[point + 1..].iter().rposition(|digit| *digit != b'0');
    Some(behind.map_or(point, |at| point + 1 + at))
}

/// `numeric` with the digits that the template has behind the point.
fn number_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let (precision, scale) = NUMERIC_DEFAULT;
    let template = match args.scalar_arguments.get(1) {
        Some(Some(ScalarValue::Utf8(Some(text)))) => Template::parse(text).ok(),
        _ => None,
    };
    let scale = template
        .and_then(|template| i8::try_from(template.behind).ok())
        .unwrap_or(scale);
    DataType::Decimal128(precision, scale.min(38))
}

/// Takes digits, the point and signs of a text; what else stands there is of no meaning.
fn to_number<'a>(text: &str, template: &str) -> Result<Datum<'a>> {
    let template = Template::parse(template)?;
    if template.exponent || template.shifts || template.roman.is_some() {
        let message = "\"EEEE\", \"V\" and \"RN\" are not supported for input";
        return Err(ValueError::refused(Fault::Unsupported, message));
    }
    let mut digits = String::new();
    let mut negative = false;
    let (mut before, mut behind) = (0, 0);
    for c in text.chars() {
        match c {
            '0'..='9' if digits.contains('.') && behind < template.behind => {
                digits.push(c);
                behind += 1;
            }
            '0'..='9' if !digits.contains('.') && before < template.before => {
                digits.push(c);
                before += 1;
            }
            '.' if template.has_point && !digits.contains('.') => digits.push(c),
            '-' => negative = true,
            '<' if template.brackets => negative = true,
            _ => {}
        }
    }
    let invalid = || ValueError::InvalidText {
        type_name: "numeric".to_owned(),
        value: text.to_owned(),
    };
    let value = Decimal::parse(&digits).ok_or_else(invalid)?;
    Ok(Datum::Numeric(Decimal {
        unscaled: if negative {
            -value.unscaled
        } else {
            value.unscaled
        },
        ..value
    }))
}
