//! Strings.

use crate::functions::datum::Datum;
use crate::functions::function::{Call, Function, Param, array_of, function};
use crate::functions::patterns::{first_match, similar_part};
use crate::names::{quoted_identifier, quoted_literal};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Bool, Bytea, Int4, Int8, Text};

/// Characters of a `char(n)` or `varchar(n)`, and of a field of `format`, as in PostgreSQL.
const WIDTH_MAX: usize = 10_485_760;

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("format")
            .on([Param::Of(Text), Param::Any], Text, |call, a| {
                format(call, a)
            })
            .variadic()
            .sees_nulls(),
        function("concat")
            .on([Param::Any, Param::Any], Text, |call, a| {
                Ok(Datum::text(shown_all(call, a).collect::<String>()))
            })
            .variadic()
            .sees_nulls(),
        function("concat_ws")
            .on([Param::Of(Text), Param::Any], Text, |call, a| {
                if a[0].is_null() {
                    return Ok(Datum::Null);
                }
                let parts: Vec<String> = shown_all(call, &a[1..]).collect();
                Ok(Datum::text(parts.join(a[0].str())))
            })
            .variadic()
            .sees_nulls(),
        function("split_part").on([Text, Text, Int4], Text, |_, a| split_part(a)),
        function("string_to_array")
            .on([Text, Text, Text], array_of(Text), |_, a| {
                Ok(string_to_array(a))
            })
            .optional(1)
            .sees_nulls(),
        function("starts_with").on([Text, Text], Bool, |_, a| {
            Ok(Datum::Bool(a[0].str().starts_with(a[1].str())))
        }),
        function("substring")
            .on([Text, Int4, Int4], Text, |_, a| substring(a))
            .optional(1)
            .on([Text, Text], Text, |_, a| {
                first_match(a[0].str(), a[1].str())
            })
            .on([Text, Text, Text], Text, |_, a| {
                similar_part(a[0].str(), a[1].str(), &a[2])
            })
            .on([Bytea, Int4, Int4], Bytea, |_, a| substring(a))
            .optional(1),
        function("substr")
            .on([Text, Int4, Int4], Text, |_, a| substring(a))
            .optional(1)
            .on([Bytea, Int4, Int4], Bytea, |_, a| substring(a))
            .optional(1),
        function("overlay")
            .on([Text, Text, Int4, Int4], Text, |_, a| overlay(a))
            .optional(1)
            .on([Bytea, Bytea, Int4, Int4], Bytea, |_, a| overlay(a))
            .optional(1),
        function("strpos")
            .on([Text, Text], Int4, |_, a| {
                let (text, wanted) = (a[0].str(), a[1].str());
                let found = text
                    .find(wanted)
                    .map(|byte| text[..byte].chars().count() + 1);
                Ok(count(found.unwrap_or(0)))
            })
            .on([Bytea, Bytea], Int4, |_, a| {
                let (bytes, wanted) = (a[0].octets(), a[1].octets());
                let mut windows = bytes.windows(wanted.len().max(1));
                let found = if wanted.is_empty() {
                    Some(0)
                } else {
                    windows.position(|w| w == wanted)
                };
                Ok(count(found.map_or(0, |at| at + 1)))
            }),
        function("quote_ident").on([Text], Text, |_, a| {
            Ok(Datum::text(quoted_identifier(a[0].str())))
        }),
        function("quote_literal").on([Param::Any], Text, |call, a| {
            Ok(a[0]
                .shown(call.zone)
                .map_or(Datum::Null, |shown| Datum::text(quoted_literal(&shown))))
        }),
        function("quote_nullable")
            .on([Param::Any], Text, |call, a| {
                let shown = a[0].shown(call.zone);
                Ok(Datum::text(shown.map_or_else(
                    || "NULL".to_owned(),
                    |shown| quoted_literal(&shown),
                )))
            })
            .sees_nulls(),
        function("chr").on([Int4], Text, |_, a| chr(a[0].int())),
        function("to_hex")
            .on([Int4], Text, |_, a| {
                Ok(Datum::text(format!("{:x}", a[0].int() as i32)))
            })
            .on([Int8], Text, |_, a| {
                Ok(Datum::text(format!("{:x}", a[0].int())))
            }),
        function("unistr").on([Text], Text, |_, a| unistr(a[0].str()).map(Datum::text)),
        function("pg_varchar").on([Text, Int8], Text, |_, a| {
            Ok(Datum::text(cut(a[0].str(), width(&a[1])?)))
        }),
        function("pg_char").on([Text, Int8], Text, |_, a| {
            let width = width(&a[1])?;
            let kept = cut(a[0].str(), width);
            let missing = width.saturating_sub(kept.chars().count());
            Ok(Datum::text(format!("{kept}{}", " ".repeat(missing))))
        }),
    ]
}

