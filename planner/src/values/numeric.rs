//! Numbers as PostgreSQL prints and reads them: `numeric` with its scale, floats shortest.

use std::cmp::Ordering;
use std::fmt::Write as _;

use arrow::datatypes::i256;

use crate::types::{DEVIATION, NUMERIC_DEFAULT, QUOTIENT, VARIANCE, is_quotient};
use crate::values::error::{Result, ValueError};

/// Digits behind the point of a quotient from 1 up to 9999: PostgreSQL's `NUMERIC_MIN_SIG_DIGITS`.
pub(crate) const QUOTIENT_DIGITS: i32 = 16;

/// Digits by which the size of a number is known.
const LEADING_DIGITS: usize = 9;

/// The digits of a decimal, most significant first, and its sign.
pub struct Digits {
    /// Whether it is below zero.
    pub negative: bool,
    /// From 0 to 9, without leading zeros if it is not below one.
    pub digits: Vec<u8>,
    /// How many of them stand behind the point; there may be fewer digits.
    pub scale: usize,
}

impl Digits {
    /// The digits of a number that is `unscaled` times 10 to the power of minus `scale`.
    #[must_use]
    pub fn new(unscaled: &str, scale: i8) -> Digits {
        let (negative, digits) = match unscaled.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, unscaled),
        };
        let mut digits: Vec<u8> = digits.bytes().map(|b| b - b'0').collect();
        // A negative scale counts zeros in front of the decimal point.
        digits.extend(std::iter::repeat_n(
            0,
            usize::from(scale.min(0).unsigned_abs()),
        ));
        Digits {
            negative,
            digits,
            scale: usize::try_from(scale).unwrap_or(0),
        }
    }

    /// The digits of a value of a column. Those of a `numeric` without precision end with the last
    /// one that is not zero.
    #[must_use]
    pub fn of_decimal128(value: i128, precision: u8, scale: i8) -> Digits {
        let mut digits = Digits::new(&value.to_string(), scale);
        if (precision, scale) == NUMERIC_DEFAULT {
            while digits.scale > 0 && digits.digits.last().is_none_or(|digit| *digit == 0) {
                digits.digits.pop();
                digits.scale -= 1;
            }
        }
        digits
    }

    /// As [`Digits::of_decimal128`], for 256 bits. Those of a quotient are as many as PostgreSQL
    /// gives one of its size.
    #[must_use]
    pub fn of_decimal256(value: i256, precision: u8, scale: i8) -> Digits {
        let mut digits = Digits::new(&value.to_string(), scale);
        if is_quotient(precision, scale) {
            let shown = match precision {
                _ if value == i256::ZERO && precision <= VARIANCE.0 => 0,
                _ if precision == DEVIATION.0 => digits.quotient_scale(2),
                _ => digits.quotient_scale(1),
            };
            let cut = digits.digits.len().saturating_sub(digits.scale - shown);
            digits.digits.truncate(cut);
            digits.scale = shown;
        }
        digits
    }

    /// Digits behind the point by which PostgreSQL shows a quotient of this size: at least 16
    /// significant ones in groups of four (`select_div_scale`), and all that are not zero. What a
    /// product has more than its quotient is added. The number is the quotient to a `power`.
    fn quotient_scale(&self, power: u32) -> usize {
        let is_zero = |digits: &[u8]| digits.iter().all(|digit| *digit == 0);
        let more = self.scale as i32 - i32::from(QUOTIENT.1);
        let first = if is_zero(&self.digits) {
            -1
        } else {
            let exponent = self.digits.len() as i32 - 1 - self.scale as i32;
            // A power of ten thousand is what equal numbers make, whose quotient PostgreSQL takes
            // for less than it is.
            let is_power = (exponent * power as i32) % 4 == 0
                && self.digits[0] == 1
                && is_zero(&self.digits[1..]);
            let first = self.digits.iter().take(LEADING_DIGITS);
            let first = first.fold(0, |sum, digit| sum * 10 + u64::from(*digit));
            let known = LEADING_DIGITS.min(self.digits.len()) as u32;
            // A square has twice the exponent, or one more.
            let carries = power > 1 && first.pow(power) >= 10_u64.pow(known * power - 1);
            let size = (exponent * power as i32 + i32::from(carries)).div_euclid(4);
            size - i32::from(is_power)
        };
        let shown = (QUOTIENT_DIGITS - 4 * first).max(0) + more;
        let zeros = self.digits.iter().rev().take_while(|digit| **digit == 0);
        let zeros = zeros.count();
        let used = if zeros == self.digits.len() {
            0
        } else {
            self.scale.saturating_sub(zeros)
        };
        usize::try_from(shown)
            .unwrap_or(0)
            .max(used)
            .min(self.scale)
    }
}

/// Writes a 128 bit decimal with `scale` digits after the point. A `numeric` without precision knows
/// no scale of its values: it is written without zeros at its end.
pub fn write_decimal128(value: i128, precision: u8, scale: i8, out: &mut String) {
    write_digits(&Digits::of_decimal128(value, precision, scale), out);
}

