//! Numbers: rounding, division with PostgreSQL's scales, roots and logarithms that know their domains.
//!
//! A `numeric` result has its scale by the types of the arguments and by constants (`round(x, 2)`).
//! A quotient has PostgreSQL's scale, which it finds by the values. That of constants is known with the
//! type; others are of a type of their own ([`QUOTIENT`]), and shown by their size.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::ReturnFieldArgs;

use crate::functions::datum::Datum;
use crate::functions::decimal::Decimal;
use crate::functions::function::{Body, Function, Param, Returns, function};
use crate::types::{DEVIATION, NUMERIC_DEFAULT, QUOTIENT, VARIANCE};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::types::SqlType::{Float4, Float8, Int2, Int4, Int8, Numeric};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    let mut functions = vec![
        function("round")
            .on([Float8], Float8, |_, a| {
                Ok(Datum::Float(a[0].float().round_ties_even()))
            })
            .on([Numeric(None)], Returns::By(whole_type), |_, a| {
                a[0].numeric()?.rounded(0).map(Datum::Numeric)
            })
            .on([Numeric(None), Int4], Returns::By(rounded_type), |_, a| {
                a[0].numeric()?.rounded(a[1].int()).map(Datum::Numeric)
            }),
        function("trunc")
            .on([Float8], Float8, |_, a| {
                Ok(Datum::Float(a[0].float().trunc()))
            })
            .on([Numeric(None)], Returns::By(whole_type), |_, a| {
                a[0].numeric()?.truncated(0).map(Datum::Numeric)
            })
            .on([Numeric(None), Int4], Returns::By(rounded_type), |_, a| {
                a[0].numeric()?.truncated(a[1].int()).map(Datum::Numeric)
            }),
        ceil("ceil"),
        ceil("ceiling"),
        function("floor")
            .on([Float8], Float8, |_, a| {
                Ok(Datum::Float(a[0].float().floor()))
            })
            .on([Numeric(None)], Returns::By(whole_type), |_, a| {
                let value = a[0].numeric()?;
                let whole = value.truncated(0)?;
                let down = i128::from(value.order(whole).is_lt());
                Ok(Datum::Numeric(Decimal {
                    unscaled: whole.unscaled - down,
                    scale: 0,
                }))
            }),
        abs(),
        function("sign")
            .on([Float8], Float8, |_, a| {
                let value = a[0].float();
                Ok(Datum::Float(if value == 0.0 {
                    0.0
                } else {
                    value.signum()
                }))
            })
            .on(
                [Numeric(None)],
                Returns::Type(DataType::Decimal128(1, 0)),
                |_, a| {
                    Ok(Datum::Numeric(Decimal {
                        unscaled: a[0].numeric()?.unscaled.signum(),
                        scale: 0,
                    }))
                },
            ),
        function("div").on(
            [Numeric(None), Numeric(None)],
            Returns::By(whole_type),
            |_, a| {
                Ok(Datum::Numeric(
                    a[0].numeric()?.divided_whole(a[1].numeric()?)?.0,
                ))
            },
        ),
        modulo(),
        function("pg_numeric_divide")
            .on(
                [Numeric(None), Numeric(None), Int4],
                Returns::By(quotient_type),
                |call, a| {
                    let (dividend, divisor) = (a[0].numeric()?, a[1].numeric()?);
                    let quotient = match call.returns {
                        DataType::Decimal128(_, scale) => {
                            dividend.divided(divisor, scale.unsigned_abs())
                        }
                        _ => dividend.quotient(divisor),
                    };
                    quotient.map(Datum::Numeric)
                },
            )
            .optional(1),
        function("pg_mean").on(
            [Numeric(None), Int8],
            Returns::Type(DataType::Decimal256(QUOTIENT.0, QUOTIENT.1)),
            |_, a| {
                let count = Decimal::from(a[1].int());
                a[0].numeric()?.quotient(count).map(Datum::Numeric)
            },
        ),
        spread("pg_var_samp", VARIANCE, |_, a| variance(a, Of::Sample)),
        spread("pg_var_pop", VARIANCE, |_, a| variance(a, Of::Population)),
        spread("pg_stddev_samp", DEVIATION, |_, a| {
            root(variance(a, Of::Sample)?)
        }),
        spread("pg_stddev_pop", DEVIATION, |_, a| {
            root(variance(a, Of::Population)?)
        }),
        function("pg_float_divide")
            .on([Float4, Float4], Float4, |_, a| {
                Ok(Datum::Float4(quotient(a)? as f32))
            })
            .on([Float8, Float8], Float8, |_, a| {
                quotient(a).map(Datum::Float)
            }),
        function("pg_numeric").on([Param::Any], Returns::By(numeric_type), |_, a| {
            match &a[0] {
                Datum::Numeric(_) | Datum::Int(_) => Ok(a[0].clone()),
                other => read_numeric(other),
            }
        }),
        function("scale").on([Numeric(None)], Int4, |_, a| {
            Ok(Datum::Int(a[0].numeric()?.scale.into()))
        }),
        function("min_scale").on([Numeric(None)], Int4, |_, a| {
            Ok(Datum::Int(a[0].numeric()?.trimmed().scale.into()))
        }),
        function("trim_scale").on([Numeric(None)], Returns::By(trimmed_type), |_, a| {
            Ok(Datum::Numeric(a[0].numeric()?.trimmed()))
        }),
        width_bucket(),
        function("sqrt").on([Float8], Float8, |_, a| match a[0].float() {
            ..0.0 => Err(power_fault("cannot take square root of a negative number")),
            value => Ok(Datum::Float(value.sqrt())),
        }),
        function("ln").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(positive(a[0].float())?.ln()))
        }),
        function("log10").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(positive(a[0].float())?.log10()))
        }),
        function("log")
            .on([Float8], Float8, |_, a| {
                Ok(Datum::Float(positive(a[0].float())?.log10()))
            })
            .on([Float8, Float8], Float8, |_, a| {
                let (base, value) = (positive(a[0].float())?, positive(a[1].float())?);
                Ok(Datum::Float(value.ln() / base.ln()))
            }),
        power("power"),
        power("pow"),
        function("pg_bitwise_not")
            .on([Int2], Int2, |_, a| Ok(Datum::Int(!a[0].int())))
            .on([Int4], Int4, |_, a| Ok(Datum::Int(!a[0].int())))
            .on([Int8], Int8, |_, a| Ok(Datum::Int(!a[0].int()))),
    ];
    functions.extend(degrees());
    functions
}

