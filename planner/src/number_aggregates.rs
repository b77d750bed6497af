//! Sums, means and deviations with PostgreSQL's types: of integers and `numeric` they are exact.
//!
//! ```text
//!   avg(x) ──names resolved──► avg, of PostgreSQL's type ──after coercion──► pg_mean(sum(x), count(x))
//! ```
//!
//! | of | smallint, integer | bigint | numeric | real | double precision |
//! | --- | --- | --- | --- | --- | --- |
//! | `sum` | bigint | numeric | numeric | real | double precision |
//! | `avg`, `stddev`, `variance`, … | numeric | numeric | numeric | double precision | double precision |
//!
//! DataFusion's have other types, and a query's expressions are chosen by the types that it has when
//! names are resolved. So these stand in for them until types are coerced; then a rule makes of each
//! one what is computed of DataFusion's sums and counts of the same rows. They are never run. In a
//! view only sums and counts are kept, and deviations are as cheap as means.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::functions::expr_fn::coalesce;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, Expr, ExprSchemable, LogicalPlan,
    Projection, Signature, Volatility, Window, WindowFunctionDefinition, cast, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use crate::distinct_statistics::of_distinct;
use crate::error::Error;
use crate::functions::call;
use crate::functions::sum::sum;
use crate::types::{DEVIATION, QUOTIENT, VARIANCE};
use crate::values::types::SqlType;

type Result<T> = std::result::Result<T, DataFusionError>;

/// What holds every `bigint`, and the sum of many.
const BIGINTS: DataType = DataType::Decimal128(28, 0);

/// Digits of every `bigint`. Products of two such numbers fit 38 digits.
const INTEGER_DIGITS: u8 = 19;

/// Digits of numbers whose squares, summed up, fit 38 digits.
const SQUARED_DIGITS_MAX: u8 = 13;

/// An aggregate of numbers, before it is known how it is computed.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NumberAggregate {
    kind: Kind,
    aliases: Vec<String>,
    signature: Signature,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Avg,
    VarSamp,
    VarPop,
    StddevSamp,
    StddevPop,
}

/// The functions.
pub(crate) fn number_aggregates() -> impl Iterator<Item = AggregateUDF> {
    let kinds = [
        (Kind::Sum, None),
        (Kind::Avg, None),
        (Kind::VarSamp, Some("variance")),
        (Kind::VarPop, None),
        (Kind::StddevSamp, Some("stddev")),
        (Kind::StddevPop, None),
    ];
    kinds.into_iter().map(|(kind, alias)| {
        AggregateUDF::new_from_impl(NumberAggregate {
            kind,
            aliases: alias.map(str::to_owned).into_iter().collect(),
            signature: Signature::user_defined(Volatility::Immutable),
        })
    })
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::VarSamp => "var_samp",
            Self::VarPop => "var_pop",
            Self::StddevSamp => "stddev_samp",
            Self::StddevPop => "stddev_pop",
        }
    }

    /// DataFusion's function.
    fn of_floats(self) -> Arc<AggregateUDF> {
        match self {
            Self::Sum => sum(),
            Self::Avg => avg_udaf(),
            Self::VarSamp => var_samp_udaf(),
            Self::VarPop => var_pop_udaf(),
            Self::StddevSamp => stddev_udaf(),
            Self::StddevPop => stddev_pop_udaf(),
        }
    }

    /// The type that an argument is cast to; `None` if it is no number. It is asked of cast arguments too,
    /// which stay as they are.
    fn argument(self, given: &DataType) -> Option<DataType> {
        Some(match given {
            small if is_small(small) => small.clone(),
            DataType::Int64 | DataType::UInt64 => BIGINTS,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            DataType::Decimal128(..) | DataType::Decimal256(..) => given.clone(),
            DataType::Float32 | DataType::Interval(_) if self == Self::Sum => given.clone(),
            DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Null => {
                DataType::Float64
            }
            _ => return None,
        })
    }

    /// The type of the result for an argument that has been cast.
    fn result(self, argument: &DataType) -> Result<DataType> {
        Ok(match (self, argument) {
            (Self::Sum, DataType::Float32) => DataType::Float32,
            (Self::Sum, small) if is_small(small) => DataType::Int64,
            (Self::Sum, _) => sum().return_type(std::slice::from_ref(argument))?,
            (_, DataType::Float64) => DataType::Float64,
            (Self::Avg, _) => DataType::Decimal256(QUOTIENT.0, QUOTIENT.1),
            (Self::VarSamp | Self::VarPop, _) => DataType::Decimal256(VARIANCE.0, VARIANCE.1),
            _ => DataType::Decimal256(DEVIATION.0, DEVIATION.1),
        })
    }
}

/// Whether sums of these integers are a `bigint`.
fn is_small(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16
    )
}