/// Writes a 256 bit decimal with `scale` digits after the point; a quotient with as many as
/// PostgreSQL gives one of its size.
pub fn write_decimal256(value: i256, precision: u8, scale: i8, out: &mut String) {
    write_digits(&Digits::of_decimal256(value, precision, scale), out);
}

/// Writes a number with exactly its scale.
pub(crate) fn write_digits(number: &Digits, out: &mut String) {
    if number.negative {
        out.push('-');
    }
    let whole = number.digits.len().saturating_sub(number.scale);
    if whole == 0 {
        out.push('0');
    }
    number.digits[..whole]
        .iter()
        .for_each(|d| out.push(char::from(b'0' + d)));
    if number.scale > 0 {
        out.push('.');
        out.extend(std::iter::repeat_n(
            '0',
            number.scale - (number.digits.len() - whole),
        ));
        number.digits[whole..]
            .iter()
            .for_each(|d| out.push(char::from(b'0' + d)));
    }
}

/// Reads a decimal from text and rounds it, half away from zero, to `scale` digits.
///
/// # Errors
/// [`ValueError::InvalidText`] for text that is no number; [`ValueError::NumericOverflow`] when it does not fit.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Result<i128> {
    let digits = parse_unscaled(text, precision, scale)?;
    digits
        .parse()
        .map_err(|_| ValueError::NumericOverflow { precision, scale })
}

/// As [`parse_decimal`], for up to 76 digits.
///
/// # Errors
/// As [`parse_decimal`].
pub fn parse_decimal256(text: &str, precision: u8, scale: i8) -> Result<i256> {
    let digits = parse_unscaled(text, precision, scale)?;
    i256::from_string(&digits).ok_or(ValueError::NumericOverflow { precision, scale })
}

/// The digits of the number times 10^scale, rounded, with its sign; at most `precision` digits.
fn parse_unscaled(text: &str, precision: u8, scale: i8) -> Result<String> {
    let invalid = || ValueError::InvalidText {
        type_name: "numeric".to_owned(),
        value: text.to_owned(),
    };
    let overflow = || ValueError::NumericOverflow { precision, scale };
    let trimmed = text.trim();
    if ["nan", "infinity", "-infinity", "+infinity", "inf", "-inf"]
        .iter()
        .any(|n| trimmed.eq_ignore_ascii_case(n))
    {
        return Err(ValueError::NotStorable {
            type_name: "numeric".to_owned(),
            value: trimmed.to_owned(),
        });
    }
    let (negative, unsigned) = match trimmed.as_bytes().first() {
        Some(b'-') => (true, &trimmed[1..]),
        Some(b'+') => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| invalid())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(invalid());
    }
    let all: Vec<u8> = whole
        .bytes()
        .chain(fraction.bytes())
        .map(|b| b - b'0')
        .collect();
    let leading = all.iter().take_while(|&&d| d == 0).count();
    let digits = &all[leading..];
    if digits.is_empty() {
        return Ok("0".to_owned());
    }
    // Digits kept: those in front of the decimal point once it is moved by exponent and scale.
    let kept = whole.len() as i64 - leading as i64 + i64::from(exponent) + i64::from(scale);
    // One digit more than allowed is an overflow already; so is what rounding makes of it.
    if kept > i64::from(precision) {
        return Err(overflow());
    }
    let Ok(kept) = usize::try_from(kept) else {
        return Ok("0".to_owned());
    };
    let mut rounded: Vec<u8> = digits
        .iter()
        .copied()
        .chain(std::iter::repeat(0))
        .take(kept)
        .collect();
    if digits.get(kept).is_some_and(|&d| d >= 5) {
        increment(&mut rounded);
    }
    if rounded.len() > usize::from(precision) {
        return Err(overflow());
    }
    let mut out = String::from(if negative { "-" } else { "" });
    out.extend(rounded.iter().map(|d| char::from(b'0' + d)));
    Ok(if rounded.is_empty() {
        "0".to_owned()
    } else {
        out
    })
}

/// Adds one to the number with these digits.
fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
}

/// Writes a double as PostgreSQL does with `extra_float_digits` ≥ 1: shortest text that reads
/// back the same, fixed notation for exponents from -4 up to 14.
pub fn write_float8(value: f64, out: &mut String) {
    if write_special(value, out) {
        return;
    }
    write_shortest(&format!("{value:e}"), 15, out);
}

/// Writes a float as PostgreSQL does: fixed notation for exponents from -4 up to 5.
pub fn write_float4(value: f32, out: &mut String) {
    if write_special(f64::from(value), out) {
        return;
    }
    write_shortest(&format!("{value:e}"), 6, out);
}

fn write_special(value: f64, out: &mut String) -> bool {
    let text = if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else {
        return false;
    };
    out.push_str(text);
    true
}

