//! Patterns: PostgreSQL's regular expressions, `SIMILAR TO`, and the escape of `LIKE`.
//!
//! PostgreSQL's advanced regular expressions are translated to those of the `regex` crate. What that
//! engine does not have is refused: back references and look-around. Where alternatives match texts
//! of different length it takes the first one, PostgreSQL the longest.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::{Captures, Regex};

use crate::functions::datum::Datum;
use crate::functions::function::{Function, array_of, function};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Bool, Int4, Text};

/// Compiled expressions that a thread remembers.
const CACHE_SIZE: usize = 64;

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("regexp_like")
            .on([Text, Text, Text], Bool, |_, a| {
                let regex = compiled(a[1].str(), flags(a, 2))?;
                Ok(Datum::Bool(regex.is_match(a[0].str())))
            })
            .optional(1),
        function("regexp_match")
            .on([Text, Text, Text], array_of(Text), |_, a| {
                let regex = compiled(a[1].str(), flags(a, 2))?;
                Ok(regex
                    .captures(a[0].str())
                    .map_or(Datum::Null, |found| groups(&found)))
            })
            .optional(1),
        function("pg_regexp_matches")
            .on([Text, Text, Text], array_of(array_of(Text)), |_, a| {
                let regex = compiled(a[1].str(), flags(a, 2))?;
                let most = if flags(a, 2).contains('g') {
                    usize::MAX
                } else {
                    1
                };
                let found = regex.captures_iter(a[0].str()).take(most);
                Ok(Datum::Array(found.map(|found| groups(&found)).collect()))
            })
            .optional(1),
        function("regexp_split_to_array")
            .on([Text, Text, Text], array_of(Text), |_, a| {
                let regex = compiled(a[1].str(), flags(a, 2))?;
                Ok(Datum::texts(split(&regex, a[0].str())))
            })
            .optional(1),
        function("regexp_count")
            .on([Text, Text, Int4, Text], Int4, |_, a| {
                let regex = compiled(a[1].str(), flags(a, 3))?;
                let count = regex.find_iter(from_position(a, 2)?).count();
                Ok(Datum::Int(i64::try_from(count).unwrap_or(i64::MAX)))
            })
            .optional(2),
        regexp_replace(),
        function("regexp_substr")
            .on([Text, Text, Int4, Int4, Text, Int4], Text, |_, a| {
                let rest = from_position(a, 2)?;
                let regex = compiled(a[1].str(), flags(a, 4))?;
                let group = group_number(a, 5)?;
                let found = occurrence(&regex, rest, a, 3)?;
                let found = found.and_then(|found| found.get(group).map(|m| m.as_str().to_owned()));
                Ok(found.map_or(Datum::Null, Datum::text))
            })
            .optional(4),
        function("regexp_instr")
            .on([Text, Text, Int4, Int4, Int4, Text, Int4], Int4, |_, a| {
                instr(a)
            })
            .optional(5),
        function("pg_similar_to")
            .on([Text, Text, Text], Bool, |_, a| {
                let escape = escape_character(a.get(2))?;
                let regex = compiled_rust(&similar_pattern(a[1].str(), escape)?)?;
                Ok(Datum::Bool(regex.is_match(a[0].str())))
            })
            .optional(1),
        function("pg_like_pattern").on([Text, Text], Text, |_, a| {
            like_pattern(a[0].str(), escape_character(a.get(1))?).map(Datum::text)
        }),
    ]
}

