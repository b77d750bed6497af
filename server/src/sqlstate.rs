//! Errors and notices as clients see them. The only place that knows SQLSTATEs.
//!
//! Codes: PostgreSQL manual, appendix A. Exhaustive over our enums, so that a new cause must
//! choose its code.

use std::io::ErrorKind;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use planner::parse::locate::{Sought, locate};
use planner::values::{Fault, ValueError};

use crate::error::Error;
use crate::notice::Notice;

/// The fields of an ErrorResponse or NoticeResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SQLSTATE.
    pub code: &'static str,
    /// Lower case, no full stop.
    pub message: String,
    /// What exactly.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the input it was met.
    pub context: Option<String>,
    /// Character of the statement, counted from 1.
    pub position: Option<usize>,
}

impl Report {
    /// The report of an error.
    #[must_use]
    pub fn of_error(error: &Error) -> Report {
        Report {
            code: code(error),
            message: message(error),
            detail: detail(error),
            hint: hint(error),
            context: context(error),
            position: position(error),
        }
    }

    /// The report of an error in a statement, which it points into.
    #[must_use]
    pub fn of_error_in(error: &Error, sql: &str) -> Report {
        let mut report = Report::of_error(error);
        if report.position.is_none() {
            report.position = sought(error).and_then(|sought| locate(sql, sought));
        }
        report
    }

    /// The report of a notice.
    #[must_use]
    pub fn of_notice(notice: &Notice) -> Report {
        let code = match notice {
            Notice::AlreadyExists { .. } => "42P07",
            Notice::InTransaction | Notice::NoTransaction | Notice::ModeOutsideBlock => "25P01",
            Notice::NotGranted { .. } => "01007",
            Notice::NotRevoked { .. } => "01006",
            Notice::Warning(_) => "01000",
            Notice::Differs { .. } => "XX001",
            Notice::Stale { .. } => "01000",
            Notice::DoesNotExist { .. }
            | Notice::Cascades { .. }
            | Notice::CascadesToMany { .. }
            | Notice::NoEffect { .. }
            | Notice::Progress(_) => "00000",
        };
        let code = if *notice == Notice::InTransaction {
            "25001"
        } else {
            code
        };
        Report {
            code,
            message: notice.to_string(),
            detail: notice.detail(),
            hint: None,
            context: None,
            position: None,
        }
    }
}

