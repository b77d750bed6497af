//! The operators of one fragment, chained: batches flow from the leaves to the root, whose output
//! leaves the fragment.
//!
//! ```text
//!   HashJoin ── root ──► out          stages   0 Filter ─┐input 0
//!    ├─ Filter ── Input 0                      1 ────────┴► HashJoin ──► out
//!    └─ Input 1                       edges    0 ─► stage 0     1 ─► stage 1, input 1
//! ```
//!
//! The plan's tree is flattened into stages in post-order, children before parents, so that a
//! barrier is one walk over the list: the differences an operator emits at the barrier reach its
//! parent before the parent's own barrier. A union needs no stage: its edges lead to the same
//! parent. Watermarks go the same way, right behind the barrier.
//!
//! State tables are numbered in stage order, `fragment * 64 + n`, but for those of what scans have passed
//! on, which are numbered from the end: the numbers depend on the plan alone, so a restart finds them
//! again.
//!
//! Not here: where batches come from and go to, alignment, commit (`executor`).

mod build;
mod layout;
mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use planner::dataflow::Fragment;
use planner::watermarks::{Derived, Term};
use scaling::KeyGroup;
use storage::{StateMemory, StateTable, TableId, TableSchema, TableSnapshot};

use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::load::OperatorLoad;
use crate::operator::{Barrier, Operator, Output, Watermarks};
use crate::operators::watermark_filter::numbers;
use crate::operators::{Backlog, Lateness, RowErrors, ScanTables};
use crate::sources::{Clock, NexmarkEvents};
use crate::throttle::Throttle;
use layout::{End, Layout, NodePlace};
use tally::Tally;

/// Rows of a write that operators are given at once. A write may have any number of rows.
const WRITE_ROWS_MAX: usize = 16 << 10;

/// Numbers of state tables a fragment has to itself.
pub const TABLES_PER_FRAGMENT: u16 = 64;

/// What operators share with the job around them.
#[derive(Clone)]
pub struct Context {
    /// Key groups of the server.
    pub key_groups: u16,
    /// The memory that all state tables share.
    pub memory: Arc<StateMemory>,
    /// Notes the rows whose expressions failed.
    pub errors: RowErrors,
    /// True while this job, or one it reads from, is being backfilled: until then a view may miss
    /// rows that a retraction already speaks of. It changes between two barriers.
    pub backfilling: Arc<AtomicBool>,
    /// How fast backfills may go.
    pub throttle: Arc<Throttle>,
    /// The time that paces sources.
    pub clock: Arc<dyn Clock>,
    /// What NEXMark sources give instead of what they would generate.
    pub nexmark_events: Option<Arc<NexmarkEvents>>,
    /// By input of the fragment: the rows to backfill from, pinned where the input's live changes
    /// begin. `None` for inputs from fragments, after a recovery, and when the backfill is done.
    pub snapshots: Vec<Option<Arc<TableSnapshot>>>,
    /// By the first table of a scan: what it has left of a backfill that goes on after a restart.
    pub backlogs: BTreeMap<TableId, Backlog>,
    /// Whether backfills go on after a restart.
    pub resumable: bool,
}

/// The operators of one fragment on one executor.
pub struct Pipeline {
    fragment: usize,
    stages: Vec<Stage>,
    /// By input of the fragment: where its batches go. Several ports if the plan reads the input
    /// more than once.
    edges: Vec<Vec<Port>>,
    /// What leads out of the fragment.
    ends: Vec<End>,
    /// By node of the plan, each in front of its children.
    nodes: Vec<NodePlace>,
    tally: Tally,
    memory: Arc<StateMemory>,
    // Empty between calls; keep their allocation.
    scratch: Vec<Output>,
}

struct Stage {
    operator: Box<dyn Operator>,
    parent: Port,
    schema: SchemaRef,
    /// Schemas of the inputs.
    inputs: Vec<SchemaRef>,
    /// What leads into each input.
    sources: Vec<Vec<End>>,
    /// How the watermarks of the output follow from those of the inputs.
    derived: Vec<Derived>,
}

/// Where a stage or an input leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    /// An input of another stage.
    Stage { index: usize, input: usize },
    /// Out of the fragment.
    Out,
}

