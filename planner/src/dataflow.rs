//! The dataflow plan: what the planner hands to the executor, as plain data.
//!
//! A [`Dataflow`] is a list of [`Fragment`]s, upstream first. A fragment is the part of a plan
//! between two exchanges; its operators form one tree whose leaves read the fragment's inputs.
//!
//! ```text
//!   relation 7 ──Forward──► ┌─ fragment 0 ─────────┐  Hash(0)  ┌─ fragment 1 ──────────┐
//!                           │ Input → Filter → Proj│ ────────► │ Input → HashAgg → Mat │
//!                           └──────────────────────┘           └───────────────────────┘
//! ```
//!
//! Invariants:
//! * Inputs name fragments of a smaller index, so the list is already in topological order. A
//!   fragment may feed several inputs, of one fragment or of many: the plan is a graph.
//! * Only the last fragment holds a [`Node::Materialize`], as its root.
//! * A fragment without inputs runs as one executor. Its only leaf is `Dml`, `Nexmark` or
//!   `Values`; `Filter`, `Project` and `LocalAgg` may stand above the leaf.
//! * Rows have no identity but their content, and every field of every schema here is nullable:
//!   within an epoch a row can be seen before the change that makes it valid.
//! * Key columns are plain columns. Expressions are projected before an exchange.
//! * Both sides of a join have equal key types, and are hashed by their keys in the same order.
//!
//! Not here: parallelism and who owns which key group (`executor`, `scaling`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use crate::catalog::RelationId;
pub use crate::evaluation::{Evaluation, Evaluator};

/// A whole continuous job: a table, or a materialized view.
#[derive(Clone, Debug)]
pub struct Dataflow {
    /// Upstream first; an index into this list names a fragment. Never empty.
    pub fragments: Vec<Fragment>,
    /// Columns of the materialized rows, with their final names. All nullable.
    pub schema: SchemaRef,
    /// Columns of `schema` that are unique among live rows; empty means none is known, and a row
    /// is found by all of its columns.
    pub stream_key: Vec<usize>,
    /// Whether no row is ever retracted.
    pub append_only: bool,
    /// Columns of `schema` that have a watermark.
    pub watermarks: Vec<usize>,
    /// The column of `schema` whose watermark lets rows come, if they come when their window closes
    /// and still tell when that was.
    pub emitted_by: Option<usize>,
}

/// The part of a plan between two exchanges.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The last operator; its children lead to the inputs.
    pub root: Node,
    /// What the leaves read, by index. Empty for a fragment that starts a stream.
    pub inputs: Vec<Input>,
}

/// One incoming exchange of a fragment.
#[derive(Clone, Debug)]
pub struct Input {
    /// Who sends the rows.
    pub from: Upstream,
    /// The rows' columns. All nullable.
    pub schema: SchemaRef,
    /// How rows find their key group.
    pub distribution: Distribution,
    /// Columns that have a watermark.
    pub watermarks: Vec<usize>,
}

/// The sender of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// A fragment of the same dataflow, of a smaller index.
    Fragment(usize),
    /// The last fragment of another job. The reader first receives the rows that exist.
    Relation(RelationId),
}

/// How the rows of an input find their key group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// By the hash of these columns of the input, in this order. No columns: one key group.
    Hash(Vec<usize>),
    /// In the key group that the row already has upstream. Only from relations.
    Forward,
}

