//! Joins of every kind.
//!
//! ```text
//!   left  ─[key expressions]──Hash(left keys)───┐
//!                                               ├─► HashJoin ─[drop keys]─►
//!   right ─[key expressions]──Hash(right keys)──┘
//! ```
//!
//! A side that is hashed by some of its keys already stays in its fragment, and the other side is
//! hashed by the partners of these keys. Joins of more inputs are trees of joins, in the order that
//! the optimizer left them. Without an equality every pair of rows is tried, in one key group.
//!
//! * A residual condition of an inner join is a filter above it, else part of the join; also one that
//!   compares times, from which follows when rows can be forgotten (`event_time`).
//! * Semi, anti and mark joins ask only whether there is a match: the right side's rows are reduced
//!   to the columns that the condition reads, each once.
//! * `x NOT IN (SELECT y …)`, a null-aware anti join, is an anti join by `x = y`, then one of all that
//!   is left with what remains to be said: `x IS NULL OR y IS NULL`, for any `y` there is.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::logical_expr::{
    Expr, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator, col,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};

use super::build::{Builder, single};
use super::parts::{Part, Stream, column, column_index};
use crate::dataflow::{JoinKind, Node};
use crate::error::{Error, Result};
use crate::names::nullable;
use crate::temporal_join::without_mark;
use crate::types::{check_kept, sql_name};
use crate::watermarks::is_time;

/// The inputs of a join, with their key expressions as columns.
pub(super) struct Sides {
    pub(super) left: Stream,
    pub(super) right: Stream,
    pub(super) left_keys: Vec<usize>,
    pub(super) right_keys: Vec<usize>,
    /// Over the columns of both.
    pub(super) residual: Option<Arc<dyn PhysicalExpr>>,
    pub(super) nulls_match: bool,
}

