//! What an aggregation keeps of each group, and what a partial aggregation hands on: measures.
//!
//! | aggregate | measures, each kept once however many calls need it |
//! | --- | --- |
//! | `count(*)` | rows |
//! | `count(x)` | values of x |
//! | `sum(x)`, integers | values, sum in 128 bits |
//! | `sum(x)`, decimals | values, sum in 256 bits |
//! | `sum(x)`, `avg(x)`, floats | values, sum of the finite ones; how many NaN, +Inf, -Inf |
//! | `min(x)`, `max(x)` | the greatest number that stands for a value, if rows are never taken back; else none |
//!
//! All of them can be worked out of parts of the rows, and of the changes of an epoch apart: a `min`
//! that may be taken back needs the values themselves, and so has no partial result.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::dataflow::{AggCall, AggFunction};

/// The column of a measure of 128 bits; all of them may be used.
pub const INTEGER: DataType = DataType::Decimal128(38, 0);
/// The column of a measure of 256 bits; all of them may be used.
pub const WIDE_INTEGER: DataType = DataType::Decimal256(76, 0);

/// Which aggregations of a view have two phases, if they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TwoPhaseAgg {
    /// None.
    Never,
    /// Those without group columns, whose rows would all go to one executor.
    #[default]
    WithoutGroups,
    /// All that have an exchange in front of them.
    Always,
}

/// One measure of a group, by what it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Rows of the group. Always the first: a group is there while it has rows.
    Rows,
    /// Rows whose column is not NULL.
    Values(usize),
    /// Sum of an integer column.
    IntegerSum(usize),
    /// Sum of a decimal column, in units of its scale.
    DecimalSum(usize),
    /// Sum of the finite values of a float column.
    FloatSum(usize),
    /// How often a float column is NaN.
    NaN(usize),
    /// How often a float column is +Inf.
    PositiveInfinity(usize),
    /// How often a float column is -Inf.
    NegativeInfinity(usize),
    /// The least (`Min`) or greatest (`Max`) value of a column.
    Best(usize, AggFunction),
}

impl Measure {
    /// The measures of some calls over columns of `input`, each once. A call that has none of its own adds none.
    #[must_use]
    pub fn of_calls(calls: &[AggCall], input: &Schema, append_only: bool) -> Vec<Self> {
        let mut measures = vec![Self::Rows];
        for call in calls {
            let Some(column) = call.argument else {
                continue;
            };
            let mut needed = match call.function {
                AggFunction::Count => vec![Self::Values(column)],
                AggFunction::Sum | AggFunction::Avg => {
                    let mut needed = of_sum(column, input.field(column).data_type());
                    needed.insert(0, Self::Values(column));
                    needed
                }
                AggFunction::Min | AggFunction::Max if call.is_greatest(input, append_only) => {
                    vec![Self::Best(column, call.function)]
                }
                AggFunction::Min | AggFunction::Max => Vec::new(),
            };
            needed.retain(|measure| !measures.contains(measure));
            measures.append(&mut needed);
        }
        measures
    }

    /// How a partial result holds the measure: numbers of 64, 128 and 256 bits, and float sums as
    /// 16 bytes.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Rows
            | Self::Values(_)
            | Self::NaN(_)
            | Self::PositiveInfinity(_)
            | Self::NegativeInfinity(_) => DataType::Int64,
            Self::IntegerSum(_) | Self::Best(..) => INTEGER,
            Self::DecimalSum(_) => WIDE_INTEGER,
            Self::FloatSum(_) => DataType::FixedSizeBinary(16),
        }
    }

    /// What it is of, with the names of the columns.
    #[must_use]
    pub fn name(self, input: &Schema) -> String {
        let of = |what: &str, column: usize| format!("{what}({})", input.field(column).name());
        match self {
            Self::Rows => "rows".to_owned(),
            Self::Values(column) => of("count", column),
            Self::IntegerSum(column) | Self::DecimalSum(column) | Self::FloatSum(column) => {
                of("sum", column)
            }
            Self::NaN(column) => of("NaN", column),
            Self::PositiveInfinity(column) => of("+Infinity", column),
            Self::NegativeInfinity(column) => of("-Infinity", column),
            Self::Best(column, AggFunction::Min) => of("min", column),
            Self::Best(column, _) => of("max", column),
        }
    }
}

/// The columns of partial results: those that rows are grouped by, then the measures of the calls.
/// `None` if some call has no partial result.
#[must_use]
pub fn partial_schema(
    group_by: &[usize],
    calls: &[AggCall],
    input: &Schema,
    append_only: bool,
) -> Option<SchemaRef> {
    let needs_values = |call: &AggCall| {
        matches!(call.function, AggFunction::Min | AggFunction::Max)
            && !call.is_greatest(input, append_only)
    };
    if calls.iter().any(needs_values) {
        return None;
    }
    let groups = group_by.iter().map(|&column| input.field(column).clone());
    let measures = Measure::of_calls(calls, input, append_only);
    let measures = measures
        .into_iter()
        .map(|measure| Field::new(measure.name(input), measure.data_type(), true));
    Some(Arc::new(Schema::new(
        groups.chain(measures).collect::<Vec<_>>(),
    )))
}

fn of_sum(column: usize, data_type: &DataType) -> Vec<Measure> {
    if data_type.is_floating() {
        return vec![
            Measure::FloatSum(column),
            Measure::NaN(column),
            Measure::PositiveInfinity(column),
            Measure::NegativeInfinity(column),
        ];
    }
    vec![match data_type.is_integer() {
        true => Measure::IntegerSum(column),
        false => Measure::DecimalSum(column),
    }]
}