/// An operator with its children.
#[derive(Clone, Debug)]
pub enum Node {
    /// The union of some inputs of the fragment; they all have this schema.
    Input {
        /// Indexes into [`Fragment::inputs`].
        inputs: Vec<usize>,
        /// Columns of the rows.
        schema: SchemaRef,
    },
    /// Keeps the rows for which the predicate is true (neither false nor NULL).
    Filter {
        /// Child.
        input: Box<Node>,
        /// Boolean expression over the child's columns.
        predicate: Arc<dyn PhysicalExpr>,
    },
    /// Keeps the rows on one side of a bound that only grows, as it is at the end of each epoch.
    TemporalFilter {
        /// Child.
        input: Box<Node>,
        /// Column of the child that is compared with the bound: dates or times. NULL is on no side.
        column: usize,
        /// Which rows are kept.
        side: Side,
        /// What the column is compared with.
        bound: Bound,
    },
    /// Drops rows that come later than the watermark allows, and promises that none will come.
    WatermarkFilter {
        /// Child: a source.
        input: Box<Node>,
        /// Which rows are late.
        watermark: Watermark,
    },
    /// Computes each output column from the child's columns.
    Project {
        /// Child.
        input: Box<Node>,
        /// One expression per output column.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// Output columns.
        schema: SchemaRef,
    },
    /// Lists to rows: a row comes out once for each place of its longest list.
    Unnest {
        /// Child.
        input: Box<Node>,
        /// Output columns in terms of the child's.
        columns: Vec<UnnestColumn>,
        /// Output columns.
        schema: SchemaRef,
    },
    /// Grouped aggregation. Output: the group columns, then one column per call; one row per group
    /// that has rows. NULLs of a group column are equal.
    ///
    /// Without calls it is `DISTINCT`. Without group columns it is a global aggregate, whose one
    /// row must exist without input too: the planner feeds it one row of NULLs (a `Values`
    /// fragment), so the operator treats it as any other group.
    HashAgg {
        /// Child.
        input: Box<Node>,
        /// Columns of the child.
        group_by: Vec<usize>,
        /// Aggregates, in output order.
        calls: Vec<AggCall>,
        /// Which of `group_by` has a watermark: a group that it has passed is forgotten.
        forgets: Option<usize>,
        /// Whether no row of the child is ever taken back.
        append_only: bool,
        /// If the child's rows are partial results: the columns of what [`Node::LocalAgg`] read,
        /// which `calls` name. `group_by` are the first columns of both.
        partial_of: Option<SchemaRef>,
        /// Output columns.
        schema: SchemaRef,
    },
    /// The first of the two phases of an aggregation: what the rows of a batch add to the measures of
    /// their groups, one row a group. Nothing is kept.
    LocalAgg {
        /// Child.
        input: Box<Node>,
        /// Columns of the child.
        group_by: Vec<usize>,
        /// Aggregates, none of which needs the values themselves.
        calls: Vec<AggCall>,
        /// Whether no row of the child is ever taken back.
        append_only: bool,
        /// Output columns: [`partial_schema`](crate::measures::partial_schema).
        schema: SchemaRef,
    },
    /// All rows of some children.
    Union {
        /// Children; they all have this schema.
        inputs: Vec<Node>,
        /// Columns of the rows.
        schema: SchemaRef,
    },
    /// Equi-join.
    HashJoin {
        /// Which rows come out.
        kind: JoinKind,
        /// Left child.
        left: Box<Node>,
        /// Right child.
        right: Box<Node>,
        /// Columns of the left child. Without any, each pair of rows is tried, in one key group.
        left_keys: Vec<usize>,
        /// Columns of the right child, one for each of `left_keys`, of the same types.
        right_keys: Vec<usize>,
        /// Whether a NULL key matches a NULL key.
        nulls_match: bool,
        /// What a pair must pass besides, over left columns, then right ones. NULL is false.
        residual: Option<Arc<dyn PhysicalExpr>>,
        /// When the rows of the left and of the right side can have no more matches.
        forgets: [Option<Expiry>; 2],
        /// Output columns.
        schema: SchemaRef,
    },
    /// Joins each left row with the right rows of its key as they are at the end of the row's epoch. Left rows are
    /// never taken back; later changes of the right side change nothing.
    TemporalJoin {
        /// Whether left rows without a match come out, with NULLs for the right columns.
        keeps_all: bool,
        /// Left child.
        left: Box<Node>,
        /// Right child.
        right: Box<Node>,
        /// Columns of the left child; not none.
        left_keys: Vec<usize>,
        /// Columns of the right child, one for each of `left_keys`, of the same types.
        right_keys: Vec<usize>,
        /// Whether a NULL key matches a NULL key.
        nulls_match: bool,
        /// What a pair must pass besides, over left columns, then right ones. NULL is false.
        residual: Option<Arc<dyn PhysicalExpr>>,
        /// Output columns.
        schema: SchemaRef,
    },
    /// Whatever can be said of the rows of each key apart: keeps the rows, and evaluates those of
    /// the keys that an epoch changed anew, with the batch engine.
    Recompute {
        /// Children. Those that the evaluation does not read only say which keys there are.
        inputs: Vec<Node>,
        /// The key of each child, of equal types; NULLs are equal. Without columns there is one
        /// key, of all rows.
        keys: Vec<Vec<usize>>,
        /// Where the columns of the key are in the output, if they are.
        key_columns: Vec<Option<usize>>,
        /// By which of the key's columns, in this order, rows find their key group.
        hashed_by: Vec<usize>,
        /// Which of the key's columns has a watermark: a key that it has passed is forgotten.
        forgets: Option<usize>,
        /// Rows of some keys to their results: the key's columns, then those of `schema`.
        evaluation: Evaluation,
        /// Output columns.
        schema: SchemaRef,
    },
    /// Keeps the rows, published at each barrier.
    Materialize {
        /// Child.
        input: Box<Node>,
        /// Columns that are unique among live rows; empty if none are known.
        key: Vec<usize>,
    },
    /// Rows written by `INSERT`, `UPDATE`, `DELETE` and `COPY`.
    Dml {
        /// Columns of the table.
        schema: SchemaRef,
        /// Which rows are late, if any.
        watermark: Option<Watermark>,
    },
    /// Rows of the NEXMark generator.
    Nexmark {
        /// Options of the generator.
        options: NexmarkOptions,
        /// Which of its three streams.
        table: NexmarkTable,
        /// Columns: the chosen ones of the stream, found by name.
        schema: SchemaRef,
    },
    /// Rows known when the plan was made, each inserted once in the life of the job.
    Values {
        /// The rows; its schema is the output.
        batch: RecordBatch,
    },
}

