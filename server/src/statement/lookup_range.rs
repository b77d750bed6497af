//! Look-ups by bounds of a key, or in its order: `… WHERE key > value ORDER BY key LIMIT n`.
//!
//! The query is scanned as its plan would be (`index_read`), by one thread, and all its rows are found
//! before the first is sent. So one that may have many rows is planned.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, binary_expr, lit};
use datafusion::physical_expr::expressions::{self, Column};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, conjunction};
use datafusion::scalar::ScalarValue;

use crate::error::Result;
use crate::index_read::access_path::AccessPath;
use crate::index_read::index_scan::IndexScan;
use crate::index_read::scan_source::ScanSource;
use crate::session::Parameters;
use crate::statement::lookup::Lookup;
use crate::statement::rows::Rows;

/// Rows that a query may have without a plan.
const ROWS_MAX: usize = 8192;

impl Lookup {
    /// Whether some path has a first column that rows are wanted or sorted by.
    pub(super) fn may_read_by_key(&self, paths: &[AccessPath]) -> bool {
        let wanted = self.wanted.iter().map(|condition| condition.column);
        let columns = wanted.chain(self.order.iter().map(|(column, _)| *column));
        let columns: Vec<usize> = columns.collect();
        let first = paths.iter().filter_map(|path| path.key.first());
        first.into_iter().any(|first| columns.contains(first))
    }

    /// The rows; `None` if they are too many, are not read by a key, or a value is NULL or of
    /// another type.
    pub(super) fn rows_by_key(
        &self,
        relation: SchemaRef,
        paths: Vec<AccessPath>,
        rows: u64,
        parameters: &Parameters,
    ) -> Result<Option<Rows>> {
        let values = self.wanted.iter().map(|c| c.value(&relation, parameters));
        let Some(values) = values.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let Some((skip, fetch)) = self.part(parameters) else {
            return Ok(None);
        };
        let source = self.source(relation, paths, rows, &values);
        let Some(scan) = self.scan(&source, fetch)? else {
            return Ok(None);
        };
        if fetch.unwrap_or_else(|| scan.rows()) > ROWS_MAX {
            return Ok(None);
        }
        let scan = match self.filter(&source, &values)? {
            Some(filter) => scan.with_filter(filter),
            None => scan,
        };
        let found = scan.first(fetch).collect()?;
        Ok(Some(self.result(found, skip, fetch)?))
    }

    /// What is scanned: the columns of the result, those of the order, and those of the conditions.
    fn source(
        &self,
        relation: SchemaRef,
        paths: Vec<AccessPath>,
        rows: u64,
        values: &[ScalarValue],
    ) -> ScanSource {
        let order = self.order.iter().map(|(column, _)| column);
        let wanted = self.wanted.iter().map(|condition| &condition.column);
        let projection: Vec<usize> = self
            .columns
            .iter()
            .chain(order)
            .chain(wanted)
            .copied()
            .collect();
        let fields: Vec<Arc<Field>> = projection
            .iter()
            .map(|&at| Arc::clone(&relation.fields()[at]))
            .collect();
        let filters = self.wanted.iter().zip(values).map(|(condition, value)| {
            let name = relation.field(condition.column).name();
            let column = datafusion::common::Column::new_unqualified(name);
            binary_expr(Expr::Column(column), condition.op, lit(value.clone()))
        });
        ScanSource {
            filters: filters.collect(),
            paths: paths.into(),
            projection,
            output: Arc::new(Schema::new(fields)),
            rows: usize::try_from(rows).unwrap_or(usize::MAX),
            schema: relation,
        }
    }

    /// A scan that need not read all rows, if there is one.
    fn scan(&self, source: &ScanSource, fetch: Option<usize>) -> Result<Option<IndexScan>> {
        let first = self.columns.len();
        let by = |(nth, (column, options)): (usize, &(usize, _))| {
            let name = source.schema.field(*column).name();
            PhysicalSortExpr::new(Arc::new(Column::new(name, first + nth)), *options)
        };
        let Some(order) = LexOrdering::new(self.order.iter().enumerate().map(by)) else {
            return Ok(source.range()?);
        };
        Ok(match fetch {
            Some(fetch) => source.ordered(&order, fetch, source.rows)?,
            None => source.ordered_range(&order)?,
        })
    }

    fn filter(
        &self,
        source: &ScanSource,
        values: &[ScalarValue],
    ) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let first = self.columns.len() + self.order.len();
        let mut filters = Vec::new();
        for ((at, condition), value) in (first..).zip(&self.wanted).zip(values) {
            let name = source.schema.field(condition.column).name();
            let column = Arc::new(Column::new(name, at));
            let value = expressions::lit(value.clone());
            filters.push(expressions::binary(
                column,
                condition.op,
                value,
                &source.output,
            )?);
        }
        Ok((!filters.is_empty()).then(|| conjunction(filters)))
    }
}
