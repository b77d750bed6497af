//! `LATERAL` subqueries with `LIMIT`: the first rows of each group.
//!
//! ```text
//!   a, LATERAL (SELECT b.v FROM b WHERE b.k = a.k AND p ORDER BY b.v LIMIT 2) AS l
//!
//!   b ─► p ─► row_number() OVER (PARTITION BY b.k ORDER BY b.v) <= 2 ─┐
//!   a ───────────────────────────────────────────────────────────────┴─► JOIN ON a.k = b.k
//! ```
//!
//! DataFusion makes joins of `LATERAL` subqueries without `LIMIT`. Here, what the subquery reads of the rows in front
//! of it must be in equalities in its `WHERE`. Rows that are equal in the order are ordered by all columns, so that
//! the choice among them does not depend on what came first.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, TableReference};
use datafusion::error::DataFusionError;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprFunctionExt, FetchType, Filter, Join, JoinType, Limit, LogicalPlan,
    LogicalPlanBuilder, Operator, Projection, SkipType, SortExpr, Subquery, SubqueryAlias, lit,
};
use datafusion::optimizer::AnalyzerRule;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The rule. To be run before type coercion.
#[derive(Debug)]
pub(crate) struct LateralLimit;

impl AnalyzerRule for LateralLimit {
    fn name(&self) -> &'static str {
        "lateral_limit"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(join) => match joined(&join)? {
                Some(plan) => Ok(Transformed::yes(plan)),
                None => Ok(Transformed::no(LogicalPlan::Join(join))),
            },
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

/// A plan that reads nothing around it any more, and which of its columns are to equal what it read.
struct Freed {
    plan: LogicalPlan,
    /// What was read, and the expression over the plan's columns that it equals.
    equal: Vec<(Expr, Expr)>,
}

/// The join of a `LATERAL` subquery with `LIMIT`, if it is one.
fn joined(join: &Join) -> Result<Option<LogicalPlan>> {
    let (alias, right) = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => (Some(alias), input),
        _ => (None, &join.right),
    };
    let LogicalPlan::Subquery(Subquery { subquery, .. }) = right.as_ref() else {
        return Ok(None);
    };
    let LogicalPlan::Limit(limit) = subquery.as_ref() else {
        return Ok(None);
    };
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) || !join.on.is_empty() {
        return Ok(None);
    }
    let Some(first) = first_rows(limit)? else {
        return Ok(None);
    };
    let Freed {
        plan: mut right,
        equal,
    } = first;
    if let Some(alias) = alias {
        right = LogicalPlanBuilder::from(right)
            .alias(alias.clone())?
            .build()?;
    }
    let key = |at: usize| Expr::Column(Column::new(alias.cloned(), key_name(at)));
    let keys = equal.into_iter().enumerate();
    let mut on: Vec<Expr> = keys.map(|(at, (outer, _))| outer.eq(key(at))).collect();
    on.extend(join.filter.clone());
    let columns = join.schema.columns().into_iter().map(Expr::from);
    LogicalPlanBuilder::from(join.left.as_ref().clone())
        .join_on(right, join.join_type, on)?
        .project(columns.collect::<Vec<_>>())?
        .build()
        .map(Some)
}

/// The first rows of each group.
fn first_rows(limit: &Limit) -> Result<Option<Freed>> {
    let (SkipType::Literal(skip), FetchType::Literal(fetch)) =
        (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    let (selected, sort, input) = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) => (None, sort.expr.clone(), &sort.input),
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Sort(sort) => (Some(&projection.expr), sort.expr.clone(), &sort.input),
            _ => (None, Vec::new(), &limit.input),
        },
        _ => (None, Vec::new(), &limit.input),
    };
    let Some(Freed { plan, equal }) = freed(input)? else {
        return Ok(None);
    };
    if equal.is_empty() {
        return Ok(None);
    }
    let columns: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .map(Expr::from)
        .collect();
    let all = columns.iter();
    let all = all.map(|column| SortExpr::new(column.clone(), true, false));
    let place = row_number()
        .partition_by(equal.iter().map(|(_, inner)| inner.clone()).collect())
        .order_by(sort.into_iter().chain(all).collect())
        .build()?;
    const PLACE: &str = "lateral place";
    let place_column = || Expr::Column(Column::from_name(PLACE));
    let mut plan = LogicalPlanBuilder::from(plan).window([place.alias(PLACE)])?;
    if skip > 0 {
        plan = plan.filter(place_column().gt(lit(skip as u64)))?;
    }
    if let Some(fetch) = fetch {
        plan = plan.filter(place_column().lt_eq(lit((skip + fetch) as u64)))?;
    }
    let width = limit.input.schema().fields().len();
    let kept = selected
        .cloned()
        .unwrap_or_else(|| columns[..width].to_vec());
    let keys = equal.iter().enumerate();
    let keys = keys.map(|(at, (_, inner))| inner.clone().alias(key_name(at)));
    let plan = plan.project(kept.into_iter().chain(keys).collect::<Vec<_>>())?;
    let equal = equal.into_iter().enumerate();
    Ok(Some(Freed {
        plan: plan.build()?,
        equal: equal
            .map(|(at, (outer, _))| (outer, Expr::Column(Column::from_name(key_name(at)))))
            .collect(),
    }))
}

