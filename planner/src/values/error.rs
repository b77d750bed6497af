//! Why a value is refused: by an input function, a cast, or a function of PostgreSQL.

/// Result of reading or computing values.
pub type Result<T, E = ValueError> = std::result::Result<T, E>;

/// A value that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Text that is no value of its type.
    #[error("invalid input syntax for type {type_name}: \"{value}\"")]
    InvalidText {
        /// SQL name of the type.
        type_name: String,
        /// The text.
        value: String,
    },
    /// Text that is no composite value.
    #[error("malformed record literal: \"{value}\"")]
    MalformedRecord {
        /// The text.
        value: String,
        /// What is wrong with it, as PostgreSQL says it.
        detail: &'static str,
    },
    /// Text that is no date or time.
    #[error("invalid input syntax for type {type_name}: \"{value}\"")]
    InvalidDatetime {
        /// SQL name of the type.
        type_name: String,
        /// The text.
        value: String,
    },
    /// A date or time outside its range.
    #[error("date/time field value out of range: \"{value}\"")]
    DatetimeOverflow {
        /// The text.
        value: String,
    },
    /// A number outside its type's range.
    #[error("value \"{value}\" is out of range for type {type_name}")]
    ValueOutOfRange {
        /// SQL name of the type.
        type_name: String,
        /// The number.
        value: String,
    },
    /// A numeric that does not fit precision and scale.
    #[error("numeric field overflow")]
    NumericOverflow {
        /// Digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// A value that PostgreSQL has and we cannot store.
    #[error("{type_name} value \"{value}\" is not supported")]
    NotStorable {
        /// SQL name of the type.
        type_name: String,
        /// The value.
        value: String,
    },
    /// A string longer than its column.
    #[error("value too long for type {type_name}")]
    StringTooLong {
        /// SQL name of the type, with length.
        type_name: String,
    },
    /// A composite value of a type with another number of fields.
    #[error("cannot cast type {from} to {to}")]
    Fields {
        /// SQL name of its type.
        from: String,
        /// SQL name of the other type.
        to: String,
        /// Whether it has too many.
        too_many: bool,
    },
    /// What a function does not do.
    #[error("{message}")]
    Refused {
        /// What kind of fault it is.
        fault: Fault,
        /// PostgreSQL's words.
        message: String,
    },
}

/// Kinds of faults that functions find in their arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A parameter that means nothing.
    Parameter,
    /// A text that is no value.
    Text,
    /// A text that is no date or time.
    DatetimeFormat,
    /// A date or time outside of its range.
    DatetimeOverflow,
    /// A number outside of its range.
    OutOfRange,
    /// A division by zero.
    DivisionByZero,
    /// NULL where a value is needed.
    Null,
    /// A substring of negative length.
    Substring,
    /// A regular expression that is none.
    RegularExpression,
    /// A LIKE pattern that ends too early.
    Escape,
    /// A logarithm of what is not positive.
    Logarithm,
    /// A power that is no real number.
    Power,
    /// Bounds or count of `width_bucket`.
    WidthBucket,
    /// A subscript or a shape of an array.
    Array,
    /// Bytes that are not text.
    Bytes,
    /// A result over a limit.
    Limit,
    /// Types that do not go together.
    Type,
    /// Types that are not compared.
    Mismatch,
    /// A value whose type cannot be told.
    Indeterminate,
    /// What PostgreSQL has and we do not.
    Unsupported,
}

impl ValueError {
    /// A [`ValueError::Refused`].
    pub fn refused(fault: Fault, message: impl Into<String>) -> Self {
        Self::Refused {
            fault,
            message: message.into(),
        }
    }
}
