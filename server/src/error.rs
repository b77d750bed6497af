//! What can go wrong in a statement or at start, by cause.
//!
//! The SQLSTATE, detail and hint of each variant are in `sqlstate.rs`. Message texts follow
//! PostgreSQL's. What the crates below report travels inside [`Error::Planner`],
//! [`Error::Executor`], [`Error::Storage`] and [`Error::DataFusion`].

use datafusion::error::DataFusionError;
use planner::values::ValueError;

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a statement or the server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // --- names
    /// A relation that does not exist.
    #[error("relation \"{name}\" does not exist")]
    UndefinedRelation {
        /// Its name as written.
        name: String,
    },
    /// A relation of some kind that does not exist.
    #[error("{kind} \"{name}\" does not exist")]
    UndefinedObject {
        /// Such as "table" or "materialized view".
        kind: &'static str,
        /// Its name as written.
        name: String,
    },
    /// A schema that does not exist.
    #[error("schema \"{name}\" does not exist")]
    UndefinedSchema {
        /// Its name as written.
        name: String,
    },
    /// A database that does not exist.
    #[error("database \"{name}\" does not exist")]
    UndefinedDatabase {
        /// Its name as written.
        name: String,
    },
    /// A database of this name is there.
    #[error("database \"{name}\" already exists")]
    DatabaseExists {
        /// Its name.
        name: String,
    },
    /// Sessions are in a database that should be dropped or renamed.
    #[error("{message}")]
    DatabaseInUse {
        /// As PostgreSQL words it.
        message: String,
        /// How many.
        detail: Option<String>,
    },
    /// A view that is being created in the background cannot be changed.
    #[error("materialized view \"{name}\" is being created")]
    BeingCreated {
        /// The view.
        name: String,
    },
    /// A role that does not exist.
    #[error("role \"{name}\" does not exist")]
    UndefinedRole {
        /// Its name as written.
        name: String,
    },
    /// A role of this name is there.
    #[error("role \"{name}\" already exists")]
    DuplicateRole {
        /// The name.
        name: String,
    },
    /// A name of a role that means something else.
    #[error("role name \"{name}\" is reserved")]
    ReservedRole {
        /// The name.
        name: String,
    },
    /// Objects depend on a role that should be dropped.
    #[error("role \"{name}\" cannot be dropped because some objects depend on it")]
    RoleInUse {
        /// The role.
        name: String,
        /// One line an object.
        detail: String,
    },
    /// A change of the role that the session is.
    #[error("{message}")]
    OwnRole {
        /// As PostgreSQL words it.
        message: String,
    },
    /// The role may not do this.
    #[error("{message}")]
    Privilege {
        /// As PostgreSQL words it.
        message: String,
        /// What exactly.
        detail: Option<String>,
    },
    /// A grant that makes no sense.
    #[error("{message}")]
    InvalidGrant {
        /// As PostgreSQL words it.
        message: String,
    },
    /// A privilege that was passed on should be revoked without `CASCADE`.
    #[error("dependent privileges exist")]
    DependentPrivileges,
    /// A column that its table does not have.
    #[error("column \"{column}\" of relation \"{relation}\" does not exist")]
    UndefinedColumn {
        /// Column as written.
        column: String,
        /// The table.
        relation: String,
    },
    /// A type we do not have.
    #[error("type \"{name}\" does not exist")]
    UndefinedType {
        /// As written.
        name: String,
    },
    /// A setting we do not have.
    #[error("unrecognized configuration parameter \"{name}\"")]
    UndefinedSetting {
        /// As written.
        name: String,
    },
    /// The name is taken.
    #[error("relation \"{name}\" already exists")]
    DuplicateRelation {
        /// The name.
        name: String,
    },
    /// A type cannot have the name of another, nor of a relation.
    #[error("type \"{name}\" already exists")]
    DuplicateType {
        /// The name.
        name: String,
    },
    /// There is such a function.
    #[error("function \"{name}\" already exists with same argument types")]
    DuplicateFunction {
        /// Its name.
        name: String,
    },
    /// A name that several functions have.
    #[error("function name \"{name}\" is not unique")]
    AmbiguousFunction {
        /// As written.
        name: String,
    },
    /// A function shall return something else.
    #[error("cannot change return type of existing function")]
    ReturnTypeChanges {
        /// The function, with the types of its parameters.
        name: String,
    },
    /// A column is named twice.
    #[error("column \"{name}\" specified more than once")]
    DuplicateColumn {
        /// The name.
        name: String,
    },
    /// The relation is of another kind than the statement needs.
    #[error("\"{name}\" is not a {expected}")]
    WrongKind {
        /// The relation.
        name: String,
        /// Kind the statement works on, such as "table".
        expected: &'static str,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The relation cannot be written.
    #[error("cannot {action} {kind} \"{name}\"")]
    NotWritable {
        /// Such as "insert into".
        action: &'static str,
        /// Such as "materialized view".
        kind: &'static str,
        /// The relation.
        name: String,
    },
    /// Others depend on what should be dropped.
    #[error("cannot drop {kind} {name} because other objects depend on it")]
    Dependents {
        /// Kind of the relation.
        kind: &'static str,
        /// The relation.
        name: String,
        /// One line a dependent.
        detail: String,
    },
    /// Something reads a column that shall go.
    #[error("cannot drop column {column} of table {relation} because other objects depend on it")]
    DependsOnColumn {
        /// The column.
        column: String,
        /// Its table.
        relation: String,
        /// One line a dependent.
        detail: String,
    },
    /// No schema of the search path exists.
    #[error("no schema has been selected to create in")]
    NoSchema,
    /// A schema of this name is there.
    #[error("schema \"{name}\" already exists")]
    SchemaExists {
        /// The schema.
        name: String,
    },
    /// A name that is kept for the server.
    #[error("unacceptable schema name \"{name}\"")]
    ReservedSchema {
        /// The schema.
        name: String,
    },
    /// A column of this name is there.
    #[error("column \"{column}\" of relation \"{relation}\" already exists")]
    ColumnExists {
        /// The column.
        column: String,
        /// Its table.
        relation: String,
    },
    /// Rows have no value in a column that shall have one in all.
    #[error("column \"{column}\" of relation \"{relation}\" contains null values")]
    ContainsNulls {
        /// The column.
        column: String,
        /// Its table.
        relation: String,
    },
    /// The columns of a table changed while a statement waited to write to it.
    #[error("the columns of table \"{name}\" were altered meanwhile")]
    TableAltered {
        /// The table.
        name: String,
    },
    /// Objects of the server itself cannot be changed.
    #[error("permission denied: \"{name}\" is a system catalog")]
    SystemCatalog {
        /// The relation or schema.
        name: String,
    },

    // --- statements
    /// Text that is not SQL as we have it.
    #[error("{message}")]
    Syntax {
        /// As PostgreSQL words it.
        message: String,
    },
    /// Valid SQL that we do not do.
    #[error("{what}")]
    Unsupported {
        /// What is not done.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A value that an option or setting cannot have.
    #[error("{message}")]
    InvalidValue {
        /// As PostgreSQL words it.
        message: String,
        /// Allowed values.
        hint: Option<String>,
    },
    /// A definition that contradicts itself.
    #[error("{message}")]
    InvalidDefinition {
        /// As PostgreSQL words it.
        message: String,
    },
    /// The statement is over a stated limit.
    #[error("{message}")]
    LimitExceeded {
        /// Which limit.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// More columns than a table or a result may have.
    #[error("{what} can have at most {limit} {columns}")]
    TooManyColumns {
        /// "tables" or "target lists".
        what: &'static str,
        /// "columns" or "entries".
        columns: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// More expressions than columns, or fewer.
    #[error("INSERT has more {more} than {fewer}")]
    ColumnCount {
        /// "expressions" or "target columns".
        more: &'static str,
        /// The other.
        fewer: &'static str,
    },
    /// Types that do not fit.
    #[error("{message}")]
    TypeMismatch {
        /// As PostgreSQL words it.
        message: String,
        /// What to do.
        hint: Option<String>,
    },

    // --- values
    /// A computed number outside its type's range.
    #[error("{type_name} out of range")]
    NumberOutOfRange {
        /// SQL name of the type.
        type_name: String,
    },
    /// NULL where there must be a value.
    #[error(
        "null value in column \"{column}\" of relation \"{relation}\" violates not-null constraint"
    )]
    NotNull {
        /// The column.
        column: String,
        /// The table.
        relation: String,
        /// "Failing row contains (…)."
        detail: String,
    },
    /// A primary key twice.
    #[error("duplicate key value violates unique constraint \"{constraint}\"")]
    DuplicateKey {
        /// Name of the constraint.
        constraint: String,
        /// "Key (a)=(1) already exists."
        detail: String,
    },
    /// ON CONFLICT names columns that are no unique constraint.
    #[error("there is no unique or exclusion constraint matching the ON CONFLICT specification")]
    NoConflictTarget,
    /// A constraint that does not exist.
    #[error("constraint \"{name}\" for table \"{relation}\" does not exist")]
    UndefinedConstraint {
        /// As written.
        name: String,
        /// The table.
        relation: String,
    },
    /// A sequence has no further number.
    #[error("{message}")]
    SequenceLimit {
        /// As PostgreSQL words it.
        message: String,
    },
    /// A number beyond a sequence's bounds.
    #[error("{message}")]
    ValueOutOfBounds {
        /// As PostgreSQL words it.
        message: String,
    },
    /// A session has not taken a number from the sequence.
    #[error("{message}")]
    NoLastNumber {
        /// As PostgreSQL words it.
        message: String,
    },
    /// A value for a column that has a source of its own.
    #[error("{message}")]
    GeneratedAlways {
        /// As PostgreSQL words it.
        message: String,
        /// Which source.
        detail: String,
    },
    /// A column that cannot be used here.
    #[error("{message}")]
    InvalidColumnReference {
        /// As PostgreSQL words it.
        message: String,
        /// Why not.
        detail: String,
    },
    /// A definition that means nothing.
    #[error("{message}")]
    InvalidObjectDefinition {
        /// As PostgreSQL words it.
        message: String,
    },
    /// Two proposed rows have the same key.
    #[error("ON CONFLICT DO UPDATE command cannot affect row a second time")]
    AffectedTwice,
    /// Bytes that are not text.
    #[error("invalid byte sequence for encoding \"UTF8\": {bytes}")]
    InvalidUtf8 {
        /// The first bad bytes, as PostgreSQL shows them.
        bytes: String,
    },
    /// A binary parameter that is no value of its type.
    #[error("incorrect binary data format for type {type_name}")]
    BinaryFormat {
        /// SQL name of the type.
        type_name: String,
    },
    /// COPY input that is not as it should be.
    #[error("{message}")]
    CopyFormat {
        /// As PostgreSQL words it.
        message: String,
    },
    /// Another error, met at a line of COPY input.
    #[error("{source}")]
    InCopy {
        /// The error.
        #[source]
        source: Box<Error>,
        /// "COPY t, line 3, column a: \"x\""
        context: String,
    },

    // --- scaling
    /// A rescale did not reach its target.
    #[error("rescale {id} was {}; \"{relation}\" runs with {parallelism} executors", ended(.state))]
    RescaleEnded {
        /// Its number.
        id: u64,
        /// What was rescaled.
        relation: String,
        /// Executors that it has now.
        parallelism: usize,
        /// How it ended.
        state: executor::RescaleState,
    },
    /// A rescale that does not exist, or is over.
    #[error("there is no running rescale {id}")]
    UndefinedRescale {
        /// Its number.
        id: u64,
    },

    // --- sessions
    /// A prepared statement that does not exist.
    #[error("prepared statement \"{name}\" does not exist")]
    UndefinedStatement {
        /// Its name.
        name: String,
    },
    /// A cursor that does not exist.
    #[error("cursor \"{name}\" does not exist")]
    UndefinedCursor {
        /// Its name.
        name: String,
    },
    /// A cursor was to go backwards.
    #[error("cursor can only scan forward")]
    ForwardOnly,
    /// EXECUTE gives another number of parameters than its statement has.
    #[error("wrong number of parameters for prepared statement \"{statement}\"")]
    ParameterCount {
        /// The statement.
        statement: String,
        /// How many it has.
        expected: usize,
        /// How many were given.
        given: usize,
    },
    /// A subscription cannot give the changes that come next.
    #[error("{message}")]
    SubscriptionEnded {
        /// Why not.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// A portal that does not exist.
    #[error("portal \"{name}\" does not exist")]
    UndefinedPortal {
        /// Its name.
        name: String,
    },
    /// A prepared statement's name is taken.
    #[error("prepared statement \"{name}\" already exists")]
    DuplicateStatement {
        /// Its name.
        name: String,
    },
    /// A portal's name is taken.
    #[error("cursor \"{name}\" already exists")]
    DuplicatePortal {
        /// Its name.
        name: String,
    },
    /// Bind does not fit its statement.
    #[error("{0}")]
    Bind(String),
    /// A message that breaks the protocol.
    #[error("{0}")]
    Protocol(String),
    /// A statement after a failed one in the same block.
    #[error("current transaction is aborted, commands ignored until end of transaction block")]
    TransactionFailed,
    /// A statement that must not stand in a block.
    #[error("{statement} cannot run inside a transaction block")]
    ActiveTransaction {
        /// The statement.
        statement: &'static str,
    },
    /// A statement that changes something, in a transaction that may only read.
    #[error("cannot execute {statement} in a read-only transaction")]
    ReadOnly {
        /// The statement.
        statement: &'static str,
    },
    /// A mode of the transaction that is set too late.
    #[error("{statement} must be {done} before any query")]
    TooLateForMode {
        /// What was to be set.
        statement: &'static str,
        /// "called" or "set".
        done: &'static str,
    },
    /// A savepoint that does not exist.
    #[error("savepoint \"{name}\" does not exist")]
    UndefinedSavepoint {
        /// Its name.
        name: String,
    },
    /// A savepoint outside a block.
    #[error("{statement} can only be used in transaction blocks")]
    NoTransaction {
        /// The statement.
        statement: &'static str,
    },
    /// A statement waited too long for another session's transaction.
    #[error("canceling statement due to lock timeout")]
    LockTimeout,
    /// The client asked to cancel.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// The statement took longer than `statement_timeout`.
    #[error("canceling statement due to statement timeout")]
    StatementTimeout,
    /// COPY ended by the client.
    #[error("COPY from stdin failed: {0}")]
    CopyFailed(String),
    /// The client is gone.
    #[error("client closed the connection")]
    ClientGone,
    /// The server is going down.
    #[error("terminating connection due to administrator command")]
    ShuttingDown,
    /// The client said nothing for too long.
    #[error("terminating connection due to {} timeout", if *.in_transaction { "idle-in-transaction" } else { "idle-session" })]
    IdleTimeout {
        /// Whether a transaction block was open.
        in_transaction: bool,
    },
    /// A wrong password, or a user who cannot have one: nobody learns which.
    #[error("password authentication failed for user \"{user}\"")]
    Authentication {
        /// Who wanted to log in.
        user: String,
    },
    /// A connection that is refused, whoever it is.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do instead.
        hint: Option<&'static str>,
    },
    /// No room for another connection of a role.
    #[error("too many connections for role \"{role}\"")]
    TooManyOfRole {
        /// The role.
        role: String,
    },
    /// No room for another connection.
    #[error("sorry, too many clients already")]
    TooManyConnections,

    // --- below and around
    /// From parsing or planning.
    #[error(transparent)]
    Planner(#[from] planner::Error),
    /// From running dataflows.
    #[error(transparent)]
    Executor(#[from] executor::Error),
    /// From durable storage.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// From a batch query.
    #[error("{}", crate::sqlstate::datafusion_message(.0))]
    DataFusion(#[from] DataFusionError),
    /// From a computation on Arrow columns.
    #[error("{0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Configuration that cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Stored rows that we cannot read.
    #[error("catalog is damaged: {0}")]
    Corrupt(String),
    /// A bug of ours, contained.
    #[error("internal error: {0}")]
    Internal(String),
}

/// How a rescale ended, as its statement says it.
fn ended(state: &executor::RescaleState) -> &'static str {
    match state {
        executor::RescaleState::Superseded => "ended by a later one",
        other => other.name(),
    }
}

impl Error {
    /// A feature that is not there, with what to do instead.
    pub fn unsupported(what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Unsupported {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }

    /// The role may not do this.
    pub fn privilege(message: impl Into<String>) -> Error {
        Error::Privilege {
            message: message.into(),
            detail: None,
        }
    }

    /// A feature that is not there.
    pub fn not_supported(what: impl Into<String>) -> Error {
        Error::Unsupported {
            what: what.into(),
            hint: None,
        }
    }
}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        Error::Planner(planner::Error::Value(error))
    }
}