impl Pipeline {
    /// Builds the operators of `fragment` with empty partitions for the key groups owned.
    ///
    /// # Errors
    /// If the plan asks for something no operator does, or a source's options are invalid.
    pub fn build(
        fragment: &Fragment,
        job: u32,
        fragment_index: usize,
        owned: impl IntoIterator<Item = KeyGroup>,
        context: &Context,
    ) -> Result<Self> {
        let layout = Layout::of(fragment, job, fragment_index)?;
        let owned: Vec<KeyGroup> = owned.into_iter().collect();
        let mut stages = Vec::with_capacity(layout.plans.len());
        for plan in layout.plans {
            let tables = plan
                .tables
                .into_iter()
                .map(|schema| {
                    let mut table = StateTable::new(schema, owned.iter().copied());
                    table.share(Arc::clone(&context.memory));
                    table
                })
                .collect();
            stages.push(Stage {
                operator: build::operator(&plan.kind, &plan.inputs, tables, context)?,
                parent: plan.parent,
                schema: plan.schema,
                inputs: plan.inputs,
                sources: plan.sources,
                derived: plan.derived,
            });
        }
        let scratch = stages.iter().map(|_| Output::new()).collect();
        let tally = Tally::new(layout.edges.len(), stages.len());
        Ok(Self {
            fragment: fragment_index,
            stages,
            edges: layout.edges,
            ends: layout.ends,
            nodes: layout.nodes,
            tally,
            memory: Arc::clone(&context.memory),
            scratch,
        })
    }

    /// The schemas of the state tables of a fragment, in the order of [`tables`](Self::tables).
    ///
    /// # Errors
    /// If the plan asks for something no operator does.
    pub fn table_schemas(
        fragment: &Fragment,
        job: u32,
        fragment_index: usize,
    ) -> Result<Vec<TableSchema>> {
        let layout = Layout::of(fragment, job, fragment_index)?;
        Ok(layout
            .plans
            .into_iter()
            .flat_map(|plan| plan.tables)
            .collect())
    }

    /// The tables of the scans of a fragment.
    ///
    /// # Errors
    /// If the plan asks for something no operator does.
    pub(crate) fn scans(
        fragment: &Fragment,
        job: u32,
        fragment_index: usize,
    ) -> Result<Vec<ScanTables>> {
        Ok(Layout::of(fragment, job, fragment_index)?.scans(fragment))
    }

