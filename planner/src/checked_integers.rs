//! Integer arithmetic that fails where PostgreSQL's does, with "integer out of range", instead of
//! wrapping around.
//!
//! ```text
//!   a + 1 ──after coercion──► +(a, 1) ─┬─ optimizer, batch engine: as it is
//!                                      └─ view: `a + 1` again, told to fail
//! ```
//!
//! DataFusion's physical operators can be told to fail, its logical ones cannot; and the optimizer
//! computes constants by the latter. So an analyzer rule puts functions in their place. In a view the
//! executor contains the fault of a row, and needs no words for it: there they become DataFusion's
//! operators again.

use std::sync::Arc;

use arrow::array::{ArrayRef, Datum};
use arrow::compute::kernels::numeric::{add, div, mul, sub};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr::expressions::BinaryExpr as PhysicalBinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_common::datum::apply;

use crate::error::Error;
use crate::expression_rule::rewrite_expressions;
use crate::types::sql_name;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Replaces the arithmetic of integers by checked functions. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct CheckedIntegers;

impl AnalyzerRule for CheckedIntegers {
    fn name(&self) -> &'static str {
        "checked_integers"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, checked_part)
    }
}

/// As the rule, for an expression outside of a plan.
pub(crate) fn checked(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|expr| checked_part(expr, schema)).data()
}

/// The operators of DataFusion, told to fail, in place of checked functions.
pub(crate) fn as_operators(expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
    let operators = expr.transform_up(|expr| {
        let call = expr.downcast_ref::<ScalarFunctionExpr>();
        let parts = call.and_then(|call| {
            let function = call.fun().inner().downcast_ref::<CheckedArithmetic>()?;
            Some((function, call.args().split_first()?))
        });
        let Some((function, (first, others))) = parts else {
            return Ok(Transformed::no(expr));
        };
        let operands = function.operators.iter().zip(others);
        let chain = operands.fold(Arc::clone(first), |left, (operator, right)| {
            let binary = PhysicalBinaryExpr::new(left, *operator, Arc::clone(right));
            Arc::new(binary.with_fail_on_overflow(true))
        });
        Ok(Transformed::yes(chain))
    });
    operators.data()
}

fn checked_part(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_checked(op) && is_integer(&left, schema) && is_integer(&right, schema) =>
        {
            Ok(Transformed::yes(call(op, *left, *right)))
        }
        Expr::Negative(operand) => match integer_type(&operand, schema) {
            Some(data_type) => {
                let zero = lit(ScalarValue::new_zero(&data_type)?);
                Ok(Transformed::yes(call(Operator::Minus, zero, *operand)))
            }
            None => Ok(Transformed::no(Expr::Negative(operand))),
        },
        other => Ok(Transformed::no(other)),
    }
}

fn is_checked(operator: Operator) -> bool {
    use Operator::{Divide, Minus, Multiply, Plus};
    matches!(operator, Plus | Minus | Multiply | Divide)
}

fn is_integer(expr: &Expr, schema: &DFSchema) -> bool {
    integer_type(expr, schema).is_some()
}

/// The type of an expression if it is one of PostgreSQL's integers. A parameter without a value may
/// have no type yet: it is met again when it has one.
fn integer_type(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let data_type = expr.get_type(schema).ok()?;
    INTEGERS.contains(&data_type).then_some(data_type)
}

const INTEGERS: [DataType; 3] = [DataType::Int16, DataType::Int32, DataType::Int64];

/// `left operator right`. If the left side is a call already, one call of more operands: a chain of
/// operators is no deeper than one, however often DataFusion asks for its types and names.
fn call(operator: Operator, left: Expr, right: Expr) -> Expr {
    let (mut operators, mut operands) = match left {
        Expr::ScalarFunction(call) => match call.func.inner().downcast_ref::<CheckedArithmetic>() {
            Some(function) => (function.operators.clone(), call.args),
            None => (Vec::new(), vec![Expr::ScalarFunction(call)]),
        },
        other => (Vec::new(), vec![other]),
    };
    operators.push(operator);
    operands.push(right);
    ScalarUDF::new_from_impl(CheckedArithmetic::new(operators)).call(operands)
}

/// Arithmetic on integers of one type, from left to right: `(a + b) * c` is `+*(a, b, c)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedArithmetic {
    /// Between each two of the arguments.
    operators: Vec<Operator>,
    name: String,
    signature: Signature,
}

impl CheckedArithmetic {
    fn new(operators: Vec<Operator>) -> Self {
        let operands = operators.len() + 1;
        Self {
            name: operators.iter().map(ToString::to_string).collect(),
            signature: Signature::uniform(operands, INTEGERS.to_vec(), Volatility::Immutable),
            operators,
        }
    }
}

impl ScalarUDFImpl for CheckedArithmetic {
    fn name(&self) -> &str {
        &self.name
    }

    /// The operators', so that columns named after the expression keep their names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let mut args = args.iter().map(Expr::schema_name);
        let first = args.next().map(|first| first.to_string());
        let others = self.operators.iter().zip(args);
        let others = others.map(|(operator, arg)| format!(" {operator} {arg}"));
        Ok(first.into_iter().chain(others).collect())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone());
        let data_type = self.return_type(&types.collect::<Vec<_>>())?;
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut args = args.args.into_iter();
        let first = args
            .next()
            .unwrap_or(ColumnarValue::Scalar(ScalarValue::Null));
        self.operators
            .iter()
            .zip(args)
            .try_fold(first, |left, (operator, right)| {
                apply(&left, &right, kernel(*operator))
                    .map_err(|error| out_of_range(error, &left.data_type()))
            })
    }
}

fn kernel(
    operator: Operator,
) -> fn(&dyn Datum, &dyn Datum) -> std::result::Result<ArrayRef, ArrowError> {
    match operator {
        Operator::Plus => add,
        Operator::Minus => sub,
        Operator::Multiply => mul,
        _ => div,
    }
}

/// PostgreSQL's words for an overflow; other errors as they are.
fn out_of_range(error: DataFusionError, data_type: &DataType) -> DataFusionError {
    match &error {
        DataFusionError::ArrowError(arrow, _)
            if matches!(**arrow, ArrowError::ArithmeticOverflow(_)) =>
        {
            DataFusionError::External(Box::new(Error::OutOfRange {
                message: format!("{} out of range", sql_name(data_type)),
            }))
        }
        _ => error,
    }
}