fn flags<'b>(args: &'b [Datum<'_>], at: usize) -> &'b str {
    args.get(at).map_or("", Datum::str)
}

/// The text from a position on, counted from 1.
fn from_position<'b>(args: &'b [Datum<'_>], at: usize) -> Result<&'b str> {
    let text = args[0].str();
    let start = positive(args, at, "start")?;
    let skipped = text.char_indices().nth(start - 1);
    Ok(skipped.map_or("", |(byte, _)| &text[byte..]))
}

fn positive(args: &[Datum<'_>], at: usize, name: &str) -> Result<usize> {
    let value = args.get(at).map_or(1, Datum::int);
    usize::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| {
            let message = format!("invalid value for parameter \"{name}\": {value}");
            ValueError::refused(Fault::Parameter, message)
        })
}

fn group_number(args: &[Datum<'_>], at: usize) -> Result<usize> {
    let value = args.get(at).map_or(0, Datum::int);
    usize::try_from(value).map_err(|_| {
        let message = format!("invalid value for parameter \"subexpr\": {value}");
        ValueError::refused(Fault::Parameter, message)
    })
}

/// The n-th match in a text.
fn occurrence<'b>(
    regex: &Regex,
    text: &'b str,
    args: &[Datum<'_>],
    at: usize,
) -> Result<Option<Captures<'b>>> {
    let n = positive(args, at, "n")?;
    Ok(regex.captures_iter(text).nth(n - 1))
}

/// The groups of a match, or all of it if the expression has none.
fn groups<'a>(found: &Captures<'_>) -> Datum<'a> {
    let first = usize::from(found.len() > 1);
    let group = |at: usize| {
        found
            .get(at)
            .map_or(Datum::Null, |group| Datum::text(group.as_str()))
    };
    Datum::Array((first..found.len()).map(group).collect())
}

/// The parts between matches. An empty match splits only between two characters.
fn split(regex: &Regex, text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut start = 0;
    for found in regex.find_iter(text) {
        if found.is_empty() && (found.start() == start || found.start() == text.len()) {
            continue;
        }
        parts.push(text[start..found.start()].to_owned());
        start = found.end();
    }
    parts.push(text[start..].to_owned());
    parts
}

fn regexp_replace() -> Function {
    function("regexp_replace")
        .on([Text, Text, Text, Text], Text, |_, a| {
            let flags = flags(a, 3);
            let regex = compiled(a[1].str(), flags)?;
            let which = if flags.contains('g') { 0 } else { 1 };
            Ok(Datum::text(replaced(&regex, a[0].str(), a[2].str(), which)))
        })
        .optional(1)
        .on([Text, Text, Text, Int4, Int4, Text], Text, |_, a| {
            let rest = from_position(a, 3)?;
            let kept = &a[0].str()[..a[0].str().len() - rest.len()];
            let flags = flags(a, 5);
            let regex = compiled(a[1].str(), flags)?;
            let unnamed = if flags.contains('g') { 0 } else { 1 };
            let which = args_int(a, 4, unnamed)?;
            Ok(Datum::text(format!(
                "{kept}{}",
                replaced(&regex, rest, a[2].str(), which)
            )))
        })
        .optional(2)
}

fn args_int(args: &[Datum<'_>], at: usize, unnamed: usize) -> Result<usize> {
    let Some(value) = args.get(at).map(Datum::int) else {
        return Ok(unnamed);
    };
    usize::try_from(value).map_err(|_| {
        let message = format!("invalid value for parameter \"n\": {value}");
        ValueError::refused(Fault::Parameter, message)
    })
}

/// Replaces the match of a number, or all of them for 0.
fn replaced(regex: &Regex, text: &str, replacement: &str, which: usize) -> String {
    let mut out = String::new();
    let mut start = 0;
    for (at, found) in regex.captures_iter(text).enumerate() {
        if which != 0 && at + 1 != which {
            continue;
        }
        let whole = found.get_match();
        out.push_str(&text[start..whole.start()]);
        fill_in(replacement, &found, &mut out);
        start = whole.end();
    }
    out.push_str(&text[start..]);
    out
}

/// Writes a replacement: `\1` is a group, `\&` the match, `\\` a backslash.
fn fill_in(replacement: &str, found: &Captures<'_>, out: &mut String) {
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        let group = match (c, chars.peek()) {
            ('\\', Some('&')) => 0,
            ('\\', Some(digit @ '1'..='9')) => *digit as usize - '0' as usize,
            ('\\', Some('\\')) => {
                chars.next();
                out.push('\\');
                continue;
            }
            (c, _) => {
                out.push(c);
                continue;
            }
        };
        chars.next();
        out.push_str(found.get(group).map_or("", |group| group.as_str()));
    }
}