fn count<'a>(value: usize) -> Datum<'a> {
    Datum::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// The length of a type.
fn width(length: &Datum<'_>) -> Result<usize> {
    let width = usize::try_from(length.int()).ok();
    width
        .filter(|width| (1..=WIDTH_MAX).contains(width))
        .ok_or_else(|| parameter(format!("length for type must be from 1 to {WIDTH_MAX}")))
}

/// The arguments that are not NULL, as text.
fn shown_all<'b>(call: &'b Call, args: &'b [Datum<'_>]) -> impl Iterator<Item = String> + 'b {
    args.iter().filter_map(|arg| arg.shown(call.zone))
}

fn parameter(message: impl Into<String>) -> ValueError {
    ValueError::refused(Fault::Parameter, message)
}

/// A specifier of `format`: `%[position$][flags][width]type`.
struct Specifier {
    position: Option<usize>,
    left: bool,
    width: Width,
    kind: char,
}

enum Width {
    None,
    Fixed(usize),
    /// That of an argument, or of the next one.
    Argument(Option<usize>),
}

fn format<'a>(call: &Call, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    let mut out = String::new();
    let mut chars = args[0].str().chars().peekable();
    let mut next = 1;
    let mut argument = |position: Option<usize>| {
        let at = match position {
            Some(0) => {
                return Err(parameter(
                    "format specifies argument 0, but arguments are numbered from 1",
                ));
            }
            Some(position) => position,
            None => next,
        };
        next = at + 1;
        args.get(at)
            .ok_or_else(|| parameter("too few arguments for format()"))
    };
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let specifier = specifier(&mut chars)?;
        let mut left = specifier.left;
        let width = match specifier.width {
            Width::None => 0,
            Width::Fixed(width) => width,
            Width::Argument(position) => {
                let width = argument(position)?;
                let width = width
                    .shown(call.zone)
                    .and_then(|w| w.parse::<i64>().ok())
                    .unwrap_or(0);
                left |= width < 0;
                usize::try_from(width.unsigned_abs()).unwrap_or(0)
            }
        };
        let value = formatted(argument(specifier.position)?, specifier.kind, call)?;
        if width > WIDTH_MAX {
            return Err(parameter("number is out of range"));
        }
        let blanks = " ".repeat(width.saturating_sub(value.chars().count()));
        if left {
            out.extend([value, blanks]);
        } else {
            out.extend([blanks, value]);
        }
    }
    Ok(Datum::text(out))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn digits(chars: &mut Chars<'_>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok()
}

fn specifier(chars: &mut Chars<'_>) -> Result<Specifier> {
    let unterminated = || parameter("unterminated format() type specifier");
    let mut specifier = Specifier {
        position: None,
        left: false,
        width: Width::None,
        kind: 's',
    };
    if let Some(number) = digits(chars) {
        if chars.next_if_eq(&'$').is_some() {
            specifier.position = Some(number);
        } else {
            specifier.width = Width::Fixed(number);
        }
    }
    while chars.next_if_eq(&'-').is_some() {
        specifier.left = true;
    }
    if chars.next_if_eq(&'*').is_some() {
        let position = digits(chars);
        if position.is_some() && chars.next_if_eq(&'$').is_none() {
            return Err(parameter("width argument position must be ended by \"$\""));
        }
        specifier.width = Width::Argument(position);
    } else if let Some(width) = digits(chars) {
        specifier.width = Width::Fixed(width);
    }
    specifier.kind = chars.next().ok_or_else(unterminated)?;
    Ok(specifier)
}

fn formatted(value: &Datum<'_>, kind: char, call: &Call) -> Result<String> {
    let shown = value.shown(call.zone);
    match (kind, shown) {
        ('s', shown) => Ok(shown.unwrap_or_default()),
        ('I', Some(shown)) => Ok(quoted_identifier(&shown)),
        ('I', None) => Err(ValueError::refused(
            Fault::Null,
            "null values cannot be formatted as an SQL identifier",
        )),
        ('L', Some(shown)) => Ok(quoted_literal(&shown)),
        ('L', None) => Ok("NULL".to_owned()),
        (other, _) => Err(parameter(format!(
            "unrecognized format() type specifier \"{other}\""
        ))),
    }
}