impl Builder<'_> {
    /// The rows of a join.
    pub(super) fn join(&mut self, join: &Join) -> Result<Stream> {
        if join.null_aware {
            return self.not_in(join);
        }
        if let Some(right) = without_mark(&join.right)? {
            return self.temporal_join(join, right);
        }
        match join.join_type {
            JoinType::Inner => self.pairs(join, JoinKind::Inner),
            JoinType::Left => self.pairs(join, JoinKind::Left),
            JoinType::Right => self.pairs(join, JoinKind::Right),
            JoinType::Full => self.pairs(join, JoinKind::Full),
            JoinType::LeftSemi => self.matches(join, JoinKind::LeftSemi),
            JoinType::LeftAnti => self.matches(join, JoinKind::LeftAnti),
            JoinType::LeftMark => self.matches(join, JoinKind::LeftMark),
            JoinType::RightSemi => self.matches(&swapped(join), JoinKind::LeftSemi),
            JoinType::RightAnti => self.matches(&swapped(join), JoinKind::LeftAnti),
            JoinType::RightMark => self.matches(&swapped(join), JoinKind::LeftMark),
        }
    }

    /// Pairs of rows, of an outer join with rows that have no partner.
    fn pairs(&mut self, join: &Join, kind: JoinKind) -> Result<Stream> {
        let widths = widths(join);
        let mut sides = self.sides(join)?;
        let fields = sides.left.schema.fields().iter();
        let fields = fields.chain(sides.right.schema.fields());
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let above = match kind {
            JoinKind::Inner => {
                let residual = &mut sides.residual;
                residual.take_if(|residual| !compares_times(residual, &schema))
            }
            _ => None,
        };
        let append_only =
            kind == JoinKind::Inner && sides.left.append_only && sides.right.append_only;
        let offset = sides.left.schema.fields().len();
        let key = match kind {
            // A row without a partner may look like one with a partner of NULLs on the other side.
            JoinKind::Full => Vec::new(),
            _ => pair_key(&sides.left.key, &sides.right.key, offset),
        };
        let part = self.hash_join(sides, kind, &schema);
        let part = match kind {
            JoinKind::Inner | JoinKind::Left => part,
            // The left columns of a row without a partner are NULL wherever it is.
            _ => part.with_hash(None),
        };
        let joined = Stream {
            key,
            append_only,
            ..Stream::of(part, Arc::clone(&schema))
        };
        let joined = match above {
            Some(residual) => joined.filter(&residual),
            None => joined,
        };
        // Without the key expressions, under the names of the plan.
        let kept = (0..widths.0).chain(offset..offset + widths.1);
        let columns: Vec<_> = kept.map(|at| column(&schema, at)).collect();
        Ok(joined.project(&columns, nullable(join.schema.as_arrow())))
    }

    /// Left rows by whether they have a match.
    fn matches(&mut self, join: &Join, kind: JoinKind) -> Result<Stream> {
        let (left_width, _) = widths(join);
        let mut sides = self.sides(join)?;
        let key = sides.left.key.clone();
        self.reduce_right(&mut sides)?;
        let offset = sides.left.schema.fields().len();
        let mut fields: Vec<_> = sides.left.schema.fields().iter().cloned().collect();
        let mut kept: Vec<usize> = (0..left_width).collect();
        if kind == JoinKind::LeftMark {
            let mark = join.schema.as_arrow().fields().last();
            fields.extend(mark.cloned());
            kept.push(offset);
        }
        let schema = Arc::new(Schema::new(fields));
        let part = self.hash_join(sides, kind, &schema);
        let joined = Stream {
            key,
            ..Stream::of(part, Arc::clone(&schema))
        };
        let columns: Vec<_> = kept.into_iter().map(|at| column(&schema, at)).collect();
        Ok(joined.project(&columns, nullable(join.schema.as_arrow())))
    }

    fn not_in(&mut self, join: &Join) -> Result<Stream> {
        let ([(left, right)], None, JoinType::LeftAnti) =
            (join.on.as_slice(), &join.filter, join.join_type)
        else {
            return Err(Error::unsupported(
                "this NOT IN (subquery) in a materialized view",
                "use NOT EXISTS, or NOT IN as a condition of its own with an uncorrelated subquery",
            ));
        };
        const IS_NULL: &str = "is null";
        let plain = Join {
            null_aware: false,
            ..join.clone()
        };
        let is_null = right.clone().is_null().alias(IS_NULL);
        let values = LogicalPlanBuilder::from(join.right.as_ref().clone())
            .project([is_null])?
            .alias("not in")?
            .build()?;
        let condition = left
            .clone()
            .is_null()
            .or(col(format!("\"not in\".\"{IS_NULL}\"")));
        let rest = LogicalPlanBuilder::from(LogicalPlan::Join(plain))
            .join_on(values, JoinType::LeftAnti, Some(condition))?
            .build()?;
        self.build(&rest)
    }

    /// The inputs of a join, with their keys.
    pub(super) fn sides(&mut self, join: &Join) -> Result<Sides> {
        let left = self.build(&join.left)?;
        let right = self.build(&join.right)?;
        let (left_exprs, right_exprs): (Vec<&Expr>, Vec<&Expr>) =
            join.on.iter().map(|(left, right)| (left, right)).unzip();
        let (left, left_keys) = self.with_keys(left, &left_exprs, join.left.schema())?;
        let (right, right_keys) = self.with_keys(right, &right_exprs, join.right.schema())?;
        check_types(&left, &left_keys, &right, &right_keys)?;
        check_kept(&left.schema)?;
        check_kept(&right.schema)?;
        let mut sides = Sides {
            left,
            right,
            left_keys,
            right_keys,
            residual: None,
            nulls_match: join.null_equality == NullEquality::NullEqualsNull,
        };
        if let Some(filter) = &join.filter {
            let pairs = join.left.schema().join(join.right.schema())?;
            let filter = self.physical(filter, &pairs)?;
            // The key expressions stand between the columns of the two sides.
            let left_width = widths(join).0;
            let added = sides.left.schema.fields().len() - left_width;
            sides.residual = Some(moved(&filter, |at| {
                if at < left_width { at } else { at + added }
            })?);
        }
        Ok(sides)
    }

    /// Keeps of the right side what the condition reads, each row once.
    fn reduce_right(&mut self, sides: &mut Sides) -> Result<()> {
        let offset = sides.left.schema.fields().len();
        let mut read = sides.right_keys.clone();
        for column in sides.residual.iter().flat_map(collect_columns) {
            if let Some(at) = column.index().checked_sub(offset)
                && !read.contains(&at)
            {
                read.push(at);
            }
        }
        let place = |at: usize| read.iter().position(|column| *column == at);
        let columns: Vec<_> = read
            .iter()
            .map(|at| column(&sides.right.schema, *at))
            .collect();
        let schema = Arc::new(sides.right.schema.project(&read)?);
        let residual = sides.residual.take();
        let residual = residual.map(|residual| {
            moved(&residual, |at| match at.checked_sub(offset) {
                None => at,
                Some(at) => offset + place(at).unwrap_or(at),
            })
        });
        sides.residual = residual.transpose()?;
        sides.right_keys = (0..sides.right_keys.len()).collect();
        let right = std::mem::replace(&mut sides.right, Stream::nothing());
        let right = right.project(&columns, schema);
        sides.right = match (right.key.is_empty(), sides.right_keys.is_empty()) {
            (false, _) => right,
            (true, true) => self.distinct(right)?,
            // Where the join wants the rows.
            (true, false) => {
                let schema = Arc::clone(&right.schema);
                let part = self.keyed(right, &sides.right_keys);
                self.distinct(Stream::of(part, schema))?
            }
        };
        Ok(())
    }

    fn hash_join(&mut self, sides: Sides, kind: JoinKind, schema: &Arc<Schema>) -> Part {
        let Sides {
            left,
            right,
            left_keys,
            right_keys,
            residual,
            nulls_match,
        } = sides;
        let (left, right) = self.aligned(left, &left_keys, right, &right_keys);
        left.join(right, |left, right| Node::HashJoin {
            kind,
            left,
            right,
            left_keys,
            right_keys,
            nulls_match,
            residual,
            forgets: [None, None],
            schema: Arc::clone(schema),
        })
    }

    /// The stream with its key expressions as columns; those that are not yet, at the end.
    fn with_keys(
        &self,
        stream: Stream,
        exprs: &[&Expr],
        schema: &DFSchema,
    ) -> Result<(Stream, Vec<usize>)> {
        let mut columns = stream.columns();
        let mut fields: Vec<Field> = stream
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .collect();
        let mut keys = Vec::with_capacity(exprs.len());
        for expr in exprs {
            let physical = self.physical(expr, schema)?;
            if let Some(at) = column_index(&physical) {
                keys.push(at);
                continue;
            }
            keys.push(columns.len());
            let data_type = physical.data_type(&stream.schema)?;
            fields.push(Field::new(
                expr.human_display().to_string(),
                data_type,
                true,
            ));
            columns.push(physical);
        }
        let stream = stream.project(&columns, Arc::new(Schema::new(fields)));
        Ok((stream, keys))
    }

    /// Both sides hashed by corresponding columns, in the same order.
    pub(super) fn aligned(
        &mut self,
        left: Stream,
        left_keys: &[usize],
        right: Stream,
        right_keys: &[usize],
    ) -> (Part, Part) {
        let left_hash = left.hashed_within(left_keys);
        let right_hash = right.hashed_within(right_keys);
        let (left_hash, right_hash) = match (left_hash, right_hash) {
            (Some(hash), _) => {
                let partner = partners(&hash, left_keys, right_keys);
                (hash, partner)
            }
            (None, Some(hash)) => (partners(&hash, right_keys, left_keys), hash),
            (None, None) => (left_keys.to_vec(), right_keys.to_vec()),
        };
        let left = self.hashed(left, &left_hash);
        let right = self.hashed(right, &right_hash);
        (left, right)
    }

    /// A part hashed by exactly these columns in this order.
    fn hashed(&mut self, stream: Stream, keys: &[usize]) -> Part {
        match single(stream.parts) {
            Ok(part) if part.hashed_by() == Some(keys) => part,
            Ok(part) => self.exchange(vec![part], &stream.schema, keys),
            Err(parts) => self.exchange(parts, &stream.schema, keys),
        }
    }
}

