//! The shape of PostgreSQL's functions here: overloads chosen by the types of the arguments as
//! PostgreSQL chooses them, and bodies that compute one row.
//!
//! ```text
//!   call ──choose──► overload, arguments cast to its parameters ──row by row──► body
//! ```
//!
//! A body takes values ([`Datum`]) and knows nothing of Arrow. NULL arguments make a NULL result
//! without a call, unless the function says that it sees them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::Error;
use crate::functions::datum::{Datum, build_column};
use crate::types::NUMERIC_DEFAULT;
use crate::values::column::Values;
use crate::values::error::{Result, ValueError};
use crate::values::map;
use crate::values::temporal::utc;
use crate::values::types::SqlType;

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Param {
    /// Values of one type.
    Of(SqlType),
    /// Values of any type, as they are.
    Any,
    /// Arrays; all arrays and elements of a call have one element type.
    AnyArray,
    /// Elements of those arrays.
    AnyElement,
    /// Arrays of any elements, of one dimension.
    List,
    /// Maps; all maps, keys and values of a call are of one type.
    AnyMap,
    /// Keys of those maps.
    AnyKey,
    /// Values of those maps.
    AnyValue,
}

/// The type of a result.
#[derive(Clone)]
pub(crate) enum Returns {
    /// Always this one.
    Type(DataType),
    /// That of an argument.
    SameAs(usize),
    /// Arrays of an argument's type.
    ArrayOf(usize),
    /// Computed of the arguments' types, and of those that are constants.
    By(fn(&ReturnFieldArgs<'_>) -> DataType),
}

/// What a body knows besides its arguments.
pub(crate) struct Call {
    /// The session's zone.
    pub(crate) zone: Tz,
    /// The type of the result.
    pub(crate) returns: DataType,
}

/// Computes one row.
pub(crate) type Body = for<'a> fn(&Call, &[Datum<'a>]) -> Result<Datum<'a>>;

/// One way to call a function.
#[derive(Clone)]
pub(crate) struct Overload {
    params: Vec<Param>,
    /// How many parameters at the end may be left out.
    optional: usize,
    /// How many parameters at the end may be repeated, or left out.
    repeated: usize,
    returns: Returns,
    body: Body,
}

/// A function under construction.
pub(crate) struct Function {
    name: &'static str,
    overloads: Vec<Overload>,
    sees_nulls: bool,
}

/// A function of this name; [`Function::on`] gives it overloads.
pub(crate) fn function(name: &'static str) -> Function {
    Function {
        name,
        overloads: Vec::new(),
        sees_nulls: false,
    }
}

impl Function {
    /// Adds an overload.
    pub(crate) fn on(
        mut self,
        params: impl IntoIterator<Item = impl Into<Param>>,
        returns: impl Into<Returns>,
        body: Body,
    ) -> Self {
        self.overloads.push(Overload {
            params: params.into_iter().map(Into::into).collect(),
            optional: 0,
            repeated: 0,
            returns: returns.into(),
            body,
        });
        self
    }

    /// The last `count` parameters of the last overload may be left out.
    pub(crate) fn optional(mut self, count: usize) -> Self {
        if let Some(overload) = self.overloads.last_mut() {
            overload.optional = count;
        }
        self
    }

    /// The last parameter of the last overload may be repeated.
    pub(crate) fn variadic(mut self) -> Self {
        if let Some(overload) = self.overloads.last_mut() {
            overload.repeated = 1;
        }
        self
    }

    /// The last two parameters of the last overload may be repeated together.
    pub(crate) fn pairs(mut self) -> Self {
        if let Some(overload) = self.overloads.last_mut() {
            overload.repeated = 2;
        }
        self
    }

    /// Calls the bodies with NULLs too.
    pub(crate) fn sees_nulls(mut self) -> Self {
        self.sees_nulls = true;
        self
    }

    /// What DataFusion calls.
    pub(crate) fn build(self) -> Arc<ScalarUDF> {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(PgFunction {
            name: self.name,
            overloads: self.overloads,
            sees_nulls: self.sees_nulls,
            signature,
        }))
    }
}

impl From<SqlType> for Param {
    fn from(sql_type: SqlType) -> Self {
        Param::Of(sql_type)
    }
}

impl From<SqlType> for Returns {
    fn from(sql_type: SqlType) -> Self {
        Returns::Type(sql_type.arrow())
    }
}

