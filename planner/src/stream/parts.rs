//! Streams under construction: fragments that are still open at their top.
//!
//! A [`Stream`] is the union of some [`Part`]s, each of which will be a fragment. Stateless
//! operators go on top of every part, so that they run before the next exchange; an exchange
//! closes the parts and starts a new one that reads them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use crate::catalog::RelationId;
use crate::dataflow::{Distribution, Fragment, Input, Node, Upstream};

/// Rows on their way: what an operator is put on.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) parts: Vec<Part>,
    /// Columns of every part. All nullable.
    pub(super) schema: SchemaRef,
    /// Columns that are unique among live rows; empty if none are known.
    pub(super) key: Vec<usize>,
    pub(super) append_only: bool,
}

/// A fragment whose last operator is not known yet.
#[derive(Debug)]
pub(super) struct Part {
    root: Node,
    inputs: Vec<Input>,
    /// The columns that rows have been hashed by, in this order, if they still have them.
    hashed_by: Option<Vec<usize>>,
}

impl Part {
    /// A part that starts at an operator without inputs.
    pub(super) fn leaf(root: Node) -> Self {
        Self {
            root,
            inputs: Vec::new(),
            hashed_by: None,
        }
    }

    /// A part that reads another job.
    pub(super) fn scan(relation: RelationId, schema: SchemaRef, watermarks: Vec<usize>) -> Self {
        let input = Input {
            from: Upstream::Relation(relation),
            schema: Arc::clone(&schema),
            distribution: Distribution::Forward,
            watermarks,
        };
        Self {
            root: Node::Input {
                inputs: vec![0],
                schema,
            },
            inputs: vec![input],
            hashed_by: None,
        }
    }

    /// A part that reads fragments by hash.
    pub(super) fn exchange(fragments: &[usize], schema: &SchemaRef, keys: &[usize]) -> Self {
        let inputs = fragments.iter().map(|fragment| Input {
            from: Upstream::Fragment(*fragment),
            schema: Arc::clone(schema),
            distribution: Distribution::Hash(keys.to_vec()),
            watermarks: Vec::new(),
        });
        Self {
            root: Node::Input {
                inputs: (0..fragments.len()).collect(),
                schema: Arc::clone(schema),
            },
            inputs: inputs.collect(),
            hashed_by: Some(keys.to_vec()),
        }
    }

