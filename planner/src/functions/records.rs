//! Composite values: `ROW(…)`, fields, comparisons, and whether all fields are NULL.
//!
//! Two values are compared by bytes that are in the order of the values (`pg_record_order`): field by
//! field, NULL equal to NULL and last, as PostgreSQL's `record_cmp` does.

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::error::Error;
use crate::expression_rule::rewrite_expressions;
use crate::functions::call;
use crate::functions::datum::Datum;
use crate::functions::function::{Call, Function, Param, Returns, function};
use crate::functions::json::{write_number, write_order, write_text};
use crate::values::error::{Fault, Result, ValueError};
use crate::values::record::{Record, field_type};
use crate::values::types::SqlType;
use crate::values::types::SqlType::{Bool, Text};

/// The functions of this family.
pub(crate) fn functions() -> Vec<Function> {
    vec![
        function("pg_row")
            .on([Param::Any], Returns::By(row_type), |call, a| {
                Ok(row(call, a))
            })
            .variadic()
            .sees_nulls(),
        function("pg_field").on(
            [Param::Any, Param::Of(Text)],
            Returns::By(type_of_field),
            |_, a| Ok(field(&a[0], a[1].str())),
        ),
        function("pg_record_is_null")
            .on([Param::Any], Bool, |_, a| {
                Ok(Datum::Bool(every(&a[0], |value| value.is_null())))
            })
            .sees_nulls(),
        function("pg_record_is_not_null")
            .on([Param::Any], Bool, |_, a| {
                Ok(Datum::Bool(
                    !a[0].is_null() && every(&a[0], |value| !value.is_null()),
                ))
            })
            .sees_nulls(),
        function("pg_record_order").on([Param::Any], Returns::Type(DataType::Binary), |_, a| {
            let mut key = Vec::new();
            write_key(&a[0], &mut key)?;
            Ok(Datum::bytes(key))
        }),
    ]
}

/// PostgreSQL calls the fields of a `ROW(…)` so.
fn row_type(args: &ReturnFieldArgs<'_>) -> DataType {
    let types = args.arg_fields.iter().map(|field| field.data_type());
    let fields = types.enumerate().map(|(at, data_type)| {
        let data_type = match data_type {
            DataType::Null => DataType::Utf8,
            known => known.clone(),
        };
        Field::new(format!("f{}", at + 1), data_type, true)
    });
    DataType::Struct(fields.collect())
}

fn row<'a>(call: &Call, args: &[Datum<'a>]) -> Datum<'a> {
    let fields = match &call.returns {
        DataType::Struct(fields) => fields.clone(),
        _ => Fields::empty(),
    };
    Datum::Record(fields, args.to_vec())
}

fn type_of_field(args: &ReturnFieldArgs<'_>) -> DataType {
    let record = args.arg_fields.first().map(|field| field.data_type());
    let name = args.scalar_arguments.get(1).copied().flatten();
    match (record, name) {
        (Some(record), Some(ScalarValue::Utf8(Some(name)))) => {
            field_type(record, name).cloned().unwrap_or(DataType::Null)
        }
        _ => DataType::Null,
    }
}

fn field<'a>(record: &Datum<'a>, name: &str) -> Datum<'a> {
    let Datum::Record(fields, values) = record else {
        return Datum::Null;
    };
    let found = fields.find(name).and_then(|(at, _)| values.get(at));
    found.cloned().unwrap_or(Datum::Null)
}

/// A field of a composite value.
///
/// # Errors
/// [`Error::UndefinedField`] if its type has none of this name, [`Error::NotComposite`] if it is no
/// composite value.
pub(crate) fn field_of(record: Expr, name: &str, schema: &DFSchema) -> Result<Expr, Error> {
    let data_type = record.get_type(schema)?;
    if !matches!(data_type, DataType::Struct(_)) {
        return Err(Error::NotComposite {
            field: name.to_owned(),
            type_name: SqlType::of(&data_type).base_name(),
        });
    }
    if field_type(&data_type, name).is_none() {
        return Err(Error::UndefinedField {
            field: name.to_owned(),
            type_name: SqlType::of(&data_type).base_name(),
        });
    }
    Ok(call("pg_field", vec![record, lit(name)]))
}

