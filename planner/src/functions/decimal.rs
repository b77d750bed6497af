//! `numeric` values of up to 38 digits: arithmetic with PostgreSQL's scales and rounding.

use std::cmp::Ordering;
use std::fmt;

use arrow::datatypes::i256;

use crate::types::{NUMERIC_DEFAULT, QUOTIENT};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::numeric::{Digits, QUOTIENT_DIGITS, write_digits};

/// A number: `unscaled` divided by ten to the power of `scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    pub(crate) unscaled: i128,
    pub(crate) scale: u8,
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self {
            unscaled: value.into(),
            scale: 0,
        }
    }
}

fn overflow() -> ValueError {
    ValueError::refused(Fault::OutOfRange, "value overflows numeric format")
}

/// Ten to a power, up to 38.
fn power(exponent: u8) -> Result<i128> {
    10i128.checked_pow(exponent.into()).ok_or_else(overflow)
}

/// Ten to a power, up to 76.
fn wide_power(exponent: u8) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent.into())
}

/// A quotient rounded half away from zero.
fn divide(dividend: i256, divisor: i256) -> Option<i256> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?;
    let twice = rest.wrapping_abs().checked_mul(i256::from(2))?;
    if twice < divisor.wrapping_abs() {
        return Some(quotient);
    }
    let negative = (dividend < i256::ZERO) != (divisor < i256::ZERO);
    quotient.checked_add(if negative { i256::MINUS_ONE } else { i256::ONE })
}

impl Decimal {
    /// A value of a column. One of a `numeric` without precision has the digits that it needs.
    pub(crate) fn of_column(unscaled: i128, precision: u8, scale: i8) -> Self {
        let Ok(scale_digits) = u8::try_from(scale) else {
            let zeros = 10i128.saturating_pow(scale.unsigned_abs().into());
            return Self {
                unscaled: unscaled.saturating_mul(zeros),
                scale: 0,
            };
        };
        let value = Self {
            unscaled,
            scale: scale_digits,
        };
        if (precision, scale) == NUMERIC_DEFAULT {
            value.trimmed()
        } else {
            value
        }
    }

    /// A value of a column of more than 38 digits, if it has no more than these itself. A quotient has
    /// the digits behind the point that it is shown with.
    pub(crate) fn of_wide_column(unscaled: i256, precision: u8, scale: i8) -> Option<Self> {
        let digits = Digits::of_decimal256(unscaled, precision, scale);
        let mut shown = String::new();
        write_digits(&digits, &mut shown);
        Self::parse(&shown)
    }

