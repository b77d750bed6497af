//! What a scan may read instead of all rows: chosen by what filters and `ORDER BY` ask for.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use storage::{Direction, KeyOrder, KeyRange, KeyRead, Next};

use crate::index_read::access_path::AccessPath;
use crate::index_read::index_scan::IndexScan;
use crate::index_read::key_conditions::KeyConditions;

/// Of how many rows a range leaves one at most, to be read by its keys: a row that is picked costs
/// several times one that is scanned.
const RANGE_PART: usize = 4;

/// A scan of a relation: its columns, and what is known of the rows that are wanted.
#[derive(Debug, Clone)]
pub struct ScanSource {
    /// The relation's columns.
    pub schema: SchemaRef,
    /// Ways to its rows.
    pub paths: Arc<[AccessPath]>,
    /// The columns of the relation that the scan gives.
    pub projection: Vec<usize>,
    /// Those columns.
    pub output: SchemaRef,
    /// What is true of the rows that are wanted.
    pub filters: Vec<Expr>,
    /// Rows of the relation.
    pub rows: usize,
}

/// A path, and the keys that are wanted.
struct Candidate<'a> {
    path: &'a AccessPath,
    order: KeyOrder,
    conditions: KeyConditions,
}

/// A column of a relation that rows are sorted by.
type SortColumn = (usize, SortOptions);

impl ScanSource {
    fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        let paths = self.paths.iter();
        let paths = paths.filter(|path| path.covers(Some(&self.projection)));
        paths.filter_map(|path| {
            Some(Candidate {
                path,
                order: path.order()?,
                conditions: KeyConditions::new(path, &self.schema, &self.filters),
            })
        })
    }

    /// The keys between the bounds that the filters give, if they are a small part of the rows.
    ///
    /// # Errors
    /// If rows cannot be sorted.
    pub fn range(&self) -> Result<Option<IndexScan>> {
        self.range_within(&[], self.rows)
    }

    /// The same, if they are a small part of so many rows that are found by the values of `known` columns
    /// otherwise.
    ///
    /// # Errors
    /// If rows cannot be sorted.
    pub fn range_within(&self, known: &[usize], rows: usize) -> Result<Option<IndexScan>> {
        let mut best: Option<(KeyRead, Candidate<'_>)> = None;
        for candidate in self.candidates() {
            let columns = &candidate.path.key[..candidate.conditions.columns()];
            if columns.iter().all(|column| known.contains(column)) {
                continue;
            }
            let read = candidate.read(candidate.conditions.ranges(&candidate.order))?;
            let most = best
                .as_ref()
                .map_or(rows / RANGE_PART + 1, |(best, _)| best.rows());
            if read.rows() < most {
                best = Some((read, candidate));
            }
        }
        Ok(best.map(|(read, candidate)| {
            let Candidate {
                path, conditions, ..
            } = candidate;
            IndexScan::new(self.clone(), path, &conditions, vec![read])
        }))
    }

    /// As [`ScanSource::range`], in an order.
    ///
    /// # Errors
    /// If rows cannot be sorted.
    pub fn ordered_range(&self, sort: &LexOrdering) -> Result<Option<IndexScan>> {
        let scan = self.ordered(sort, 0, self.rows)?;
        Ok(scan.filter(|scan| scan.rows().saturating_mul(RANGE_PART) <= self.rows))
    }

    /// The rows in an order, of which the first `fetch` are wanted, if reading them so is less work than
    /// to sort `instead` rows.
    ///
    /// # Errors
    /// If rows cannot be sorted.
    pub fn ordered(
        &self,
        sort: &LexOrdering,
        fetch: usize,
        instead: usize,
    ) -> Result<Option<IndexScan>> {
        let column = |by: &PhysicalSortExpr| {
            let column = by.expr.downcast_ref::<Column>()?;
            Some((self.projection[column.index()], by.options))
        };
        let Some(columns) = sort.iter().map(column).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let mut best: Option<(usize, IndexScan)> = None;
        for candidate in self.candidates() {
            let Some((direction, parts)) = candidate.reads_in(&columns) else {
                continue;
            };
            let Candidate {
                path,
                order,
                conditions,
            } = &candidate;
            let mut reads = Vec::new();
            for part in parts {
                reads.push(candidate.read(match part {
                    None => conditions.ranges(order),
                    Some(next) => conditions.ranges_with(order, &next),
                })?);
            }
            let rows: usize = reads.iter().map(KeyRead::rows).sum();
            // Of rows in a range of other keys, as many are among these as among all.
            let read = match instead < rows {
                true => fetch.saturating_mul(self.rows) / instead.max(1),
                false => fetch,
            };
            let known = best.as_ref().map_or(usize::MAX, |(best, _)| *best);
            if read < instead.max(1) && rows < known {
                let scan = IndexScan::new(self.clone(), path, conditions, reads);
                best = Some((rows, scan.in_order(sort, direction)));
            }
        }
        Ok(best.map(|(_, scan)| scan))
    }
}

impl Candidate<'_> {
    fn read(&self, ranges: storage::Result<Vec<KeyRange>>) -> Result<KeyRead> {
        let rows = &self.path.rows;
        let read = ranges.and_then(|ranges| rows.read(&self.order, &ranges, Direction::Any));
        read.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// How its keys are read for rows that are sorted by these columns: which way, and in which parts one
    /// after the other. Columns with one value are in every order.
    fn reads_in(&self, sort: &[SortColumn]) -> Option<(Direction, Vec<Option<Next>>)> {
        let (fixed, free) = self.path.key.split_at(self.conditions.fixed());
        let sort: Vec<&SortColumn> = sort.iter().filter(|(at, _)| !fixed.contains(at)).collect();
        let mut direction = None;
        let mut parts = vec![None];
        for (nth, (column, options)) in sort.iter().enumerate() {
            match free.get(nth) {
                Some(key) if key == column => {}
                // Rows of one key are one row.
                None if self.path.unique => break,
                _ => return None,
            }
            let this = match options.descending {
                true => Direction::Descending,
                false => Direction::Ascending,
            };
            if direction.is_some_and(|direction| direction != this) {
                return None;
            }
            direction = Some(this);
            let has_null = !self.path.unique && (nth > 0 || !self.conditions.excludes_null());
            if has_null && options.nulls_first != options.descending {
                if sort.len() > 1 || !self.conditions.allows_any_next() {
                    return None;
                }
                parts = match options.nulls_first {
                    true => vec![Some(Next::Null), Some(Next::NotNull)],
                    false => vec![Some(Next::NotNull), Some(Next::Null)],
                };
            }
        }
        Some((direction.unwrap_or(Direction::Ascending), parts))
    }
}
