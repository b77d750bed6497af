//! PostgreSQL's rule for floats beside decimals: the float wins.
//!
//! A number with a point in a query is a decimal. DataFusion compares and unifies a float with a
//! decimal as decimals of 30 digits, 15 of them behind the point, which fails for large floats and
//! rounds small ones. PostgreSQL casts the decimal to a float. This rule does so before
//! DataFusion's type coercion looks at the expression.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

use crate::expression_rule::rewrite_expressions;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Casts decimals to floats where an expression unifies both.
#[derive(Debug)]
pub(crate) struct FloatOverDecimal;

impl AnalyzerRule for FloatOverDecimal {
    fn name(&self) -> &'static str {
        "float_over_decimal"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        rewrite_expressions(plan, unify)
    }
}

/// One expression whose operands take one type.
fn unify(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if !is_mixed(&expr, schema) {
        return Ok(Transformed::no(expr));
    }
    let float = |expr: Expr| as_float(expr, schema);
    let boxed = |expr: Box<Expr>| Box::new(as_float(*expr, schema));
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => Expr::BinaryExpr(BinaryExpr {
            left: boxed(left),
            op,
            right: boxed(right),
        }),
        Expr::Between(between) => Expr::Between(Between {
            expr: boxed(between.expr),
            negated: between.negated,
            low: boxed(between.low),
            high: boxed(between.high),
        }),
        Expr::InList(list) => Expr::InList(InList {
            expr: boxed(list.expr),
            list: list.list.into_iter().map(float).collect(),
            negated: list.negated,
        }),
        Expr::Case(case) => Expr::Case(Case {
            expr: case.expr,
            when_then_expr: case
                .when_then_expr
                .into_iter()
                .map(|(when, then)| (when, boxed(then)))
                .collect(),
            else_expr: case.else_expr.map(boxed),
        }),
        Expr::ScalarFunction(call) => Expr::ScalarFunction(ScalarFunction {
            func: call.func,
            args: call.args.into_iter().map(float).collect(),
        }),
        other => other,
    }))
}

/// Whether floats meet decimals in an expression. An operand whose type is not known yet, such as
/// a column of an outer query, is neither.
fn is_mixed(expr: &Expr, schema: &DFSchema) -> bool {
    let operands: Vec<&Expr> = match expr {
        Expr::BinaryExpr(binary) => vec![&binary.left, &binary.right],
        Expr::Between(between) => vec![&between.expr, &between.low, &between.high],
        Expr::InList(list) => std::iter::once(list.expr.as_ref())
            .chain(&list.list)
            .collect(),
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            thens.chain(case.else_expr.as_deref()).collect()
        }
        Expr::ScalarFunction(call) if is_unifying(call.func.name()) => call.args.iter().collect(),
        _ => return false,
    };
    let types: Vec<DataType> = operands
        .iter()
        .filter_map(|operand| operand.get_type(schema).ok())
        .collect();
    types.iter().any(DataType::is_floating) && types.iter().any(DataType::is_decimal)
}

/// Functions whose arguments take one type.
fn is_unifying(name: &str) -> bool {
    matches!(name, "coalesce" | "nullif" | "greatest" | "least" | "nvl")
}

fn as_float(expr: Expr, schema: &DFSchema) -> Expr {
    match expr.get_type(schema) {
        Ok(data_type) if data_type.is_decimal() => cast(expr, DataType::Float64),
        _ => expr,
    }
}
