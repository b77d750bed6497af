//! Windows of time as tables: `TUMBLE`, `HOP`, `CUMULATE` and `SESSION`.
//!
//! Each is the rows of a relation with two columns more, `window_start` and `window_end` (which is
//! not in the window), and is rewritten to a query that everything else knows how to run:
//!
//! ```text
//!   TUMBLE(r, t, size [, offset])          one window a row
//!   HOP(r, t, slide, size [, offset])      size / slide windows a row
//!   CUMULATE(r, t, step, size [, offset])  those windows from a multiple of size on that the row is in
//!   SESSION(r, t, gap [, key, …])          one window a row, from the first to the last of rows that
//!                                          are less than a gap apart, of equal keys
//! ```
//!
//! `r` is a relation or a query in parentheses. Windows begin at multiples of their size since
//! 1970-01-01 00:00 UTC, plus the offset (as in RisingWave and Flink). A row whose time is NULL is
//! in no window.

use std::ops::ControlFlow;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::IntervalMonthDayNano;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Statement, TableAlias,
    TableFactor, Value, VisitMut, VisitorMut,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::error::{Error, Result};
use crate::names::identifier;

/// Windows that one row may be in.
const WINDOWS_MAX: i64 = 1000;

const NANOSECONDS_A_DAY: i64 = 86_400_000_000_000;

