//! What operators mean for the types of their operands: PostgreSQL's `pg_operator`, as far as
//! DataFusion's own operators differ.
//!
//! ```text
//!   date + interval ──► pg_add(date, interval)        jsonb -> 'a' ──► pg_json_get(jsonb, 'a')
//! ```
//!
//! A literal beside a value of another type is read as that type, as PostgreSQL reads its "unknown"
//! literals.

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, cast, lit,
};
use sqlparser::ast::BinaryOperator;

use crate::functions::call;
use crate::functions::decimal::Decimal;
use crate::functions::function::external;
use crate::functions::patterns::rust_pattern;
use crate::functions::records::{comparable, field_of};
use crate::functions::sort_keys::key_function;
use crate::types::check_compared;
use crate::values::types::SqlType;

type Result<T> = std::result::Result<T, DataFusionError>;

/// A number that the query spells out.
fn constant(expr: &Expr) -> Option<Decimal> {
    match expr {
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Some(Decimal::from(i64::from(*value))),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some(Decimal::from(*value)),
        Expr::Literal(ScalarValue::Decimal128(Some(unscaled), precision, scale), _) => {
            Some(Decimal::of_column(*unscaled, *precision, *scale))
        }
        _ => None,
    }
}

/// Gives operators to DataFusion's SQL planner.
#[derive(Debug)]
pub(crate) struct PgOperators {
    /// Whether days have 24 hours in the session's zone, and months start where those of UTC do.
    is_utc: bool,
}

impl PgOperators {
    /// Operators for a session in a zone.
    pub(crate) fn new(zone: &str) -> Self {
        let is_utc = ["UTC", "Etc/UTC", "GMT", "+00:00"].contains(&zone);
        Self { is_utc }
    }
}

impl ExprPlanner for PgOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let types = (expr.left.get_type(schema), expr.right.get_type(schema));
        let (Ok(left), Ok(right)) = types else {
            return Ok(PlannerResult::Original(expr));
        };
        let operands = Operands::new(expr.left, left, expr.right, right);
        operands.plan(expr.op, self.is_utc)
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        // A field may be written as a text.
        let plain = args.into_iter().enumerate().map(|(at, arg)| match arg {
            Expr::Literal(ScalarValue::Utf8(Some(field)), _) if at == 0 => {
                lit(field.trim_matches('\''))
            }
            other => other,
        });
        Ok(PlannerResult::Planned(call("extract", plain.collect())))
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call("strpos", args)))
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        // DataFusion's own start, where none is written, is a bigint.
        let plain = args.into_iter().map(|arg| match arg {
            Expr::Literal(ScalarValue::Int64(Some(1)), _) => lit(1),
            other => other,
        });
        Ok(PlannerResult::Planned(call("substring", plain.collect())))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call("overlay", args)))
    }

    /// `e.value` of `jsonb_array_elements(x) AS e`, whose one column is called `e` here.
    fn plan_compound_identifier(
        &self,
        field: &Field,
        qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let element = matches!(field.data_type(), DataType::LargeUtf8 | DataType::Utf8);
        if element && nested_names == ["value"] {
            let column = Column::from((qualifier, field));
            return Ok(PlannerResult::Planned(Expr::Column(column)));
        }
        Ok(PlannerResult::Original(Vec::new()))
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let RawFieldAccessExpr { field_access, expr } = expr;
        let data_type = expr.get_type(schema)?;
        let of_json = data_type == DataType::LargeUtf8;
        let of_map = matches!(data_type, DataType::Map(..));
        Ok(match field_access {
            GetFieldAccess::ListIndex { key } if of_json => {
                PlannerResult::Planned(call("pg_json_get", vec![expr, *key]))
            }
            GetFieldAccess::NamedStructField { name } if of_json => {
                PlannerResult::Planned(call("pg_json_get", vec![expr, lit(name)]))
            }
            GetFieldAccess::NamedStructField { name } if of_map => {
                PlannerResult::Planned(call("map_access", vec![expr, lit(name)]))
            }
            GetFieldAccess::NamedStructField { name } => {
                let name = name.to_string();
                let planned = field_of(expr, &name, schema);
                PlannerResult::Planned(planned.map_err(|e| DataFusionError::External(Box::new(e)))?)
            }
            GetFieldAccess::ListIndex { key } if of_map => {
                PlannerResult::Planned(call("map_access", vec![expr, *key]))
            }
            GetFieldAccess::ListIndex { key } => {
                PlannerResult::Planned(call("pg_subscript", vec![expr, *key]))
            }
            GetFieldAccess::ListRange { start, stop, .. } => {
                PlannerResult::Planned(call("pg_slice", vec![expr, *start, *stop]))
            }
        })
    }
}