    /// Number of inputs of the fragment.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.edges.len()
    }

    /// Takes changes of one input of the fragment; what leaves the fragment is pushed to `out`.
    ///
    /// # Errors
    /// If an operator fails.
    ///
    /// # Panics
    /// If the fragment has no such input.
    pub fn on_batch(
        &mut self,
        input_edge: usize,
        batch: ChangeBatch,
        out: &mut Output,
    ) -> Result<()> {
        self.tally.begin();
        self.tally.arrive(input_edge, batch.num_rows());
        // An input the plan does not read has no ports, one that it reads twice has two.
        for at in 0..self.edges[input_edge].len() {
            let port = self.edges[input_edge][at];
            self.deliver(port, batch.clone(), out)?;
        }
        Ok(())
    }

    /// Ends the epoch in every operator, leaves first. `inputs` are the watermarks of the
    /// fragment's inputs; those of its output are returned.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn on_barrier(
        &mut self,
        barrier: &Barrier,
        inputs: &[Watermarks],
        out: &mut Output,
    ) -> Result<Watermarks> {
        let mut watermarks: Vec<Watermarks> = Vec::with_capacity(self.stages.len());
        let least = |ends: &[End], stages: &[Watermarks]| {
            let streams = ends.iter().map(|end| match *end {
                End::Stage(index) => &stages[index],
                End::Edge(input) => &inputs[input],
            });
            Watermarks::least(streams).unwrap_or_default()
        };
        self.tally.begin();
        for index in 0..self.stages.len() {
            let mut produced = std::mem::take(&mut self.scratch[index]);
            let stage = &mut self.stages[index];
            let sources = stage.sources.iter();
            let sources: Vec<_> = sources.map(|ends| least(ends, &watermarks)).collect();
            stage.operator.on_barrier(barrier, &mut produced)?;
            stage.operator.on_watermarks(&sources, &mut produced)?;
            watermarks.push(stage.watermarks(&sources)?);
            self.tally.worked(index);
            self.pass_on(index, produced, out)?;
        }
        Ok(least(&self.ends, &watermarks))
    }

    /// Lets sources and backfills produce a bounded piece. Whether any did.
    ///
    /// # Errors
    /// If an operator fails.
    pub fn poll(&mut self, out: &mut Output) -> Result<bool> {
        let mut any = false;
        self.tally.begin();
        for index in 0..self.stages.len() {
            let mut produced = std::mem::take(&mut self.scratch[index]);
            if self.stages[index].operator.poll(&mut produced)? {
                any = true;
                self.tally.worked(index);
            }
            self.pass_on(index, produced, out)?;
        }
        Ok(any)
    }

    /// Passes on the changes of a table's write, in bounded pieces, and remembers its number in the
    /// write-ahead log. The whole write belongs to one epoch.
    ///
    /// # Errors
    /// If an operator fails, or the fragment has no `Dml`.
    pub fn write(&mut self, sequence: u64, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        for index in 0..self.stages.len() {
            let Some(dml) = self.stages[index].operator.as_dml() else {
                continue;
            };
            self.tally.begin();
            let batch = dml.apply(sequence, batch)?;
            for piece in batch.pieces(WRITE_ROWS_MAX) {
                self.deliver(Port::Stage { index, input: 0 }, piece, out)?;
            }
            return Ok(());
        }
        Err(Error::Plan {
            reason: "a write to a fragment that takes none".into(),
        })
    }

    /// The number of the last write that is part of the state; 0 if none, `None` if the fragment
    /// takes no writes.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn last_write(&mut self) -> Result<Option<u64>> {
        for stage in &mut self.stages {
            if let Some(dml) = stage.operator.as_dml() {
                return Ok(Some(dml.last_applied()));
            }
        }
        Ok(None)
    }

    /// Whether readers see rows that are kept here.
    #[must_use]
    pub fn is_visible(&mut self) -> bool {
        self.tables().iter().any(|table| table.schema().visible)
    }

    /// What the watermarks that are made here have come to.
    ///
    /// # Errors
    /// If state cannot be read.
    pub fn lateness(&self) -> Result<Vec<Lateness>> {
        let stages = self.stages.iter();
        stages
            .filter_map(|stage| stage.operator.lateness().transpose())
            .collect()
    }

    /// Rows of pinned snapshots that are yet to be backfilled, in the key groups owned.
    #[must_use]
    pub fn backfill_remaining(&self) -> u64 {
        self.stages
            .iter()
            .map(|stage| stage.operator.backfill_remaining())
            .sum()
    }

    /// Lets go of the pinned snapshots. To be called when no executor of the job has rows left to
    /// backfill.
    pub fn end_backfill(&mut self) {
        for stage in &mut self.stages {
            stage.operator.end_backfill();
        }
    }

    /// Gives the rows of a table more columns: `fragment` is the pipeline's own with them, `values`
    /// has an array of one value for each.
    ///
    /// # Errors
    /// If rows do not fit their arrays; the job then restarts from its last checkpoint.
    pub fn widen(&mut self, fragment: &Fragment, job: u32, values: &[ArrayRef]) -> Result<()> {
        let layout = Layout::of(fragment, job, self.fragment)?;
        for (stage, plan) in self.stages.iter_mut().zip(layout.plans) {
            stage.schema = plan.schema;
            for (table, schema) in stage.operator.tables().into_iter().zip(plan.tables) {
                if schema.columns.fields().len() > table.schema().columns.fields().len() {
                    table.widen(schema, values)?;
                }
            }
        }
        Ok(())
    }

    /// All state tables, in the order of [`table_schemas`](Self::table_schemas).
    pub fn tables(&mut self) -> Vec<&mut StateTable> {
        self.stages
            .iter_mut()
            .flat_map(|stage| stage.operator.tables())
            .collect()
    }

    /// What each operator of the plan did since the last call, each in front of those that it reads
    /// from, and what its tables have.
    pub(crate) fn take_load(&mut self) -> Vec<OperatorLoad> {
        let (stages, tally) = (&mut self.stages, &self.tally);
        let mut of_node = |place: &NodePlace| {
            let mut load = OperatorLoad::default();
            match place {
                NodePlace::Own(ends) => {
                    for end in ends {
                        load.rows.add(tally.rows(*end));
                        if let End::Stage(index) = *end {
                            load.busy += tally.busy(index);
                            let tables = stages[index].operator.tables();
                            load.tables.extend(tables.iter().map(|table| table.size()));
                        }
                    }
                }
                NodePlace::Children(ends) => {
                    let rows = ends.iter().map(|end| tally.rows(*end).output).sum();
                    (load.rows.input, load.rows.output) = (rows, rows);
                }
            }
            load
        };
        let loads = self.nodes.iter().map(&mut of_node).collect();
        self.tally.clear();
        loads
    }

    /// Whether rows of state are on disk alone, so that operators may have to wait for them.
    pub fn may_wait(&mut self) -> bool {
        self.memory.has_evicted() && self.tables().iter().any(|table| table.has_evicted())
    }

    /// Leaves rows of state on disk alone if there are too many in memory. To be called between two
    /// batches.
    ///
    /// # Errors
    /// If rows do not fit their arrays; the job then restarts from its last checkpoint.
    pub fn relieve(&mut self) -> Result<()> {
        if self.memory.is_over() {
            for table in self.tables() {
                table.relieve()?;
            }
        }
        Ok(())
    }

    /// Gives a batch to a stage and what it makes of it to the stage's parent, up to the root.
    fn deliver(&mut self, port: Port, batch: ChangeBatch, out: &mut Output) -> Result<()> {
        match port {
            Port::Out => {
                out.push(batch);
                Ok(())
            }
            Port::Stage { index, input } => {
                self.tally.give(index, batch.num_rows());
                let mut produced = std::mem::take(&mut self.scratch[index]);
                self.stages[index]
                    .operator
                    .on_batch(input, batch, &mut produced)?;
                self.tally.worked(index);
                self.pass_on(index, produced, out)
            }
        }
    }

    /// Gives what a stage produced to its parent, and the emptied output back for the next call.
    fn pass_on(&mut self, index: usize, mut produced: Output, out: &mut Output) -> Result<()> {
        let parent = self.stages[index].parent;
        for batch in produced.drain() {
            self.tally.take(index, batch.num_rows());
            if cfg!(debug_assertions) {
                self.check_schema(index, &batch)?;
            }
            self.deliver(parent, batch, out)?;
        }
        self.scratch[index] = produced;
        Ok(())
    }

    fn check_schema(&self, index: usize, batch: &ChangeBatch) -> Result<()> {
        let types = |schema: &SchemaRef| -> Vec<_> {
            let fields = schema.fields().iter();
            fields.map(|field| field.data_type().clone()).collect()
        };
        let expected = types(&self.stages[index].schema);
        let found = types(&batch.schema());
        if found == expected {
            return Ok(());
        }
        Err(Error::Schema {
            operator: index,
            fragment: self.fragment,
            found: format!("{found:?}"),
            expected: format!("{expected:?}"),
        })
    }
}

