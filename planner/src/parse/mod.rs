//! SQL text to statements: a parser of our own for the streaming statements, in front of
//! `sqlparser` with PostgreSQL's dialect for all others.
//!
//! ```text
//!   text ─► tokens ─► split at ';' ─► depth guard ─► first keywords ─┬─► ours (streaming DDL)
//!                                                                    └─► sqlparser
//! ```
//!
//! The whole text is parsed before any of it may run, as PostgreSQL does with a simple query.
//! Errors carry the position in characters from the start of the whole text.
//! Not here: what the statements mean (`table`, `source`, `stream`, and the server).

mod alter;
mod asof;
pub(crate) mod columns_as;
mod create_table;
mod cursor;
mod database;
mod event_time;
pub mod locate;
mod position;
mod privilege;
mod relations;
mod role;
mod scaling;
mod sequence;
mod sink;
mod streaming;
mod structures;
mod subscribe;
mod temporal_join;
mod with_changes;

use std::collections::BTreeMap;

use sqlparser::ast;
use sqlparser::ast::{ColumnDef, CreateView, Ident, ObjectName, Query};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::complexity;
use crate::error::{Error, Result};
use position::Positions;

pub use alter::{AlterRelation, RelationChange};
pub use create_table::{ConflictPolicy, TableExtras};
pub use cursor::{CursorBody, Declare, Direction, Execute, Fetch, Prepare};
pub use database::DatabaseStatement;
pub use event_time::{Emit, WatermarkClause};
pub use privilege::{
    AlterOwner, DefaultPrivileges, Grant, GrantAction, GrantKind, GrantObjects, Granted,
};
pub use relations::{NamedRelation, named_relations};
pub use role::{RoleName, RoleOption, RoleStatement};
pub use sink::CreateSink;
pub use subscribe::{Subscribe, Subscribed};

/// One statement with the text that it was read from.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// Its text, without the semicolon and surrounding blanks; a password in it is `********`.
    pub text: String,
    /// Byte offset of `text` in the whole text.
    pub start: usize,
    /// Byte offset of the query within `text`, for `CREATE [MATERIALIZED] VIEW … AS query`.
    query_start: Option<usize>,
    /// `EMIT ON WINDOW CLOSE` at its end, which is a part of the query's text.
    pub emit: Emit,
    /// `WATERMARK FOR …` in the column list of a table or source.
    pub watermark: Option<WatermarkClause>,
}

impl Parsed {
    /// Another statement that was read from the same text, such as the one within a `PREPARE`.
    #[must_use]
    pub fn with_statement(&self, statement: Statement) -> Self {
        Self {
            statement,
            query_start: None,
            ..self.clone()
        }
    }

