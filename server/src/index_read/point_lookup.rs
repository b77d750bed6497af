//! Which key groups of a relation's rows can hold what a query's filters ask for.
//!
//! The rows of a table lie in key groups by the hash of its primary key; those of an index, which
//! are the table's once more, by the hash of the index's columns. So a query that gives a value to
//! each of these columns reads one key group of some hundred; `IN` and `OR` of values read some.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use datafusion::scalar::ScalarValue;
use storage::PartitionSnapshot;

use crate::index_read::access_path::AccessPath;
use crate::index_read::scan_source::ScanSource;

/// Combinations of values that are worth looking up one by one.
pub(crate) const LOOKUPS_MAX: usize = 64;

/// The key groups that a query must read.
#[derive(Debug, Clone)]
pub struct PointLookup {
    /// How they are found.
    pub path: AccessPath,
    /// Those that have rows.
    pub partitions: Vec<PartitionSnapshot>,
}

impl AccessPath {
    /// The key groups for these filters, if they give values to the whole key.
    #[must_use]
    pub fn look_up(&self, schema: &SchemaRef, filters: &[Expr]) -> Option<PointLookup> {
        let mut combinations: Vec<Vec<ScalarValue>> = vec![Vec::new()];
        for &column in &self.key {
            let field = schema.field(column);
            let values = filters.iter().find_map(|filter| {
                let values = values_of(filter, field.name())?;
                let cast = values.into_iter().map(|v| as_key(v, field.data_type()));
                cast.collect::<Option<Vec<_>>>()
            })?;
            let longer = |start: &Vec<ScalarValue>| {
                let longer =
                    |value: &ScalarValue| [&start[..], std::slice::from_ref(value)].concat();
                values.iter().map(longer).collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(longer).collect();
            if combinations.len() > LOOKUPS_MAX {
                return None;
            }
        }
        let key_groups = u16::try_from(self.rows.partitions.len()).ok()?;
        let mut groups = Vec::with_capacity(combinations.len());
        for values in combinations {
            let cells: std::result::Result<Vec<ArrayRef>, _> = values
                .iter()
                .map(|value| value.to_array_of_size(1))
                .collect();
            let hash = *storage::hash_rows(&cells.ok()?).first()?;
            groups.push(storage::key_group(hash, key_groups));
        }
        groups.sort_unstable();
        groups.dedup();
        let rows = |group: &scaling::KeyGroup| self.rows.partitions[usize::from(group.0)].clone();
        Some(PointLookup {
            path: self.clone(),
            partitions: groups.iter().filter_map(rows).collect(),
        })
    }
}

/// Whether a filter gives values to a column.
#[must_use]
pub fn gives_values(filter: &Expr, column: &str) -> bool {
    values_of(filter, column).is_some()
}

/// The values that a column may have where the filter is true, if they are few and known.
pub(crate) fn values_of(filter: &Expr, column: &str) -> Option<Vec<ScalarValue>> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(c) if c.name == column);
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (op, &**left, &**right) {
            (Operator::Eq, name, Expr::Literal(value, _))
            | (Operator::Eq, Expr::Literal(value, _), name)
                if is_column(name) =>
            {
                Some(vec![value.clone()])
            }
            (Operator::Or, a, b) => {
                let mut values = values_of(a, column)?;
                values.extend(values_of(b, column)?);
                Some(values)
            }
            (Operator::And, a, b) => values_of(a, column).or_else(|| values_of(b, column)),
            _ => None,
        },
        Expr::InList(list) if !list.negated && is_column(&list.expr) => {
            let value = |expr: &Expr| match expr {
                Expr::Literal(value, _) => Some(value.clone()),
                _ => None,
            };
            list.list.iter().map(value).collect()
        }
        _ => None,
    }
}

/// A value as it is hashed in a column. Numbers of other scales may be equal and hash otherwise.
pub(crate) fn as_key(
    value: ScalarValue,
    data_type: &arrow::datatypes::DataType,
) -> Option<ScalarValue> {
    let given = value.data_type();
    if given == *data_type {
        return Some(value);
    }
    let widens = given.is_integer() && data_type.is_integer();
    widens.then(|| value.cast_to(data_type).ok()).flatten()
}

impl PointLookup {
    /// Rows of the key groups.
    #[must_use]
    pub fn rows(&self) -> usize {
        let rows: u64 = self.partitions.iter().map(PartitionSnapshot::rows).sum();
        usize::try_from(rows).unwrap_or(usize::MAX)
    }
}

/// The rows of a point look-up; it is there for `EXPLAIN`, and for orders that another scan has.
#[derive(Debug)]
pub struct PointLookupExec {
    source: ScanSource,
    input: Arc<dyn ExecutionPlan>,
    lookup: PointLookup,
}

impl PointLookupExec {
    /// `input` has the rows of the key groups that are looked up.
    #[must_use]
    pub fn new(source: ScanSource, input: Arc<dyn ExecutionPlan>, lookup: PointLookup) -> Self {
        Self {
            source,
            input,
            lookup,
        }
    }

    /// What is scanned.
    #[must_use]
    pub fn source(&self) -> &ScanSource {
        &self.source
    }

    /// What is looked up.
    #[must_use]
    pub fn lookup(&self) -> &PointLookup {
        &self.lookup
    }

    fn over(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(self.source.clone(), input, self.lookup.clone()))
    }
}

impl DisplayAs for PointLookupExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PointLookup: index={}, key_groups={}",
            self.lookup.path.name,
            self.lookup.partitions.len()
        )
    }
}

impl ExecutionPlan for PointLookupExec {
    fn name(&self) -> &str {
        "PointLookup"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => self.over(input),
            None => self,
        })
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => self.over(input),
            None => self,
        })
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn filters_give_values() {
        let values = |filter: Expr| values_of(&filter, "a").map(|values| values.len());
        assert_eq!(values(col("a").eq(lit(1))), Some(1));
        assert_eq!(values(lit(1).eq(col("a"))), Some(1));
        assert_eq!(values(col("a").eq(lit(1)).or(col("a").eq(lit(2)))), Some(2));
        assert_eq!(
            values(col("a").in_list(vec![lit(1), lit(2), lit(3)], false)),
            Some(3)
        );
        assert_eq!(values(col("a").in_list(vec![lit(1)], true)), None);
        assert_eq!(values(col("a").eq(lit(1)).or(col("b").eq(lit(2)))), None);
        assert_eq!(values(col("b").eq(lit(1))), None);
        assert_eq!(values(col("a").gt(lit(1))), None);
    }

    #[test]
    fn only_integers_are_converted() {
        let long = ScalarValue::Int64(Some(7));
        assert_eq!(
            as_key(long.clone(), &DataType::Int32),
            Some(ScalarValue::Int32(Some(7)))
        );
        assert_eq!(as_key(long.clone(), &DataType::Float64), None);
        assert_eq!(
            as_key(ScalarValue::Int64(Some(1 << 40)), &DataType::Int32),
            None
        );
        assert_eq!(as_key(long.clone(), &DataType::Int64), Some(long));
    }
}
