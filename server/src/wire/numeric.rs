//! `numeric` in PostgreSQL's binary format. Its text form is the planner's (`planner::values`).

use std::fmt::Write as _;

use arrow::datatypes::i256;
use bytes::{Buf, BufMut, BytesMut};
use planner::values::numeric::Digits;

use crate::error::{Error, Result};

/// Digits of one group in the binary format.
const GROUP: u32 = 10_000;

const SIGN_NEGATIVE: u16 = 0x4000;
const SIGN_NAN: u16 = 0xC000;
const SIGN_INFINITY: u16 = 0xD000;
const SIGN_MINUS_INFINITY: u16 = 0xF000;

/// Appends the binary form of a decimal: count, weight, sign, scale, base 10000 groups.
pub fn put_decimal128(value: i128, precision: u8, scale: i8, out: &mut BytesMut) {
    put_digits(&Digits::of_decimal128(value, precision, scale), out);
}

/// As [`put_decimal128`], for 256 bits.
pub fn put_decimal256(value: i256, precision: u8, scale: i8, out: &mut BytesMut) {
    put_digits(&Digits::of_decimal256(value, precision, scale), out);
}

fn put_digits(number: &Digits, out: &mut BytesMut) {
    // Pad so that the decimal point falls between two groups of four digits.
    let whole = number.digits.len().saturating_sub(number.scale);
    let mut padded = vec![0u8; (4 - whole % 4) % 4];
    padded.extend(&number.digits[..whole]);
    let whole_groups = padded.len() / 4;
    padded.extend(std::iter::repeat_n(
        0,
        number.scale - (number.digits.len() - whole),
    ));
    padded.extend(&number.digits[whole..]);
    padded.extend(std::iter::repeat_n(0, (4 - padded.len() % 4) % 4));
    let groups: Vec<u16> = padded
        .chunks(4)
        .map(|g| g.iter().fold(0u16, |sum, &d| sum * 10 + u16::from(d)))
        .collect();
    let leading = groups.iter().take_while(|&&g| g == 0).count();
    let trailing = groups[leading..]
        .iter()
        .rev()
        .take_while(|&&g| g == 0)
        .count();
    let kept = &groups[leading..groups.len() - trailing];
    out.put_u16(kept.len() as u16);
    out.put_i16(if kept.is_empty() {
        0
    } else {
        whole_groups as i16 - leading as i16 - 1
    });
    out.put_u16(if number.negative && !kept.is_empty() {
        SIGN_NEGATIVE
    } else {
        0
    });
    out.put_u16(number.scale as u16);
    kept.iter().for_each(|&g| out.put_u16(g));
}

/// Reads the binary form into text.
///
/// # Errors
/// [`Error::BinaryFormat`] when the bytes are not a numeric.
pub fn decimal_text(mut bytes: &[u8]) -> Result<String> {
    let broken = || Error::BinaryFormat {
        type_name: "numeric".to_owned(),
    };
    if bytes.len() < 8 {
        return Err(broken());
    }
    let (count, weight) = (usize::from(bytes.get_u16()), i32::from(bytes.get_i16()));
    let (sign, scale) = (bytes.get_u16(), usize::from(bytes.get_u16()));
    match sign {
        SIGN_NAN => return Ok("NaN".to_owned()),
        SIGN_INFINITY => return Ok("Infinity".to_owned()),
        SIGN_MINUS_INFINITY => return Ok("-Infinity".to_owned()),
        _ => {}
    }
    if bytes.len() != count * 2 || weight.abs() > 1000 || scale > 1000 {
        return Err(broken());
    }
    let groups: Vec<u16> = (0..count).map(|_| bytes.get_u16()).collect();
    if groups.iter().any(|&g| u32::from(g) >= GROUP) {
        return Err(broken());
    }
    let group = |index: i32| {
        usize::try_from(index)
            .ok()
            .and_then(|i| groups.get(i))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::from(if sign == SIGN_NEGATIVE { "-" } else { "" });
    for index in 0..=weight.max(0) {
        let _ = write!(text, "{:04}", group(if weight < 0 { -1 } else { index }));
    }
    if scale > 0 {
        let mut fraction = String::new();
        let groups_needed = scale.div_ceil(4) as i32;
        for index in 0..groups_needed {
            let _ = write!(fraction, "{:04}", group(weight + 1 + index));
        }
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use planner::values::numeric::parse_decimal;

    use super::*;

    #[test]
    fn binary_goes_both_ways() {
        for (value, scale) in [
            (0, 0),
            (0, 4),
            (1, 0),
            (-150, 2),
            (123_456_789, 5),
            (5, 10),
            (10_000, 0),
            (1, 4),
        ] {
            let mut bytes = BytesMut::new();
            put_decimal128(value, 38, scale, &mut bytes);
            let text = decimal_text(&bytes).unwrap();
            assert_eq!(
                parse_decimal(&text, 38, scale).unwrap(),
                value,
                "{value} scale {scale}: {text}"
            );
        }
        let mut bytes = BytesMut::new();
        put_decimal128(-150, 38, 2, &mut bytes);
        assert_eq!(&bytes[..], [0, 2, 0, 0, 0x40, 0, 0, 2, 0, 1, 0x13, 0x88]);
        assert!(decimal_text(&[0, 1, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
