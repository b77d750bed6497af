//! Bytes, and texts that stand for them.

use crate::functions::datum::Datum;
use crate::functions::function::{Function, function};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Bytea, Int4, Text};

/// Characters of a line of base64, as in PostgreSQL (RFC 2045).
const LINE: usize = 76;

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("encode").on([Bytea, Text], Text, |_, a| {
            encode(a[0].octets(), a[1].str())
        }),
        function("decode").on([Text, Text], Bytea, |_, a| decode(a[0].str(), a[1].str())),
        function("pg_bytea_concat").on([Bytea, Bytea], Bytea, |_, a| {
            Ok(Datum::bytes([a[0].octets(), a[1].octets()].concat()))
        }),
        function("length")
            .on([Text], Int4, |_, a| Ok(size(a[0].str().chars().count())))
            .on([Bytea], Int4, |_, a| Ok(size(a[0].octets().len())))
            .on([Bytea, Text], Int4, |_, a| {
                Ok(size(
                    decoded_text(a[0].octets(), a[1].str())?.chars().count(),
                ))
            }),
        function("octet_length")
            .on([Text], Int4, |_, a| Ok(size(a[0].str().len())))
            .on([Bytea], Int4, |_, a| Ok(size(a[0].octets().len()))),
        function("bit_length")
            .on([Text], Int4, |_, a| Ok(size(a[0].str().len() * 8)))
            .on([Bytea], Int4, |_, a| Ok(size(a[0].octets().len() * 8))),
        function("get_byte").on([Bytea, Int4], Int4, |_, a| {
            let bytes = a[0].octets();
            Ok(Datum::Int(bytes[index(&a[1], bytes.len())?].into()))
        }),
        function("set_byte").on([Bytea, Int4, Int4], Bytea, |_, a| {
            let mut bytes = a[0].octets().to_vec();
            let at = index(&a[1], bytes.len())?;
            bytes[at] = (a[2].int() & 0xff) as u8;
            Ok(Datum::bytes(bytes))
        }),
        function("get_bit").on([Bytea, Int4], Int4, |_, a| {
            let bytes = a[0].octets();
            let at = index(&a[1], bytes.len() * 8)?;
            Ok(Datum::Int((bytes[at / 8] >> (at % 8) & 1).into()))
        }),
        function("set_bit").on([Bytea, Int4, Int4], Bytea, |_, a| {
            let mut bytes = a[0].octets().to_vec();
            let at = index(&a[1], bytes.len() * 8)?;
            match a[2].int() {
                0 => bytes[at / 8] &= !(1 << (at % 8)),
                1 => bytes[at / 8] |= 1 << (at % 8),
                _ => {
                    return Err(ValueError::refused(
                        Fault::Parameter,
                        "new bit must be 0 or 1",
                    ));
                }
            }
            Ok(Datum::bytes(bytes))
        }),
        function("convert_from").on([Bytea, Text], Text, |_, a| {
            decoded_text(a[0].octets(), a[1].str()).map(Datum::text)
        }),
        function("convert_to").on([Text, Text], Bytea, |_, a| {
            known_encoding(a[1].str())?;
            Ok(Datum::bytes(a[0].str()))
        }),
        trim("btrim", true, true),
        trim("ltrim", true, false),
        trim("rtrim", false, true),
    ]
}

fn size<'a>(units: usize) -> Datum<'a> {
    Datum::Int(i64::try_from(units).unwrap_or(i64::MAX))
}

fn index(at: &Datum<'_>, length: usize) -> Result<usize> {
    let at = at.int();
    usize::try_from(at)
        .ok()
        .filter(|at| *at < length)
        .ok_or_else(|| {
            let last = length as i64 - 1;
            let message = format!("index {at} out of valid range, 0..{last}");
            ValueError::refused(Fault::Array, message)
        })
}

fn trim(name: &'static str, left: bool, right: bool) -> Function {
    let trimmed = function(name);
    // A body captures nothing, so each combination is its own.
    match (left, right) {
        (true, true) => trimmed
            .on([Text, Text], Text, |_, a| trim_text(a, true, true))
            .optional(1)
            .on([Bytea, Bytea], Bytea, |_, a| Ok(trim_bytes(a, true, true))),
        (true, false) => trimmed
            .on([Text, Text], Text, |_, a| trim_text(a, true, false))
            .optional(1)
            .on([Bytea, Bytea], Bytea, |_, a| Ok(trim_bytes(a, true, false))),
        _ => trimmed
            .on([Text, Text], Text, |_, a| trim_text(a, false, true))
            .optional(1)
            .on([Bytea, Bytea], Bytea, |_, a| Ok(trim_bytes(a, false, true))),
    }
}

