//! What filters say about the key of an access path: values of its first columns, and bounds of the next.

use std::cmp::Ordering;
use std::ops::Bound;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use datafusion::scalar::ScalarValue;
use storage::{KeyOrder, KeyRange, Next, Result};

use crate::index_read::access_path::AccessPath;
use crate::index_read::point_lookup::{LOOKUPS_MAX, as_key, values_of};

/// The keys that can be where some filters are true.
#[derive(Debug, Clone)]
pub struct KeyConditions {
    /// Values of the first columns of the key, each an array of one; every combination of them.
    equal: Vec<Vec<ArrayRef>>,
    /// The column after those.
    next: Next,
    columns: usize,
    /// As `EXPLAIN` shows them.
    shown: Vec<String>,
}

impl KeyConditions {
    /// What the filters say.
    #[must_use]
    pub fn new(path: &AccessPath, schema: &SchemaRef, filters: &[Expr]) -> KeyConditions {
        let mut conditions = KeyConditions {
            equal: vec![Vec::new()],
            next: Next::Any,
            columns: 0,
            shown: Vec::new(),
        };
        for &column in &path.key {
            let field = schema.field(column);
            let name = field.name();
            if let Some(values) = key_values(filters, name, field.data_type())
                && conditions.equal.len() * values.len() <= LOOKUPS_MAX
            {
                conditions.add_values(name, &values);
                conditions.columns += 1;
                continue;
            }
            let mut limits = Limits::default();
            for filter in filters {
                limits.add(filter, name, field.data_type());
            }
            conditions.next = limits.next();
            if !conditions.allows_any_next() {
                conditions.columns += 1;
                conditions.shown.extend(limits.shown(name));
            }
            break;
        }
        conditions
    }

    fn add_values(&mut self, name: &str, values: &[(ScalarValue, ArrayRef)]) {
        let longer = |start: &Vec<ArrayRef>| {
            let start = start.clone();
            let with = move |(_, cell): &(ScalarValue, ArrayRef)| {
                [&start[..], std::slice::from_ref(cell)].concat()
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        self.equal = self.equal.iter().flat_map(longer).collect();
        let shown: Vec<String> = values.iter().map(|(value, _)| value.to_string()).collect();
        self.shown.push(match shown.as_slice() {
            [one] => format!("{name} = {one}"),
            some => format!("{name} IN ({})", some.join(", ")),
        });
    }

    /// How many of the first columns they say something about.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many of the first columns have one value.
    #[must_use]
    pub fn fixed(&self) -> usize {
        match self.equal.as_slice() {
            [one] => one.len(),
            _ => 0,
        }
    }

    /// Whether the first column without one value has no NULL.
    #[must_use]
    pub fn excludes_null(&self) -> bool {
        self.equal.len() != 1 || matches!(self.next, Next::NotNull | Next::Between(..))
    }

    /// Whether they say nothing of the first column without one value.
    #[must_use]
    pub fn allows_any_next(&self) -> bool {
        matches!(self.next, Next::Any)
    }

    /// The ranges of keys, which do not overlap.
    ///
    /// # Errors
    /// If a value is not of its column's type.
    pub fn ranges(&self, order: &KeyOrder) -> Result<Vec<KeyRange>> {
        self.ranges_with(order, &self.next)
    }

    /// The same with the next column as `next` says; they say nothing about it.
    ///
    /// # Errors
    /// As [`KeyConditions::ranges`].
    pub fn ranges_with(&self, order: &KeyOrder, next: &Next) -> Result<Vec<KeyRange>> {
        let ranges = self.equal.iter().map(|equal| order.range(equal, next));
        let mut ranges = ranges.collect::<Result<Vec<_>>>()?;
        ranges.sort_unstable();
        ranges.dedup();
        Ok(ranges)
    }
}

impl std::fmt::Display for KeyConditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown.join(" AND "))
    }
}