    /// The text of the query of a `CREATE [MATERIALIZED] VIEW`, with or without `EXPLAIN`.
    #[must_use]
    pub fn view_definition(&self) -> Option<&str> {
        self.query_start.map(|start| &self.text[start..])
    }
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Statement {
    /// PostgreSQL's own, `CREATE MATERIALIZED VIEW` and `DROP MATERIALIZED VIEW` included.
    Pg(Box<ast::Statement>),
    /// `CREATE TABLE` with what PostgreSQL's has not.
    CreateTable {
        /// PostgreSQL's part.
        table: Box<ast::CreateTable>,
        /// What follows it; not nothing.
        extras: TableExtras,
    },
    /// `CREATE SOURCE [IF NOT EXISTS] name [(columns)] WITH (key = value, …)`.
    CreateSource {
        /// As written.
        name: ObjectName,
        /// Whether an existing one is left as it is.
        if_not_exists: bool,
        /// The column list; empty if left out.
        columns: Vec<ColumnDef>,
        /// The `WITH` options; keys in lower case, values without quotes.
        options: BTreeMap<String, String>,
    },
    /// `CREATE SINK … INTO table`
    CreateSink(Box<CreateSink>),
    /// `DROP {SOURCE | SINK} [IF EXISTS] name, … [CASCADE | RESTRICT]`.
    DropRelations {
        /// Which of the two.
        kind: ObjectKind,
        /// As written.
        names: Vec<ObjectName>,
        /// Whether missing ones are skipped.
        if_exists: bool,
        /// Whether dependent views go too.
        cascade: bool,
    },
    /// `ALTER … RENAME TO` and `OWNER TO`.
    AlterRelation(AlterRelation),
    /// `ALTER … SET PARALLELISM`, `MOVE KEY GROUP` or `REBALANCE`.
    AlterScaling(AlterScaling),
    /// `EXPLAIN [ANALYZE] ALTER …` of the same.
    ExplainAlterScaling {
        /// The change.
        alter: AlterScaling,
        /// Options.
        options: ExplainOptions,
    },
    /// `CREATE`, `ALTER … RENAME TO` or `DROP DATABASE`.
    Database(DatabaseStatement),
    /// Roles, their members, and who the session acts as.
    Role(RoleStatement),
    /// `GRANT` and `REVOKE` of privileges.
    Grant(Grant),
    /// `ALTER DEFAULT PRIVILEGES …`
    DefaultPrivileges(DefaultPrivileges),
    /// `ALTER {SCHEMA | DATABASE} … OWNER TO`
    AlterOwner(AlterOwner),
    /// `CANCEL RESCALE id`.
    CancelRescale {
        /// Number of the rescale.
        id: u64,
    },
    /// `CANCEL JOBS id, …`
    CancelJobs {
        /// Jobs that are being created.
        ids: Vec<u64>,
    },
    /// `EXPLAIN ANALYZE {MATERIALIZED VIEW | TABLE | INDEX} name`
    ExplainJob {
        /// What the user says it is.
        kind: ObjectKind,
        /// As written.
        name: ObjectName,
    },
    /// `FLUSH`.
    Flush,
    /// `WAIT`.
    Wait,
    /// `REFRESH MATERIALIZED VIEW [CONCURRENTLY] name [WITH DATA]`.
    Refresh {
        /// As written.
        name: ObjectName,
    },
    /// `DECLARE …`
    Declare(Declare),
    /// `FETCH …` or `MOVE …`
    Fetch(Fetch),
    /// `CLOSE {name | ALL}`.
    CloseCursor {
        /// The cursor; `None`: all.
        name: Option<Ident>,
    },
    /// `PREPARE …`
    Prepare(Prepare),
    /// `EXECUTE …`
    Execute(Execute),
    /// `SUBSCRIBE …`
    Subscribe(Subscribe),
    /// `COPY (SUBSCRIBE …) TO …`
    CopySubscribe {
        /// What is sent.
        subscribe: Subscribe,
        /// A `COPY` of a relation in its place.
        copy: Box<ast::Statement>,
    },
    /// `VERIFY MATERIALIZED VIEW name`.
    Verify {
        /// As written.
        name: ObjectName,
    },
    /// `SHOW …`, other than `SHOW CREATE`.
    Show(Show),
    /// `SHOW CREATE {TABLE | VIEW | SOURCE | MATERIALIZED VIEW | SEQUENCE} name`.
    ShowCreate {
        /// What the user says it is.
        kind: ObjectKind,
        /// As written.
        name: ObjectName,
    },
    /// `DESCRIBE name`.
    Describe {
        /// As written.
        name: ObjectName,
    },
    /// `EXPLAIN [(options)] CREATE MATERIALIZED VIEW …`.
    ExplainCreateMaterializedView {
        /// The view.
        view: Box<CreateView>,
        /// Options.
        options: ExplainOptions,
    },
    /// `EXPLAIN [(options)] query`.
    ExplainQuery {
        /// The query.
        query: Box<Query>,
        /// Options.
        options: ExplainOptions,
    },
}

/// The kinds of objects that statements name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// `TABLE`
    Table,
    /// `SOURCE`
    Source,
    /// `VIEW`
    View,
    /// `MATERIALIZED VIEW`
    MaterializedView,
    /// `SEQUENCE`
    Sequence,
    /// `INDEX`
    Index,
    /// `SINK`
    Sink,
    /// `TYPE`
    Type,
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Source => "source",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Sequence => "sequence",
            Self::Index => "index",
            Self::Sink => "sink",
            Self::Type => "type",
        })
    }
}

/// `ALTER {MATERIALIZED VIEW | TABLE | SOURCE} [IF EXISTS] name change [WITH (key = value, …)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterScaling {
    /// What the user says it is.
    pub kind: ObjectKind,
    /// Whether a missing one is skipped.
    pub if_exists: bool,
    /// As written.
    pub name: ObjectName,
    /// What shall change.
    pub change: ScalingChange,
    /// The `WITH` options, not yet checked; keys in lower case, values without quotes.
    pub options: BTreeMap<String, String>,
}