/// An array type.
pub(crate) fn array_of(element: SqlType) -> SqlType {
    SqlType::Array(Box::new(element))
}

struct PgFunction {
    name: &'static str,
    overloads: Vec<Overload>,
    sees_nulls: bool,
    signature: Signature,
}

impl fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgFunction")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// There is one function of a name.
impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PgFunction {
    /// The overload whose parameters the arguments fit best, and the types that they are cast to.
    fn choose(&self, args: &[DataType]) -> DataFusionResult<(&Overload, Vec<DataType>)> {
        let fitting = self.overloads.iter().filter_map(|overload| {
            let (cost, types) = overload.fit(args)?;
            Some((cost, overload, types))
        });
        let best = fitting.min_by_key(|(cost, ..)| *cost);
        best.map(|(_, overload, types)| (overload, types))
            .ok_or_else(|| {
                let types: Vec<String> = args.iter().map(shown).collect();
                let name = format!("{}({})", self.name, types.join(", "));
                DataFusionError::External(Box::new(Error::UndefinedFunction { name }))
            })
    }
}

fn shown(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "unknown".to_owned(),
        other => SqlType::of(other).base_name(),
    }
}

impl Overload {
    fn param(&self, at: usize) -> Option<&Param> {
        let count = self.params.len();
        match self.params.get(at) {
            None if self.repeated > 0 => {
                let first = count - self.repeated;
                self.params.get(first + (at - first) % self.repeated)
            }
            param => param,
        }
    }

    fn fit(&self, args: &[DataType]) -> Option<(u32, Vec<DataType>)> {
        let most = match self.repeated {
            0 => self.params.len(),
            _ => usize::MAX,
        };
        let least = self.params.len() - self.optional - self.repeated;
        if !(least..=most).contains(&args.len()) {
            return None;
        }
        if self.repeated > 1 && !(args.len() - least).is_multiple_of(self.repeated) {
            return None;
        }
        let (key, value) = self.map_parts(args)?;
        let element = self.element(args)?;
        let mut cost = 0;
        let mut types = Vec::with_capacity(args.len());
        for (at, arg) in args.iter().enumerate() {
            let (price, data_type) = match self.param(at)? {
                Param::Any => (0, arg.clone()),
                Param::Of(sql_type) => fit(sql_type, arg)?,
                Param::AnyElement => (0, element.clone()),
                Param::AnyArray => (0, array_type(arg, &element)),
                Param::List => match arg {
                    DataType::List(_) | DataType::Null => (0, arg.clone()),
                    _ => return None,
                },
                Param::AnyMap => match arg {
                    DataType::Map(..) | DataType::Null => {
                        (0, map::map_type(key.clone(), value.clone()))
                    }
                    _ => return None,
                },
                Param::AnyKey => (0, key.clone()),
                Param::AnyValue => (0, value.clone()),
            };
            cost += price;
            types.push(data_type);
        }
        Some((cost, types))
    }

    /// The types of all keys and of all values of maps in a call; text if there are none.
    fn map_parts(&self, args: &[DataType]) -> Option<(DataType, DataType)> {
        let (mut keys, mut values) = (Parts::default(), Parts::default());
        for (at, arg) in args.iter().enumerate() {
            match (self.param(at)?, map::parts(arg)) {
                (_, _) if *arg == DataType::Null => {}
                (Param::AnyMap, Some((key, value))) => {
                    keys.of_maps.push(key.clone());
                    values.of_maps.push(value.clone());
                }
                (Param::AnyKey, _) => keys.alone.push(arg.clone()),
                (Param::AnyValue, _) => values.alone.push(arg.clone()),
                _ => {}
            }
        }
        Some((keys.common()?, values.common()?))
    }

    /// The type of all elements in a call; `Null` if there is none.
    fn element(&self, args: &[DataType]) -> Option<DataType> {
        let mut found: Vec<DataType> = Vec::new();
        let mut literal = false;
        for (at, arg) in args.iter().enumerate() {
            match (self.param(at)?, arg) {
                (_, DataType::Null) => {}
                (
                    Param::AnyArray,
                    DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..),
                ) => {
                    found.push(innermost(arg));
                }
                // The text of an array, until proven otherwise.
                (Param::AnyArray, DataType::Utf8) => literal = true,
                (Param::AnyArray, _) => return None,
                (Param::AnyElement, other) => found.push(other.clone()),
                _ => {}
            }
        }
        if found.is_empty() {
            return Some(if literal {
                DataType::Utf8
            } else {
                DataType::Null
            });
        }
        // A text beside elements of another type is one of theirs, not yet read.
        let others = found.iter().filter(|t| **t != DataType::Utf8).cloned();
        let others: Vec<DataType> = others.collect();
        match &others[..] {
            [] => Some(DataType::Utf8),
            others => type_union_resolution(others),
        }
    }
}