fn key_name(at: usize) -> String {
    format!("lateral key {at}")
}

/// A plan without the equalities with what is around it; `None` if it reads that elsewhere, too. Columns that are
/// needed for them come behind its own.
fn freed(plan: &LogicalPlan) -> Result<Option<Freed>> {
    match plan {
        LogicalPlan::Filter(filter) => without_equalities(filter),
        LogicalPlan::Projection(projection) if projection.expr.iter().all(is_free) => {
            let Some(Freed { plan, equal }) = freed(&projection.input)? else {
                return Ok(None);
            };
            let mut exprs = projection.expr.clone();
            let mut moved = Vec::with_capacity(equal.len());
            for (outer, inner) in equal {
                let name = format!("lateral column {}", exprs.len());
                exprs.push(inner.alias(&name));
                moved.push((outer, Expr::Column(Column::from_name(name))));
            }
            let projection = Projection::try_new(exprs, Arc::new(plan))?;
            Ok(Some(Freed {
                plan: LogicalPlan::Projection(projection),
                equal: moved,
            }))
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let Some(Freed { plan, equal }) = freed(input)? else {
                return Ok(None);
            };
            aliased(plan, equal, alias)
        }
        other => {
            let reads_around = !other.all_out_ref_exprs().is_empty();
            Ok((!reads_around).then(|| Freed {
                plan: other.clone(),
                equal: Vec::new(),
            }))
        }
    }
}

fn aliased(
    plan: LogicalPlan,
    equal: Vec<(Expr, Expr)>,
    alias: &TableReference,
) -> Result<Option<Freed>> {
    let mut exprs: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .map(Expr::from)
        .collect();
    let mut moved = Vec::with_capacity(equal.len());
    for (outer, inner) in equal {
        let name = format!("lateral column {}", exprs.len());
        exprs.push(inner.alias(&name));
        moved.push((outer, Expr::Column(Column::new(Some(alias.clone()), name))));
    }
    let plan = LogicalPlanBuilder::from(plan)
        .project(exprs)?
        .alias(alias.clone())?
        .build()?;
    Ok(Some(Freed { plan, equal: moved }))
}

fn without_equalities(filter: &Filter) -> Result<Option<Freed>> {
    let Some(Freed { plan, mut equal }) = freed(&filter.input)? else {
        return Ok(None);
    };
    let mut rest = Vec::new();
    for part in split_conjunction_owned(filter.predicate.clone()) {
        if is_free(&part) {
            rest.push(part);
            continue;
        }
        let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = part
        else {
            return Ok(None);
        };
        let (outer, inner) = match (is_around(&left), is_around(&right)) {
            (true, false) if is_free(&right) => (*left, *right),
            (false, true) if is_free(&left) => (*right, *left),
            _ => return Ok(None),
        };
        equal.push((of_around(outer)?, inner));
    }
    let plan = match conjunction(rest) {
        Some(rest) => LogicalPlanBuilder::from(plan).filter(rest)?.build()?,
        None => plan,
    };
    Ok(Some(Freed { plan, equal }))
}

/// Whether an expression reads nothing around the subquery.
fn is_free(expr: &Expr) -> bool {
    !reads(expr, |part| matches!(part, Expr::OuterReferenceColumn(..)))
        && !reads(expr, |part| {
            matches!(
                part,
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)
            )
        })
}

/// Whether an expression reads what is around the subquery, and nothing else.
fn is_around(expr: &Expr) -> bool {
    reads(expr, |part| matches!(part, Expr::OuterReferenceColumn(..)))
        && !reads(expr, |part| matches!(part, Expr::Column(_)))
}

fn reads(expr: &Expr, what: impl Fn(&Expr) -> bool) -> bool {
    expr.exists(|part| Ok(what(part))).unwrap_or(true)
}

/// The expression where the rows around are rows of its own.
fn of_around(expr: Expr) -> Result<Expr> {
    expr.transform_up(|part| {
        Ok(match part {
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            other => Transformed::no(other),
        })
    })
    .data()
}