/// Whether a filter says something about a column that a key can be found by.
#[must_use]
pub fn limits_column(filter: &Expr, column: &str, data_type: &DataType) -> bool {
    let mut limits = Limits::default();
    limits.add(filter, column, data_type);
    !matches!(limits.next(), Next::Any)
}

/// The values that some filter gives to a column, with their arrays.
fn key_values(
    filters: &[Expr],
    column: &str,
    data_type: &DataType,
) -> Option<Vec<(ScalarValue, ArrayRef)>> {
    filters.iter().find_map(|filter| {
        let values = values_of(filter, column)?.into_iter().map(|value| {
            let value = as_key(value, data_type)?;
            let cell = value.to_array_of_size(1).ok()?;
            Some((value, cell))
        });
        values.collect()
    })
}

/// Bounds of a column.
#[derive(Default)]
struct Limits {
    low: Option<(ScalarValue, Edge)>,
    high: Option<(ScalarValue, Edge)>,
    nulls: Nulls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Included,
    Excluded,
}

#[derive(Default, PartialEq, Eq)]
enum Nulls {
    #[default]
    Unknown,
    Only,
    Without,
}

impl Limits {
    /// Adds what a filter says about a column.
    fn add(&mut self, filter: &Expr, column: &str, data_type: &DataType) {
        let is_column = |expr: &Expr| matches!(expr, Expr::Column(c) if c.name == column);
        let literal = |expr: &Expr| match expr {
            Expr::Literal(value, _) => {
                as_key(value.clone(), data_type).filter(|value| !value.is_null())
            }
            _ => None,
        };
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => {
                    self.add(left, column, data_type);
                    self.add(right, column, data_type);
                }
                op if is_column(left) => self.compare(*op, literal(right)),
                op if is_column(right) => {
                    if let Some(op) = op.swap() {
                        self.compare(op, literal(left));
                    }
                }
                _ => {}
            },
            Expr::Between(Between {
                expr,
                negated: false,
                low,
                high,
            }) if is_column(expr) => {
                self.compare(Operator::GtEq, literal(low));
                self.compare(Operator::LtEq, literal(high));
            }
            Expr::IsNull(expr) if is_column(expr) => self.nulls = Nulls::Only,
            Expr::IsNotNull(expr) if is_column(expr) => self.nulls = Nulls::Without,
            Expr::Like(like) if is_column(&like.expr) => {
                if let Some((from, to)) = beginning(like) {
                    self.compare(Operator::GtEq, as_key(from, data_type));
                    self.compare(Operator::Lt, as_key(to, data_type));
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, op: Operator, value: Option<ScalarValue>) {
        let Some(value) = value else { return };
        match op {
            Operator::Gt => tighten(&mut self.low, value, Edge::Excluded, Ordering::Greater),
            Operator::GtEq => tighten(&mut self.low, value, Edge::Included, Ordering::Greater),
            Operator::Lt => tighten(&mut self.high, value, Edge::Excluded, Ordering::Less),
            Operator::LtEq => tighten(&mut self.high, value, Edge::Included, Ordering::Less),
            _ => {}
        }
    }

    fn next(&self) -> Next {
        let bound = |limit: &Option<(ScalarValue, Edge)>| {
            let Some((value, edge)) = limit else {
                return Some(Bound::Unbounded);
            };
            let cell = value.to_array_of_size(1).ok()?;
            Some(match edge {
                Edge::Included => Bound::Included(cell),
                Edge::Excluded => Bound::Excluded(cell),
            })
        };
        match (bound(&self.low), bound(&self.high), &self.nulls) {
            (Some(Bound::Unbounded), Some(Bound::Unbounded), Nulls::Unknown) => Next::Any,
            (Some(Bound::Unbounded), Some(Bound::Unbounded), Nulls::Without) => Next::NotNull,
            (Some(Bound::Unbounded), Some(Bound::Unbounded), Nulls::Only) => Next::Null,
            (Some(low), Some(high), _) => Next::Between(low, high),
            _ => Next::Any,
        }
    }

    fn shown(&self, name: &str) -> Vec<String> {
        let mut shown = Vec::new();
        for (limit, included, excluded) in [(&self.low, ">=", ">"), (&self.high, "<=", "<")] {
            shown.extend(limit.as_ref().map(|(value, edge)| match edge {
                Edge::Included => format!("{name} {included} {value}"),
                Edge::Excluded => format!("{name} {excluded} {value}"),
            }));
        }
        match (shown.is_empty(), &self.nulls) {
            (true, Nulls::Only) => shown.push(format!("{name} IS NULL")),
            (true, Nulls::Without) => shown.push(format!("{name} IS NOT NULL")),
            _ => {}
        }
        shown
    }
}

/// Replaces a limit by one that leaves fewer values: one that is `tighter` than it.
fn tighten(
    limit: &mut Option<(ScalarValue, Edge)>,
    value: ScalarValue,
    edge: Edge,
    tighter: Ordering,
) {
    let replaces = match limit {
        None => true,
        Some((known, _)) => match value.partial_cmp(known) {
            Some(Ordering::Equal) => edge == Edge::Excluded,
            ordering => ordering == Some(tighter),
        },
    };
    if replaces {
        *limit = Some((value, edge));
    }
}

/// What text that a pattern describes begins with: from which text, and before which.
fn beginning(like: &Like) -> Option<(ScalarValue, ScalarValue)> {
    let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = &*like.pattern else {
        return None;
    };
    if like.negated || like.case_insensitive || like.escape_char.is_some() {
        return None;
    }
    let end = pattern.find(['%', '_', '\\']).unwrap_or(pattern.len());
    let start = &pattern[..end];
    let (at, last) = start.char_indices().next_back()?;
    let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32)?;
    let before = format!("{}{next}", &start[..at]);
    let text = |text: String| ScalarValue::Utf8(Some(text));
    Some((text(start.to_owned()), text(before)))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn shown(filters: &[Expr]) -> String {
        let mut limits = Limits::default();
        let data_type = match format!("{filters:?}").contains("Utf8") {
            true => DataType::Utf8,
            false => DataType::Int32,
        };
        filters.iter().for_each(|f| limits.add(f, "a", &data_type));
        limits.shown("a").join(" AND ")
    }