/// A change of who works for a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScalingChange {
    /// `SET PARALLELISM {= | TO} value`; the value is not yet checked.
    Parallelism(Parallelism),
    /// `MOVE KEY GROUP k TO EXECUTOR e`; whether there are such is not known here.
    MoveKeyGroup {
        /// Number of the key group.
        key_group: u64,
        /// Number of the executor.
        executor: u64,
    },
    /// `REBALANCE`
    Rebalance,
}

/// The value of `SET PARALLELISM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parallelism {
    /// A whole number as written, in range or not.
    Fixed(i64),
    /// `ADAPTIVE`: as the server thinks best.
    Adaptive,
    /// Anything else, such as `1.5`, `'x'` or a number beyond 64 bits, as written.
    Invalid(String),
}

/// What `SHOW` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `JOBS`
    Jobs,
    /// `TABLES`
    Tables,
    /// `SOURCES`
    Sources,
    /// `SINKS`
    Sinks,
    /// `VIEWS`
    Views,
    /// `MATERIALIZED VIEWS`
    MaterializedViews,
    /// `RESCALES`
    Rescales,
    /// `SEQUENCES`
    Sequences,
    /// `SCHEMAS`
    Schemas,
    /// `DATABASES`
    Databases,
    /// `COLUMNS FROM name`, as written
    Columns(ObjectName),
    /// `INDEXES FROM name`, as written
    Indexes(ObjectName),
    /// `ALL`: every session variable.
    All,
    /// A session variable, in lower case: `TIME ZONE` is `timezone`.
    Variable(String),
}

/// Options of `EXPLAIN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Run the statement and show what happened.
    pub analyze: bool,
    /// Show more.
    pub verbose: bool,
    /// How to show it.
    pub format: ExplainFormat,
}

/// How `EXPLAIN` shows a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    /// Indented lines.
    #[default]
    Text,
    /// One JSON text.
    Json,
}

/// Parses a text of statements, separated by semicolons. Empty statements are left out.
///
/// # Errors
/// [`Error::Syntax`] with the position of the first fault, [`Error::TooComplex`],
/// [`Error::Unsupported`] for streaming statements known elsewhere and not offered here.
pub fn parse(sql: &str) -> Result<Vec<Parsed>> {
    let positions = Positions::new(sql);
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| Error::Syntax {
            message: tokenizer_message(&error.message),
            position: positions.character(error.location),
        })?;
    let mut statements = Vec::new();
    for part in tokens.split(|token| token.token == Token::SemiColon) {
        let words: Vec<TokenWithSpan> = part
            .iter()
            .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
            .cloned()
            .collect();
        if !words.is_empty() {
            statements.push(parse_one(sql, words, &positions)?);
        }
    }
    Ok(statements)
}

/// Parses the tokens of one statement: no blanks, no semicolon, not empty.
fn parse_one(sql: &str, mut tokens: Vec<TokenWithSpan>, positions: &Positions) -> Result<Parsed> {
    complexity::check(&tokens)?;
    let first = tokens[0].span.start;
    let end = tokens[tokens.len() - 1].span.end;
    let (start_byte, end_byte) = (positions.byte(first), positions.byte(end));
    let query_start = query_start(&tokens).map(|at| positions.byte(at) - start_byte);
    let secrets = role::secrets(&tokens, positions);
    let emit = event_time::take_emit(&mut tokens);
    structures::quote(sql, &mut tokens, positions);
    structures::call_maps(&mut tokens);
    name_star(&mut tokens);
    structures::name_all_fields(&mut tokens);
    asof::replace(&mut tokens);
    temporal_join::replace(&mut tokens, positions)?;
    columns_as::type_columns(&mut tokens);
    columns_as::move_overriding(&mut tokens, positions)?;
    let watermark = match event_time::take_watermark(&mut tokens) {
        Ok(watermark) => watermark,
        Err(streaming::Fault::Ours(error)) => return Err(error),
        Err(streaming::Fault::Parser(error)) => {
            return Err(syntax_error(&error, first, sql, positions));
        }
    };
    // COPY … FROM STDIN insists on its semicolon. The end carries its place for error messages.
    if is_copy(&tokens) {
        tokens.push(TokenWithSpan::at(Token::SemiColon, end, end));
    }
    tokens.push(TokenWithSpan::at(Token::EOF, end, end));
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens_with_locations(tokens);
    let statement = match streaming::parse_statement(&mut parser) {
        Ok(statement) => statement,
        Err(streaming::Fault::Ours(error)) => return Err(error),
        Err(streaming::Fault::Parser(error)) => {
            let at = parser.get_current_token().span.start;
            return Err(syntax_error(&error, at, sql, positions));
        }
    };
    // From here on nobody can log, show or store a password.
    let mut text = sql[start_byte..end_byte].to_owned();
    for secret in secrets.into_iter().rev() {
        text.replace_range(
            secret.start - start_byte..secret.end - start_byte,
            "'********'",
        );
    }
    Ok(Parsed {
        statement,
        text,
        start: start_byte,
        query_start,
        emit,
        watermark,
    })
}