    /// Whether nothing flows into it: then it runs as one executor and may hold no state.
    pub(super) fn is_leaf(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Puts an operator on top. `hashed_by` is in terms of its output.
    pub(super) fn wrap(
        self,
        hashed_by: Option<Vec<usize>>,
        node: impl FnOnce(Box<Node>) -> Node,
    ) -> Self {
        Self {
            root: node(Box::new(self.root)),
            inputs: self.inputs,
            hashed_by,
        }
    }

    /// One fragment of two, under a binary operator. The left side's distribution remains.
    pub(super) fn join(self, right: Self, node: impl FnOnce(Box<Node>, Box<Node>) -> Node) -> Self {
        let mut right_root = right.root;
        shift_inputs(&mut right_root, self.inputs.len());
        let mut inputs = self.inputs;
        inputs.extend(right.inputs);
        Self {
            root: node(Box::new(self.root), Box::new(right_root)),
            inputs,
            hashed_by: self.hashed_by,
        }
    }

    /// The part under another idea of what its rows are hashed by.
    pub(super) fn with_hash(self, hashed_by: Option<Vec<usize>>) -> Self {
        Self { hashed_by, ..self }
    }

    pub(super) fn hashed_by(&self) -> Option<&[usize]> {
        self.hashed_by.as_deref()
    }

    pub(super) fn into_fragment(self) -> Fragment {
        Fragment {
            root: self.root,
            inputs: self.inputs,
        }
    }

    pub(super) fn filter(mut self, predicate: Arc<dyn PhysicalExpr>) -> Self {
        // What an evaluation's result need not have need not be kept: the first n rows of each key.
        if let Node::Recompute {
            evaluation, keys, ..
        } = &mut self.root
            && let Some(filtered) = evaluation.filtered(&predicate, keys[0].len())
        {
            *evaluation = filtered;
            return self;
        }
        let hashed_by = self.hashed_by.clone();
        self.wrap(hashed_by, |input| Node::Filter { input, predicate })
    }

    pub(super) fn project(self, exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Self {
        let hashed_by = self
            .hashed_by
            .as_deref()
            .and_then(|keys| moved(keys, &exprs));
        let merged = match &self.root {
            Node::Project { exprs: inner, .. } => composed(&exprs, inner),
            _ => None,
        };
        match (self.root, merged) {
            (Node::Project { input, .. }, Some(exprs)) => Self {
                root: Node::Project {
                    input,
                    exprs,
                    schema,
                },
                inputs: self.inputs,
                hashed_by,
            },
            (root, _) => Self {
                root: Node::Project {
                    input: Box::new(root),
                    exprs,
                    schema,
                },
                inputs: self.inputs,
                hashed_by,
            },
        }
    }
}

impl Stream {
    /// A stream of one part.
    pub(super) fn of(part: Part, schema: SchemaRef) -> Self {
        Self {
            parts: vec![part],
            schema,
            key: Vec::new(),
            append_only: false,
        }
    }

    /// A stream without rows or columns, to stand in for one that is being changed.
    pub(super) fn nothing() -> Self {
        Self {
            parts: Vec::new(),
            schema: Arc::new(Schema::empty()),
            key: Vec::new(),
            append_only: true,
        }
    }

    /// Rows known now.
    pub(super) fn values(batch: RecordBatch) -> Self {
        let schema = batch.schema();
        Self {
            append_only: true,
            ..Self::of(Part::leaf(Node::Values { batch }), schema)
        }
    }

    /// Keeps the rows for which the predicate is true.
    pub(super) fn filter(self, predicate: &Arc<dyn PhysicalExpr>) -> Self {
        let parts = self.parts.into_iter();
        Self {
            parts: parts
                .map(|part| part.filter(Arc::clone(predicate)))
                .collect(),
            ..self
        }
    }

    /// Computes columns. Nothing happens if they are all there already, under these names.
    pub(super) fn project(self, exprs: &[Arc<dyn PhysicalExpr>], schema: SchemaRef) -> Self {
        let width = self.schema.fields().len();
        let same = exprs.len() == width
            && exprs
                .iter()
                .enumerate()
                .all(|(at, expr)| column_index(expr) == Some(at));
        if same && schema == self.schema {
            return self;
        }
        let key = moved(&self.key, exprs).unwrap_or_default();
        let parts = self.parts.into_iter();
        Self {
            parts: parts
                .map(|part| part.project(exprs.to_vec(), Arc::clone(&schema)))
                .collect(),
            schema,
            key,
            append_only: self.append_only,
        }
    }

    /// Puts a stateless operator on every part; its columns are others than the stream's.
    pub(super) fn map(self, schema: SchemaRef, node: impl Fn(Box<Node>) -> Node) -> Self {
        let parts = self.parts.into_iter();
        Self {
            parts: parts.map(|part| part.wrap(None, &node)).collect(),
            schema,
            key: Vec::new(),
            append_only: self.append_only,
        }
    }

    /// The columns, in order, as expressions.
    pub(super) fn columns(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        (0..self.schema.fields().len())
            .map(|at| column(&self.schema, at))
            .collect()
    }

    /// Whether operators keyed by these columns can be put on top as it is: the one part's rows
    /// have been hashed by some of them. If so, by which.
    pub(super) fn hashed_within(&self, keys: &[usize]) -> Option<Vec<usize>> {
        let [part] = self.parts.as_slice() else {
            return None;
        };
        let hashed_by = part.hashed_by()?;
        let within = !hashed_by.is_empty() && hashed_by.iter().all(|column| keys.contains(column));
        within.then(|| hashed_by.to_vec())
    }
}

/// Closes the parts of a stream; returns the fragments.
pub(super) fn close(parts: Vec<Part>, fragments: &mut Vec<Fragment>) -> Vec<usize> {
    let first = fragments.len();
    fragments.extend(parts.into_iter().map(Part::into_fragment));
    (first..fragments.len()).collect()
}

/// A column of a schema as an expression.
pub(super) fn column(schema: &SchemaRef, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(at).name(), at))
}

/// The column that an expression is, if it is nothing more.
pub(super) fn column_index(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// One projection for two: a choice of computed columns is the computation of the chosen ones, and
/// a computation over a choice of columns reads these. Otherwise `None`, since a computation that
/// is read twice would be done twice.
fn composed(
    outer: &[Arc<dyn PhysicalExpr>],
    inner: &[Arc<dyn PhysicalExpr>],
) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
    let is_choice = inner.iter().all(|expr| column_index(expr).is_some());
    let replace = |expr: Arc<dyn PhysicalExpr>| {
        Ok(match column_index(&expr) {
            Some(at) => Transformed::yes(Arc::clone(&inner[at])),
            None => Transformed::no(expr),
        })
    };
    outer
        .iter()
        .map(|expr| match column_index(expr) {
            Some(at) => Some(Arc::clone(&inner[at])),
            None if is_choice => Some(Arc::clone(expr).transform_up(replace).ok()?.data),
            None => None,
        })
        .collect()
}

/// Where columns are after a projection; `None` if one of them is gone.
fn moved(columns: &[usize], exprs: &[Arc<dyn PhysicalExpr>]) -> Option<Vec<usize>> {
    let place = |column: &usize| {
        exprs
            .iter()
            .position(|expr| column_index(expr) == Some(*column))
    };
    columns.iter().map(place).collect()
}

fn shift_inputs(node: &mut Node, by: usize) {
    if let Node::Input { inputs, .. } = node {
        inputs.iter_mut().for_each(|input| *input += by);
    }
    for child in node.children_mut() {
        shift_inputs(child, by);
    }
}
