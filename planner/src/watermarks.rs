//! Watermarks: which columns of an operator's output have one, and what it follows from.
//!
//! The watermark of a column is a promise that no row of a later epoch has a smaller value there.
//! A source makes it (`WATERMARK FOR`); operators pass it on where it still holds:
//!
//! | operator | columns that keep a watermark |
//! | --- | --- |
//! | filter, view | all |
//! | projection | what grows with one column: `date_bin('1 hour', ts, …)`, `ts + interval '5 s'` |
//! | unnest | copied ones, and the elements of a list of such expressions |
//! | aggregation, `DISTINCT` | those that it groups by |
//! | window functions, what is recomputed | those that all of it is partitioned or grouped by |
//! | inner join | keys, and times that are not far apart: the least of both sides |
//! | temporal join | those of the left side |
//! | union | those that all inputs have, the least of them |
//! | rows of closed windows | the one that closes them |
//!
//! Not here: the values (`executor`), what operators do with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::batch::{Settings, session};
use crate::catalog::{Catalog, Relation, WatermarkDefinition};
use crate::dataflow::{Bound, Input, JoinKind, Node, UnnestColumn, Watermark};
use crate::error::{Error, Result};
use crate::names::nullable;
use crate::types::sql_name;

/// How a column of an operator's output gets its watermark: the least of some terms.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Column of the output.
    pub column: usize,
    /// What it is the least of.
    pub terms: Vec<Term>,
}

/// A watermark that follows from one of an input.
#[derive(Clone, Debug)]
pub struct Term {
    /// Which child of the operator.
    pub input: usize,
    /// Column of that child.
    pub column: usize,
    /// What grows with the column, over the columns of that child; the column itself if absent. Of
    /// a list the least element counts.
    pub expr: Option<Arc<dyn PhysicalExpr>>,
    /// What is added, in microseconds.
    pub micros: i64,
}

impl Derived {
    /// The watermark of a column of the only child, as it is.
    #[must_use]
    pub fn copied(column: usize, from: usize) -> Self {
        Self {
            column,
            terms: vec![Term {
                input: 0,
                column: from,
                expr: None,
                micros: 0,
            }],
        }
    }
}

/// The columns of an operator's output that have a watermark because columns of its children have
/// one. `inputs` are those of the fragment. Not of [`Node::Input`] and [`Node::Union`], whose
/// watermarks are those that all who lead into them have.
#[must_use]
pub fn derived(node: &Node, inputs: &[Input]) -> Vec<Derived> {
    let children = node.children().into_iter();
    let children: Vec<_> = children.map(|child| columns(child, inputs)).collect();
    follows(node, &children)
}

fn follows(node: &Node, inputs: &[BTreeSet<usize>]) -> Vec<Derived> {
    let all = || {
        let columns = inputs[0].iter();
        columns.map(|&column| Derived::copied(column, column))
    };
    match node {
        Node::Filter { .. } | Node::Materialize { .. } => all().collect(),
        Node::TemporalFilter { column, bound, .. } => match bound {
            // Held rows come with older values, and so do rows that are taken back.
            Bound::Now { .. } => Vec::new(),
            Bound::Watermark => all().filter(|own| own.column == *column).collect(),
        },
        Node::Project { exprs, .. } => {
            let columns = exprs.iter().enumerate();
            let grown = columns.filter_map(|(column, expr)| {
                let from = growing(expr).filter(|from| inputs[0].contains(from))?;
                let expr = match expr.downcast_ref::<Column>() {
                    Some(_) => None,
                    None => Some(Arc::clone(expr)),
                };
                let input = 0;
                Some(Derived {
                    column,
                    terms: vec![Term {
                        input,
                        column: from,
                        expr,
                        micros: 0,
                    }],
                })
            });
            grown.collect()
        }
        Node::Unnest { columns, .. } => {
            let columns = columns.iter().enumerate();
            let kept = columns.map(|(column, from)| match *from {
                UnnestColumn::Kept(from) | UnnestColumn::Elements(from) => (column, from),
            });
            kept.filter(|(_, from)| inputs[0].contains(from))
                .map(|(column, from)| Derived::copied(column, from))
                .collect()
        }
        Node::HashAgg { group_by, .. } | Node::LocalAgg { group_by, .. } => {
            let groups = group_by.iter().enumerate();
            groups
                .filter(|(_, from)| inputs[0].contains(from))
                .map(|(column, &from)| Derived::copied(column, from))
                .collect()
        }
        // The rows of a key are evaluated apart from all others.
        Node::Recompute {
            inputs: children,
            keys,
            key_columns,
            ..
        } if children.len() == 1 => {
            let key = keys[0].iter().zip(key_columns);
            let marked = key.filter(|(from, _)| inputs[0].contains(from));
            marked
                .filter_map(|(&from, column)| Some(Derived::copied((*column)?, from)))
                .collect()
        }
        Node::HashJoin {
            kind: JoinKind::Inner,
            left,
            forgets,
            ..
        } => {
            // A pair of a new row and an old one: how old it can be follows from when it would have
            // been forgotten.
            let width = left.schema().fields().len();
            let sides = forgets.iter().enumerate();
            let bounded = sides.filter_map(|(side, expiry)| {
                let expiry = (*expiry)?;
                let own = Term {
                    input: side,
                    column: expiry.column,
                    expr: None,
                    micros: 0,
                };
                let other = Term {
                    input: 1 - side,
                    column: expiry.other,
                    expr: None,
                    micros: expiry.micros,
                };
                Some(Derived {
                    column: side * width + expiry.column,
                    terms: vec![own, other],
                })
            });
            bounded.collect()
        }
        // Left rows come out at the end of their epoch.
        Node::TemporalJoin { .. } => all().collect(),
        Node::HashJoin { .. }
        | Node::Recompute { .. }
        | Node::Input { .. }
        | Node::WatermarkFilter { .. }
        | Node::Union { .. }
        | Node::Dml { .. }
        | Node::Nexmark { .. }
        | Node::Values { .. } => Vec::new(),
    }
}