/// Nested parentheses, subqueries and the like that `sqlparser` follows into.
const RECURSION_MAX: usize = 128;

/// `FORCE_QUOTE *` as `FORCE_QUOTE ("*")`, which `sqlparser` reads.
fn name_star(tokens: &mut Vec<TokenWithSpan>) {
    let is_force = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case("FORCE_QUOTE"),
        _ => false,
    };
    let star =
        (1..tokens.len()).find(|&at| tokens[at].token == Token::Mul && is_force(&tokens[at - 1]));
    if let Some(at) = star {
        let span = tokens[at].span;
        let words = [
            Token::LParen,
            Token::make_word("*", Some('"')),
            Token::RParen,
        ];
        let words = words.map(|token| TokenWithSpan { token, span });
        tokens.splice(at..=at, words);
    }
}

fn is_copy(tokens: &[TokenWithSpan]) -> bool {
    let keyword = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    keyword(&tokens[0]) == Keyword::COPY && tokens.iter().any(|t| keyword(t) == Keyword::STDIN)
}

/// Where the query of a view starts: behind the first `AS` outside of brackets.
fn query_start(tokens: &[TokenWithSpan]) -> Option<sqlparser::tokenizer::Location> {
    let keyword_at = |index: usize| match tokens.get(index).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let create = (0..tokens.len()).find(|&at| keyword_at(at) == Keyword::CREATE)?;
    if create > 0 && keyword_at(0) != Keyword::EXPLAIN {
        return None;
    }
    let mut depth = 0usize;
    let mut is_view = false;
    for at in create..tokens.len() {
        match (&tokens[at].token, keyword_at(at)) {
            (Token::LParen, _) => depth += 1,
            (Token::RParen, _) => depth = depth.saturating_sub(1),
            (_, Keyword::VIEW) => is_view = true,
            (_, Keyword::TABLE | Keyword::SOURCE) if !is_view => return None,
            (_, Keyword::AS) if depth == 0 && is_view => {
                return tokens.get(at + 1).map(|token| token.span.start);
            }
            _ => {}
        }
    }
    None
}

/// PostgreSQL's words for a fault that `sqlparser` found, at the place that it names.
fn syntax_error(
    error: &ParserError,
    current: sqlparser::tokenizer::Location,
    sql: &str,
    positions: &Positions,
) -> Error {
    let text = match error {
        ParserError::RecursionLimitExceeded => {
            return Error::TooComplex {
                limit: RECURSION_MAX,
            };
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let (message, location) = position::split_location(text);
    let location = location.unwrap_or(current);
    let near = positions.word(sql, location);
    let place = match near {
        Some(word) => format!("syntax error at or near \"{word}\""),
        None => "syntax error at end of input".to_owned(),
    };
    // PostgreSQL says where, and no more; neither does it say what it expected.
    let message = match message.starts_with("Expected: ") {
        true => place,
        false => format!("{place}: {message}"),
    };
    Error::Syntax {
        message,
        position: positions.character(location),
    }
}

/// PostgreSQL's words for the common faults within a token.
fn tokenizer_message(message: &str) -> String {
    match message {
        "Unterminated string literal" => "unterminated quoted string".to_owned(),
        "Unexpected EOF while in a multi-line comment" => "unterminated /* comment".to_owned(),
        other if other.starts_with("Expected close delimiter '\"'") => {
            "unterminated quoted identifier".to_owned()
        }
        other => format!("syntax error: {other}"),
    }
}