/// The types of the keys of a call, or of the values.
#[derive(Default)]
struct Parts {
    of_maps: Vec<DataType>,
    alone: Vec<DataType>,
}

impl Parts {
    /// One type for all of them. What a map holds as text is text; another text is not read yet.
    fn common(self) -> Option<DataType> {
        let is_text = |data_type: &DataType| *data_type == DataType::Utf8;
        match self.of_maps.first() {
            Some(first) if is_text(first) || first.is_nested() => {
                let fits = |other: &DataType| other.is_nested() == first.is_nested();
                let known = self.of_maps.iter().all(|other| other == first);
                let fit = self.alone.iter().all(|other| fits(other) || is_text(other));
                let texts = !is_text(first) || self.alone.iter().all(is_text);
                (known && fit && texts).then(|| first.clone())
            }
            _ => {
                let all = self.of_maps.into_iter().chain(self.alone);
                let others: Vec<DataType> = all.filter(|one| !is_text(one)).collect();
                match &others[..] {
                    [] => Some(DataType::Utf8),
                    others => type_union_resolution(others),
                }
            }
        }
    }
}

/// The type of what an array of any dimensions holds.
pub(crate) fn innermost(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            innermost(item.data_type())
        }
        other => other.clone(),
    }
}

fn array_type(arg: &DataType, element: &DataType) -> DataType {
    let item = match arg {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
            if innermost(item.data_type()) != *item.data_type() =>
        {
            array_type(item.data_type(), element)
        }
        _ => element.clone(),
    };
    DataType::List(Arc::new(Field::new("item", item, true)))
}

/// What it costs to pass a value of a type to a parameter, and what it is cast to.
fn fit(param: &SqlType, arg: &DataType) -> Option<(u32, DataType)> {
    use SqlType as T;
    let exactly = |cost: u32| Some((cost, param.arrow()));
    if *arg == DataType::Null {
        return exactly(0);
    }
    let source = SqlType::of(arg);
    if let (T::Numeric(_), T::Numeric(Some((precision, scale)))) = (param, &source) {
        return Some((0, decimal(*precision, *scale)));
    }
    if std::mem::discriminant(param) == std::mem::discriminant(&source) {
        return match (param, &source) {
            (T::Array(_), T::Array(_)) => {
                let (wanted, element) = (param.element(), source.element());
                let same = std::mem::discriminant(wanted) == std::mem::discriminant(element);
                exactly(if same { 0 } else { 5 })
            }
            _ => exactly(0),
        };
    }
    match (&source, param) {
        (T::Int2, T::Int4) | (T::Int4, T::Int8) | (T::Float4, T::Float8) => exactly(1),
        (T::Int2, T::Int8) => exactly(2),
        (T::Int2 | T::Int4 | T::Int8, T::Numeric(_)) => Some((3, whole_numbers(&source))),
        (T::Int2 | T::Int4 | T::Int8, T::Float8) => exactly(4),
        (T::Numeric(_), T::Float8) => exactly(2),
        (T::Int2 | T::Int4 | T::Int8, T::Float4) | (T::Numeric(_), T::Float4) => exactly(6),
        // An instant is the preferred type of its kind.
        (T::Date, T::Timestamptz) | (T::Timestamp, T::Timestamptz) => exactly(2),
        (T::Date, T::Timestamp) => exactly(3),
        (T::Time, T::Interval) => exactly(5),
        (T::Text, T::Numeric(_)) => {
            let (precision, scale) = NUMERIC_DEFAULT;
            Some((22, DataType::Decimal128(precision, scale)))
        }
        // A literal that is not read yet; the preferred types first.
        (T::Text, T::Timestamptz | T::Float8 | T::Interval) => exactly(20),
        (T::Text, _) => exactly(21),
        _ => None,
    }
}

