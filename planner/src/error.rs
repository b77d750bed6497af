//! What can go wrong between SQL text and plan, by what the caller can tell the user.
//!
//! DataFusion reports most faults as text in one variant; [`Error::from`] sorts them once, here,
//! so that no one else reads error texts.

use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError, TableReference};
use datafusion::error::DataFusionError;

use crate::values::ValueError;
use crate::values::types::SqlType;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault in a statement, or found while running a query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not SQL.
    #[error("{message}")]
    Syntax {
        /// PostgreSQL's words, with what was expected when known.
        message: String,
        /// Where, in characters from the start of the whole text, counting from 1.
        position: usize,
    },
    /// A chain or nesting that would exhaust the stack.
    #[error("statement is too complex: more than {limit} chained or nested operations")]
    TooComplex {
        /// Most operations allowed along one path of the expression tree.
        limit: usize,
    },
    /// No such table, view or source.
    #[error("relation \"{name}\" does not exist")]
    UndefinedTable {
        /// As written.
        name: String,
    },
    /// No such schema.
    #[error("schema \"{name}\" does not exist")]
    UndefinedSchema {
        /// As written.
        name: String,
    },
    /// Another database than the one connected to.
    #[error("cross-database references are not implemented: \"{name}\"")]
    OtherDatabase {
        /// As written.
        name: String,
    },
    /// A materialized view whose rows are not there yet.
    #[error("materialized view \"{name}\" has not been populated")]
    NotPopulated {
        /// The view.
        name: String,
    },
    /// Something that the role may not do with an object.
    #[error("permission denied for {kind} {name}")]
    Denied {
        /// Such as "table".
        kind: &'static str,
        /// The object.
        name: String,
    },
    /// No such column.
    #[error("column {} does not exist", shown_column(.name))]
    UndefinedColumn {
        /// As written.
        name: String,
    },
    /// A table's name in front of a column, and the query reads no such table.
    #[error("missing FROM-clause entry for table \"{name}\"")]
    MissingFrom {
        /// The table.
        name: String,
    },
    /// No such function, or none for these argument types.
    #[error("function {name} does not exist")]
    UndefinedFunction {
        /// Name, with argument types when they are the fault.
        name: String,
    },
    /// Values of a type that are compared, grouped or sorted and cannot be.
    #[error("could not identify {operator} operator for type {type_name}")]
    NotCompared {
        /// Which one, with its article.
        operator: &'static str,
        /// SQL name of the type.
        type_name: String,
    },
    /// No such type.
    #[error("type \"{name}\" does not exist")]
    UndefinedType {
        /// As written.
        name: String,
    },
    /// An array of more dimensions than arrays have.
    #[error("number of array dimensions ({dimensions}) exceeds the maximum allowed ({limit})")]
    TooManyDimensions {
        /// Its dimensions.
        dimensions: usize,
        /// The most that arrays have.
        limit: usize,
    },
    /// A field that a composite type has not.
    #[error("column \"{field}\" not found in data type {type_name}")]
    UndefinedField {
        /// Its name.
        field: String,
        /// SQL name of the type.
        type_name: String,
    },
    /// A field of what is no composite value.
    #[error("column notation .{field} applied to type {type_name}, which is not a composite type")]
    NotComposite {
        /// Name of the field.
        field: String,
        /// SQL name of the type.
        type_name: String,
    },
    /// A column name that several inputs have.
    #[error("column reference \"{name}\" is ambiguous")]
    AmbiguousColumn {
        /// As written.
        name: String,
    },
    /// Two columns of one relation with one name.
    #[error("column \"{name}\" specified more than once")]
    DuplicateColumn {
        /// The name.
        name: String,
    },
    /// One table name twice in a `FROM`.
    #[error("table name \"{name}\" specified more than once")]
    DuplicateAlias {
        /// The name.
        name: String,
    },
    /// A column outside of an aggregate that is not grouped by, or an aggregate where none may be.
    #[error("{message}")]
    Grouping {
        /// What is wrong, naming the column.
        message: String,
    },
    /// Types that do not go together.
    #[error("{message}")]
    TypeMismatch {
        /// What is wrong, naming the types.
        message: String,
    },
    /// A definition that contradicts itself, such as two primary keys.
    #[error("{message}")]
    InvalidDefinition {
        /// What is wrong.
        message: String,
    },
    /// An option or parameter with a wrong or missing value.
    #[error("{message}")]
    InvalidParameter {
        /// What is wrong, naming the option.
        message: String,
    },
    /// SQL that is understood and not offered.
    #[error("{what} is not supported")]
    Unsupported {
        /// The feature, to be followed by "is not supported".
        what: String,
        /// What to do instead; empty if there is nothing to say.
        hint: String,
    },
    /// A subquery that stands for a value and has several rows.
    #[error("more than one row returned by a subquery used as an expression")]
    SubqueryRows,
    /// A division by zero while computing rows.
    #[error("division by zero")]
    DivisionByZero,
    /// A number that its type cannot hold.
    #[error("{message}")]
    OutOfRange {
        /// What is out of range.
        message: String,
    },
    /// A text that its type cannot read.
    #[error("{message}")]
    InvalidText {
        /// Which text and type.
        message: String,
    },
    /// A value that an input function, a cast or a function refuses.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// Anything else that DataFusion reports.
    #[error("{0}")]
    DataFusion(#[source] Box<DataFusionError>),
}