/// Whether the session cannot go on after this error.
#[must_use]
pub fn is_fatal(error: &Error) -> bool {
    matches!(
        error,
        Error::Protocol(_)
            | Error::ClientGone
            | Error::ShuttingDown
            | Error::IdleTimeout { .. }
            | Error::TooManyConnections
            | Error::Authentication { .. }
            | Error::Refused { .. }
    )
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::UndefinedObject { kind: "index", .. } => "42704",
        Error::UndefinedRelation { .. } | Error::UndefinedObject { .. } => "42P01",
        Error::UndefinedSchema { .. } => "3F000",
        Error::UndefinedDatabase { .. } => "3D000",
        Error::DatabaseExists { .. } => "42P04",
        Error::BeingCreated { .. } => "55000",
        Error::DatabaseInUse { .. } => "55006",
        Error::UndefinedRole { .. } => "42704",
        Error::DuplicateRole { .. } => "42710",
        Error::ReservedRole { .. } => "42939",
        Error::RoleInUse { .. } | Error::DependentPrivileges => "2BP01",
        Error::OwnRole { .. } => "55006",
        Error::Privilege { .. } => "42501",
        Error::InvalidGrant { .. } => "0LP01",
        Error::Authentication { .. } => "28P01",
        Error::Refused { .. } => "28000",
        Error::UndefinedColumn { .. } => "42703",
        Error::UndefinedType { .. }
        | Error::UndefinedSetting { .. }
        | Error::UndefinedRescale { .. } => "42704",
        Error::DuplicateRelation { .. } => "42P07",
        Error::DuplicateType { .. } => "42710",
        Error::DuplicateFunction { .. } => "42723",
        Error::AmbiguousFunction { .. } => "42725",
        Error::ReturnTypeChanges { .. } => "42P13",
        Error::DuplicateColumn { .. } => "42701",
        Error::WrongKind { .. } | Error::NotWritable { .. } => "42809",
        Error::Dependents { .. } | Error::DependsOnColumn { .. } => "2BP01",
        Error::SchemaExists { .. } => "42P06",
        Error::ReservedSchema { .. } => "42939",
        Error::NoSchema => "3F000",
        Error::ColumnExists { .. } => "42701",
        Error::ContainsNulls { .. } => "23502",
        Error::TableAltered { .. } => "40001",
        Error::SystemCatalog { .. } => "42501",
        Error::Syntax { .. } | Error::ColumnCount { .. } => "42601",
        Error::Unsupported { .. } => "0A000",
        Error::InvalidValue { .. } => "22023",
        Error::InvalidDefinition { .. } => "42P16",
        Error::LimitExceeded { .. } => "54000",
        Error::TooManyColumns { .. } => "54011",
        Error::TypeMismatch { .. } => "42804",
        Error::NumberOutOfRange { .. } => "22003",
        Error::NotNull { .. } => "23502",
        Error::DuplicateKey { .. } => "23505",
        Error::NoConflictTarget => "42P10",
        Error::UndefinedConstraint { .. } => "42704",
        Error::AffectedTwice => "21000",
        Error::SequenceLimit { .. } => "2200H",
        Error::ValueOutOfBounds { .. } => "22003",
        Error::NoLastNumber { .. } => "55000",
        Error::GeneratedAlways { .. } => "428C9",
        Error::InvalidColumnReference { .. } => "42P10",
        Error::InvalidObjectDefinition { .. } => "42P17",
        Error::InvalidUtf8 { .. } => "22021",
        Error::BinaryFormat { .. } => "22P03",
        Error::CopyFormat { .. } => "22P04",
        Error::InCopy { source, .. } => code(source),
        Error::UndefinedStatement { .. } => "26000",
        Error::UndefinedPortal { .. } | Error::UndefinedCursor { .. } => "34000",
        Error::ForwardOnly | Error::SubscriptionEnded { .. } => "55000",
        Error::ParameterCount { .. } => "42601",
        Error::DuplicateStatement { .. } => "42P05",
        Error::DuplicatePortal { .. } => "42P03",
        Error::Bind(_) | Error::Protocol(_) => "08P01",
        Error::TransactionFailed => "25P02",
        Error::ReadOnly { .. } => "25006",
        Error::TooLateForMode { .. } => "25001",
        Error::ActiveTransaction { .. } => "25001",
        Error::UndefinedSavepoint { .. } => "3B001",
        Error::NoTransaction { .. } => "25P01",
        Error::LockTimeout => "55P03",
        Error::Cancelled
        | Error::StatementTimeout
        | Error::CopyFailed(_)
        | Error::RescaleEnded { .. } => "57014",
        Error::ClientGone => "08006",
        Error::ShuttingDown => "57P01",
        Error::IdleTimeout {
            in_transaction: true,
        } => "25P03",
        Error::IdleTimeout {
            in_transaction: false,
        } => "57P05",
        Error::TooManyConnections | Error::TooManyOfRole { .. } => "53300",
        Error::Planner(error) => planner_code(error),
        Error::Executor(error) => executor_code(error),
        Error::Storage(error) => storage_code(error),
        Error::DataFusion(error) => datafusion_code(error),
        Error::Arrow(error) => arrow_code(error),
        Error::Configuration(_) => "F0000",
        Error::Io { .. } => "58030",
        Error::Corrupt(_) => "XX001",
        Error::Internal(_) => "XX000",
    }
}

fn value_code(error: &ValueError) -> &'static str {
    match error {
        ValueError::InvalidText { .. } | ValueError::MalformedRecord { .. } => "22P02",
        ValueError::InvalidDatetime { .. } => "22007",
        ValueError::DatetimeOverflow { .. } => "22008",
        ValueError::ValueOutOfRange { .. } | ValueError::NumericOverflow { .. } => "22003",
        ValueError::NotStorable { .. } => "0A000",
        ValueError::StringTooLong { .. } => "22001",
        ValueError::Fields { .. } => "42846",
        ValueError::Refused { fault, .. } => fault_code(*fault),
    }
}

fn fault_code(fault: Fault) -> &'static str {
    match fault {
        Fault::Parameter => "22023",
        Fault::Text => "22P02",
        Fault::DatetimeFormat => "22007",
        Fault::DatetimeOverflow => "22008",
        Fault::OutOfRange => "22003",
        Fault::DivisionByZero => "22012",
        Fault::Null => "22004",
        Fault::Substring => "22011",
        Fault::RegularExpression => "2201B",
        Fault::Escape => "22025",
        Fault::Logarithm => "2201E",
        Fault::Power => "2201F",
        Fault::WidthBucket => "2201G",
        Fault::Array => "2202E",
        Fault::Bytes => "22021",
        Fault::Limit => "54000",
        Fault::Type => "42846",
        Fault::Mismatch => "42804",
        Fault::Indeterminate => "42P18",
        Fault::Unsupported => "0A000",
    }
}