/// Trigonometry of angles in degrees, exact where PostgreSQL's is: its way to compute within a
/// quarter turn makes the multiples of 30 and 45 degrees come out whole.
fn degrees() -> Vec<Function> {
    fn in_domain(value: f64) -> Result<f64> {
        if (-1.0..=1.0).contains(&value) || value.is_nan() {
            Ok(value)
        } else {
            Err(ValueError::refused(
                Fault::OutOfRange,
                "input is out of range",
            ))
        }
    }
    vec![
        function("sind").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(sine(a[0].float())))
        }),
        function("cosd").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(sine(a[0].float() + 90.0)))
        }),
        function("tand").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(tangent(a[0].float())))
        }),
        function("cotd").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(1.0 / tangent(a[0].float())))
        }),
        function("asind").on([Float8], Float8, |_, a| {
            let value = in_domain(a[0].float())?;
            Ok(Datum::Float(arc_sine(value.abs()).copysign(value)))
        }),
        function("acosd").on([Float8], Float8, |_, a| {
            let value = in_domain(a[0].float())?;
            let turned = if value < 0.0 {
                90.0 + arc_sine(-value)
            } else {
                arc_cosine(value)
            };
            Ok(Datum::Float(turned))
        }),
        function("atand").on([Float8], Float8, |_, a| {
            Ok(Datum::Float(a[0].float().atan() / 1f64.atan() * 45.0))
        }),
        function("atan2d").on([Float8, Float8], Float8, |_, a| {
            Ok(Datum::Float(
                a[0].float().atan2(a[1].float()) / 1f64.atan() * 45.0,
            ))
        }),
    ]
}

fn sine(degrees: f64) -> f64 {
    let turned = degrees.rem_euclid(360.0);
    let (sign, half) = if turned > 180.0 {
        (-1.0, turned - 180.0)
    } else {
        (1.0, turned)
    };
    let quarter = if half > 90.0 { 180.0 - half } else { half };
    sign * if quarter <= 30.0 {
        quarter.to_radians().sin() / 30f64.to_radians().sin() / 2.0
    } else {
        let rest = (90.0 - quarter).to_radians();
        1.0 - (1.0 - rest.cos()) / (1.0 - 60f64.to_radians().cos()) / 2.0
    }
}

fn tangent(degrees: f64) -> f64 {
    let at_45 = sine(45.0) / sine(135.0);
    sine(degrees) / sine(degrees + 90.0) / at_45
}

