//! `jsonb`: values read from text, printed as PostgreSQL prints them, and ordered as it orders them.
//!
//! A column of `jsonb` holds the printed form (its `to_string`), which is canonical: keys once,
//! shorter keys first; numbers as `numeric` prints them. So equal texts are equal values, and only
//! numbers of different scale (`1` and `1.0`) are equal values with different texts.

use std::cmp::Ordering;
use std::fmt;

use crate::values::error::{Fault, Result, ValueError};
use crate::values::numeric::compare_texts;

/// Arrays and objects inside of each other.
const DEPTH_MAX: usize = 500;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, as `numeric` prints it.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object: keys are different, and shorter ones first.
    Object(Vec<(String, Json)>),
}

/// Shorter keys first, those of one length by their bytes.
fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// [`ValueError::InvalidText`] if it is no JSON, and if it is nested too deeply.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let value = parser.value()?;
        parser.blanks();
        if parser.at < text.len() {
            return Err(parser.invalid());
        }
        Ok(value)
    }

    /// An object of these members; of two with one key the later one stays.
    #[must_use]
    pub fn object(members: Vec<(String, Json)>) -> Self {
        let mut sorted = members;
        // Stable: of equal keys the last one written is the last one here.
        sorted.sort_by(|a, b| key_order(&a.0, &b.0));
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(sorted.len());
        for member in sorted {
            match unique.last_mut() {
                Some(last) if last.0 == member.0 => *last = member,
                _ => unique.push(member),
            }
        }
        Json::Object(unique)
    }

    /// The value of a key, if this is an object that has it.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members
                .binary_search_by(|(k, _)| key_order(k, key))
                .ok()
                .map(|at| &members[at].1),
            _ => None,
        }
    }

    /// The element at a position, counted from 0, or from the end if negative.
    #[must_use]
    pub fn element(&self, position: i64) -> Option<&Json> {
        match self {
            Json::Array(elements) => position_in(elements.len(), position).map(|at| &elements[at]),
            _ => None,
        }
    }

    /// What a path leads to.
    #[must_use]
    pub fn at_path(&self, path: &[&str]) -> Option<&Json> {
        path.iter().try_fold(self, |value, step| match value {
            Json::Object(_) => value.member(step),
            Json::Array(_) => value.element(step.trim().parse().ok()?),
            _ => None,
        })
    }

    /// As `->>` gives it: strings without quotes, `null` as NULL.
    #[must_use]
    pub fn into_text(self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::Text(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    /// The name of its kind, as `jsonb_typeof` gives it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::Text(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// Whether this holds all that another value does (`@>`).
    #[must_use]
    pub fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(members)) => members
                .iter()
                .all(|(key, wanted)| self.member(key).is_some_and(|has| has.holds(wanted))),
            (Json::Array(elements), Json::Array(wanted)) => wanted
                .iter()
                .all(|wanted| elements.iter().any(|element| element.holds(wanted))),
            // An array contains a primitive, at the top only.
            (Json::Array(elements), primitive) if primitive.is_primitive() => elements
                .iter()
                .any(|e| e.is_primitive() && e.same(primitive)),
            _ => self.holds(other),
        }
    }

    /// As [`Json::contains`], below the top.
    fn holds(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(_)) | (Json::Array(_), Json::Array(_)) => {
                self.contains(other)
            }
            _ => self.is_primitive() && other.is_primitive() && self.same(other),
        }
    }

    fn is_primitive(&self) -> bool {
        !matches!(self, Json::Array(_) | Json::Object(_))
    }

    fn same(&self, other: &Json) -> bool {
        self.order(other) == Ordering::Equal
    }

    /// PostgreSQL's order: objects, arrays, booleans, numbers, strings, null, from the greatest.
    #[must_use]
    pub fn order(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
            (Json::Number(a), Json::Number(b)) => compare_texts(a, b),
            (Json::Text(a), Json::Text(b)) => a.cmp(b),
            (Json::Array(a), Json::Array(b)) => {
                let elements = a.iter().zip(b).map(|(a, b)| a.order(b));
                a.len()
                    .cmp(&b.len())
                    .then_with(|| first_difference(elements))
            }
            (Json::Object(a), Json::Object(b)) => {
                let members = a.iter().zip(b);
                let members =
                    members.map(|(a, b)| key_order(&a.0, &b.0).then_with(|| a.1.order(&b.1)));
                a.len()
                    .cmp(&b.len())
                    .then_with(|| first_difference(members))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            // PostgreSQL sorts an empty array below everything (jsonb_op of an old release).
            Json::Array(elements) if elements.is_empty() => 0,
            Json::Null => 1,
            Json::Text(_) => 2,
            Json::Number(_) => 3,
            Json::Bool(_) => 4,
            Json::Array(_) => 5,
            Json::Object(_) => 6,
        }
    }

    /// As `jsonb_pretty` lays it out.
    #[must_use]
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.write_pretty(0, &mut out);
        out
    }

    fn write_pretty(&self, depth: usize, out: &mut String) {
        let line = |depth: usize, out: &mut String| {
            out.push('\n');
            out.extend(std::iter::repeat_n("    ", depth));
        };
        match self {
            Json::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    line(depth + 1, out);
                    element.write_pretty(depth + 1, out);
                }
                line(depth, out);
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    line(depth + 1, out);
                    write_quoted(key, out);
                    out.push_str(": ");
                    value.write_pretty(depth + 1, out);
                }
                line(depth, out);
                out.push('}');
            }
            other => other.write(out),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => out.push_str(number),
            Json::Text(text) => write_quoted(text, out),
            Json::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    element.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    write_quoted(key, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out);
        f.write_str(&out)
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The index of a position that may be counted from the end.
#[must_use]
pub fn position_in(length: usize, position: i64) -> Option<usize> {
    let at = if position < 0 {
        position + i64::try_from(length).ok()?
    } else {
        position
    };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn invalid(&self) -> ValueError {
        ValueError::refused(Fault::Text, "invalid input syntax for type json")
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        self.blanks();
        if self.take(word) {
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    fn value(&mut self) -> Result<Json> {
        self.blanks();
        match self.rest().bytes().next() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn nested(&mut self, parse: fn(&mut Self) -> Result<Json>) -> Result<Json> {
        if self.depth == DEPTH_MAX {
            return Err(ValueError::refused(
                Fault::Limit,
                format!("JSON nested deeper than {DEPTH_MAX} levels"),
            ));
        }
        self.depth += 1;
        self.at += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn word(&mut self) -> Result<Json> {
        let words = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
        ];
        for (word, value) in words {
            if self.take(word) {
                return Ok(value);
            }
        }
        Err(self.invalid())
    }

    fn array(&mut self) -> Result<Json> {
        let mut elements = Vec::new();
        self.blanks();
        if self.take("]") {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            self.blanks();
            if !self.take(",") {
                self.expect("]")?;
                return Ok(Json::Array(elements));
            }
        }
    }

    fn object(&mut self) -> Result<Json> {
        let mut members = Vec::new();
        self.blanks();
        if self.take("}") {
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.expect(":")?;
            members.push((key, self.value()?));
            self.blanks();
            if !self.take(",") {
                self.expect("}")?;
                return Ok(Json::object(members));
            }
        }
    }

    fn number(&mut self) -> Result<Json> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let written = &rest[..end];
        let number = number_text(written).ok_or_else(|| self.invalid())?;
        self.at += end;
        Ok(Json::Number(number))
    }

    fn string(&mut self) -> Result<String> {
        if !self.take("\"") {
            return Err(self.invalid());
        }
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.invalid());
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return Err(self.invalid()),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let Some(c) = self.rest().chars().next() else {
            return Err(self.invalid());
        };
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode()?,
            _ => return Err(self.invalid()),
        })
    }

    /// The four digits behind `\u`, and those of a low surrogate behind a high one.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hexadecimal()?;
        let code = if (0xd800..0xdc00).contains(&first) && self.take("\\u") {
            let second = self.hexadecimal()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.invalid());
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        match char::from_u32(code) {
            Some('\0') => Err(ValueError::refused(
                Fault::Bytes,
                "unsupported Unicode escape sequence",
            )),
            Some(c) => Ok(c),
            None => Err(self.invalid()),
        }
    }

    fn hexadecimal(&mut self) -> Result<u32> {
        let digits = self
            .rest()
            .get(..4)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or_else(|| self.invalid())?;
        self.at += 4;
        Ok(code)
    }
}