fn planner_code(error: &planner::Error) -> &'static str {
    use planner::Error as Planner;
    match error {
        Planner::Syntax { .. } => "42601",
        Planner::TooComplex { .. } => "54001",
        Planner::UndefinedTable { .. } | Planner::MissingFrom { .. } => "42P01",
        Planner::UndefinedSchema { .. } => "3F000",
        Planner::OtherDatabase { .. } | Planner::Unsupported { .. } => "0A000",
        Planner::Denied { .. } => "42501",
        Planner::NotPopulated { .. } => "55000",
        Planner::UndefinedColumn { .. } | Planner::UndefinedField { .. } => "42703",
        Planner::NotComposite { .. } => "42809",
        Planner::TooManyDimensions { .. } => "54000",
        Planner::UndefinedFunction { .. } | Planner::NotCompared { .. } => "42883",
        Planner::UndefinedType { .. } => "42704",
        Planner::AmbiguousColumn { .. } => "42702",
        Planner::DuplicateColumn { .. } => "42701",
        Planner::DuplicateAlias { .. } => "42712",
        Planner::Grouping { .. } => "42803",
        Planner::TypeMismatch { .. } => "42804",
        Planner::InvalidDefinition { .. } => "42P16",
        Planner::InvalidParameter { .. } => "22023",
        Planner::SubqueryRows => "21000",
        Planner::DivisionByZero => "22012",
        Planner::OutOfRange { .. } => "22003",
        Planner::InvalidText { .. } => "22P02",
        Planner::Value(error) => value_code(error),
        Planner::DataFusion(error) => datafusion_code(error),
    }
}

fn executor_code(error: &executor::Error) -> &'static str {
    match error {
        executor::Error::Arrow(error) => arrow_code(error),
        executor::Error::DataFusion(error) => datafusion_code(error),
        executor::Error::Storage(error) => storage_code(error),
        executor::Error::Write { cause } | executor::Error::JobFailed { cause } => {
            executor_code(cause)
        }
        executor::Error::SourceOption { .. }
        | executor::Error::Parallelism { .. }
        | executor::Error::UnknownExecutor { .. }
        | executor::Error::UnknownKeyGroup { .. } => "22023",
        executor::Error::Cancelled => "57014",
        executor::Error::Restarting { .. } => "55000",
        // The enum is open for variants that a client can do nothing about.
        _ => "XX000",
    }
}

fn storage_code(error: &storage::Error) -> &'static str {
    match error {
        storage::Error::Locked { .. } => "55006",
        storage::Error::Corrupt { .. } => "XX001",
        storage::Error::Format { .. } => "0A000",
        storage::Error::DiskFull { .. } => "53100",
        storage::Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull => "53100",
        storage::Error::WritesStopped | storage::Error::Io { .. } | storage::Error::RocksDb(_) => {
            "58030"
        }
        storage::Error::Arrow(error) => arrow_code(error),
        storage::Error::NotOwned { .. }
        | storage::Error::AlreadyOwned { .. }
        | storage::Error::Shape { .. } => "XX000",
    }
}

fn arrow_code(error: &ArrowError) -> &'static str {
    match error {
        ArrowError::DivideByZero => "22012",
        ArrowError::ArithmeticOverflow(_) => "22003",
        ArrowError::CastError(_) | ArrowError::ParseError(_) => "22P02",
        ArrowError::MemoryError(_) => "53200",
        _ => "XX000",
    }
}

/// Errors that reach us while a query runs; those of planning were sorted by the planner.
fn datafusion_code(error: &DataFusionError) -> &'static str {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            datafusion_code(inner)
        }
        DataFusionError::Shared(inner) => datafusion_code(inner),
        DataFusionError::Collection(errors) => errors.first().map_or("XX000", datafusion_code),
        DataFusionError::ArrowError(inner, _) => arrow_code(inner),
        DataFusionError::External(inner) => {
            let planners = inner.downcast_ref::<planner::Error>().map(planner_code);
            let ours = || inner.downcast_ref::<Error>().map(code);
            planners.or_else(ours).unwrap_or("XX000")
        }
        DataFusionError::NotImplemented(_) => "0A000",
        DataFusionError::Plan(_) => "42601",
        DataFusionError::ResourcesExhausted(_) => "53200",
        // What an expression refused while it ran.
        DataFusionError::Execution(_) => "22000",
        _ => "XX000",
    }
}