fn instr<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let text = args[0].str();
    let rest = from_position(args, 2)?;
    let regex = compiled(args[1].str(), flags(args, 5))?;
    let end = match args.get(4).map_or(0, Datum::int) {
        0 => false,
        1 => true,
        other => {
            let message = format!("invalid value for parameter \"endoption\": {other}");
            return Err(ValueError::refused(Fault::Parameter, message));
        }
    };
    let group = group_number(args, 6)?;
    let found = occurrence(&regex, rest, args, 3)?;
    let position = found.and_then(|found| {
        let group = found.get(group)?;
        let byte = text.len() - rest.len() + if end { group.end() } else { group.start() };
        i64::try_from(text[..byte].chars().count() + 1).ok()
    });
    Ok(Datum::Int(position.unwrap_or(0)))
}

/// What `substring(text FROM pattern)` gives: the first group of the first match, or all of it.
pub(crate) fn first_match<'a>(text: &str, pattern: &str) -> Result<Datum<'a>> {
    let regex = compiled(pattern, "")?;
    let found = regex.captures(text).and_then(|found| {
        let group = found.get(usize::from(found.len() > 1))?;
        Some(group.as_str().to_owned())
    });
    Ok(found.map_or(Datum::Null, Datum::text))
}

/// What `substring(text SIMILAR pattern ESCAPE e)` gives: the part between the two separators.
pub(crate) fn similar_part<'a>(text: &str, pattern: &str, escape: &Datum<'_>) -> Result<Datum<'a>> {
    let escape = escape_character(Some(escape))?;
    let Some(escape) = escape else {
        return Ok(Datum::Null);
    };
    let separator = format!("{escape}\"");
    let parts: Vec<&str> = pattern.split(&separator).collect();
    let [before, inside, behind] = parts[..] else {
        return first_similar(text, pattern, Some(escape));
    };
    let piece = |part: &str| similar_body(part, Some(escape));
    let regex = compiled_rust(&format!(
        "(?s)^(?:{})({})(?:{})$",
        piece(before)?,
        piece(inside)?,
        piece(behind)?
    ))?;
    let found = regex
        .captures(text)
        .and_then(|found| found.get(1).map(|m| m.as_str().to_owned()));
    Ok(found.map_or(Datum::Null, Datum::text))
}

fn first_similar<'a>(text: &str, pattern: &str, escape: Option<char>) -> Result<Datum<'a>> {
    let regex = compiled_rust(&similar_pattern(pattern, escape)?)?;
    Ok(if regex.is_match(text) {
        Datum::text(text)
    } else {
        Datum::Null
    })
}

fn escape_character(escape: Option<&Datum<'_>>) -> Result<Option<char>> {
    let Some(escape) = escape else {
        return Ok(Some('\\'));
    };
    let mut chars = escape.str().chars();
    match (chars.next(), chars.next()) {
        (escape, None) => Ok(escape),
        _ => Err(ValueError::refused(Fault::Escape, "invalid escape string")),
    }
}

/// A LIKE pattern whose escape is the backslash.
fn like_pattern(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let next = chars.next().ok_or_else(|| {
                ValueError::refused(
                    Fault::Escape,
                    "LIKE pattern must not end with escape character",
                )
            })?;
            if matches!(next, '%' | '_' | '\\') {
                out.push('\\');
            }
            out.push(next);
        } else {
            out.push_str(if c == '\\' { "\\\\" } else { "" });
            out.extend((c != '\\').then_some(c));
        }
    }
    Ok(out)
}

/// A `SIMILAR TO` pattern as a regular expression that matches a whole text.
fn similar_pattern(pattern: &str, escape: Option<char>) -> Result<String> {
    Ok(format!("(?s)^(?:{})$", similar_body(pattern, escape)?))
}