fn split_part<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (text, delimiter, position) = (args[0].str(), args[1].str(), args[2].int());
    if position == 0 {
        return Err(parameter("field position must not be zero"));
    }
    let parts: Vec<&str> = if delimiter.is_empty() {
        vec![text]
    } else {
        text.split(delimiter).collect()
    };
    let position = if position > 0 { position - 1 } else { position };
    let at = crate::values::json::position_in(parts.len(), position);
    Ok(Datum::text(at.map_or("", |at| parts[at])))
}

fn string_to_array<'a>(args: &[Datum<'a>]) -> Datum<'a> {
    if args[0].is_null() {
        return Datum::Null;
    }
    let text = args[0].str();
    let parts: Vec<String> = match &args[1] {
        _ if text.is_empty() => Vec::new(),
        Datum::Null => text.chars().map(String::from).collect(),
        delimiter if delimiter.str().is_empty() => vec![text.to_owned()],
        delimiter => text.split(delimiter.str()).map(str::to_owned).collect(),
    };
    let null = args.get(2).filter(|null| !null.is_null()).map(Datum::str);
    let item = |part: String| {
        if null == Some(part.as_str()) {
            Datum::Null
        } else {
            Datum::text(part)
        }
    };
    Datum::Array(parts.into_iter().map(item).collect())
}

/// Bounds of a part: first position, counted from 1, and the position behind it.
fn bounds(start: i64, length: Option<&Datum<'_>>) -> Result<(usize, usize)> {
    let end = match length.map(Datum::int) {
        Some(length) if length < 0 => {
            return Err(ValueError::refused(
                Fault::Substring,
                "negative substring length not allowed",
            ));
        }
        Some(length) => start.saturating_add(length),
        None => i64::MAX,
    };
    let index = |position: i64| usize::try_from(position - 1).unwrap_or(0);
    Ok((index(start), index(end.max(1)).max(index(start))))
}

fn substring<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (start, end) = bounds(args[1].int(), args.get(2))?;
    Ok(match &args[0] {
        Datum::Bytes(bytes) => {
            let end = end.min(bytes.len());
            Datum::bytes(bytes.get(start..end).unwrap_or_default())
        }
        text => Datum::text(text.str().chars().take(end).skip(start).collect::<String>()),
    })
}

fn overlay<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let start = args[2].int();
    if start <= 0 {
        return Err(ValueError::refused(
            Fault::Substring,
            "negative substring length not allowed",
        ));
    }
    let length = |units: usize| {
        args.get(3)
            .map_or(i64::try_from(units).unwrap_or(0), Datum::int)
    };
    let index = |position: i64| usize::try_from(position.max(0)).unwrap_or(0);
    Ok(match (&args[0], &args[1]) {
        (Datum::Bytes(bytes), Datum::Bytes(new)) => {
            let end = index(start - 1 + length(new.len())).min(bytes.len());
            let head = &bytes[..index(start - 1).min(bytes.len())];
            Datum::bytes([head, new, &bytes[end..]].concat())
        }
        (text, new) => {
            let (text, new) = (text.str(), new.str());
            let end = index(start - 1 + length(new.chars().count()));
            let head: String = text.chars().take(index(start - 1)).collect();
            let tail: String = text.chars().skip(end).collect();
            Datum::text(format!("{head}{new}{tail}"))
        }
    })
}

fn chr<'a>(code: i64) -> Result<Datum<'a>> {
    match code {
        ..0 => Err(parameter("character number must be positive")),
        0 => Err(ValueError::refused(
            Fault::Limit,
            "null character not permitted",
        )),
        _ => {
            let c = u32::try_from(code).ok().and_then(char::from_u32);
            let c = c.ok_or_else(|| {
                let message = format!("requested character not valid for encoding: {code}");
                ValueError::refused(Fault::Limit, message)
            })?;
            Ok(Datum::text(c.to_string()))
        }
    }
}

/// Replaces `\XXXX`, `\+XXXXXX`, `\uXXXX` and `\UXXXXXXXX`.
fn unistr(text: &str) -> Result<String> {
    let invalid = || ValueError::refused(Fault::Text, "invalid Unicode escape");
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix('\\') {
            out.push('\\');
            rest = behind;
            continue;
        }
        let (skip, width) = match rest.bytes().next() {
            Some(b'+') => (1, 6),
            Some(b'u') => (1, 4),
            Some(b'U') => (1, 8),
            _ => (0, 4),
        };
        let digits = rest.get(skip..skip + width).ok_or_else(invalid)?;
        let code = u32::from_str_radix(digits, 16).map_err(|_| invalid())?;
        out.push(
            char::from_u32(code)
                .filter(|c| *c != '\0')
                .ok_or_else(invalid)?,
        );
        rest = &rest[skip + width..];
    }
    out.push_str(rest);
    Ok(out)
}