struct Operands {
    left: Expr,
    right: Expr,
    left_type: SqlType,
    right_type: SqlType,
    left_arrow: DataType,
    right_arrow: DataType,
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(_), _))
}

fn is_row(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(function) if function.name() == "pg_row")
}

fn is_temporal(sql_type: &SqlType) -> bool {
    use SqlType as T;
    matches!(
        sql_type,
        T::Date | T::Time | T::Timestamp | T::Timestamptz | T::Interval
    )
}

fn is_whole(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Int2 | SqlType::Int4 | SqlType::Int8)
}

fn is_array(sql_type: &SqlType) -> bool {
    matches!(sql_type, SqlType::Array(_))
}

fn comparison(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

impl Operands {
    fn new(left: Expr, left_arrow: DataType, right: Expr, right_arrow: DataType) -> Self {
        Self {
            left,
            right,
            left_type: SqlType::of(&left_arrow),
            right_type: SqlType::of(&right_arrow),
            left_arrow,
            right_arrow,
        }
    }

    fn original(self, op: BinaryOperator) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(PlannerResult::Original(RawBinaryExpr {
            op,
            left: self.left,
            right: self.right,
        }))
    }

    fn call(self, function: &str) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(PlannerResult::Planned(call(
            function,
            vec![self.left, self.right],
        )))
    }

    fn swapped(self) -> Self {
        Self::new(self.right, self.right_arrow, self.left, self.left_arrow)
    }

    fn plan(self, op: BinaryOperator, is_utc: bool) -> Result<PlannerResult<RawBinaryExpr>> {
        use BinaryOperator as Op;
        if self.left_arrow == DataType::Null || self.right_arrow == DataType::Null {
            return self.original(op);
        }
        match op {
            Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => self.comparison(op),
            Op::Plus => self.plus(is_utc),
            Op::Minus => self.minus(is_utc),
            Op::Multiply => self.multiply(),
            Op::Divide => self.divide(),
            Op::PGExp => self.call("power"),
            Op::StringConcat => self.concat(),
            Op::PGOverlap => self.call("pg_array_overlap"),
            Op::AtArrow | Op::ArrowAt => self.containment(op),
            Op::Arrow => self.call("pg_json_get"),
            Op::LongArrow => self.call("pg_json_get_text"),
            Op::HashArrow => self.call("pg_json_path"),
            Op::HashLongArrow => self.call("pg_json_path_text"),
            Op::HashMinus => self.call("pg_json_delete_path"),
            Op::Question => self.call("jsonb_exists"),
            Op::QuestionPipe => self.call("jsonb_exists_any"),
            Op::QuestionAnd => self.call("jsonb_exists_all"),
            Op::PGStartsWith => self.call("starts_with"),
            Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch => {
                self.regex(op)
            }
            _ => self.original(op),
        }
    }

    /// Reads a literal as the type of the other operand.
    fn adopted(mut self) -> Self {
        let adopt = |literal: &Expr, own: &SqlType, other: &SqlType| {
            is_literal(literal) && own.is_text() && !other.is_text()
        };
        if adopt(&self.left, &self.left_type, &self.right_type) {
            self.left = cast(self.left, self.right_arrow.clone());
            self.left_arrow = self.right_arrow.clone();
            self.left_type = self.right_type.clone();
        } else if adopt(&self.right, &self.right_type, &self.left_type) {
            self.right = cast(self.right, self.left_arrow.clone());
            self.right_arrow = self.left_arrow.clone();
            self.right_type = self.left_type.clone();
        }
        self
    }

    /// A composite value without a type beside one that has a type.
    fn typed_records(mut self) -> Result<Self> {
        let (DataType::Struct(left), DataType::Struct(right)) =
            (&self.left_arrow, &self.right_arrow)
        else {
            return Ok(self);
        };
        if left == right {
            return Ok(self);
        }
        // Literals in a ROW are of the types that they are compared with.
        if is_row(&self.right) {
            self.right = cast(self.right, self.left_arrow.clone());
            self.right_type = self.left_type.clone();
        } else if is_row(&self.left) {
            self.left = cast(self.left, self.right_arrow.clone());
            self.left_type = self.right_type.clone();
            self.left_arrow = self.right_arrow.clone();
        } else {
            comparable(left, right).map_err(external)?;
            self.right_type = self.left_type.clone();
        }
        Ok(self)
    }

    /// Intervals are compared by their length, `jsonb` by its own order, composite values field by
    /// field.
    fn comparison(self, op: BinaryOperator) -> Result<PlannerResult<RawBinaryExpr>> {
        for operand in [&self.left_arrow, &self.right_arrow] {
            check_compared(operand).map_err(|e| DataFusionError::External(Box::new(e)))?;
        }
        let operands = self.adopted().typed_records()?;
        let same = operands.left_type == operands.right_type;
        let key = key_function(&operands.left_arrow).filter(|_| same);
        let (Some(key), Some(operator)) = (key, comparison(&op)) else {
            return operands.original(op);
        };
        let keyed = |operand: Expr| Box::new(call(key, vec![operand]));
        Ok(PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr {
            left: keyed(operands.left),
            op: operator,
            right: keyed(operands.right),
        })))
    }

    fn plus(self, is_utc: bool) -> Result<PlannerResult<RawBinaryExpr>> {
        use SqlType as T;
        let op = BinaryOperator::Plus;
        match (&self.left_type, &self.right_type) {
            // DataFusion's own, which plans of views look at.
            (T::Timestamp, T::Interval) | (T::Interval, T::Timestamp | T::Interval) => {
                self.original(op)
            }
            (T::Timestamptz, T::Interval) | (T::Interval, T::Timestamptz) if is_utc => {
                self.original(op)
            }
            (T::Date | T::Time | T::Timestamp | T::Timestamptz, _) if !self.swap_needed() => {
                self.call("pg_add")
            }
            (_, right) if is_temporal(right) && !matches!(right, T::Interval) => {
                self.swapped().call("pg_add")
            }
            (T::Interval, _) | (_, T::Interval) => self.adopted().call("pg_add"),
            _ => self.adopted().original(op),
        }
    }

    /// A time of day is added to a date, not a date to it.
    fn swap_needed(&self) -> bool {
        self.left_type == SqlType::Time && self.right_type == SqlType::Date
    }

    fn minus(self, is_utc: bool) -> Result<PlannerResult<RawBinaryExpr>> {
        use SqlType as T;
        let op = BinaryOperator::Minus;
        match (&self.left_type, &self.right_type) {
            (T::Timestamp | T::Interval, T::Interval) => self.original(op),
            (T::Timestamptz, T::Interval) if is_utc => self.original(op),
            (T::Jsonb, _) => self.call("pg_json_delete"),
            (left, _) if is_temporal(left) => self.adopted().call("pg_subtract"),
            (_, right) if is_temporal(right) => self.adopted().call("pg_subtract"),
            _ => self.adopted().original(op),
        }
    }

    fn multiply(self) -> Result<PlannerResult<RawBinaryExpr>> {
        match (&self.left_type, &self.right_type) {
            (SqlType::Interval, _) => self.call("pg_multiply"),
            (_, SqlType::Interval) => self.swapped().call("pg_multiply"),
            _ => self.adopted().original(BinaryOperator::Multiply),
        }
    }

    fn divide(self) -> Result<PlannerResult<RawBinaryExpr>> {
        let exact = |t: &SqlType| matches!(t, SqlType::Numeric(_)) || is_whole(t);
        let (left, right) = (&self.left_type, &self.right_type);
        if *left == SqlType::Interval {
            return self.call("pg_divide");
        }
        if exact(left) && exact(right) && !(is_whole(left) && is_whole(right)) {
            let scale = constant(&self.left).zip(constant(&self.right));
            let scale =
                scale.map(|(dividend, divisor)| lit(i32::from(dividend.quotient_scale(divisor))));
            let args = [self.left, self.right].into_iter().chain(scale);
            return Ok(PlannerResult::Planned(call(
                "pg_numeric_divide",
                args.collect(),
            )));
        }
        let float = |t: &SqlType| matches!(t, SqlType::Float4 | SqlType::Float8);
        if float(left) || float(right) {
            return self.call("pg_float_divide");
        }
        self.adopted().original(BinaryOperator::Divide)
    }

    fn concat(self) -> Result<PlannerResult<RawBinaryExpr>> {
        use SqlType as T;
        let op = BinaryOperator::StringConcat;
        match (&self.left_type, &self.right_type) {
            (T::Jsonb, _) | (_, T::Jsonb) => self.adopted().call("pg_json_concat"),
            (T::Bytea, _) | (_, T::Bytea) => self.adopted().call("pg_bytea_concat"),
            (left, right) if is_array(left) && is_array(right) => self.call("array_cat"),
            (left, _) if is_array(left) && is_literal(&self.right) => self.call("array_cat"),
            (_, right) if is_array(right) && is_literal(&self.left) => self.call("array_cat"),
            (left, _) if is_array(left) => self.call("array_append"),
            (_, right) if is_array(right) => self.call("array_prepend"),
            _ => {
                let text = |expr: Expr, sql_type: &T| match sql_type {
                    T::Text => expr,
                    _ => cast(expr, DataType::Utf8),
                };
                Ok(PlannerResult::Original(RawBinaryExpr {
                    op,
                    left: text(self.left, &self.left_type),
                    right: text(self.right, &self.right_type),
                }))
            }
        }
    }

    fn containment(self, op: BinaryOperator) -> Result<PlannerResult<RawBinaryExpr>> {
        let json = self.left_type == SqlType::Jsonb || self.right_type == SqlType::Jsonb;
        let function = if json {
            "pg_json_contains"
        } else {
            "pg_array_contains"
        };
        if op == BinaryOperator::ArrowAt {
            self.swapped().call(function)
        } else {
            self.call(function)
        }
    }

    /// A pattern that is known is translated once; DataFusion compiles it once.
    fn regex(self, op: BinaryOperator) -> Result<PlannerResult<RawBinaryExpr>> {
        if let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = &self.right {
            let translated = rust_pattern(pattern, "").map_err(external)?;
            return Ok(PlannerResult::Original(RawBinaryExpr {
                op,
                left: self.left,
                right: lit(translated),
            }));
        }
        let negated = matches!(
            op,
            BinaryOperator::PGRegexNotMatch | BinaryOperator::PGRegexNotIMatch
        );
        let insensitive = matches!(
            op,
            BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch
        );
        let flags = lit(if insensitive { "i" } else { "" });
        let found = call("regexp_like", vec![self.left, self.right, flags]);
        Ok(PlannerResult::Planned(if negated { !found } else { found }))
    }
}