/// Whether all fields are so; NULL itself has none.
fn every(record: &Datum<'_>, holds: impl Fn(&Datum<'_>) -> bool) -> bool {
    match record {
        Datum::Record(_, values) => values.iter().all(holds),
        _ => true,
    }
}

/// Bytes in the order of values of one type: equal for equal values.
fn write_key(value: &Datum<'_>, key: &mut Vec<u8>) -> Result<()> {
    const NULL: u8 = 2;
    const VALUE: u8 = 1;
    const END: u8 = 0;
    if value.is_null() {
        key.push(NULL);
        return Ok(());
    }
    key.push(VALUE);
    match value {
        Datum::Null => {}
        Datum::Bool(value) => key.push(u8::from(*value)),
        Datum::Int(_) | Datum::Numeric(_) => write_number(&value.numeric()?.to_string(), key),
        Datum::Float(_) | Datum::Float4(_) => key.extend(float_key(value.float())),
        Datum::Text(text) => write_text(text, key),
        Datum::Json(_) => write_order(&value.parsed_json()?, key),
        Datum::Bytes(bytes) => {
            // A zero is followed by one that is above the end.
            for byte in bytes.iter() {
                key.push(*byte);
                if *byte == 0 {
                    key.push(u8::MAX);
                }
            }
            key.extend([0, END]);
        }
        Datum::Uuid(bytes) => key.extend(bytes),
        Datum::Date(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::Timestamptz(n) => {
            key.extend((n ^ i64::MIN).to_be_bytes());
        }
        Datum::Interval(value) => key.extend((value.span() ^ i128::MIN).to_be_bytes()),
        Datum::Array(elements) => {
            for element in elements {
                write_key(element, key)?;
            }
            key.push(END);
        }
        Datum::Record(_, values) => {
            for value in values {
                write_key(value, key)?;
            }
        }
        Datum::Map(entries) => {
            for (name, value) in entries {
                write_key(name, key)?;
                write_key(value, key)?;
            }
            key.push(END);
        }
    }
    Ok(())
}

/// Zeros of both signs are equal, NaN is the greatest.
fn float_key(value: f64) -> [u8; 8] {
    if value.is_nan() {
        return [u8::MAX; 8];
    }
    let bits = (value + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 {
        !bits
    } else {
        bits | (1 << 63)
    };
    ordered.to_be_bytes()
}

/// Refuses to compare composite values of different types.
///
/// # Errors
/// Types that are not compared.
pub(crate) fn comparable(left: &Fields, right: &Fields) -> Result<()> {
    let (left, right) = (Record::of(left), Record::of(right));
    if left.fields.len() != right.fields.len() {
        return Err(ValueError::refused(
            Fault::Mismatch,
            "cannot compare record types with different numbers of columns",
        ));
    }
    for (at, (left, right)) in left.types().zip(right.types()).enumerate() {
        let same = std::mem::discriminant(left) == std::mem::discriminant(right);
        let comparable = same || (left.is_text() && right.is_text());
        if !comparable {
            let message = format!(
                "cannot compare dissimilar column types {} and {} at record column {}",
                left.base_name(),
                right.base_name(),
                at + 1
            );
            return Err(ValueError::refused(Fault::Mismatch, message));
        }
    }
    Ok(())
}

/// `IS NULL` of a composite value: whether all its fields are. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct RecordNulls;

impl AnalyzerRule for RecordNulls {
    fn name(&self) -> &'static str {
        "record_nulls"
    }

    fn analyze(
        &self,
        plan: LogicalPlan,
        _config: &ConfigOptions,
    ) -> std::result::Result<LogicalPlan, DataFusionError> {
        rewrite_expressions(plan, of_fields)
    }
}

fn of_fields(
    expr: Expr,
    schema: &DFSchema,
) -> std::result::Result<Transformed<Expr>, DataFusionError> {
    let (record, function) = match &expr {
        Expr::IsNull(record) => (record, "pg_record_is_null"),
        Expr::IsNotNull(record) => (record, "pg_record_is_not_null"),
        _ => return Ok(Transformed::no(expr)),
    };
    match record.get_type(schema) {
        Ok(DataType::Struct(_)) => Ok(Transformed::yes(call(
            function,
            vec![record.as_ref().clone()],
        ))),
        _ => Ok(Transformed::no(expr)),
    }
}