impl Node {
    /// Columns of the rows that this operator emits. All nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Filter { input, .. }
            | Self::TemporalFilter { input, .. }
            | Self::WatermarkFilter { input, .. }
            | Self::Materialize { input, .. } => input.schema(),
            Self::Input { schema, .. }
            | Self::Project { schema, .. }
            | Self::Unnest { schema, .. }
            | Self::HashAgg { schema, .. }
            | Self::LocalAgg { schema, .. }
            | Self::Union { schema, .. }
            | Self::HashJoin { schema, .. }
            | Self::TemporalJoin { schema, .. }
            | Self::Recompute { schema, .. }
            | Self::Dml { schema, .. }
            | Self::Nexmark { schema, .. } => Arc::clone(schema),
            Self::Values { batch } => batch.schema(),
        }
    }

    /// The operators that this one reads from, left first.
    #[must_use]
    pub fn children(&self) -> Vec<&Node> {
        match self {
            Self::Filter { input, .. }
            | Self::TemporalFilter { input, .. }
            | Self::WatermarkFilter { input, .. }
            | Self::Project { input, .. }
            | Self::Unnest { input, .. }
            | Self::HashAgg { input, .. }
            | Self::LocalAgg { input, .. }
            | Self::Materialize { input, .. } => vec![input],
            Self::HashJoin { left, right, .. } | Self::TemporalJoin { left, right, .. } => {
                vec![left, right]
            }
            Self::Union { inputs, .. } | Self::Recompute { inputs, .. } => inputs.iter().collect(),
            Self::Input { .. } | Self::Dml { .. } | Self::Nexmark { .. } | Self::Values { .. } => {
                Vec::new()
            }
        }
    }

    /// The same, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Node> {
        match self {
            Self::Filter { input, .. }
            | Self::TemporalFilter { input, .. }
            | Self::WatermarkFilter { input, .. }
            | Self::Project { input, .. }
            | Self::Unnest { input, .. }
            | Self::HashAgg { input, .. }
            | Self::LocalAgg { input, .. }
            | Self::Materialize { input, .. } => vec![input],
            Self::HashJoin { left, right, .. } | Self::TemporalJoin { left, right, .. } => {
                vec![left, right]
            }
            Self::Union { inputs, .. } | Self::Recompute { inputs, .. } => {
                inputs.iter_mut().collect()
            }
            Self::Input { .. } | Self::Dml { .. } | Self::Nexmark { .. } | Self::Values { .. } => {
                Vec::new()
            }
        }
    }
}

/// When a row of one side of a join can have no more matches: its `column` is less than the
/// watermark of the `other` side's column plus so many microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Column of the side.
    pub column: usize,
    /// Column of the other side.
    pub other: usize,
    /// Microseconds; of keys that are dates, 0.
    pub micros: i64,
}

