//! A fragment's tree, flattened into stages: what leads where, and which state tables there are.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use planner::dataflow::{Fragment, Node, Upstream};
use planner::watermarks::{Derived, derived};
use storage::{TableId, TableSchema};

use super::{Port, TABLES_PER_FRAGMENT, build};
use crate::error::{Error, Result};
use crate::operators::{Scan, ScanTables};

/// A fragment's tree, flattened, before any operator exists.
pub(super) struct Layout<'a> {
    pub(super) plans: Vec<StagePlan<'a>>,
    pub(super) edges: Vec<Vec<Port>>,
    pub(super) ends: Vec<End>,
    /// By node of the tree, each in front of its children.
    pub(super) nodes: Vec<NodePlace>,
    next_table: TableId,
    table_end: u16,
}

pub(super) struct StagePlan<'a> {
    pub(super) kind: Kind<'a>,
    /// Schemas of the stage's inputs.
    pub(super) inputs: Vec<SchemaRef>,
    pub(super) schema: SchemaRef,
    pub(super) tables: Vec<TableSchema>,
    pub(super) parent: Port,
    pub(super) sources: Vec<Vec<End>>,
    pub(super) derived: Vec<Derived>,
}

/// Where a node of the plan is.
#[derive(Debug)]
pub(super) enum NodePlace {
    /// Its stage; of an input, the scans and edges that bring its rows.
    Own(Vec<End>),
    /// A union is nowhere: what its children end in.
    Children(Vec<End>),
}

/// What operator a stage gets.
pub(super) enum Kind<'a> {
    /// That of a node.
    Node(&'a Node),
    /// A scan of this input of the fragment, which reads a relation.
    Scan(usize),
}

/// What a subtree ends in, to be connected to its parent.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Stage(usize),
    Edge(usize),
}

/// Which table of a scan is numbered from the end: scans had one table first.
const PASSED: usize = 1;

impl<'a> Layout<'a> {
    /// The tables of the scans of a fragment.
    pub(super) fn scans(&self, fragment: &Fragment) -> Vec<ScanTables> {
        let scans = self.plans.iter().filter_map(|plan| match plan.kind {
            Kind::Scan(input) => Some((plan, fragment.inputs[input].from)),
            Kind::Node(_) => None,
        });
        let tables = |(plan, from): (&StagePlan<'_>, Upstream)| match (from, &plan.tables[..]) {
            (Upstream::Relation(relation), [progress, passed]) => Some(ScanTables {
                relation: relation.0,
                progress: progress.clone(),
                passed: passed.clone(),
            }),
            _ => None,
        };
        scans.filter_map(tables).collect()
    }

    pub(super) fn of(fragment: &'a Fragment, job: u32, fragment_index: usize) -> Result<Self> {
        let first = u16::try_from(fragment_index)
            .ok()
            .and_then(|index| index.checked_mul(TABLES_PER_FRAGMENT))
            .filter(|first| first.checked_add(TABLES_PER_FRAGMENT).is_some())
            .ok_or_else(|| Error::Plan {
                reason: format!("fragment {fragment_index} is one too many for state tables"),
            })?;
        let mut layout = Self {
            plans: Vec::new(),
            edges: vec![Vec::new(); fragment.inputs.len()],
            ends: Vec::new(),
            nodes: Vec::new(),
            next_table: TableId { job, table: first },
            table_end: first + TABLES_PER_FRAGMENT,
        };
        let ends = layout.flatten(&fragment.root, fragment)?;
        layout.connect(&ends, Port::Out);
        layout.ends = ends;
        Ok(layout)
    }

    /// Adds the stages of a subtree, children first.
    fn flatten(&mut self, node: &'a Node, fragment: &'a Fragment) -> Result<Vec<End>> {
        let at = self.nodes.len();
        self.nodes.push(NodePlace::Own(Vec::new()));
        let ends = self.flatten_node(node, fragment)?;
        self.nodes[at] = match node {
            Node::Union { .. } => NodePlace::Children(ends.clone()),
            _ => NodePlace::Own(ends.clone()),
        };
        Ok(ends)
    }

    fn flatten_node(&mut self, node: &'a Node, fragment: &'a Fragment) -> Result<Vec<End>> {
        if let Node::Input { inputs, .. } = node {
            return inputs
                .iter()
                .map(|&input| self.flatten_input(input, fragment))
                .collect();
        }
        if let Node::Union { inputs, .. } = node {
            let mut ends = Vec::with_capacity(inputs.len());
            for input in inputs {
                ends.extend(self.flatten(input, fragment)?);
            }
            return Ok(ends);
        }
        let children = node.children();
        let inputs: Vec<SchemaRef> = children.iter().map(|child| child.schema()).collect();
        let mut ends = Vec::with_capacity(children.len());
        for child in children {
            ends.push(self.flatten(child, fragment)?);
        }
        let tables = build::table_schemas(node, &inputs)?;
        let index = self.push(StagePlan {
            kind: Kind::Node(node),
            inputs,
            schema: node.schema(),
            tables,
            parent: Port::Out,
            sources: ends.clone(),
            derived: derived(node, &fragment.inputs),
        })?;
        for (input, ends) in ends.iter().enumerate() {
            self.connect(ends, Port::Stage { index, input });
        }
        Ok(vec![End::Stage(index)])
    }

    /// An edge from a fragment leads straight on; one from a relation has a scan of its own.
    fn flatten_input(&mut self, input: usize, fragment: &'a Fragment) -> Result<End> {
        let Some(edge) = fragment.inputs.get(input) else {
            return Err(Error::Plan {
                reason: format!("input {input} does not exist"),
            });
        };
        if let Upstream::Fragment(_) = edge.from {
            return Ok(End::Edge(input));
        }
        let schema = Arc::clone(&edge.schema);
        let columns = 0..schema.fields().len();
        let index = self.push(StagePlan {
            kind: Kind::Scan(input),
            inputs: vec![Arc::clone(&schema)],
            schema,
            tables: Scan::table_schemas(&edge.schema).into(),
            parent: Port::Out,
            sources: vec![vec![End::Edge(input)]],
            derived: columns.map(|at| Derived::copied(at, at)).collect(),
        })?;
        self.connect(&[End::Edge(input)], Port::Stage { index, input: 0 });
        Ok(End::Stage(index))
    }

    fn push(&mut self, mut plan: StagePlan<'a>) -> Result<usize> {
        let is_scan = matches!(plan.kind, Kind::Scan(_));
        for (at, table) in plan.tables.iter_mut().enumerate() {
            if self.next_table.table == self.table_end {
                return Err(Error::Plan {
                    reason: format!("a fragment with more than {TABLES_PER_FRAGMENT} state tables"),
                });
            }
            table.id = self.next_table;
            if is_scan && at == PASSED {
                self.table_end -= 1;
                table.id.table = self.table_end;
            } else {
                self.next_table.table += 1;
            }
        }
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }

    fn connect(&mut self, ends: &[End], port: Port) {
        for end in ends {
            match *end {
                End::Stage(index) => self.plans[index].parent = port,
                End::Edge(input) => self.edges[input].push(port),
            }
        }
    }
}