/// The columns of an operator's output that have a watermark. `inputs` are those of the fragment.
#[must_use]
pub fn columns(node: &Node, inputs: &[Input]) -> BTreeSet<usize> {
    let common = |sets: Vec<BTreeSet<usize>>| {
        let mut sets = sets.into_iter();
        let first = sets.next().unwrap_or_default();
        sets.fold(first, |all, set| all.intersection(&set).copied().collect())
    };
    match node {
        Node::Input { inputs: read, .. } => {
            let inputs = read.iter().map(|&at| &inputs[at].watermarks);
            common(inputs.map(|all| all.iter().copied().collect()).collect())
        }
        Node::WatermarkFilter { watermark, .. } => BTreeSet::from([watermark.column]),
        Node::Dml { watermark, .. } => watermark.iter().map(|made| made.column).collect(),
        _ => {
            let children = node.children().into_iter();
            let sets: Vec<_> = children.map(|child| columns(child, inputs)).collect();
            match node {
                Node::Union { .. } => common(sets),
                _ => {
                    let derived = follows(node, &sets).into_iter();
                    derived.map(|derived| derived.column).collect()
                }
            }
        }
    }
}

/// Compiles `WATERMARK FOR` of a relation of these columns.
///
/// # Errors
/// [`Error::TypeMismatch`] if the column is no date or time; [`Error::Unsupported`] if the
/// expression does not grow with it; faults of the expression.
pub fn compile(definition: &WatermarkDefinition, schema: &SchemaRef) -> Result<Watermark> {
    let field = schema.field(definition.column);
    if !is_time(field.data_type()) {
        return Err(Error::TypeMismatch {
            message: format!(
                "column \"{}\" of a watermark is of type {}, not a date or timestamp",
                field.name(),
                sql_name(field.data_type())
            ),
        });
    }
    let settings = Settings {
        time_zone: definition.time_zone.clone(),
        ..Settings::default()
    };
    let session = session(Arc::new(Nothing), &settings);
    let written = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&definition.expr)
        .and_then(|mut parser| parser.parse_expr());
    let written = written.map_err(|error| Error::Syntax {
        message: error.to_string(),
        position: 1,
    })?;
    let columns = DFSchema::try_from(nullable(schema))?;
    let value = session.expression(&written, field.data_type(), &columns)?;
    if growing(&value) != Some(definition.column) {
        return Err(Error::unsupported(
            format!("the watermark {}", definition.expr),
            format!("write {0}, or {0} minus a constant interval", field.name()),
        ));
    }
    Ok(Watermark {
        column: definition.column,
        value,
        idle_timeout: definition.idle_timeout,
    })
}

/// A catalog without relations.
#[derive(Debug)]
struct Nothing;

impl Catalog for Nothing {
    fn relation(&self, _schema: Option<&str>, _name: &str) -> Option<Arc<Relation>> {
        None
    }

    fn rows(&self, relation: &Relation) -> Result<Arc<dyn TableProvider>> {
        Err(Error::UndefinedTable {
            name: relation.name.clone(),
        })
    }
}

/// The one column that an expression grows with: a larger value of it never gives a smaller result,
/// and nothing else has a part in it.
#[must_use]
pub fn growing(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return Some(column.index());
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return growing(cast.expr()).filter(|_| is_time(cast.cast_type()));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::Plus => sum(binary.left(), binary.right()),
            Operator::Minus => difference(binary.left(), binary.right()),
            _ => None,
        };
    }
    let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
    match (function.name(), function.args()) {
        ("pg_add", [left, right]) => sum(left, right),
        ("pg_subtract", [left, right]) => difference(left, right),
        ("cast", [value]) if is_time(function.return_type()) => growing(value),
        ("date_trunc" | "date_bin", [unit, value, rest @ ..]) => {
            let fixed = is_constant(unit) && rest.iter().all(is_constant);
            growing(value).filter(|_| fixed)
        }
        ("make_array", [first, rest @ ..]) => {
            let column = growing(first)?;
            let same = rest.iter().all(|other| growing(other) == Some(column));
            same.then_some(column)
        }
        _ => None,
    }
}

fn sum(left: &Arc<dyn PhysicalExpr>, right: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    match (is_constant(left), is_constant(right)) {
        (false, true) => growing(left),
        (true, false) => growing(right),
        _ => None,
    }
}

fn difference(left: &Arc<dyn PhysicalExpr>, right: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    growing(left).filter(|_| is_constant(right))
}

fn is_constant(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some()
}

/// Whether values of a type have a place in time.
pub(crate) fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32)
}
