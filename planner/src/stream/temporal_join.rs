//! Temporal joins: left rows, which are never taken back, with the right row of their key as it is at the end of their
//! epoch.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan};

use super::build::Builder;
use super::join::{Sides, widths};
use super::parts::{Stream, column};
use crate::dataflow::Node;
use crate::error::{Error, Result};
use crate::names::nullable;
use crate::number_aggregates::uncast;

impl Builder<'_> {
    /// The rows of a join whose right side is `right`, without its mark.
    pub(super) fn temporal_join(&mut self, join: &Join, right: LogicalPlan) -> Result<Stream> {
        let keeps_all = match join.join_type {
            JoinType::Inner => false,
            JoinType::Left => true,
            _ => {
                return Err(Error::unsupported(
                    "a temporal join other than JOIN and LEFT JOIN",
                    "have the relation with FOR SYSTEM_TIME AS OF PROCTIME() on the right side",
                ));
            }
        };
        let plain = Join {
            right: Arc::new(right),
            ..join.clone()
        };
        let (left_width, right_width) = widths(&plain);
        let sides = self.sides(&plain)?;
        check_left(&sides.left)?;
        check_key(&sides.right, &plain)?;
        let key = sides.left.key.clone();
        let fields = sides.left.schema.fields().iter();
        let fields = fields.chain(sides.right.schema.fields());
        let schema = Arc::new(Schema::new(fields.cloned().collect::<Vec<_>>()));
        let offset = sides.left.schema.fields().len();
        let Sides {
            left,
            right,
            left_keys,
            right_keys,
            residual,
            nulls_match,
        } = sides;
        let (left, right) = self.aligned(left, &left_keys, right, &right_keys);
        let part = left.join(right, |left, right| Node::TemporalJoin {
            keeps_all,
            left,
            right,
            left_keys,
            right_keys,
            nulls_match,
            residual,
            schema: Arc::clone(&schema),
        });
        let joined = Stream {
            key,
            append_only: true,
            ..Stream::of(part, Arc::clone(&schema))
        };
        let kept = (0..left_width).chain(offset..offset + right_width);
        let columns: Vec<_> = kept.map(|at| column(&schema, at)).collect();
        Ok(joined.project(&columns, nullable(join.schema.as_arrow())))
    }
}

/// What was joined with a row that is taken back later is not known any more.
fn check_left(left: &Stream) -> Result<()> {
    match left.append_only {
        true => Ok(()),
        false => Err(Error::unsupported(
            "a temporal join whose left side is not append-only",
            "create the table with APPEND ONLY, or leave FOR SYSTEM_TIME out: the join then follows the changes of both sides",
        )),
    }
}

/// One row at most is found for each left row.
fn check_key(right: &Stream, join: &Join) -> Result<()> {
    let equal = join.on.iter().filter_map(|(_, expr)| {
        let Expr::Column(column) = uncast(expr, join.right.schema()) else {
            return None;
        };
        join.right.schema().maybe_index_of_column(column)
    });
    let equal: Vec<usize> = equal.collect();
    let is_found = !right.key.is_empty() && right.key.iter().all(|column| equal.contains(column));
    match is_found {
        true => Ok(()),
        false => Err(Error::unsupported(
            "a temporal join whose condition does not name the right side's whole primary key",
            "give the table a primary key, and write ON a.x = b.key",
        )),
    }
}