fn trim_text<'a>(args: &[Datum<'a>], left: bool, right: bool) -> Result<Datum<'a>> {
    let set: Vec<char> = args.get(1).map_or(" ", Datum::str).chars().collect();
    let mut text = args[0].str();
    if left {
        text = text.trim_start_matches(&set[..]);
    }
    if right {
        text = text.trim_end_matches(&set[..]);
    }
    Ok(Datum::text(text))
}

fn trim_bytes<'a>(args: &[Datum<'a>], left: bool, right: bool) -> Datum<'a> {
    let set = args[1].octets();
    let mut bytes = args[0].octets();
    while let Some((first, rest)) = bytes.split_first().filter(|(b, _)| left && set.contains(b)) {
        debug_assert!(set.contains(first));
        bytes = rest;
    }
    while let Some((last, rest)) = bytes.split_last().filter(|(b, _)| right && set.contains(b)) {
        debug_assert!(set.contains(last));
        bytes = rest;
    }
    Datum::bytes(bytes)
}

fn known_encoding(name: &str) -> Result<()> {
    if matches!(name.to_lowercase().as_str(), "utf8" | "utf-8" | "unicode") {
        return Ok(());
    }
    let message = format!("conversion of encoding \"{name}\" is not supported; use UTF8");
    Err(ValueError::refused(Fault::Unsupported, message))
}

fn decoded_text(bytes: &[u8], encoding: &str) -> Result<String> {
    known_encoding(encoding)?;
    let text = String::from_utf8(bytes.to_vec())
        .ok()
        .filter(|text| !text.contains('\0'));
    text.ok_or_else(|| {
        let wrong = bytes
            .iter()
            .find(|byte| **byte == 0 || **byte >= 0x80)
            .copied()
            .unwrap_or(0);
        let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{wrong:02x}");
        ValueError::refused(Fault::Bytes, message)
    })
}

fn unrecognized(encoding: &str) -> ValueError {
    ValueError::refused(
        Fault::Parameter,
        format!("unrecognized encoding: \"{encoding}\""),
    )
}

fn encode<'a>(bytes: &[u8], encoding: &str) -> Result<Datum<'a>> {
    Ok(Datum::text(match encoding.to_lowercase().as_str() {
        "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        "base64" => base64(bytes),
        "escape" => bytes.iter().map(|byte| escaped(*byte)).collect::<String>(),
        _ => return Err(unrecognized(encoding)),
    }))
}

fn escaped(byte: u8) -> String {
    match byte {
        b'\\' => "\\\\".to_owned(),
        0 | 0x80.. => format!("\\{byte:03o}"),
        _ => char::from(byte).to_string(),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, group) in bytes.chunks(3).enumerate() {
        if at > 0 && (at * 4).is_multiple_of(LINE) {
            out.push('\n');
        }
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..4 {
            let sextet = (bits >> (18 - 6 * digit)) & 63;
            let padding = digit > group.len();
            out.push(if padding {
                '='
            } else {
                char::from(ALPHABET[sextet as usize])
            });
        }
    }
    out
}

fn decode<'a>(text: &str, encoding: &str) -> Result<Datum<'a>> {
    Ok(Datum::bytes(match encoding.to_lowercase().as_str() {
        "hex" => hexadecimal(text)?,
        "base64" => from_base64(text)?,
        "escape" => unescaped(text)?,
        _ => return Err(unrecognized(encoding)),
    }))
}

fn hexadecimal(text: &str) -> Result<Vec<u8>> {
    let digits = text.chars().filter(|c| !c.is_ascii_whitespace());
    let digit = |c: char| {
        let message = format!("invalid hexadecimal digit: \"{c}\"");
        c.to_digit(16)
            .ok_or_else(|| ValueError::refused(Fault::Parameter, message))
    };
    let digits: Vec<u32> = digits.map(digit).collect::<Result<_>>()?;
    if !digits.len().is_multiple_of(2) {
        let message = "invalid hexadecimal data: odd number of digits";
        return Err(ValueError::refused(Fault::Parameter, message));
    }
    Ok(digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect())
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    let mut ended = false;
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()) {
        if c == b'=' {
            ended = true;
            continue;
        }
        let sextet = ALPHABET
            .iter()
            .position(|letter| *letter == c)
            .filter(|_| !ended);
        let sextet = sextet.ok_or_else(|| {
            let shown = char::from(c);
            let message =
                format!("invalid symbol \"{shown}\" found while decoding base64 sequence");
            ValueError::refused(Fault::Parameter, message)
        })?;
        bits = bits << 6 | sextet as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    if count >= 6 {
        return Err(ValueError::refused(
            Fault::Parameter,
            "invalid base64 end sequence",
        ));
    }
    Ok(bytes)
}

fn unescaped(text: &str) -> Result<Vec<u8>> {
    crate::values::input::parse_bytea_escape(text)
}