impl AggregateUDFImpl for NumberAggregate {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let argument = match given {
            [given] => self.kind.argument(given),
            _ => None,
        };
        argument.map(|argument| vec![argument]).ok_or_else(|| {
            let shown = |given: &DataType| SqlType::of(given).base_name();
            let given: Vec<String> = given.iter().map(shown).collect();
            external(Error::UndefinedFunction {
                name: format!("{}({})", self.name(), given.join(", ")),
            })
        })
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.kind.result(&arguments[0])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Err(DataFusionError::Internal(format!(
            "{} is computed of sums",
            self.name()
        )))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Computes the aggregates of this file. To be run after type coercion.
#[derive(Debug)]
pub(crate) struct NumberAggregates;

impl AnalyzerRule for NumberAggregates {
    fn name(&self) -> &'static str {
        "number_aggregates"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate) => of_groups(aggregate),
            LogicalPlan::Window(window) => of_windows(window),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

fn of_groups(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let input = aggregate.input.schema();
    let mut parts = Parts::default();
    let mut computed = Vec::with_capacity(aggregate.aggr_expr.len());
    for expr in &aggregate.aggr_expr {
        let function = match expr.clone().unalias() {
            Expr::AggregateFunction(function) => {
                number_aggregate(&function.func).map(|kind| (kind, function.clone()))
            }
            _ => None,
        };
        computed.push(match function {
            Some((kind, function)) => {
                let part = |func, argument| {
                    let mut function = function.clone();
                    function.func = func;
                    function.params.args = vec![argument];
                    function.params.order_by = Vec::new();
                    Expr::AggregateFunction(function)
                };
                {
                    let (args, distinct) = (&function.params.args, function.params.distinct);
                    kind.of_parts(args, distinct, input, |func, arg| {
                        parts.column(part(func, arg))
                    })?
                }
            }
            None => parts.column(expr.clone()),
        });
    }
    if !parts.are_others_than(&aggregate.aggr_expr) {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let kept = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let rewritten = Aggregate::try_new(aggregate.input, aggregate.group_expr, parts.exprs)?;
    with_computed(
        LogicalPlan::Aggregate(rewritten),
        kept,
        computed,
        &aggregate.schema,
    )
}

fn of_windows(window: Window) -> Result<Transformed<LogicalPlan>> {
    let input = window.input.schema();
    let mut parts = Parts::default();
    let mut computed = Vec::with_capacity(window.window_expr.len());
    for expr in &window.window_expr {
        let function = match expr.clone().unalias() {
            Expr::WindowFunction(function) => match &function.fun {
                WindowFunctionDefinition::AggregateUDF(func) => {
                    number_aggregate(func).map(|kind| (kind, function.clone()))
                }
                WindowFunctionDefinition::WindowUDF(_) => None,
            },
            _ => None,
        };
        computed.push(match function {
            Some((kind, function)) => {
                let part = |func, argument| {
                    let mut function: WindowFunction = (*function).clone();
                    function.fun = WindowFunctionDefinition::AggregateUDF(func);
                    function.params.args = vec![argument];
                    Expr::WindowFunction(Box::new(function))
                };
                let (args, distinct) = (&function.params.args, function.params.distinct);
                kind.of_parts(args, distinct, input, |func, arg| {
                    parts.column(part(func, arg))
                })?
            }
            None => parts.column(expr.clone()),
        });
    }
    if !parts.are_others_than(&window.window_expr) {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let kept = input.fields().len();
    let rewritten = Window::try_new(parts.exprs, window.input)?;
    with_computed(
        LogicalPlan::Window(rewritten),
        kept,
        computed,
        &window.schema,
    )
}

fn number_aggregate(function: &AggregateUDF) -> Option<Kind> {
    let function = function.inner().downcast_ref::<NumberAggregate>()?;
    Some(function.kind)
}

impl Kind {
    /// What an aggregate is computed of; `part` takes a function and its argument.
    fn of_parts(
        self,
        args: &[Expr],
        distinct: bool,
        input: &DFSchema,
        mut part: impl FnMut(Arc<AggregateUDF>, Expr) -> Expr,
    ) -> Result<Expr> {
        let [argument] = args else {
            return Err(DataFusionError::Internal(format!(
                "{} of one argument",
                self.name()
            )));
        };
        let data_type = argument.get_type(input)?;
        let argument = match is_small(&data_type) {
            true => cast(argument.clone(), DataType::Int64),
            false => argument.clone(),
        };
        let values = uncast(&argument, input).clone();
        let deviation = match (self, &data_type) {
            (Self::Sum, DataType::Float32) => {
                let sum = part(sum(), cast(argument, DataType::Float64));
                return Ok(cast(sum, DataType::Float32));
            }
            (Self::Sum, _) => return Ok(part(sum(), argument)),
            (Self::Avg, DataType::Float64) => return Ok(part(self.of_floats(), argument)),
            (_, DataType::Float64) if distinct => {
                return Ok(part(of_distinct(self.of_floats()), argument));
            }
            (_, DataType::Float64) => return Ok(part(self.of_floats(), argument)),
            (Self::Avg, _) => {
                let count = part(count_udaf(), values);
                return Ok(call("pg_mean", vec![part(sum(), argument), count]));
            }
            (Self::VarSamp, _) => "pg_var_samp",
            (Self::VarPop, _) => "pg_var_pop",
            (Self::StddevSamp, _) => "pg_stddev_samp",
            (Self::StddevPop, _) => "pg_stddev_pop",
        };
        let factor = match &data_type {
            small if is_small(small) => {
                cast(argument.clone(), DataType::Decimal128(INTEGER_DIGITS, 0))
            }
            DataType::Decimal128(digits, _) if *digits <= SQUARED_DIGITS_MAX => argument.clone(),
            DataType::Decimal128(digits, scale) => {
                cast(argument.clone(), DataType::Decimal256(*digits, *scale))
            }
            _ => argument.clone(),
        };
        let square = factor.clone() * factor.clone();
        let squares = match distinct {
            false => part(sum(), square),
            // Different numbers of different signs may have the same square.
            true => {
                let zero = lit(ScalarValue::new_zero(&factor.get_type(input)?)?);
                let square_type = square.get_type(input)?;
                let nothing = lit(ScalarValue::new_zero(&sum().return_type(&[square_type])?)?);
                let mut sum_if = |condition: Expr| {
                    let squares = when(condition, square.clone()).end()?;
                    let sum = part(sum(), squares);
                    Ok::<_, DataFusionError>(coalesce(vec![sum, nothing.clone()]))
                };
                sum_if(factor.clone().gt_eq(zero.clone()))? + sum_if(factor.lt(zero))?
            }
        };
        let count = part(count_udaf(), values);
        let sum = part(sum(), argument);
        Ok(call(deviation, vec![squares, sum, count]))
    }
}

/// The integer that an argument is, if it is one that was cast to a wider type: it is NULL when the
/// cast is, and has the same sum.
pub(crate) fn uncast<'a>(argument: &'a Expr, input: &DFSchema) -> &'a Expr {
    let Expr::Cast(cast) = argument else {
        return argument;
    };
    let is_wide = match cast.field.data_type() {
        DataType::Int64 => true,
        DataType::Decimal128(digits, 0) => *digits >= INTEGER_DIGITS,
        _ => false,
    };
    let is_integer = |t: DataType| t.is_integer() && t != DataType::UInt64;
    if is_wide && cast.expr.get_type(input).is_ok_and(is_integer) {
        uncast(&cast.expr, input)
    } else {
        argument
    }
}

/// The aggregates that others are computed of, each once.
#[derive(Default)]
struct Parts {
    exprs: Vec<Expr>,
}

impl Parts {
    /// The column of an aggregate, which is added if it is not there.
    fn column(&mut self, part: Expr) -> Expr {
        let known = self.exprs.iter().find(|known| unaliased(known) == &part);
        let name = match known {
            Some(known) => known.schema_name().to_string(),
            None => {
                let mut name = part.schema_name().to_string();
                let is_taken = |name: &String| {
                    let mut known = self.exprs.iter();
                    known.any(|known| known.schema_name().to_string() == *name)
                };
                // Casts are not seen in names.
                if is_taken(&name) {
                    name = format!("{name} {}", self.exprs.len());
                    self.exprs.push(part.alias(&name));
                } else {
                    self.exprs.push(part);
                }
                name
            }
        };
        Expr::Column(Column::new_unqualified(name))
    }

    fn are_others_than(&self, exprs: &[Expr]) -> bool {
        self.exprs != exprs
    }
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => &alias.expr,
        other => other,
    }
}

/// The first columns of a plan, and what is computed of the others, under the names of a schema.
fn with_computed(
    plan: LogicalPlan,
    kept: usize,
    computed: Vec<Expr>,
    schema: &DFSchema,
) -> Result<Transformed<LogicalPlan>> {
    let first = (0..kept).map(|at| Expr::from(plan.schema().qualified_field(at)));
    let named = computed.into_iter().enumerate().map(|(at, expr)| {
        let (qualifier, field) = schema.qualified_field(kept + at);
        match &expr {
            Expr::Column(column) if column.name == *field.name() && qualifier.is_none() => expr,
            _ => expr.alias_qualified(qualifier.cloned(), field.name()),
        }
    });
    let exprs = first.chain(named).collect();
    let projection = Projection::try_new(exprs, Arc::new(plan))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}
