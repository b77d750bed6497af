//! Inner equi-joins.
//!
//! ```text
//!   left  ─[key expressions]──Hash(left keys)───┐
//!                                               ├─► HashJoin ─[drop keys]─[residual filter]─►
//!   right ─[key expressions]──Hash(right keys)──┘
//! ```
//!
//! A side that is hashed by some of its keys already stays in its fragment, and the other side is
//! hashed by the partners of these keys. Joins of more inputs are trees of joins, in the order that
//! the optimizer left them.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{DFSchema, NullEquality};
use datafusion::logical_expr::{Expr, Join, JoinType};

use super::build::{Builder, single};
use super::parts::{Part, Stream, column, column_index};
use crate::dataflow::Node;
use crate::error::{Error, Result};
use crate::names::nullable;
use crate::types::{check_kept, sql_name};

impl Builder<'_> {
    /// The matching pairs of rows.
    pub(super) fn join(&mut self, join: &Join) -> Result<Stream> {
        check(join)?;
        let left = self.build(&join.left)?;
        let right = self.build(&join.right)?;
        let (left_exprs, right_exprs): (Vec<&Expr>, Vec<&Expr>) =
            join.on.iter().map(|(left, right)| (left, right)).unzip();
        let (left_width, right_width) = (left.schema.fields().len(), right.schema.fields().len());
        let (left, left_keys) = self.with_keys(left, &left_exprs, join.left.schema())?;
        let (right, right_keys) = self.with_keys(right, &right_exprs, join.right.schema())?;
        check_types(&left, &left_keys, &right, &right_keys)?;
        check_kept(&left.schema)?;
        check_kept(&right.schema)?;

        let append_only = left.append_only && right.append_only;
        let offset = left.schema.fields().len();
        let key = pair_key(&left.key, &right.key, offset);
        let fields = left.schema.fields().iter().chain(right.schema.fields());
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let output = Arc::clone(&schema);
        let (left, right) = self.aligned(left, &left_keys, right, &right_keys);
        let part = left.join(right, |left, right| Node::HashJoin {
            left,
            right,
            left_keys,
            right_keys,
            schema: output,
        });
        let joined = Stream {
            key,
            append_only,
            ..Stream::of(part, Arc::clone(&schema))
        };
        // Without the key expressions, under the names of the plan.
        let kept = (0..left_width).chain(offset..offset + right_width);
        let columns: Vec<_> = kept.map(|at| column(&schema, at)).collect();
        let joined = joined.project(&columns, nullable(join.schema.as_arrow()));
        match &join.filter {
            Some(filter) => {
                let predicate = self.physical(filter, &join.schema)?;
                Ok(joined.filter(&predicate))
            }
            None => Ok(joined),
        }
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
    fn aligned(
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

fn check(join: &Join) -> Result<()> {
    let kind = match join.join_type {
        JoinType::Inner if join.null_equality == NullEquality::NullEqualsNull => {
            return Err(Error::unsupported(
                "a join that matches NULLs in a materialized view",
                "join with =, or on coalesce of both sides",
            ));
        }
        JoinType::Inner if join.on.is_empty() => {
            return Err(Error::unsupported(
                "a join without an equality between its inputs in a materialized view",
                "add a condition such as a.x = b.y",
            ));
        }
        JoinType::Inner => return Ok(()),
        JoinType::Left => "a LEFT JOIN",
        JoinType::Right => "a RIGHT JOIN",
        JoinType::Full => "a FULL JOIN",
        JoinType::LeftSemi | JoinType::RightSemi | JoinType::LeftMark | JoinType::RightMark => {
            "a semi join (INTERSECT)"
        }
        JoinType::LeftAnti | JoinType::RightAnti => "an anti join (EXCEPT)",
    };
    Err(Error::unsupported(
        format!("{kind} in a materialized view"),
        "use an inner JOIN, or do this join in a SELECT over the view",
    ))
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