impl Error {
    /// An [`Error::Unsupported`].
    pub(crate) fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            hint: hint.into(),
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Self::from(DataFusionError::from(error))
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            // Errors of ours travel through DataFusion's planner and back, and DataFusion's own
            // through Arrow.
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Self::DataFusion(Box::new(DataFusionError::External(other))),
            },
            DataFusionError::ArrowError(arrow, trace) => match *arrow {
                ArrowError::ExternalError(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(inner) => Self::from(*inner),
                    Err(other) => Self::from(DataFusionError::External(other)),
                },
                arrow => {
                    let error = DataFusionError::ArrowError(Box::new(arrow), trace);
                    classify(&error).unwrap_or_else(|| Self::DataFusion(Box::new(error)))
                }
            },
            DataFusionError::Shared(shared) => match Arc::try_unwrap(shared) {
                Ok(inner) => Self::from(inner),
                Err(shared) => classify(&shared)
                    .unwrap_or_else(|| Self::DataFusion(Box::new(DataFusionError::Shared(shared)))),
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                Self::from(*inner)
            }
            DataFusionError::Collection(mut errors) if !errors.is_empty() => {
                Self::from(errors.swap_remove(0))
            }
            other => classify(&other).unwrap_or_else(|| Self::DataFusion(Box::new(other))),
        }
    }
}

/// Sorts one of DataFusion's errors, if it is one that we know.
fn classify(error: &DataFusionError) -> Option<Error> {
    match error {
        DataFusionError::SchemaError(schema, _) => Some(classify_schema(schema)),
        DataFusionError::ArrowError(arrow, _) => classify_arrow(arrow),
        DataFusionError::Plan(message) => classify_plan(message),
        DataFusionError::Execution(message) => classify_execution(message),
        DataFusionError::NotImplemented(message) => {
            let what = first_line(message);
            let what = what.strip_suffix(" is not supported").unwrap_or(&what);
            Some(Error::unsupported(what, ""))
        }
        _ => None,
    }
}

/// PostgreSQL quotes a column's name, unless a table's stands in front.
fn shown_column(name: &str) -> String {
    match name.contains('.') {
        true => name.to_owned(),
        false => format!("\"{name}\""),
    }
}

fn is_of(column: &Column, relation: &TableReference) -> bool {
    let known = column.relation.as_ref();
    known.is_some_and(|known| relation.resolved_eq(known) || known.table() == relation.table())
}

fn classify_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => match &field.relation {
            Some(relation) if !valid_fields.iter().any(|known| is_of(known, relation)) => {
                Error::MissingFrom {
                    name: relation.table().to_owned(),
                }
            }
            _ => Error::UndefinedColumn {
                name: field.flat_name(),
            },
        },
        SchemaError::AmbiguousReference { field } => Error::AmbiguousColumn {
            name: field.name.clone(),
        },
        SchemaError::DuplicateQualifiedField { name, .. } => {
            Error::DuplicateColumn { name: name.clone() }
        }
        SchemaError::DuplicateUnqualifiedField { name } => {
            Error::DuplicateColumn { name: name.clone() }
        }
    }
}