impl Stage {
    /// The watermarks of the output, by those of the inputs.
    fn watermarks(&self, inputs: &[Watermarks]) -> Result<Watermarks> {
        let mut watermarks = self.operator.watermarks()?;
        if !self.operator.passes_watermarks() {
            return Ok(watermarks);
        }
        for derived in &self.derived {
            let terms = derived.terms.iter();
            let terms = terms.map(|term| self.term(term, inputs[term.input].get(term.column)));
            let terms = terms.collect::<Result<Vec<_>>>()?;
            let known = terms.into_iter().collect::<Option<Vec<_>>>();
            if let Some(least) = known.and_then(|terms| terms.into_iter().min()) {
                watermarks.set(derived.column, least);
            }
        }
        Ok(watermarks)
    }

    /// What follows from the watermark of a column.
    fn term(&self, term: &Term, watermark: Option<i64>) -> Result<Option<i64>> {
        let shifted = watermark.and_then(|value| value.checked_add(term.micros));
        let (Some(value), Some(expr)) = (shifted, &term.expr) else {
            return Ok(shifted);
        };
        let schema = &self.inputs[term.input];
        let columns = schema.fields().iter().enumerate();
        let row = columns.map(|(at, field)| match at == term.column {
            true => of_number(value, field.data_type()),
            false => Ok(new_null_array(field.data_type(), 1)),
        });
        let row = RecordBatch::try_new(Arc::clone(schema), row.collect::<Result<_>>()?)?;
        // Out of range: nothing is promised.
        let Ok(grown) = expr.evaluate(&row) else {
            return Ok(None);
        };
        let grown = numbers(&grown.into_array(1)?)?;
        Ok(grown.is_valid(0).then(|| grown.value(0)))
    }
}