/// Of a number from 0 to 1.
fn arc_sine(value: f64) -> f64 {
    if value <= 0.5 {
        value.asin() / 0.5f64.asin() * 30.0
    } else {
        90.0 - value.acos() / 0.5f64.acos() * 60.0
    }
}

/// Of a number from 0 to 1.
fn arc_cosine(value: f64) -> f64 {
    if value <= 0.5 {
        90.0 - value.asin() / 0.5f64.asin() * 30.0
    } else {
        value.acos() / 0.5f64.acos() * 60.0
    }
}

fn power_fault(message: &str) -> ValueError {
    ValueError::refused(Fault::Power, message)
}

fn positive(value: f64) -> Result<f64> {
    if value == 0.0 {
        return Err(ValueError::refused(
            Fault::Logarithm,
            "cannot take logarithm of zero",
        ));
    }
    if value < 0.0 {
        let message = "cannot take logarithm of a negative number";
        return Err(ValueError::refused(Fault::Logarithm, message));
    }
    Ok(value)
}

fn power(name: &'static str) -> Function {
    function(name).on([Float8, Float8], Float8, |_, a| {
        let (base, exponent) = (a[0].float(), a[1].float());
        if base == 0.0 && exponent < 0.0 {
            return Err(power_fault("zero raised to a negative power is undefined"));
        }
        if base < 0.0 && exponent.fract() != 0.0 {
            return Err(power_fault(
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        let result = base.powf(exponent);
        if result.is_infinite() && base.is_finite() && exponent.is_finite() {
            return Err(ValueError::refused(
                Fault::OutOfRange,
                "value out of range: overflow",
            ));
        }
        Ok(Datum::Float(result))
    })
}

fn ceil(name: &'static str) -> Function {
    function(name)
        .on([Float8], Float8, |_, a| {
            Ok(Datum::Float(a[0].float().ceil()))
        })
        .on([Numeric(None)], Returns::By(whole_type), |_, a| {
            let value = a[0].numeric()?;
            let whole = value.truncated(0)?;
            let up = i128::from(value.order(whole).is_gt());
            Ok(Datum::Numeric(Decimal {
                unscaled: whole.unscaled + up,
                scale: 0,
            }))
        })
}

fn abs() -> Function {
    function("abs")
        .on([Int2], Int2, |_, a| Ok(Datum::Int(a[0].int().abs())))
        .on([Int4], Int4, |_, a| Ok(Datum::Int(a[0].int().abs())))
        .on([Int8], Int8, |_, a| {
            let value = a[0]
                .int()
                .checked_abs()
                .ok_or_else(|| ValueError::refused(Fault::OutOfRange, "bigint out of range"))?;
            Ok(Datum::Int(value))
        })
        .on([Numeric(None)], Returns::SameAs(0), |_, a| {
            let value = a[0].numeric()?;
            Ok(Datum::Numeric(Decimal {
                unscaled: value.unscaled.abs(),
                ..value
            }))
        })
        .on([Float4], Float4, |_, a| {
            Ok(Datum::Float(a[0].float().abs()))
        })
        .on([Float8], Float8, |_, a| {
            Ok(Datum::Float(a[0].float().abs()))
        })
}

fn modulo() -> Function {
    fn whole<'a>(args: &[Datum<'a>]) -> Result<Datum<'a>> {
        match args[1].int() {
            0 => Err(ValueError::refused(
                Fault::DivisionByZero,
                "division by zero",
            )),
            divisor => Ok(Datum::Int(args[0].int().wrapping_rem(divisor))),
        }
    }
    function("mod")
        .on([Int2, Int2], Int2, |_, a| whole(a))
        .on([Int4, Int4], Int4, |_, a| whole(a))
        .on([Int8, Int8], Int8, |_, a| whole(a))
        .on(
            [Numeric(None), Numeric(None)],
            Returns::By(remainder_type),
            |_, a| {
                Ok(Datum::Numeric(
                    a[0].numeric()?.divided_whole(a[1].numeric()?)?.1,
                ))
            },
        )
}

/// Whose variance it is.
enum Of {
    Sample,
    Population,
}

/// A function of the sum of squares, the sum, and the count of some numbers.
fn spread(name: &'static str, digits: (u8, i8), body: Body) -> Function {
    function(name).on(
        [Numeric(None), Numeric(None), Int8],
        Returns::Type(DataType::Decimal256(digits.0, digits.1)),
        body,
    )
}

