//! Temporal filters: `WHERE ts > now() - interval '1 hour'`.
//!
//! ```text
//!   Filter: ts > now() - '1 hour' AND kind = 'a'
//!
//!   Project: without "ahead of now"
//!     TemporalFilter: "ahead of now" > now() - '1 hour'
//!       Project: *, ts AS "ahead of now"
//!         Filter: kind = 'a'
//! ```
//!
//! A conjunct that compares what does not know the time with what knows nothing else becomes a
//! filter of its own; one after the other, bounds that rows go by behind those that they come by.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use super::build::Builder;
use super::parts::{Part, Stream, column};
use crate::dataflow::{Bound, Node, Side};
use crate::error::{Error, Result};
use crate::functions::now::is_now;
use crate::types::sql_name;
use crate::watermarks::{growing, is_time};

/// A comparison with the time.
#[derive(Debug)]
struct Comparison {
    value: Expr,
    bound: Expr,
    side: Side,
    /// Whether the bound has passed what it equals.
    inclusive: bool,
}

/// Whether the time of the epoch is a part of an expression.
pub(super) fn knows_time(expr: &Expr) -> bool {
    expr.exists(|part| Ok(is_now(part))).unwrap_or(false)
}

/// Refuses a condition whose parts with `now()` are no comparisons that a temporal filter makes.
pub(super) fn check(predicate: &Expr) -> Result<()> {
    for conjunct in conjuncts(predicate) {
        if knows_time(&conjunct) {
            Comparison::of(&conjunct)?;
        }
    }
    Ok(())
}

/// The refusal of `now()` where it is no part of such a comparison.
pub(super) fn refused() -> Error {
    Error::unsupported(
        "now() in a materialized view, other than in a comparison in WHERE or HAVING",
        "compare a time of the row with now() alone, as in ts > now() - interval '1 hour'",
    )
}

impl Builder<'_> {
    /// The rows of a stream that pass a condition.
    pub(super) fn filtered(
        &mut self,
        mut stream: Stream,
        predicate: &Expr,
        schema: &DFSchema,
    ) -> Result<Stream> {
        let (timed, plain): (Vec<_>, Vec<_>) =
            conjuncts(predicate).into_iter().partition(knows_time);
        if let Some(plain) = conjunction(plain) {
            stream = stream.filter(&self.physical(&plain, schema)?);
        }
        let timed = timed.iter().map(Comparison::of);
        let mut timed = timed.collect::<Result<Vec<_>>>()?;
        timed.sort_by_key(|comparison| comparison.side == Side::Ahead);
        for comparison in timed {
            stream = self.temporal_filter(stream, &comparison, schema)?;
        }
        Ok(stream)
    }

    fn temporal_filter(
        &mut self,
        stream: Stream,
        comparison: &Comparison,
        schema: &DFSchema,
    ) -> Result<Stream> {
        let data_type = comparison.value.get_type(schema)?;
        let now = now_schema();
        let now = DFSchema::try_from(Arc::clone(&now))?;
        let bound = comparison.bound.clone().transform_up(|part| {
            Ok(match is_now(&part) {
                true => Transformed::yes(Expr::Column(Column::from_name("now"))),
                false => Transformed::no(part),
            })
        })?;
        let bound = self.physical(&bound.data, &now)?;
        if growing(&bound).is_none() || !is_time(&data_type) {
            return Err(refused());
        }
        if bound.data_type(now.as_arrow())? != data_type {
            return Err(Error::TypeMismatch {
                message: format!(
                    "a {} is compared with a {}",
                    sql_name(&data_type),
                    sql_name(&bound.data_type(now.as_arrow())?)
                ),
            });
        }
        let width = stream.schema.fields().len();
        let output = Arc::clone(&stream.schema);
        let (key, append_only) = (stream.key.clone(), stream.append_only);
        let mut columns = stream.columns();
        columns.push(self.physical(&comparison.value, schema)?);
        let fields = output.fields().iter().map(|field| field.as_ref().clone());
        let fields = fields.chain([Field::new("compared with now", data_type, true)]);
        let extended: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let stream = stream.project(&columns, Arc::clone(&extended));
        let parts = stream.parts.into_iter().map(|part| {
            let part = self.stateful(part, &extended);
            let hashed_by = part.hashed_by().map(<[usize]>::to_vec);
            part.wrap(hashed_by, |input| Node::TemporalFilter {
                input,
                column: width,
                side: comparison.side,
                bound: Bound::Now {
                    value: Arc::clone(&bound),
                    inclusive: comparison.inclusive,
                },
            })
        });
        let kept = Stream {
            parts: parts.collect(),
            schema: Arc::clone(&extended),
            key,
            append_only: append_only && comparison.side == Side::Passed,
        };
        let columns: Vec<_> = (0..width).map(|at| column(&extended, at)).collect();
        Ok(kept.project(&columns, output))
    }

    /// The part, or one behind an exchange where it may hold state.
    pub(super) fn stateful(&mut self, part: Part, schema: &SchemaRef) -> Part {
        if !part.is_leaf() {
            return part;
        }
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        self.exchange(vec![part], schema, &all)
    }
}

impl Comparison {
    fn of(conjunct: &Expr) -> Result<Self> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = conjunct else {
            return Err(refused());
        };
        let (value, bound, op) = match (knows_time(left), knows_time(right)) {
            (false, true) => (left, right, Some(*op)),
            (true, false) => (right, left, op.swap()),
            _ => return Err(refused()),
        };
        let (side, inclusive) = match op {
            Some(Operator::Gt) => (Side::Ahead, true),
            Some(Operator::GtEq) => (Side::Ahead, false),
            Some(Operator::LtEq) => (Side::Passed, true),
            Some(Operator::Lt) => (Side::Passed, false),
            _ => return Err(refused()),
        };
        if !bound.column_refs().is_empty() {
            return Err(refused());
        }
        Ok(Self {
            value: value.as_ref().clone(),
            bound: bound.as_ref().clone(),
            side,
            inclusive,
        })
    }
}

/// What must all be true; `BETWEEN` is two comparisons.
fn conjuncts(predicate: &Expr) -> Vec<Expr> {
    let split = split_conjunction(predicate).into_iter();
    split
        .flat_map(|conjunct| match conjunct {
            Expr::Between(between) if !between.negated && knows_time(conjunct) => vec![
                between
                    .expr
                    .as_ref()
                    .clone()
                    .gt_eq(between.low.as_ref().clone()),
                between
                    .expr
                    .as_ref()
                    .clone()
                    .lt_eq(between.high.as_ref().clone()),
            ],
            other => vec![other.clone()],
        })
        .collect()
}

/// The one column that bounds are computed from.
fn now_schema() -> SchemaRef {
    let now = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![Field::new("now", now, true)]))
}