/// Rewrites the window tables of a query.
///
/// # Errors
/// Wrong arguments.
pub(crate) fn expand(query: &mut Query) -> Result<()> {
    match query.visit(&mut Expand) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Expand;

impl VisitorMut for Expand {
    type Break = Error;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table {
            name,
            alias,
            args: Some(args),
            ..
        } = &*factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(function) = window_function(name) else {
            return ControlFlow::Continue(());
        };
        match expanded(function, &args.args, alias.clone()) {
            Ok(query) => {
                *factor = query;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn window_function(name: &ObjectName) -> Option<fn(&Arguments) -> Result<String>> {
    let [part] = name.0.as_slice() else {
        return None;
    };
    match identifier(part.as_ident()?).as_str() {
        "tumble" => Some(tumble),
        "hop" => Some(hop),
        "cumulate" => Some(cumulate),
        "session" => Some(session),
        _ => None,
    }
}

/// The arguments of a window function, as SQL.
struct Arguments {
    relation: String,
    /// The name of the relation, if it is one.
    name: Option<Ident>,
    time: String,
    rest: Vec<Expr>,
}

impl Arguments {
    fn of(args: &[FunctionArg]) -> Result<Self> {
        let mut exprs = Vec::with_capacity(args.len());
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => exprs.push(expr.clone()),
                other => return Err(wrong(format!("argument {other}"))),
            }
        }
        let mut exprs = exprs.into_iter();
        let (Some(relation), Some(time)) = (exprs.next(), exprs.next()) else {
            return Err(wrong("two arguments or fewer".to_owned()));
        };
        let name = match &relation {
            Expr::Identifier(name) => Some(name.clone()),
            Expr::CompoundIdentifier(parts) => parts.last().cloned(),
            Expr::Subquery(_) => None,
            other => return Err(wrong(format!("{other} for a relation"))),
        };
        Ok(Self {
            relation: relation.to_string(),
            name,
            time: time.to_string(),
            rest: exprs.collect(),
        })
    }

    /// The rows that have a time; the others are in no window.
    fn rows(&self) -> String {
        let alias = match &self.name {
            Some(_) => "",
            None => " AS rows",
        };
        format!("{}{alias} WHERE {} IS NOT NULL", self.relation, self.time)
    }

    /// So many intervals, and perhaps an offset.
    fn intervals<const N: usize>(&self) -> Result<([Interval; N], Option<String>)> {
        if self.rest.len() < N || self.rest.len() > N + 1 {
            return Err(wrong(format!("{} arguments", self.rest.len() + 2)));
        }
        let mut intervals = Vec::with_capacity(N);
        for expr in &self.rest[..N] {
            intervals.push(Interval::of(expr)?);
        }
        let offset = self.rest.get(N).map(ToString::to_string);
        let intervals = <[Interval; N]>::try_from(intervals);
        Ok((intervals.map_err(|_| wrong(String::new()))?, offset))
    }

    /// The beginning of the window of a size that a row is in.
    fn start(&self, size: &Interval, offset: Option<&str>) -> String {
        let (time, size) = (&self.time, &size.sql);
        match offset {
            None => format!("date_bin({size}, {time}, 'epoch')"),
            Some(offset) => format!("date_bin({size}, {time} - {offset}, 'epoch') + {offset}"),
        }
    }
}

/// A constant interval.
struct Interval {
    sql: String,
    value: IntervalMonthDayNano,
}

impl Interval {
    fn of(expr: &Expr) -> Result<Self> {
        let text = match expr {
            Expr::Interval(interval) => {
                let unit = interval.leading_field.as_ref();
                let unit = unit.map(ToString::to_string).unwrap_or_default();
                literal(&interval.value).map(|value| format!("{value} {unit}"))
            }
            other => literal(other),
        };
        let value = text.and_then(|text| parse_interval_month_day_nano(text.trim()).ok());
        let Some(value) = value else {
            return Err(wrong(format!("{expr} for an interval")));
        };
        if value.months < 0 || value.days < 0 || value.nanoseconds < 0 || is_zero(value) {
            return Err(wrong(format!("{expr}, which is not positive")));
        }
        let sql = match expr {
            Expr::Interval(_) => expr.to_string(),
            other => format!("INTERVAL {other}"),
        };
        Ok(Self { sql, value })
    }

    /// So many of it, as SQL.
    fn times(&self, count: i64) -> String {
        let times = |part: i64| part.saturating_mul(count);
        format!(
            "INTERVAL '{} months {} days {} microseconds'",
            times(i64::from(self.value.months)),
            times(i64::from(self.value.days)),
            times(self.value.nanoseconds / 1000),
        )
    }

    /// How many of `part` make up this interval.
    fn parts(&self, part: &Self) -> Result<i64> {
        let length = |value: IntervalMonthDayNano| {
            let days = i64::from(value.days).checked_mul(NANOSECONDS_A_DAY)?;
            days.checked_add(value.nanoseconds)
        };
        let parts = match (self.value.months, part.value.months) {
            (0, 0) => length(self.value)
                .zip(length(part.value))
                .filter(|(whole, part)| whole % part == 0)
                .map(|(whole, part)| whole / part),
            (whole, part_months)
                if length(self.value) == Some(0) && length(part.value) == Some(0) =>
            {
                (part_months > 0 && whole % part_months == 0)
                    .then(|| i64::from(whole / part_months))
            }
            _ => None,
        };
        match parts {
            Some(parts) if parts <= WINDOWS_MAX => Ok(parts),
            Some(parts) => Err(wrong(format!(
                "{parts} windows a row ({WINDOWS_MAX} are possible)"
            ))),
            None => Err(wrong(format!(
                "{}, which is not a multiple of {}",
                self.sql, part.sql
            ))),
        }
    }
}

fn is_zero(value: IntervalMonthDayNano) -> bool {
    value.months == 0 && value.days == 0 && value.nanoseconds == 0
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(number, _) => Some(number.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn tumble(args: &Arguments) -> Result<String> {
    let ([size], offset) = args.intervals::<1>()?;
    let start = args.start(&size, offset.as_deref());
    Ok(format!(
        "SELECT *, {start} AS window_start, {start} + {} AS window_end FROM {}",
        size.sql,
        args.rows()
    ))
}

fn hop(args: &Arguments) -> Result<String> {
    let ([slide, size], offset) = args.intervals::<2>()?;
    let windows = size.parts(&slide)?;
    let last = args.start(&slide, offset.as_deref());
    let starts = (0..windows).map(|back| format!("{last} - {}", slide.times(back)));
    let starts = starts.collect::<Vec<_>>().join(", ");
    Ok(format!(
        "SELECT *, window_start + {} AS window_end FROM \
         (SELECT *, unnest(make_array({starts})) AS window_start FROM {}) AS hops",
        size.sql,
        args.rows()
    ))
}

fn cumulate(args: &Arguments) -> Result<String> {
    let ([step, size], offset) = args.intervals::<2>()?;
    let windows = size.parts(&step)?;
    let start = args.start(&size, offset.as_deref());
    let ends = (1..=windows).map(|steps| format!("{start} + {}", step.times(steps)));
    let ends = ends.collect::<Vec<_>>().join(", ");
    let time = &args.time;
    Ok(format!(
        "SELECT * EXCEPT (\"window time\") FROM \
         (SELECT *, {start} AS window_start, {time} AS \"window time\", \
          unnest(make_array({ends})) AS window_end FROM {}) AS steps \
         WHERE \"window time\" < window_end",
        args.rows()
    ))
}

fn session(args: &Arguments) -> Result<String> {
    let Some((gap, keys)) = args.rest.split_first() else {
        return Err(wrong("no gap".to_owned()));
    };
    let gap = Interval::of(gap)?.sql;
    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let keys = keys.join(", ");
    let time = &args.time;
    let within = match keys.as_str() {
        "" => format!("ORDER BY {time}"),
        keys => format!("PARTITION BY {keys} ORDER BY {time}"),
    };
    let session = match keys.as_str() {
        "" => "PARTITION BY \"window number\"".to_owned(),
        keys => format!("PARTITION BY {keys}, \"window number\""),
    };
    Ok(format!(
        "SELECT * EXCEPT (\"window before\", \"window number\"), \
         min({time}) OVER ({session}) AS window_start, \
         max({time}) OVER ({session}) + {gap} AS window_end FROM \
         (SELECT *, count(*) FILTER (WHERE \"window before\" IS NULL OR {time} >= \"window before\" + {gap}) \
          OVER ({within}) AS \"window number\" FROM \
          (SELECT *, lag({time}) OVER ({within}) AS \"window before\" FROM {}) AS a) AS b",
        args.rows()
    ))
}

/// The query that a window function stands for, under its alias or that of its relation.
fn expanded(
    function: fn(&Arguments) -> Result<String>,
    args: &[FunctionArg],
    alias: Option<TableAlias>,
) -> Result<TableFactor> {
    let args = Arguments::of(args)?;
    let sql = function(&args)?;
    // PostgreSQL's dialect has no `* EXCEPT`.
    let parsed = Parser::parse_sql(&GenericDialect {}, &sql);
    let query = match parsed.as_deref() {
        Ok([Statement::Query(query)]) => query.clone(),
        _ => return Err(wrong(format!("{} as a time", args.time))),
    };
    let name = args.name.unwrap_or_else(|| Ident::new("windows"));
    let alias = alias.unwrap_or(TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
        at: None,
    });
    Ok(TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: Some(alias),
        sample: None,
    })
}

fn wrong(what: String) -> Error {
    Error::InvalidParameter {
        message: format!(
            "a window function does not take {what}; \
             it is TUMBLE(r, t, size), HOP(r, t, slide, size), CUMULATE(r, t, step, size) \
             or SESSION(r, t, gap, key…)"
        ),
    }
}
