//! `gen_random_uuid()`: DataFusion has it under another name, as a text.

use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray};
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::functions::string::uuid;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::functions::function::external;
use crate::values::input::parse_uuid;
use crate::values::types::{SqlType, UUID_BYTES};

/// The function.
pub(crate) fn random_uuid() -> ScalarUDF {
    ScalarUDF::from(RandomUuid {
        signature: Signature::nullary(Volatility::Volatile),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RandomUuid {
    signature: Signature,
}

impl ScalarUDFImpl for RandomUuid {
    fn name(&self) -> &'static str {
        "gen_random_uuid"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(SqlType::Uuid.arrow())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let args = ScalarFunctionArgs {
            return_field: Arc::new(Field::new("uuid", DataType::Utf8, false)),
            ..args
        };
        let texts = uuid().invoke_with_args(args)?.into_array(rows)?;
        let values = texts.as_string::<i32>().iter().flatten();
        let values = values.map(|text| Ok(Some(parse_uuid(text).map_err(external)?)));
        let values = values.collect::<Result<Vec<_>>>()?;
        let column =
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), UUID_BYTES)?;
        Ok(ColumnarValue::Array(Arc::new(column) as Arc<dyn Array>))
    }
}
