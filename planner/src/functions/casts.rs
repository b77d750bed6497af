//! Casts as PostgreSQL does them, in every expression of a plan: those that a query writes and those
//! that type coercion adds.
//!
//! ```text
//!   CAST(x AS integer) ──after coercion──► cast(x), a function that knows its target
//! ```
//!
//! DataFusion's casts are Arrow's: they read other texts, cut fractions off and show other words. So
//! an analyzer rule puts functions in the place of those that differ ([`crate::values::cast`]).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::expression_rule::rewrite_expressions;
use crate::functions::function::{external, zone_of};
use crate::values::cast::{cast, differs};

type Result<T> = std::result::Result<T, DataFusionError>;

/// Replaces casts by PostgreSQL's. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct PgCasts;

impl AnalyzerRule for PgCasts {
    fn name(&self) -> &'static str {
        "postgresql_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, cast_part)
    }
}

/// As the rule, for an expression outside of a plan.
pub(crate) fn with_casts(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| cast_part(expr, schema)).data()
}

fn cast_part(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(written) = expr else {
        return Ok(Transformed::no(expr));
    };
    let to = written.field.data_type().clone();
    match written.expr.get_type(schema) {
        Ok(from) if differs(&from, &to) => {
            let function = ScalarUDF::new_from_impl(Cast::new(to));
            Ok(Transformed::yes(function.call(vec![*written.expr])))
        }
        _ => Ok(Transformed::no(Expr::Cast(written))),
    }
}

/// A cast to one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Cast {
    to: DataType,
    signature: Signature,
}

impl Cast {
    fn new(to: DataType) -> Self {
        Self {
            to,
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Cast {
    fn name(&self) -> &str {
        "cast"
    }

    /// That of what is cast, as for DataFusion's casts, so that columns keep their names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args
            .iter()
            .map(|arg| arg.schema_name().to_string())
            .collect();
        Ok(names.concat())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new("cast", self.to.clone(), nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let zone = zone_of(&args.config_options);
        let mut arguments = args.args.into_iter();
        let value = arguments
            .next()
            .unwrap_or(ColumnarValue::Scalar(ScalarValue::Null));
        let constant = matches!(value, ColumnarValue::Scalar(_));
        let column = value.into_array(if constant { 1 } else { args.number_rows })?;
        let cast = cast(&column, &self.to, zone).map_err(external)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &cast, 0,
            )?));
        }
        Ok(ColumnarValue::Array(cast))
    }
}
