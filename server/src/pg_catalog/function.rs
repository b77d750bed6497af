//! The shape of PostgreSQL's functions here: row by row over text. Catalogs are small, so this is
//! fast enough. What a function needs besides its arguments is in its closure.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListBuilder, StringArray,
    StringBuilder, UInt32Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::Error;
use crate::wire::encode::Style;
use planner::values::text;

/// One argument, as text.
pub(crate) type Arg<'a> = Option<&'a str>;

/// What a function returns for a row.
pub(crate) enum Returned {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

impl From<bool> for Returned {
    fn from(value: bool) -> Returned {
        Returned::Bool(value)
    }
}

impl From<i64> for Returned {
    fn from(value: i64) -> Returned {
        Returned::Int(value)
    }
}

impl From<&str> for Returned {
    fn from(value: &str) -> Returned {
        Returned::Text(value.to_owned())
    }
}

impl From<String> for Returned {
    fn from(value: String) -> Returned {
        Returned::Text(value)
    }
}

impl<T: Into<Returned>> From<Option<T>> for Returned {
    fn from(value: Option<T>) -> Returned {
        value.map_or(Returned::Null, Into::into)
    }
}

pub(crate) type Body = Arc<dyn Fn(&[Arg<'_>]) -> Result<Returned> + Send + Sync>;

struct Function {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    body: Body,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// A session has one function of a name.
impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.body, &other.body)
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let texts = args
            .args
            .iter()
            .map(|arg| as_texts(arg, rows))
            .collect::<Result<Vec<_>>>()?;
        let mut returned = Vec::with_capacity(rows);
        for row in 0..rows {
            let row: Vec<Arg<'_>> = texts
                .iter()
                .map(|column| column.is_valid(row).then(|| column.value(row)))
                .collect();
            returned.push((self.body)(&row)?);
        }
        let column = build(&self.returns, returned);
        if all_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &column, 0,
            )?));
        }
        Ok(ColumnarValue::Array(column))
    }
}

pub(crate) fn as_texts(arg: &ColumnarValue, rows: usize) -> Result<StringArray> {
    let column = arg.clone().into_array(rows)?;
    if column.data_type().is_nested() {
        let style = Style {
            zone: crate::settings::utc(),
        };
        let texts = text::column_texts(&column, style).map_err(|error| external(error.into()))?;
        return Ok(texts.into_iter().collect());
    }
    Ok(cast(&column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn build(returns: &DataType, values: Vec<Returned>) -> ArrayRef {
    let int = |value: &Returned| match value {
        Returned::Int(n) => Some(*n),
        _ => None,
    };
    match returns {
        DataType::Boolean => Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Returned::Bool(b) => Some(*b),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        DataType::Int32 => Arc::new(
            values
                .iter()
                .map(|v| int(v).map(|n| n as i32))
                .collect::<Int32Array>(),
        ),
        DataType::Int64 => Arc::new(values.iter().map(int).collect::<Int64Array>()),
        DataType::UInt32 => Arc::new(
            values
                .iter()
                .map(|v| int(v).map(|n| n as u32))
                .collect::<UInt32Array>(),
        ),
        DataType::List(_) => {
            let mut builder = ListBuilder::new(StringBuilder::new());
            for value in values {
                match value {
                    Returned::Texts(items) => builder.append_value(items.iter().map(Some)),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        _ => Arc::new(
            values
                .into_iter()
                .map(|value| match value {
                    Returned::Text(text) => Some(text),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
    }
}

pub(crate) fn make(
    name: &'static str,
    returns: DataType,
    volatility: Volatility,
    body: impl Fn(&[Arg<'_>]) -> Result<Returned> + Send + Sync + 'static,
) -> ScalarUDF {
    let signature = Signature::one_of(
        vec![
            datafusion::logical_expr::TypeSignature::Nullary,
            datafusion::logical_expr::TypeSignature::VariadicAny,
        ],
        volatility,
    );
    ScalarUDF::from(Function {
        name,
        signature,
        returns,
        body: Arc::new(body),
    })
}

pub(crate) fn immutable(
    name: &'static str,
    returns: DataType,
    body: impl Fn(&[Arg<'_>]) -> Returned + Send + Sync + 'static,
) -> ScalarUDF {
    make(name, returns, Volatility::Immutable, move |args| {
        Ok(body(args))
    })
}

pub(crate) fn stable(
    name: &'static str,
    returns: DataType,
    body: impl Fn(&[Arg<'_>]) -> Returned + Send + Sync + 'static,
) -> ScalarUDF {
    make(name, returns, Volatility::Stable, move |args| {
        Ok(body(args))
    })
}

pub(crate) fn text_list() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))
}

pub(crate) fn arg<'a>(args: &[Arg<'a>], at: usize) -> Arg<'a> {
    args.get(at).copied().flatten()
}

pub(crate) fn oid_arg(args: &[Arg<'_>], at: usize) -> Option<u32> {
    arg(args, at)?.trim().parse().ok()
}

/// An error of ours inside of DataFusion, as one that the planner sorts.
pub(crate) fn external(error: Error) -> DataFusionError {
    let error = match error {
        Error::UndefinedRelation { name } => planner::Error::UndefinedTable { name },
        Error::UndefinedType { name } => planner::Error::UndefinedType { name },
        // These keep their own SQLSTATE.
        Error::SequenceLimit { .. }
        | Error::ValueOutOfBounds { .. }
        | Error::NoLastNumber { .. }
        | Error::UndefinedColumn { .. }
        | Error::UndefinedRole { .. }
        | Error::UndefinedSchema { .. }
        | Error::UndefinedDatabase { .. }
        | Error::Privilege { .. }
        | Error::WrongKind { .. } => return DataFusionError::External(Box::new(error)),
        other => planner::Error::InvalidParameter {
            message: other.to_string(),
        },
    };
    DataFusionError::External(Box::new(error))
}
