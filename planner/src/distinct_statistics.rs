//! `DISTINCT` in statistics that DataFusion has without it: `corr(DISTINCT y, x)`, `stddev(DISTINCT x)` of floats.
//!
//! The different rows of arguments are collected first, and given to DataFusion's accumulator in an order of their
//! own: so the last digits do not depend on the order in which the rows came.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

type Result<T> = std::result::Result<T, DataFusionError>;

/// Statistics of two arguments, which pass over `DISTINCT`.
const OF_PAIRS: [&str; 12] = [
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
];

/// An aggregate over different rows of arguments. To be called with `DISTINCT`, too, for its name in plans.
pub(crate) fn of_distinct(inner: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(OfDistinct { inner, signature }))
}

/// Gives statistics of pairs their `DISTINCT`. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct DistinctPairs;

impl AnalyzerRule for DistinctPairs {
    fn name(&self) -> &'static str {
        "distinct_pairs"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(_) => node.map_expressions(|expr| expr.transform_up(replaced)),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

fn replaced(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::AggregateFunction(mut call)
            if call.params.distinct
                && OF_PAIRS.contains(&call.func.name())
                && !call.func.inner().is::<OfDistinct>() =>
        {
            call.func = of_distinct(call.func);
            Transformed::yes(Expr::AggregateFunction(call))
        }
        other => Transformed::no(other),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfDistinct {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for OfDistinct {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        Ok(given.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let fields = args.input_fields.iter().enumerate();
        let list = |(at, field): (usize, &FieldRef)| {
            let item = Field::new_list_field(field.data_type().clone(), true);
            Arc::new(Field::new_list(format!("{}[{at}]", args.name), item, true))
        };
        Ok(fields.map(list).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let types = args.expr_fields.iter();
        let types = types.map(|field| SortField::new(field.data_type().clone()));
        let rows = RowConverter::new(types.collect())?;
        let inner = self.inner.accumulator(AccumulatorArgs {
            is_distinct: false,
            ..args
        })?;
        Ok(Box::new(DistinctAccumulator {
            inner,
            rows,
            seen: BTreeSet::new(),
        }))
    }
}

#[derive(Debug)]
struct DistinctAccumulator {
    inner: Box<dyn Accumulator>,
    rows: RowConverter,
    seen: BTreeSet<OwnedRow>,
}

impl DistinctAccumulator {
    fn columns(&self) -> Result<Vec<ArrayRef>> {
        let rows = self.seen.iter().map(OwnedRow::row);
        Ok(self.rows.convert_rows(rows)?)
    }
}

impl Accumulator for DistinctAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = self.rows.convert_columns(values)?;
        self.seen.extend(rows.iter().map(|row| row.owned()));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let columns = self.columns()?;
        self.inner.update_batch(&columns)?;
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        let row = |row: &OwnedRow| size_of::<OwnedRow>() + row.as_ref().len();
        size_of_val(self) + self.inner.size() + self.seen.iter().map(row).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let lists = self.columns()?.into_iter().map(|column| {
            let item = Arc::new(Field::new_list_field(column.data_type().clone(), true));
            let offsets = arrow::buffer::OffsetBuffer::from_lengths([column.len()]);
            let list = arrow::array::ListArray::try_new(item, offsets, column, None)?;
            Ok(ScalarValue::List(Arc::new(list)))
        });
        lists.collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = states.first().map_or(0, |lists| lists.len());
        for group in 0..groups {
            let columns = states
                .iter()
                .map(|lists| lists.as_list::<i32>().value(group));
            let columns: Vec<ArrayRef> = columns.collect();
            self.update_batch(&columns)?;
        }
        Ok(())
    }
}