    #[test]
    fn the_tightest_bounds_hold() {
        let a = || col("a");
        assert_eq!(shown(&[a().gt(lit(3)), a().gt_eq(lit(5))]), "a >= 5");
        assert_eq!(shown(&[a().gt_eq(lit(5)), a().gt(lit(5))]), "a > 5");
        assert_eq!(shown(&[lit(5).gt(a())]), "a < 5");
        assert_eq!(shown(&[a().between(lit(1), lit(4))]), "a >= 1 AND a <= 4");
        assert_eq!(shown(&[a().gt(lit(1)).and(col("b").gt(lit(2)))]), "a > 1");
        assert_eq!(shown(&[a().gt(lit(1)).or(a().lt(lit(0)))]), "");
        assert_eq!(shown(&[a().is_not_null()]), "a IS NOT NULL");
        assert_eq!(shown(&[a().gt(lit(1i64 << 40))]), "");
    }

    #[test]
    fn a_pattern_says_how_text_begins() {
        let like = |pattern: &str| shown(&[col("a").like(lit(pattern))]);
        assert_eq!(like("ab%"), "a >= ab AND a < ac");
        assert_eq!(like("ab_%"), "a >= ab AND a < ac");
        assert_eq!(like("a\u{d7ff}%"), "a >= a\u{d7ff} AND a < a\u{e000}");
        assert_eq!(like("%b"), "");
        assert_eq!(shown(&[col("a").ilike(lit("ab%"))]), "");
    }
}