fn classify_arrow(error: &ArrowError) -> Option<Error> {
    match error {
        ArrowError::DivideByZero => Some(Error::DivisionByZero),
        ArrowError::ArithmeticOverflow(message) => Some(Error::OutOfRange {
            message: first_line(message),
        }),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            Some(classify_cast(message))
        }
        ArrowError::ComputeError(message) | ArrowError::InvalidArgumentError(message) => {
            classify_execution(message)
        }
        _ => None,
    }
}

/// Arrow words a text that cannot be read and a number that does not fit alike: "Can't cast".
fn classify_cast(message: &str) -> Error {
    let line = first_line(message);
    let lower = line.to_lowercase();
    let of_range = ["can't cast value", "out of range", "overflow", "too large"];
    if of_range.iter().any(|words| lower.contains(words)) {
        Error::OutOfRange { message: line }
    } else {
        Error::InvalidText { message: line }
    }
}

fn classify_execution(message: &str) -> Option<Error> {
    let line = first_line(message);
    let lower = line.to_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Some(Error::DivisionByZero);
    }
    if lower.contains("scalar subquery returned more than one row") {
        return Some(Error::SubqueryRows);
    }
    if lower.contains("overflow") || lower.contains("out of range") {
        return Some(Error::OutOfRange { message: line });
    }
    if lower.contains("error parsing") || lower.contains("cannot parse") {
        return Some(Error::InvalidText { message: line });
    }
    None
}

fn classify_plan(message: &str) -> Option<Error> {
    let line = first_line(message);
    let lower = line.to_lowercase();
    if let Some(name) = between(&line, "Invalid function '", "'") {
        return Some(Error::UndefinedFunction { name });
    }
    if let Some(name) = between(&line, "table function '", "'") {
        return Some(Error::UndefinedFunction { name });
    }
    if lower.contains("no function matches the given name and argument types") {
        let name = between(&line, "argument types '", "'").unwrap_or_else(|| line.clone());
        let name = with_sql_types(&name);
        return Some(Error::UndefinedFunction { name });
    }
    if lower.contains("must be in group by") || lower.contains("must appear in the group by") {
        let message = match between(&line, "column \"", "\"") {
            Some(column) => format!(
                "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
            ),
            None => line,
        };
        return Some(Error::Grouping { message });
    }
    if lower.contains("aggregate functions are not allowed") {
        return Some(Error::Grouping { message: line });
    }
    if lower.contains("must be unique") && lower.contains("table alias") {
        return Some(Error::DuplicateAlias { name: line });
    }
    let of_types = [
        "cannot coerce",
        "cannot infer common",
        "type_coercion",
        "to valid types",
        "incompatible",
        "must be of type",
        "non-boolean",
    ];
    if of_types.iter().any(|words| lower.contains(words)) {
        return Some(Error::TypeMismatch { message: line });
    }
    classify_execution(message)
}

/// A call such as `length(Int32)` with PostgreSQL's names of the types.
fn with_sql_types(call: &str) -> String {
    let Some((name, types)) = call.split_once('(') else {
        return call.to_owned();
    };
    let mut depth = 0_i32;
    let types = types.strip_suffix(')').unwrap_or(types).split(|c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    let shown = |text: &str| match text.trim().parse::<DataType>() {
        Ok(DataType::Null) => "unknown".to_owned(),
        Ok(data_type) => SqlType::of(&data_type).base_name(),
        Err(_) => text.trim().to_owned(),
    };
    let types: Vec<String> = types.map(shown).collect();
    format!("{name}({})", types.join(", "))
}

/// DataFusion appends hints and back traces on further lines.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// The text between two marks.
fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let rest = &text[text.find(before)? + before.len()..];
    Some(rest[..rest.find(after)?].to_owned())
}