/// The keys of the other side that correspond to some keys of one side.
fn partners(hash: &[usize], keys: &[usize], others: &[usize]) -> Vec<usize> {
    let partner = |column: &usize| {
        keys.iter()
            .position(|key| key == column)
            .map(|at| others[at])
    };
    hash.iter().filter_map(partner).collect()
}

/// A pair is unique if both of its rows are.
fn pair_key(left: &[usize], right: &[usize], offset: usize) -> Vec<usize> {
    if left.is_empty() || right.is_empty() {
        return Vec::new();
    }
    let right = right.iter().map(|column| column + offset);
    left.iter().copied().chain(right).collect()
}

/// The number of columns of both sides.
pub(super) fn widths(join: &Join) -> (usize, usize) {
    let width = |side: &LogicalPlan| side.schema().fields().len();
    (width(&join.left), width(&join.right))
}

/// The join with its sides exchanged; its output is the same.
fn swapped(join: &Join) -> Join {
    let on = join.on.iter().cloned();
    Join {
        left: Arc::clone(&join.right),
        right: Arc::clone(&join.left),
        on: on.map(|(left, right)| (right, left)).collect(),
        ..join.clone()
    }
}

/// Whether a condition says which of two times is earlier.
fn compares_times(condition: &Arc<dyn PhysicalExpr>, columns: &Schema) -> bool {
    use Operator::{Gt, GtEq, Lt, LtEq};
    split_conjunction(condition).into_iter().any(|part| {
        let comparison = part.downcast_ref::<BinaryExpr>();
        comparison.is_some_and(|comparison| {
            let data_type = comparison.left().data_type(columns);
            matches!(comparison.op(), Gt | GtEq | Lt | LtEq)
                && data_type.is_ok_and(|data_type| is_time(&data_type))
                && collect_columns(part).len() > 1
        })
    })
}

/// An expression whose columns are elsewhere.
fn moved(
    expr: &Arc<dyn PhysicalExpr>,
    place: impl Fn(usize) -> usize,
) -> Result<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expr).transform_up(|part| {
        Ok(match part.downcast_ref::<Column>() {
            Some(column) => {
                let column = Column::new(column.name(), place(column.index()));
                Transformed::yes(Arc::new(column) as Arc<dyn PhysicalExpr>)
            }
            None => Transformed::no(part),
        })
    })?;
    Ok(moved.data)
}

/// Equal values of two types do not hash alike.
fn check_types(
    left: &Stream,
    left_keys: &[usize],
    right: &Stream,
    right_keys: &[usize],
) -> Result<()> {
    for (left_key, right_key) in left_keys.iter().zip(right_keys) {
        let left_type = left.schema.field(*left_key).data_type();
        let right_type = right.schema.field(*right_key).data_type();
        if left_type != right_type {
            return Err(Error::TypeMismatch {
                message: format!(
                    "join keys are of types {} and {}",
                    sql_name(left_type),
                    sql_name(right_type)
                ),
            });
        }
    }
    Ok(())
}
