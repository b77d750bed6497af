//! `ASOF JOIN`: each row of the left side with one of the right side, the nearest by an order.
//!
//! ```text
//!   a ASOF JOIN b ON a.k = b.k AND a.t >= b.t
//!
//!   b ─► one row for each (k, t) ─► with the t of the next row of that k
//!   a ─────────────────────────────────────────────────────────────────┴─► JOIN ON k AND b.t <= a.t < next t
//! ```
//!
//! `ASOF LEFT JOIN` keeps left rows without a partner. Of right rows that are equal in k and t, the least
//! by all columns is taken. A right row without t has no partners.
//!
//! The parser knows other words for it, so the tokens become a `SEMI JOIN` and an `ANTI JOIN`, which are no
//! joins of PostgreSQL's (`parse`), and these become a relation with a mark (`lateral`).

use datafusion::common::{Column, DFSchema};
use datafusion::error::DataFusionError;
use datafusion::functions_window::expr_fn::{lag, lead};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
};

use crate::error::Error;

type Result<T> = std::result::Result<T, DataFusionError>;

/// A comparison of both sides.
struct Comparison {
    left: Expr,
    operator: Operator,
    right: Expr,
}

/// The rows of the join. `condition` is over the columns of both sides.
pub(crate) fn plan(
    left: LogicalPlan,
    right: LogicalPlan,
    condition: Expr,
    join_type: JoinType,
) -> Result<LogicalPlan> {
    let mut equalities = Vec::new();
    let mut order = None;
    for part in split_conjunction_owned(condition) {
        let Some(comparison) = Comparison::of(part, left.schema(), right.schema()) else {
            return Err(refused());
        };
        match comparison.operator {
            Operator::Eq => equalities.push(comparison),
            _ if order.is_none() => order = Some(comparison),
            _ => return Err(refused()),
        }
    }
    let Some(order) = order.filter(|_| !equalities.is_empty()) else {
        return Err(refused());
    };
    let columns = |plan: &LogicalPlan| -> Vec<Expr> {
        plan.schema()
            .columns()
            .into_iter()
            .map(Expr::from)
            .collect()
    };
    let (left_columns, right_columns) = (columns(&left), columns(&right));
    let key = |at: usize| column(format!("asof key {at}"));
    let (time, bound) = (
        column("asof time".to_owned()),
        column("asof bound".to_owned()),
    );
    let keys: Vec<Expr> = (0..equalities.len()).map(key).collect();
    let named = equalities.iter().enumerate();
    let named = named.map(|(at, equal)| equal.right.clone().alias(format!("asof key {at}")));
    let named: Vec<Expr> = named.chain([order.right.alias("asof time")]).collect();
    let right = LogicalPlanBuilder::from(right)
        .project(right_columns.iter().cloned().chain(named))?
        .filter(time.clone().is_not_null())?
        .build()?;
    let all = columns(&right);
    let distinct: Vec<Expr> = keys.iter().cloned().chain([time.clone()]).collect();
    let rising = |expr: &Expr| Sort::new(expr.clone(), true, false);
    let sort = distinct.iter().chain(&right_columns).map(rising).collect();
    // The rows that are nearer to a left row are behind a right row, or in front of it.
    let neighbour = match order.operator {
        Operator::GtEq | Operator::Gt => lead(time.clone(), Some(1), None),
        _ => lag(time.clone(), Some(1), None),
    };
    let neighbour = neighbour
        .partition_by(keys.clone())
        .order_by(vec![rising(&time)])
        .build()?;
    let right = LogicalPlanBuilder::from(right)
        .distinct_on(distinct, all.clone(), Some(sort))?
        .window([neighbour.alias("asof bound")])?
        .build()?;
    let is_nearest = Expr::BinaryExpr(BinaryExpr {
        left: Box::new(order.left.clone()),
        op: beyond(order.operator),
        right: Box::new(bound.clone()),
    });
    let mut on: Vec<Expr> = equalities
        .into_iter()
        .zip(keys)
        .map(|(equal, key)| equal.left.eq(key))
        .collect();
    on.push(Expr::BinaryExpr(BinaryExpr {
        left: Box::new(order.left),
        op: order.operator,
        right: Box::new(time),
    }));
    on.push(bound.is_null().or(is_nearest));
    LogicalPlanBuilder::from(left)
        .join_on(right, join_type, on)?
        .project(left_columns.into_iter().chain(right_columns))?
        .build()
}

/// What a left row is to the time of the next right row, if it is not nearer to that.
fn beyond(operator: Operator) -> Operator {
    match operator {
        Operator::GtEq => Operator::Lt,
        Operator::Gt => Operator::LtEq,
        Operator::LtEq => Operator::Gt,
        _ => Operator::GtEq,
    }
}

impl Comparison {
    fn of(part: Expr, left: &DFSchema, right: &DFSchema) -> Option<Self> {
        let Expr::BinaryExpr(BinaryExpr {
            left: a,
            op,
            right: b,
        }) = part
        else {
            return None;
        };
        let known = matches!(
            op,
            Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
        );
        let is_of = |expr: &Expr, schema: &DFSchema| {
            let columns = expr.column_refs();
            !columns.is_empty() && columns.into_iter().all(|column| schema.has_column(column))
        };
        match known {
            true if is_of(&a, left) && is_of(&b, right) => Some(Self {
                left: *a,
                operator: op,
                right: *b,
            }),
            true if is_of(&a, right) && is_of(&b, left) => Some(Self {
                left: *b,
                operator: op.swap()?,
                right: *a,
            }),
            _ => None,
        }
    }
}

fn column(name: String) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn refused() -> DataFusionError {
    DataFusionError::External(Box::new(Error::unsupported(
        "an ASOF JOIN by other than equalities and one comparison with <, <=, > or >=",
        "write ASOF JOIN b ON a.k = b.k AND a.t >= b.t, and other conditions in WHERE",
    )))
}