fn similar_body(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let next = chars
                    .next()
                    .ok_or_else(|| ValueError::refused(Fault::Escape, "invalid escape string"))?;
                out.push_str(&regex::escape(&next.to_string()));
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            c if in_class => out.push(c),
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '.' | '^' | '$' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// A compiled expression of PostgreSQL's syntax.
fn compiled(pattern: &str, flags: &str) -> Result<Rc<Regex>> {
    compiled_rust(&rust_pattern(pattern, flags)?)
}

fn compiled_rust(pattern: &str) -> Result<Rc<Regex>> {
    thread_local! {
        static CACHE: RefCell<HashMap<String, Rc<Regex>>> = RefCell::default();
    }
    CACHE.with_borrow_mut(|cache| {
        if let Some(regex) = cache.get(pattern) {
            return Ok(Rc::clone(regex));
        }
        if cache.len() >= CACHE_SIZE {
            cache.clear();
        }
        let regex = Rc::new(Regex::new(pattern).map_err(|error| invalid(&error))?);
        cache.insert(pattern.to_owned(), Rc::clone(&regex));
        Ok(regex)
    })
}

/// PostgreSQL's words for the faults that it words too.
fn invalid(error: &regex::Error) -> ValueError {
    let text = error.to_string();
    let known = [
        ("unclosed group", "parentheses () not balanced"),
        ("unopened group", "parentheses () not balanced"),
        ("unclosed character class", "brackets [] not balanced"),
        ("repetition operator missing", "quantifier operand invalid"),
        (
            "invalid repetition count range",
            "invalid repetition count(s)",
        ),
        ("invalid character class range", "invalid character range"),
        ("unrecognized escape", "invalid escape \\ sequence"),
    ];
    let known = known.iter().find(|(ours, _)| text.contains(ours));
    let last = text.lines().last().unwrap_or_default();
    let reason = known.map_or_else(|| last.trim_start_matches("error: "), |(_, words)| words);
    refused(reason)
}

fn refused(reason: &str) -> ValueError {
    ValueError::refused(
        Fault::RegularExpression,
        format!("invalid regular expression: {reason}"),
    )
}

/// An expression of PostgreSQL's syntax in that of the `regex` crate.
///
/// # Errors
/// For flags that are none, and for what the crate does not have.
pub(crate) fn rust_pattern(pattern: &str, flags: &str) -> Result<String> {
    let mut options = flags.to_owned();
    let mut rest = pattern;
    if let Some(literal) = rest.strip_prefix("***=") {
        return Ok(format!("(?s){}", regex::escape(literal)));
    }
    rest = rest.strip_prefix("***:").unwrap_or(rest);
    if let Some(embedded) = embedded_options(rest) {
        options.push_str(embedded);
        rest = &rest[embedded.len() + 3..];
    }
    let mut insensitive = false;
    let (mut dots_match_lines, mut lines) = (true, false);
    let mut extended = false;
    for flag in options.chars() {
        match flag {
            'i' => insensitive = true,
            'c' => insensitive = false,
            'n' | 'm' => (dots_match_lines, lines) = (false, true),
            'p' => (dots_match_lines, lines) = (false, false),
            'w' => (dots_match_lines, lines) = (true, true),
            's' => (dots_match_lines, lines) = (true, false),
            'x' => extended = true,
            't' => extended = false,
            'g' | 'b' | 'e' => {}
            'q' => return Ok(format!("(?s){}", regex::escape(rest))),
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(ValueError::refused(Fault::Parameter, message));
            }
        }
    }
    let set = [
        ('i', insensitive),
        ('s', dots_match_lines),
        ('m', lines),
        ('x', extended),
    ];
    let set: String = set
        .iter()
        .filter(|(_, on)| *on)
        .map(|(flag, _)| *flag)
        .collect();
    let translated = translated(rest)?;
    Ok(if set.is_empty() {
        translated
    } else {
        format!("(?{set}){translated}")
    })
}