/// A date or time of so many days or microseconds.
fn of_number(value: i64, data_type: &DataType) -> Result<ArrayRef> {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![value]));
    Ok(match data_type {
        DataType::Date32 => cast(&cast(&number, &DataType::Int32)?, data_type)?,
        _ => cast(&number, data_type)?,
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use planner::RelationId;
    use planner::dataflow::{AggCall, AggFunction, Distribution, Input, Node, Upstream};

    use super::*;
    use crate::operators::testing::{
        KEY_GROUPS, context, expression, fragment, input_node, output_to_text, schema, two_columns,
    };

    fn least_b() -> AggCall {
        AggCall {
            function: AggFunction::Min,
            argument: Some(1),
            output_type: DataType::Int64,
        }
    }

    #[test]
    fn table_numbers_follow_from_the_plan() {
        let input = Input {
            from: Upstream::Relation(RelationId(3)),
            schema: two_columns(),
            distribution: Distribution::Forward,
            watermarks: Vec::new(),
        };
        let aggregation = Node::HashAgg {
            input: Box::new(input_node(&[0], &two_columns())),
            group_by: vec![0],
            calls: vec![least_b()],
            forgets: None,
            append_only: false,
            partial_of: None,
            schema: two_columns(),
        };
        let root = Node::Materialize {
            input: Box::new(aggregation),
            key: vec![0],
        };
        let fragment = Fragment {
            root,
            inputs: vec![input],
        };
        let schemas = Pipeline::table_schemas(&fragment, 9, 2).unwrap();
        let numbers: Vec<_> = schemas
            .iter()
            .map(|schema| (schema.id.job, schema.id.table, schema.visible))
            .collect();
        // Scan, what it has passed on, groups, extremes emitted, values of min, view.
        let expected = [
            (9, 128, false),
            (9, 191, false),
            (9, 129, false),
            (9, 130, false),
            (9, 131, false),
            (9, 132, true),
        ];
        assert_eq!(numbers, expected);
        let mut pipeline = Pipeline::build(&fragment, 9, 2, [], &context()).unwrap();
        let built: Vec<_> = pipeline
            .tables()
            .iter()
            .map(|table| table.schema().id)
            .collect();
        let planned: Vec<_> = schemas.iter().map(|schema| schema.id).collect();
        assert_eq!(built, planned);
    }

    #[test]
    fn a_union_merges_its_inputs_and_may_read_one_twice() {
        let root = Node::Filter {
            input: Box::new(input_node(&[0, 1, 1], &two_columns())),
            predicate: expression(&two_columns(), "a > 0"),
        };
        let inputs = [
            (two_columns(), vec![0]),
            (two_columns(), vec![0]),
            (two_columns(), vec![0]),
        ];
        let mut pipeline = Pipeline::build(&fragment(root, &inputs), 1, 0, [], &context()).unwrap();
        let mut out = Output::new();
        for (input, text) in ["+1 | 1 | 0\n+1 | 0 | 0", "+1 | 2 | 0", "+1 | 3 | 0"]
            .iter()
            .enumerate()
        {
            let batch = ChangeBatch::from_text(&two_columns(), text);
            pipeline.on_batch(input, batch, &mut out).unwrap();
        }
        assert_eq!(
            output_to_text(&mut out),
            "+1 | 1 | 0\n+1 | 2 | 0\n+1 | 2 | 0\n"
        );
    }

    /// What each operator did since the last call: rows in, rows out, rows of its tables.
    fn counted(pipeline: &mut Pipeline) -> Vec<(u64, u64, Vec<u64>)> {
        let of = |load: &OperatorLoad| {
            let tables = load.tables.iter().map(|table| table.rows).collect();
            (load.rows.input, load.rows.output, tables)
        };
        pipeline.take_load().iter().map(of).collect()
    }

    #[test]
    fn rows_are_counted_by_operator_in_the_order_of_the_plan() {
        let of_fragment = |input: usize| Node::Filter {
            input: Box::new(input_node(&[input], &two_columns())),
            predicate: expression(&two_columns(), "a > 0"),
        };
        let union = Node::Union {
            inputs: vec![of_fragment(0), input_node(&[1], &two_columns())],
            schema: two_columns(),
        };
        let root = Node::Materialize {
            input: Box::new(union),
            key: vec![],
        };
        let inputs = [(two_columns(), vec![0]), (two_columns(), vec![0])];
        let owned = (0..KEY_GROUPS).map(KeyGroup);
        let fragment = fragment(root, &inputs);
        let mut pipeline = Pipeline::build(&fragment, 1, 0, owned, &context()).unwrap();
        let mut out = Output::new();
        let rows = ["+1 | 1 | 0\n+1 | 0 | 0\n+1 | 2 | 0", "+1 | 3 | 0"];
        for (input, text) in rows.iter().enumerate() {
            let batch = ChangeBatch::from_text(&two_columns(), text).keyed(&[0], KEY_GROUPS);
            pipeline.on_batch(input, batch, &mut out).unwrap();
        }
        for table in pipeline.tables() {
            let _ = table.commit(false).unwrap();
        }
        let expected = [
            (3, 3, vec![3]),
            (3, 3, vec![]),
            (3, 2, vec![]),
            (3, 3, vec![]),
            (1, 1, vec![]),
        ];
        assert_eq!(counted(&mut pipeline), expected);
        let expected = [vec![3], vec![], vec![], vec![], vec![]];
        assert_eq!(
            counted(&mut pipeline),
            expected.map(|tables| (0, 0, tables))
        );
    }

    #[test]
    fn a_schema_the_plan_does_not_promise_is_found_in_debug_builds() {
        let root = Node::Filter {
            input: Box::new(input_node(&[0], &two_columns())),
            predicate: expression(&two_columns(), "a > 0"),
        };
        let inputs = [(two_columns(), vec![0])];
        let mut pipeline = Pipeline::build(&fragment(root, &inputs), 1, 0, [], &context()).unwrap();
        let other = schema(&[("a", DataType::Int64)]);
        let batch = ChangeBatch::from_text(&other, "+1 | 1");
        let result = pipeline.on_batch(0, batch, &mut Output::new());
        assert!(matches!(result, Err(Error::Schema { operator: 0, .. })));
    }

    #[test]
    fn plans_that_cannot_be_executed_are_refused() {
        let too_wide = Node::HashAgg {
            input: Box::new(input_node(&[0], &two_columns())),
            group_by: vec![0],
            calls: vec![least_b(); 63],
            forgets: None,
            append_only: false,
            partial_of: None,
            schema: two_columns(),
        };
        let inputs = [(two_columns(), vec![0])];
        let refused = Pipeline::table_schemas(&fragment(too_wide, &inputs), 1, 0);
        assert!(matches!(refused, Err(Error::Plan { .. })));
        let missing = fragment(input_node(&[1], &two_columns()), &inputs);
        assert!(matches!(
            Pipeline::table_schemas(&missing, 1, 0),
            Err(Error::Plan { .. })
        ));
        let late = fragment(input_node(&[0], &two_columns()), &inputs);
        assert!(Pipeline::table_schemas(&late, 1, 1022).is_ok());
        assert!(Pipeline::table_schemas(&late, 1, 1024).is_err());
    }

    #[test]
    fn writes_need_a_table() {
        let inputs = [(two_columns(), vec![0])];
        let view = fragment(input_node(&[0], &two_columns()), &inputs);
        let mut pipeline = Pipeline::build(&view, 1, 0, [], &context()).unwrap();
        let batch = ChangeBatch::from_text(&two_columns(), "+1 | 1 | 1");
        assert!(pipeline.write(1, batch, &mut Output::new()).is_err());
        assert_eq!(pipeline.last_write().unwrap(), None);
    }
}