    /// Without zeros at its end.
    pub(crate) fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.unscaled % 10 == 0 {
            self.unscaled /= 10;
            self.scale -= 1;
        }
        self
    }

    /// The same number with another scale, rounded half away from zero.
    pub(crate) fn rescaled(self, scale: u8) -> Result<Self> {
        let unscaled = match scale.checked_sub(self.scale) {
            Some(more) => self
                .unscaled
                .checked_mul(power(more)?)
                .ok_or_else(overflow)?,
            None => {
                let less = self.scale - scale;
                match power(less) {
                    Ok(divisor) => divide(self.unscaled.into(), divisor.into())
                        .and_then(i256::to_i128)
                        .ok_or_else(overflow)?,
                    Err(_) => 0,
                }
            }
        };
        Ok(Self { unscaled, scale })
    }

    /// Rounded to digits behind the point, or to zeros in front of it if negative.
    pub(crate) fn rounded(self, digits: i64) -> Result<Self> {
        match u8::try_from(digits) {
            Ok(digits) if digits >= self.scale => Ok(self),
            Ok(digits) => self.rescaled(digits),
            Err(_) if digits > 0 => Ok(self),
            Err(_) => {
                let Ok(zeros) = u8::try_from(-digits) else {
                    return Ok(Self::from(0));
                };
                let Ok(unit) = power(zeros) else {
                    return Ok(Self::from(0));
                };
                let unit_scaled = i256::from(unit)
                    .checked_mul(i256::from(power(self.scale)?))
                    .ok_or_else(overflow)?;
                let units = divide(self.unscaled.into(), unit_scaled).and_then(i256::to_i128);
                let unscaled = units
                    .and_then(|n| n.checked_mul(unit))
                    .ok_or_else(overflow)?;
                Ok(Self { unscaled, scale: 0 })
            }
        }
    }

    /// As [`Decimal::rounded`], towards zero.
    pub(crate) fn truncated(self, digits: i64) -> Result<Self> {
        if digits >= i64::from(self.scale) {
            return Ok(self);
        }
        let kept = u8::try_from(digits.max(0)).map_err(|_| overflow())?;
        let whole = self.unscaled / power(self.scale - kept)?;
        let Ok(zeros) = u8::try_from((-digits).max(0)) else {
            return Ok(Self::from(0));
        };
        let unscaled = match power(zeros) {
            Ok(unit) => whole / unit * unit,
            Err(_) => 0,
        };
        Ok(Self {
            unscaled,
            scale: kept,
        })
    }

    /// The value as a column of these digits keeps it.
    pub(crate) fn fit(self, precision: u8, scale: i8) -> Result<i128> {
        let overflow = || ValueError::NumericOverflow { precision, scale };
        let scale = u8::try_from(scale).map_err(|_| overflow())?;
        let unscaled = self.rescaled(scale).map_err(|_| overflow())?.unscaled;
        let bound = power(precision).unwrap_or(i128::MAX);
        if unscaled.unsigned_abs() < bound.unsigned_abs() {
            Ok(unscaled)
        } else {
            Err(overflow())
        }
    }

    /// As [`Decimal::fit`], for a column of up to 76 digits.
    pub(crate) fn fit_wide(self, precision: u8, scale: i8) -> Result<i256> {
        let fitted = || {
            let scale = u8::try_from(scale).ok()?;
            let unscaled = i256::from(self.unscaled);
            let fitted = match scale.checked_sub(self.scale) {
                Some(more) => unscaled.checked_mul(wide_power(more)?),
                None => divide(unscaled, wide_power(self.scale - scale)?),
            }?;
            (fitted.wrapping_abs() < wide_power(precision)?).then_some(fitted)
        };
        fitted().ok_or(ValueError::NumericOverflow { precision, scale })
    }

    /// Both numbers times ten to the power of the greater scale.
    fn aligned(self, other: Self) -> (i256, i256, u8) {
        let scale = self.scale.max(other.scale);
        let at = |value: Self| {
            let factor = i256::from(10i128.saturating_pow((scale - value.scale).into()));
            i256::from(value.unscaled).wrapping_mul(factor)
        };
        (at(self), at(other), scale)
    }

    pub(crate) fn order(self, other: Self) -> Ordering {
        let (a, b, _) = self.aligned(other);
        a.cmp(&b)
    }

    pub(crate) fn is_zero(self) -> bool {
        self.unscaled == 0
    }

    /// The quotient with `scale` digits behind the point.
    pub(crate) fn divided(self, divisor: Self, scale: u8) -> Result<Self> {
        if divisor.is_zero() {
            return Err(ValueError::refused(
                Fault::DivisionByZero,
                "division by zero",
            ));
        }
        let (a, b, _) = self.aligned(divisor);
        let raised = a.checked_mul(i256::from(power(scale)?));
        let unscaled = raised
            .and_then(|a| divide(a, b))
            .and_then(i256::to_i128)
            .ok_or_else(overflow)?;
        Ok(Self { unscaled, scale })
    }

    /// The quotient with the digits behind the point that PostgreSQL gives it, as far as a column of
    /// quotients holds them.
    pub(crate) fn quotient(self, divisor: Self) -> Result<Self> {
        let scale = self.quotient_scale(divisor).min(QUOTIENT.1.unsigned_abs());
        self.divided(divisor, scale)
    }

    /// The digits behind the point that PostgreSQL gives a quotient (`select_div_scale`): at least
    /// 16 significant ones, in groups of four.
    pub(crate) fn quotient_scale(self, divisor: Self) -> u8 {
        let (a, b) = (self.leading_group(), divisor.leading_group());
        let weight = a.0 - b.0 - i32::from(a.1 <= b.1);
        let least = self.scale.max(divisor.scale).into();
        (QUOTIENT_DIGITS - weight * 4).max(least).clamp(0, 38) as u8
    }

    /// The power of ten thousand of the first group of digits, and that group.
    fn leading_group(self) -> (i32, i128) {
        let digits = self.unscaled.unsigned_abs().to_string();
        if self.is_zero() {
            return (0, 0);
        }
        let exponent = digits.len() as i32 - 1 - i32::from(self.scale);
        let weight = exponent.div_euclid(4);
        let length = (exponent - weight * 4 + 1) as usize;
        let group: String = digits
            .chars()
            .chain(std::iter::repeat('0'))
            .take(length)
            .collect();
        (weight, group.parse().unwrap_or(0))
    }

    /// What `count` numbers spread around their mean, given the sum of their squares and their sum:
    /// `(count * squares - sum²) / divisor`, with PostgreSQL's scale. Nothing is below zero.
    pub(crate) fn variance(squares: Self, sum: Self, count: i64, divisor: i128) -> Result<Self> {
        let spread = || {
            let square = i256::from(sum.unscaled).checked_mul(i256::from(sum.unscaled))?;
            let scale = squares.scale.max(sum.scale.checked_mul(2)?);
            let square = square.checked_mul(wide_power(scale - 2 * sum.scale)?)?;
            let squares = i256::from(squares.unscaled)
                .checked_mul(i256::from(i128::from(count)))?
                .checked_mul(wide_power(scale - squares.scale)?)?;
            let unscaled = squares.checked_sub(square)?.to_i128()?;
            Some(Self { unscaled, scale })
        };
        let spread = spread().ok_or_else(overflow)?;
        if spread.unscaled <= 0 {
            return Ok(Self::from(0));
        }
        let divisor = Self {
            unscaled: divisor,
            scale: 0,
        };
        spread.quotient(divisor)
    }

    /// The square root with as many digits behind the point.
    pub(crate) fn root(self) -> Result<Self> {
        if self.unscaled <= 0 {
            return Ok(self);
        }
        let raised = wide_power(self.scale)
            .and_then(|unit| i256::from(self.unscaled).checked_mul(unit))
            .ok_or_else(overflow)?;
        // Newton's method from above: it falls until it is there.
        let step = |root: i256| (root + raised / root) / i256::from(2);
        let mut root = wide_power(38).ok_or_else(overflow)?;
        let mut next = step(root);
        while next < root {
            (root, next) = (next, step(next));
        }
        // Rounded: up if what is left is more than half of a step.
        if raised - root * root > root {
            root += i256::ONE;
        }
        let unscaled = root.to_i128().ok_or_else(overflow)?;
        Ok(Self {
            unscaled,
            scale: self.scale,
        })
    }

    /// Whole quotient and remainder.
    pub(crate) fn divided_whole(self, divisor: Self) -> Result<(Self, Self)> {
        if divisor.is_zero() {
            return Err(ValueError::refused(
                Fault::DivisionByZero,
                "division by zero",
            ));
        }
        let (a, b, scale) = self.aligned(divisor);
        let parts = || {
            let quotient = a.checked_div(b)?.to_i128()?;
            let rest = a.checked_rem(b)?.to_i128()?;
            Some((quotient, rest))
        };
        let (quotient, rest) = parts().ok_or_else(overflow)?;
        let whole = Self {
            unscaled: quotient,
            scale: 0,
        };
        let rest = Self {
            unscaled: rest,
            scale,
        };
        Ok((whole, rest))
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Reads digits with at most one point.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        Some(Self {
            unscaled: format!("{whole}{fraction}").parse().ok()?,
            scale: u8::try_from(fraction.len()).ok()?,
        })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = i8::try_from(self.scale).unwrap_or(i8::MAX);
        let mut out = String::new();
        write_digits(&Digits::new(&self.unscaled.to_string(), scale), &mut out);
        f.write_str(&out)
    }
}