/// The letters of `(?letters)` at the start.
fn embedded_options(pattern: &str) -> Option<&str> {
    let inner = pattern.strip_prefix("(?")?;
    let end = inner.find(')')?;
    let letters = &inner[..end];
    (!letters.is_empty() && letters.bytes().all(|b| b.is_ascii_lowercase())).then_some(letters)
}

fn translated(pattern: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let used = match c {
            '\\' => escape(rest, &mut out)?,
            '[' if rest.starts_with("[[:<:]]") => {
                out.push_str(r"\b{start}");
                7
            }
            '[' if rest.starts_with("[[:>:]]") => {
                out.push_str(r"\b{end}");
                7
            }
            '[' => class(rest, &mut out),
            '(' if ["(?=", "(?!", "(?<"]
                .iter()
                .any(|look| rest.starts_with(look)) =>
            {
                return Err(unsupported("look-around"));
            }
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[used..];
    }
    Ok(out)
}

fn unsupported(what: &str) -> ValueError {
    ValueError::refused(
        Fault::Unsupported,
        format!("{what} in regular expressions is not supported"),
    )
}

/// Translates an escape; returns how many bytes it has.
fn escape(rest: &str, out: &mut String) -> Result<usize> {
    let Some(c) = rest[1..].chars().next() else {
        return Err(refused("invalid escape \\ sequence"));
    };
    match c {
        'y' => out.push_str(r"\b"),
        'Y' => out.push_str(r"\B"),
        'm' => out.push_str(r"\b{start}"),
        'M' => out.push_str(r"\b{end}"),
        'Z' => out.push_str(r"\z"),
        'B' => out.push_str(r"\\"),
        'e' => out.push_str(r"\x1B"),
        '1'..='9' => return Err(unsupported("a back reference")),
        'u' | 'U' | 'x' => {
            let width = match c {
                'u' => 4,
                'U' => 8,
                _ => rest[2..].bytes().take_while(u8::is_ascii_hexdigit).count(),
            };
            let digits = rest.get(2..2 + width).filter(|digits| !digits.is_empty());
            let digits = digits.ok_or_else(|| refused("invalid escape \\ sequence"))?;
            out.push_str(&format!("\\x{{{digits}}}"));
            return Ok(2 + width);
        }
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    Ok(1 + c.len_utf8())
}

/// Copies a bracket expression; returns how many bytes it has. Characters that are operators within
/// brackets for the crate, and none for PostgreSQL, are escaped.
fn class(rest: &str, out: &mut String) -> usize {
    let mut at = 1;
    out.push('[');
    if rest[at..].starts_with('^') {
        out.push('^');
        at += 1;
    }
    if rest[at..].starts_with(']') {
        out.push_str(r"\]");
        at += 1;
    }
    while let Some(c) = rest[at..].chars().next() {
        match c {
            ']' => {
                out.push(']');
                return at + 1;
            }
            '[' if rest[at..].starts_with("[:") => {
                let end = rest[at..].find(":]").map_or(rest.len() - at, |end| end + 2);
                out.push_str(&rest[at..at + end]);
                at += end;
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                at += 1;
            }
            '\\' => {
                let next = rest[at + 1..].chars().next();
                out.push('\\');
                out.extend(next);
                at += 1 + next.map_or(0, char::len_utf8);
            }
            c => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    at
}

/// Whether a text matches an expression.
pub(crate) fn matches(text: &str, pattern: &str, flags: &str) -> Result<bool> {
    Ok(compiled(pattern, flags)?.is_match(text))
}

/// Whether a text matches a LIKE pattern whose escape is the backslash.
pub(crate) fn is_like(text: &str, pattern: &str, insensitive: bool) -> Result<bool> {
    let mut regex = String::from(if insensitive { "(?si)^" } else { "(?s)^" });
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(
                &chars.next().map(String::from).unwrap_or_default(),
            )),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    Ok(compiled_rust(&regex)?.is_match(text))
}