/// Lays out the shortest digits, given as Rust's `d.ddde±x`.
fn write_shortest(scientific: &str, fixed_below: i32, out: &mut String) {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push('-');
            rest
        }
        None => mantissa,
    };
    if !(-4..fixed_below).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
        return;
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n(
            '0',
            exponent.unsigned_abs() as usize - 1,
        ));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        let _ = write!(out, "{}.{}", &digits[..whole], &digits[whole..]);
    }
}

/// The order of two numbers that are written without exponent.
#[must_use]
pub fn compare_texts(a: &str, b: &str) -> Ordering {
    match (a.strip_prefix('-'), b.strip_prefix('-')) {
        (Some(a), Some(b)) => compare_unsigned(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => compare_unsigned(a, b),
    }
}

fn compare_unsigned(a: &str, b: &str) -> Ordering {
    let parts = |text| {
        let (whole, fraction): (&str, &str) = str::split_once(text, '.').unwrap_or((text, ""));
        (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        )
    };
    let (a, b) = (parts(a), parts(b));
    let whole = a.0.len().cmp(&b.0.len()).then_with(|| a.0.cmp(b.0));
    whole.then_with(|| a.1.cmp(b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float8(value: f64) -> String {
        let mut out = String::new();
        write_float8(value, &mut out);
        out
    }

    fn float4(value: f32) -> String {
        let mut out = String::new();
        write_float4(value, &mut out);
        out
    }

    #[test]
    fn floats_as_postgres_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(float8(value), text);
        }
        assert_eq!(float4(1e6), "1e+06");
        assert_eq!(float4(123_456.7), "123456.7");
        assert_eq!(float4(0.1), "0.1");
    }

    #[test]
    fn decimals_keep_their_scale() {
        let text = |value, scale| {
            let mut out = String::new();
            write_decimal128(value, 38, scale, &mut out);
            out
        };
        assert_eq!(text(150, 2), "1.50");
        assert_eq!(text(-5, 2), "-0.05");
        assert_eq!(text(0, 3), "0.000");
        assert_eq!(text(12, -2), "1200");
        assert_eq!(text(7, 0), "7");
    }

    #[test]
    fn quotients_have_the_digits_of_their_size() {
        let text = |value: &str, digits: (u8, i8)| {
            let value = parse_decimal256(value, digits.0, digits.1).unwrap();
            let mut out = String::new();
            write_decimal256(value, digits.0, digits.1, &mut out);
            out
        };
        for (value, shown) in [
            ("2.5", "2.5000000000000000"),
            ("-0.5", "-0.50000000000000000000"),
            ("0", "0.00000000000000000000"),
            ("1", "1.00000000000000000000"),
            ("9999", "9999.0000000000000000"),
            ("10000", "10000.0000000000000000"),
            ("20000.5", "20000.500000000000"),
            ("12345.3333333333333333", "12345.3333333333333333"),
            ("0.00005", "0.000050000000000000000000"),
            ("123456789012345678901", "123456789012345678901"),
        ] {
            assert_eq!(text(value, QUOTIENT), shown);
        }
        assert_eq!(text("0", VARIANCE), "0");
        assert_eq!(text("1", VARIANCE), "1.00000000000000000000");
        assert_eq!(text("14140.4857138", DEVIATION), "14140.48571380");
        // A product with a number of two digits behind the point.
        assert_eq!(text("2.5", (73, 26)), "2.500000000000000000");
    }

    #[test]
    fn decimals_are_read_and_rounded_half_away_from_zero() {
        assert_eq!(parse_decimal("1.005", 10, 2).unwrap(), 101);
        assert_eq!(parse_decimal("-1.005", 10, 2).unwrap(), -101);
        assert_eq!(parse_decimal(" 12e-1 ", 10, 2).unwrap(), 120);
        assert_eq!(parse_decimal("1e3", 10, 2).unwrap(), 100_000);
        assert_eq!(parse_decimal(".5", 10, 0).unwrap(), 1);
        assert_eq!(parse_decimal("0.0049", 10, 2).unwrap(), 0);
        assert_eq!(parse_decimal("0e99", 10, 2).unwrap(), 0);
        assert_eq!(parse_decimal("0.05", 10, 1).unwrap(), 1);
        assert_eq!(parse_decimal("-0.004", 10, 2).unwrap(), 0);
        assert_eq!(parse_decimal("99.99", 10, 1).unwrap(), 1000);
        assert_eq!(
            parse_decimal256("1e50", 60, 5).unwrap().to_string(),
            format!("1{}", "0".repeat(55))
        );
        assert!(matches!(
            parse_decimal("999.995", 5, 2),
            Err(ValueError::NumericOverflow { .. })
        ));
        assert!(matches!(
            parse_decimal("1e400", 38, 2),
            Err(ValueError::NumericOverflow { .. })
        ));
        for bad in ["", ".", "1.2.3", "abc", "1e", "--1"] {
            assert!(
                matches!(
                    parse_decimal(bad, 10, 2),
                    Err(ValueError::InvalidText { .. })
                ),
                "{bad}"
            );
        }
    }
}