/// A number of JSON's syntax without its exponent, as `numeric` prints it.
fn number_text(written: &str) -> Option<String> {
    let unsigned = written.strip_prefix('-').unwrap_or(written);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (mantissa, ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if whole.is_empty() || leading_zero || !digits(whole) || !digits(fraction) {
        return None;
    }
    if exponent.unsigned_abs() > 10_000 {
        return None;
    }
    let scale = i32::try_from(fraction.len()).ok()? - exponent;
    let all = format!("{whole}{fraction}");
    let shifted = if scale <= 0 {
        format!("{all}{}", "0".repeat(scale.unsigned_abs() as usize))
    } else {
        let scale = scale as usize;
        let padded = format!("{all:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        format!("{whole}.{fraction}")
    };
    let trimmed = shifted.trim_start_matches('0');
    let text = match trimmed.bytes().next() {
        Some(b'0'..=b'9') => trimmed.to_owned(),
        _ => format!("0{trimmed}"),
    };
    let is_zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    let negative = written.starts_with('-') && !is_zero;
    Some(if negative { format!("-{text}") } else { text })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may")]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        Json::parse(text).unwrap().to_string()
    }

    #[test]
    fn texts_become_canonical() {
        for (text, canonical) in [
            (
                r#"{"bb":1,"a":2,"b":3,"a":4}"#,
                r#"{"a": 4, "b": 3, "bb": 1}"#,
            ),
            ("[1, 2.50, 1e3, -0, 1E-2]", "[1, 2.50, 1000, 0, 0.01]"),
            (r#""x\u00e9\n\ud83d\ude00""#, "\"xé\\n😀\""),
            (" null ", "null"),
            ("[]", "[]"),
        ] {
            assert_eq!(printed(text), canonical);
        }
        for bad in [
            "", "{", "[1,]", "{a:1}", "01", "1.", "nul", "1 2", "\"\\x\"", "[1",
        ] {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn values_are_ordered_as_in_postgresql() {
        let ascending = [
            "[]",
            "null",
            "\"a\"",
            "\"b\"",
            "2",
            "10",
            "false",
            "true",
            "[1]",
            "[0, 0]",
            "{}",
            "{\"a\": 1}",
        ];
        for pair in ascending.windows(2) {
            let (a, b) = (Json::parse(pair[0]).unwrap(), Json::parse(pair[1]).unwrap());
            assert_eq!(a.order(&b), Ordering::Less, "{pair:?}");
        }
        let same = Json::parse("1")
            .unwrap()
            .order(&Json::parse("1.0").unwrap());
        assert_eq!(same, Ordering::Equal);
    }
}
