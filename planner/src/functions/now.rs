//! `now()`: in a statement the time at which it began; in a continuous view that of the epoch, which
//! the executor knows; where a continuous view is computed anew, the time of that epoch.
//!
//! It is of the type that columns have, in microseconds, unlike DataFusion's.

use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::values::types::SqlType;

/// `now()` of a statement.
pub(crate) fn now_of_statements() -> ScalarUDF {
    ScalarUDF::from(Now::new(Time::OfStatement))
}

/// `now()` of an epoch that is yet to come. It cannot be evaluated: expressions with it are planned
/// as temporal filters.
pub(crate) fn now_of_epochs() -> ScalarUDF {
    ScalarUDF::from(Now::new(Time::OfEpoch))
}

/// `now()` at a time, in microseconds since 1970.
pub(crate) fn now_at(time: i64) -> ScalarUDF {
    ScalarUDF::from(Now::new(Time::At(time)))
}

/// Whether a part of an expression is `now()` of an epoch that is yet to come.
pub(crate) fn is_now(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => {
            let now = call.func.inner().downcast_ref::<Now>();
            now.is_some_and(|now| now.time == Time::OfEpoch)
        }
        _ => false,
    }
}

/// Which time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Time {
    OfStatement,
    OfEpoch,
    At(i64),
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Now {
    time: Time,
    signature: Signature,
}

impl Now {
    fn new(time: Time) -> Self {
        let volatility = match time {
            Time::OfStatement => Volatility::Stable,
            // It must not be folded away or moved.
            Time::OfEpoch => Volatility::Volatile,
            Time::At(_) => Volatility::Immutable,
        };
        Self {
            time,
            signature: Signature::nullary(volatility),
        }
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &'static str {
        "now"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(SqlType::Timestamptz.arrow())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match (self.time, info.query_execution_start_time()) {
            (Time::OfStatement, Some(start)) => {
                let now = Expr::Literal(value(start.timestamp_micros()), None);
                Ok(ExprSimplifyResult::Simplified(now))
            }
            _ => Ok(ExprSimplifyResult::Original(args)),
        }
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.time {
            Time::At(time) => Ok(ColumnarValue::Scalar(value(time))),
            Time::OfStatement | Time::OfEpoch => {
                exec_err!("now() has a value only where a statement is planned")
            }
        }
    }
}

fn value(time: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time), Some("+00:00".into()))
}