/// Which rows a [`Node::TemporalFilter`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those that the bound has yet to pass; they go when it does: `ts > now()`.
    Ahead,
    /// Those that it has passed: `ts <= now()`.
    Passed,
}

/// What a [`Node::TemporalFilter`] compares with.
#[derive(Clone, Debug)]
pub enum Bound {
    /// A time that follows from that of the epoch.
    Now {
        /// Of the column's type, over one row of one column, `now()`. It grows with it.
        value: Arc<dyn PhysicalExpr>,
        /// Whether the bound has passed a value that it equals.
        inclusive: bool,
    },
    /// The watermark of the column. It has not passed a value that it equals.
    Watermark,
}

/// `WATERMARK FOR column AS value`.
#[derive(Clone, Debug)]
pub struct Watermark {
    /// The column.
    pub column: usize,
    /// The watermark that each row makes, over the columns of the relation.
    pub value: Arc<dyn PhysicalExpr>,
    /// After which time without rows the watermark goes on with the clock; never if absent.
    pub idle_timeout: Option<Duration>,
}

/// One aggregate of a [`Node::HashAgg`]. `DISTINCT`, `FILTER` and expressions as arguments have
/// been planned in front of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggCall {
    /// Which aggregate.
    pub function: AggFunction,
    /// Column of the child; NULLs in it are skipped. Absent only for `count(*)`.
    pub argument: Option<usize>,
    /// Type of the output column: `Int64` for counts; for the others what DataFusion's aggregate
    /// returns for the argument's type.
    pub output_type: DataType,
}

impl AggCall {
    /// Whether it is a `min` or `max` of which each group keeps the best value alone: no row is
    /// taken back, and the values of its type are numbers.
    #[must_use]
    pub fn is_greatest(&self, input: &Schema, append_only: bool) -> bool {
        let is_number = |data_type: &DataType| match data_type {
            DataType::Decimal128(precision, _) => *precision <= 37,
            DataType::UInt64 => false,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => true,
            other => other.is_integer() || matches!(other, DataType::Float32 | DataType::Float64),
        };
        append_only
            && matches!(self.function, AggFunction::Min | AggFunction::Max)
            && self
                .argument
                .is_some_and(|at| is_number(input.field(at).data_type()))
    }
}

/// A column of [`Node::Unnest`], by the column of the child that it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnnestColumn {
    /// The value, in each row.
    Kept(usize),
    /// The elements of a list, one a row; NULL behind its end.
    Elements(usize),
}

/// Which rows a join emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// The pairs that match: left columns, then right columns.
    Inner,
    /// The pairs, and left rows without a match with NULLs for the right columns.
    Left,
    /// The pairs, and right rows without a match with NULLs for the left columns.
    Right,
    /// The pairs, and rows of both sides without a match.
    Full,
    /// Left rows with a match.
    LeftSemi,
    /// Left rows without a match.
    LeftAnti,
    /// Left rows with a boolean column more: whether they have a match.
    LeftMark,
}

impl JoinKind {
    /// Whether pairs of rows come out, or single rows only.
    #[must_use]
    pub const fn emits_pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Full)
    }
}

/// Aggregates with an incremental operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggFunction {
    /// Rows, or rows whose argument is not NULL.
    Count,
    /// Sum of a numeric column; NULL without values. One of integers may be a decimal.
    Sum,
    /// Mean of a column of floats; NULL without values.
    Avg,
    /// Least value; NULL without values.
    Min,
    /// Greatest value; NULL without values.
    Max,
}

/// The three streams of the NEXMark generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkTable {
    /// People who sell and bid.
    Person,
    /// Things for sale.
    Auction,
    /// Offers.
    Bid,
}

/// Options of the NEXMark generator, as RisingWave names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexmarkOptions {
    /// `nexmark.event.num`: events of all three streams together, after which the generator
    /// stops. `None` (written -1 or left out): endless.
    pub event_num: Option<u64>,
    /// `nexmark.min.event.gap.in.ns`: nanoseconds between two events of the generator; 0 is as
    /// fast as can be. Default 100,000.
    pub min_event_gap_in_ns: u64,
    /// The other `nexmark.*` options, keyed without that prefix (`active.people`), values checked
    /// to be whole numbers.
    pub tuning: BTreeMap<String, u64>,
}