/// The `numeric` that holds every number of an integer type.
fn whole_numbers(integers: &SqlType) -> DataType {
    match integers {
        SqlType::Int2 => DataType::Decimal128(5, 0),
        SqlType::Int4 => DataType::Decimal128(10, 0),
        _ => DataType::Decimal128(19, 0),
    }
}

fn decimal(precision: u8, scale: i8) -> DataType {
    if precision > NUMERIC_DEFAULT.0 {
        DataType::Decimal256(precision, scale)
    } else {
        DataType::Decimal128(precision, scale)
    }
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        Ok(self.choose(args)?.1)
    }

    fn return_type(&self, args: &[DataType]) -> DataFusionResult<DataType> {
        let fields: Vec<FieldRef> = args
            .iter()
            .map(|arg| Arc::new(Field::new("arg", arg.clone(), true)))
            .collect();
        let field = self.return_field_from_args(ReturnFieldArgs {
            arg_fields: &fields,
            scalar_arguments: &vec![None; args.len()],
        })?;
        Ok(field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let (overload, types) = self.choose(&types)?;
        let data_type = match &overload.returns {
            Returns::Type(data_type) => data_type.clone(),
            Returns::SameAs(at) => types.get(*at).cloned().unwrap_or(DataType::Null),
            Returns::ArrayOf(at) => {
                let item = types.get(*at).cloned().unwrap_or(DataType::Null);
                DataType::List(Arc::new(Field::new("item", item, true)))
            }
            Returns::By(compute) => compute(&args),
        };
        Ok(Arc::new(Field::new(self.name, data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (overload, _) = self.choose(&types)?;
        let call = Call {
            zone: zone_of(&args.config_options),
            returns: args.return_field.data_type().clone(),
        };
        let rows = Rows::new(&args.args, args.number_rows)?;
        let computed = rows.map(|row| {
            if !self.sees_nulls && row.iter().any(Datum::is_null) {
                return Ok(Datum::Null);
            }
            (overload.body)(&call, row)
        })?;
        let column = build_column(&call.returns, computed).map_err(external)?;
        rows.result(column)
    }
}

/// The arguments of a call, row by row.
struct Rows {
    /// Each argument, and whether it is one value for all rows.
    columns: Vec<(Values, bool)>,
    rows: usize,
    all_constant: bool,
}

impl Rows {
    fn new(args: &[ColumnarValue], number_rows: usize) -> DataFusionResult<Self> {
        let all_constant = args.iter().all(is_constant) && !args.is_empty();
        let columns = args.iter().map(|arg| {
            let constant = is_constant(arg);
            let rows = if constant { 1 } else { number_rows };
            let column = arg.clone().into_array(rows)?;
            Ok((Values::new(&column).map_err(external)?, constant))
        });
        Ok(Self {
            columns: columns.collect::<DataFusionResult<_>>()?,
            rows: if all_constant { 1 } else { number_rows },
            all_constant,
        })
    }

    fn map<'a>(
        &'a self,
        compute: impl Fn(&[Datum<'a>]) -> Result<Datum<'a>>,
    ) -> DataFusionResult<Vec<Datum<'a>>> {
        let mut row: Vec<Datum<'a>> = Vec::with_capacity(self.columns.len());
        let mut computed = Vec::with_capacity(self.rows);
        for at in 0..self.rows {
            row.clear();
            for (values, constant) in &self.columns {
                row.push(Datum::of(values, if *constant { 0 } else { at }));
            }
            computed.push(compute(&row).map_err(external)?);
        }
        Ok(computed)
    }

    fn result(&self, column: ArrayRef) -> DataFusionResult<ColumnarValue> {
        if self.all_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &column, 0,
            )?));
        }
        Ok(ColumnarValue::Array(column))
    }
}

fn is_constant(arg: &ColumnarValue) -> bool {
    matches!(arg, ColumnarValue::Scalar(_))
}

/// The zone of a session.
pub(crate) fn zone_of(options: &ConfigOptions) -> Tz {
    let name = options.execution.time_zone.as_deref();
    name.and_then(|name| name.parse().ok()).unwrap_or_else(utc)
}

/// An error of ours on its way through DataFusion.
pub(crate) fn external(error: ValueError) -> DataFusionError {
    DataFusionError::External(Box::new(Error::Value(error)))
}
