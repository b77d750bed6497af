//! `pg_sleep(seconds)`: waits without holding a thread, so that a timeout or a cancel request ends it.

use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::AsyncScalarUDFImpl;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Longest sleep, in seconds: longer than any session.
const SECONDS_MAX: f64 = 1e9;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sleep {
    signature: Signature,
}

impl Sleep {
    pub(super) fn new() -> Sleep {
        Sleep {
            signature: Signature::exact(vec![DataType::Float64], Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for Sleep {
    fn name(&self) -> &str {
        "pg_sleep"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// `void`, which is shown as an empty text.
    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        datafusion::common::internal_err!("pg_sleep is called asynchronously")
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Sleep {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let seconds = args.args[0].to_array(rows)?;
        let seconds = seconds.as_primitive::<Float64Type>();
        for row in (0..rows).filter(|row| seconds.is_valid(*row)) {
            let seconds = seconds.value(row).clamp(0.0, SECONDS_MAX);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        let nothing = ScalarValue::from("").to_array_of_size(rows)?;
        Ok(ColumnarValue::Array(nothing))
    }
}