/// DataFusion's words without its prefixes and back traces.
#[must_use]
pub fn datafusion_message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            datafusion_message(inner)
        }
        DataFusionError::Shared(inner) => datafusion_message(inner),
        DataFusionError::Collection(errors) => errors
            .first()
            .map_or_else(|| error.to_string(), datafusion_message),
        DataFusionError::Plan(message)
        | DataFusionError::Execution(message)
        | DataFusionError::NotImplemented(message) => lower_first(first_line(message)),
        DataFusionError::ResourcesExhausted(_) => "out of memory".to_owned(),
        DataFusionError::External(inner) => inner.to_string(),
        DataFusionError::ArrowError(inner, _) => arrow_message(inner),
        other => first_line(&other.strip_backtrace()).to_owned(),
    }
}

fn arrow_message(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ArithmeticOverflow(_) => "value out of range".to_owned(),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message) => lower_first(first_line(message)),
        other => other.to_string(),
    }
}

fn message(error: &Error) -> String {
    match error {
        Error::Planner(planner::Error::DataFusion(inner)) => datafusion_message(inner),
        // The causes carry what the user can act on.
        Error::Executor(executor::Error::Storage(inner)) => inner.to_string(),
        Error::Executor(executor::Error::DataFusion(inner)) => datafusion_message(inner),
        Error::Arrow(inner) | Error::Executor(executor::Error::Arrow(inner)) => {
            arrow_message(inner)
        }
        other => other.to_string(),
    }
}

fn detail(error: &Error) -> Option<String> {
    match error {
        Error::Dependents { detail, .. }
        | Error::DependsOnColumn { detail, .. }
        | Error::GeneratedAlways { detail, .. }
        | Error::InvalidColumnReference { detail, .. }
        | Error::RoleInUse { detail, .. }
        | Error::NotNull { detail, .. }
        | Error::DuplicateKey { detail, .. } => Some(detail.clone()),
        Error::Planner(planner::Error::Value(ValueError::NumericOverflow { precision, scale })) => {
            let digits = i16::from(*precision) - i16::from(*scale);
            let bound = if digits == 0 {
                "1".to_owned()
            } else {
                format!("10^{digits}")
            };
            Some(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
            ))
        }
        Error::Planner(planner::Error::Value(ValueError::MalformedRecord { detail, .. })) => {
            Some((*detail).to_owned())
        }
        Error::Planner(planner::Error::Value(ValueError::Fields { too_many, .. })) => {
            let fault = if *too_many { "many" } else { "few" };
            Some(format!("Input has too {fault} columns."))
        }
        Error::ParameterCount {
            expected, given, ..
        } => Some(format!("Expected {expected} parameters but got {given}.")),
        Error::Privilege { detail, .. } | Error::DatabaseInUse { detail, .. } => detail.clone(),
        Error::InCopy { source, .. } => detail(source),
        Error::Planner(planner::Error::DataFusion(inner)) => match exhausted(inner) {
            Some(message) => Some(format!("{}.", first_line(message).trim_end_matches('.'))),
            None => detail(ours(inner)?),
        },
        Error::Executor(
            executor::Error::JobFailed { cause } | executor::Error::Write { cause },
        ) => Some(chain(cause)),
        Error::Executor(executor::Error::Restarting { reason, .. }) if !reason.is_empty() => {
            Some(reason.clone())
        }
        Error::Storage(storage::Error::RocksDb(source) | storage::Error::DiskFull { source }) => {
            Some(source.to_string())
        }
        _ => None,
    }
}

fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Dependents { .. } | Error::DependsOnColumn { .. } => Some("Use DROP ... CASCADE to drop the dependent objects too.".to_owned()),
        Error::WrongKind { hint, .. }
        | Error::Unsupported { hint, .. }
        | Error::InvalidValue { hint, .. }
        | Error::LimitExceeded { hint, .. }
        | Error::TypeMismatch { hint, .. } => hint.clone(),
        Error::Planner(planner::Error::Unsupported { hint, .. }) if !hint.is_empty() => Some(hint.clone()),
        Error::BeingCreated { .. } | Error::Planner(planner::Error::NotPopulated { .. }) => Some(
            "It is being created in the background: WAIT for it, or see SHOW JOBS.".to_owned(),
        ),
        Error::Planner(planner::Error::UndefinedFunction { .. }) => Some(
            "No function matches the given name and argument types. You might need to add explicit type casts."
                .to_owned(),
        ),
        Error::Planner(planner::Error::TooComplex { .. }) => {
            Some("Split the statement, or use IN or VALUES lists instead of long chains.".to_owned())
        }
        Error::InCopy { source, .. } => hint(source),
        Error::AffectedTwice => Some(
            "Ensure that no rows proposed for insertion within the same command have duplicate constrained values."
                .to_owned(),
        ),
        Error::ReturnTypeChanges { name } => Some(format!("Use DROP FUNCTION {name} first.")),
        Error::AmbiguousFunction { .. } => {
            Some("Specify the argument list to select the function unambiguously.".to_owned())
        }
        Error::SubscriptionEnded { hint, .. } => Some((*hint).to_owned()),
        Error::Refused { hint, .. } => hint.map(str::to_owned),
        Error::DependentPrivileges => Some("Use CASCADE to revoke them too.".to_owned()),
        Error::UndefinedRescale { .. } => Some("SHOW RESCALES lists them.".to_owned()),
        Error::Planner(planner::Error::DataFusion(inner)) => match exhausted(inner) {
            Some(_) => Some(
                "Sort, group or join fewer rows at once, or raise the server's query_memory_limit."
                    .to_owned(),
            ),
            None => hint(ours(inner)?),
        },
        Error::Executor(executor::Error::Restarting { .. }) => {
            Some("SHOW JOBS says when it is tried next. DROP works at any time.".to_owned())
        }
        _ => None,
    }
}

/// What a query says that has used up its memory.
fn exhausted(error: &DataFusionError) -> Option<&str> {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            exhausted(inner)
        }
        DataFusionError::Shared(inner) => exhausted(inner),
        DataFusionError::Collection(errors) => exhausted(errors.first()?),
        DataFusionError::ResourcesExhausted(message) => Some(message),
        _ => None,
    }
}

/// Our own error that came by way of DataFusion.
fn ours(error: &DataFusionError) -> Option<&Error> {
    match error {
        DataFusionError::External(inner) => inner.downcast_ref(),
        _ => None,
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn context(error: &Error) -> Option<String> {
    match error {
        Error::InCopy { context, .. } => Some(context.clone()),
        _ => None,
    }
}

fn position(error: &Error) -> Option<usize> {
    match error {
        Error::Planner(planner::Error::Syntax { position, .. }) => Some(*position),
        _ => None,
    }
}

/// What an error names that stands in the text of its statement.
fn sought(error: &Error) -> Option<Sought<'_>> {
    use planner::Error as Planner;
    match error {
        Error::Planner(
            Planner::UndefinedTable { name }
            | Planner::MissingFrom { name }
            | Planner::UndefinedColumn { name }
            | Planner::UndefinedFunction { name }
            | Planner::UndefinedType { name }
            | Planner::AmbiguousColumn { name }
            | Planner::UndefinedField { field: name, .. },
        ) => Some(Sought::Name(name.split('(').next().unwrap_or(name))),
        Error::Planner(Planner::Grouping { message }) => {
            Some(Sought::Name(message.split('"').nth(1)?))
        }
        Error::Planner(Planner::Value(
            ValueError::InvalidText { value, .. }
            | ValueError::InvalidDatetime { value, .. }
            | ValueError::MalformedRecord { value, .. },
        )) => Some(Sought::Literal(value)),
        _ => None,
    }
}

fn first_line(message: &str) -> &str {
    message
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
}

/// Message texts start in lower case, except for names in capitals such as SQL key words.
fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => first
            .to_lowercase()
            .chain(message.chars().skip(1))
            .collect(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_carry_detail_hint_and_context() {
        let overflow = Error::from(ValueError::NumericOverflow {
            precision: 5,
            scale: 2,
        });
        let report = Report::of_error(&Error::InCopy {
            source: Box::new(overflow),
            context: "COPY t, line 3".into(),
        });
        assert_eq!(report.code, "22003");
        assert_eq!(report.message, "numeric field overflow");
        assert!(report.detail.unwrap().ends_with("less than 10^3."));
        assert_eq!(report.context.as_deref(), Some("COPY t, line 3"));
    }

    #[test]
    fn messages_are_in_lower_case() {
        assert_eq!(lower_first("Cannot do"), "cannot do");
        assert_eq!(lower_first("COPY failed"), "COPY failed");
    }
}