fn variance<'a>(args: &[Datum<'a>], of: Of) -> Result<Datum<'a>> {
    let count = args[2].int();
    let divisor = match of {
        Of::Sample if count < 2 => return Ok(Datum::Null),
        Of::Sample => i128::from(count) * i128::from(count - 1),
        Of::Population => i128::from(count) * i128::from(count),
    };
    let (squares, sum) = (args[0].numeric()?, args[1].numeric()?);
    Decimal::variance(squares, sum, count, divisor).map(Datum::Numeric)
}

fn root<'a>(variance: Datum<'a>) -> Result<Datum<'a>> {
    match variance {
        Datum::Numeric(variance) => variance.root().map(Datum::Numeric),
        other => Ok(other),
    }
}

fn quotient(args: &[Datum<'_>]) -> Result<f64> {
    let (dividend, divisor) = (args[0].float(), args[1].float());
    if divisor == 0.0 && !dividend.is_nan() {
        return Err(ValueError::refused(
            Fault::DivisionByZero,
            "division by zero",
        ));
    }
    let quotient = dividend / divisor;
    if quotient.is_infinite() && dividend.is_finite() {
        return Err(ValueError::refused(
            Fault::OutOfRange,
            "value out of range: overflow",
        ));
    }
    Ok(quotient)
}

fn read_numeric<'a>(value: &Datum<'_>) -> Result<Datum<'a>> {
    let shown = match value {
        Datum::Float(value) if value.is_finite() => format!("{value:.14e}"),
        Datum::Float4(value) if value.is_finite() => format!("{:.5e}", f64::from(*value)),
        Datum::Json(text) => match crate::values::json::Json::parse(text)? {
            crate::values::json::Json::Number(number) => number,
            other => {
                let message = format!("cannot cast jsonb {} to type numeric", other.kind());
                return Err(ValueError::refused(Fault::Parameter, message));
            }
        },
        other => other
            .shown(crate::values::temporal::utc())
            .unwrap_or_default(),
    };
    let (precision, scale) = NUMERIC_DEFAULT;
    let fraction = shown
        .split(['e', 'E'])
        .next()
        .and_then(|mantissa| mantissa.trim().split_once('.'));
    let written = fraction
        .and_then(|(_, digits)| u8::try_from(digits.len()).ok())
        .unwrap_or(0);
    let exact = !shown.contains(['e', 'E']);
    // All digits of a text, which the type of the result may be able to hold.
    let scale = if exact {
        i8::try_from(written).unwrap_or(scale).min(38)
    } else {
        scale
    };
    let unscaled = crate::values::numeric::parse_decimal(&shown, precision, scale)?;
    let value = Decimal {
        unscaled,
        scale: u8::try_from(scale).unwrap_or(0),
    };
    Ok(Datum::Numeric(if exact { value } else { value.trimmed() }))
}

fn digits_of(args: &ReturnFieldArgs<'_>, at: usize) -> (i16, i16) {
    match args.arg_fields.get(at).map(|field| field.data_type()) {
        Some(DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)) => {
            ((*precision).into(), (*scale).into())
        }
        Some(DataType::Int16) => (5, 0),
        Some(DataType::Int32) => (10, 0),
        Some(DataType::Int64) => (19, 0),
        _ => (NUMERIC_DEFAULT.0.into(), NUMERIC_DEFAULT.1.into()),
    }
}

fn of_digits(whole: i16, scale: i16) -> DataType {
    let precision = (whole + scale).clamp(1, 38);
    DataType::Decimal128(precision as u8, scale.clamp(0, precision) as i8)
}

/// Whole numbers; rounding up may take one digit more.
fn whole_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let (precision, scale) = digits_of(args, 0);
    of_digits(precision - scale + 1, 0)
}

fn rounded_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let (precision, scale) = digits_of(args, 0);
    let digits = match args.scalar_arguments.get(1) {
        Some(Some(ScalarValue::Int32(Some(digits)))) => i16::try_from(*digits).unwrap_or(scale),
        _ => return DataType::Decimal128(NUMERIC_DEFAULT.0, NUMERIC_DEFAULT.1),
    };
    of_digits(precision - scale + 1, digits.clamp(0, 38))
}

fn remainder_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let (a, b) = (digits_of(args, 0), digits_of(args, 1));
    of_digits(38, a.1.max(b.1))
}

/// As many digits behind the point as the third argument says.
fn quotient_type(args: &ReturnFieldArgs<'_>) -> DataType {
    match args.scalar_arguments.get(2) {
        Some(Some(ScalarValue::Int32(Some(scale)))) => {
            of_digits(38, i16::try_from(*scale).unwrap_or(38))
        }
        _ => DataType::Decimal256(QUOTIENT.0, QUOTIENT.1),
    }
}

/// A `numeric` keeps its digits, a text that is known keeps those that it has.
fn numeric_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let (precision, scale) = NUMERIC_DEFAULT;
    match (
        args.arg_fields.first().map(|f| f.data_type()),
        args.scalar_arguments.first(),
    ) {
        (Some(DataType::Decimal128(p, s)), _) => DataType::Decimal128(*p, *s),
        (Some(DataType::Decimal256(p, s)), _) => DataType::Decimal256(*p, *s),
        (Some(whole), _) if whole.is_integer() => DataType::Decimal128(20, 0),
        (_, Some(Some(ScalarValue::Utf8(Some(text))))) if !text.contains(['e', 'E']) => {
            let behind = text
                .trim()
                .split_once('.')
                .map_or(0, |(_, digits)| digits.len());
            DataType::Decimal128(38, i8::try_from(behind).unwrap_or(38).min(38))
        }
        _ => DataType::Decimal128(precision, scale),
    }
}

fn trimmed_type(_: &ReturnFieldArgs<'_>) -> DataType {
    DataType::Decimal128(NUMERIC_DEFAULT.0, NUMERIC_DEFAULT.1)
}

fn width_bucket() -> Function {
    function("width_bucket")
        .on(
            [Numeric(None), Numeric(None), Numeric(None), Int4],
            Int4,
            |_, a| {
                let value = |at: usize| a[at].numeric();
                let (x, low, high, count) = (value(0)?, value(1)?, value(2)?, buckets(&a[3])?);
                if low.order(high).is_eq() {
                    return Err(bucket_fault("lower bound cannot equal upper bound"));
                }
                let rising = low.order(high).is_lt();
                let (before, behind) = (x.order(low), x.order(high));
                let (before, behind) = if rising {
                    (before, behind)
                } else {
                    (before.reverse(), behind.reverse())
                };
                if before.is_lt() {
                    return Ok(Datum::Int(0));
                }
                if behind.is_ge() {
                    return Ok(Datum::Int(count + 1));
                }
                // Whole units of the greatest scale, so that no quotient is rounded.
                let scale = x.scale.max(low.scale).max(high.scale);
                let units = |value: Decimal| value.rescaled(scale).map(|value| value.unscaled);
                let (x, low, high) = (units(x)?, units(low)?, units(high)?);
                let span = high.checked_sub(low);
                let part = x
                    .checked_sub(low)
                    .and_then(|part| part.checked_mul(count.into()));
                let bucket = part.zip(span).map(|(part, span)| part / span);
                let bucket = bucket.and_then(|n| i64::try_from(n).ok()).ok_or_else(|| {
                    ValueError::refused(Fault::OutOfRange, "integer out of range")
                })?;
                Ok(Datum::Int(bucket + 1))
            },
        )
        .on([Float8, Float8, Float8, Int4], Int4, |_, a| {
            let (x, low, high, count) = (a[0].float(), a[1].float(), a[2].float(), buckets(&a[3])?);
            if x.is_nan() || low.is_nan() || high.is_nan() {
                return Err(bucket_fault(
                    "operand, lower bound, and upper bound cannot be NaN",
                ));
            }
            if low == high {
                return Err(bucket_fault("lower bound cannot equal upper bound"));
            }
            let (x, low, high) = if low < high {
                (x, low, high)
            } else {
                (-x, -low, -high)
            };
            Ok(Datum::Int(if x < low {
                0
            } else if x >= high {
                count + 1
            } else {
                (((x - low) / (high - low)) * count as f64) as i64 + 1
            }))
        })
        .on([Param::AnyElement, Param::AnyArray], Int4, |_, a| {
            let below = a[1]
                .elements()
                .iter()
                .filter(|bound| bound.order(&a[0]).is_le());
            Ok(Datum::Int(i64::try_from(below.count()).unwrap_or(i64::MAX)))
        })
}

fn bucket_fault(message: &str) -> ValueError {
    ValueError::refused(Fault::WidthBucket, message)
}

fn buckets(count: &Datum<'_>) -> Result<i64> {
    match count.int() {
        count if count > 0 => Ok(count),
        _ => Err(bucket_fault("count must be greater than zero")),
    }
}
