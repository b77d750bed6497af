//! The streaming statements, told from PostgreSQL's by their first keywords.
//!
//! Each function starts behind the keywords that chose it and reads to the end of the statement.
//! Names and column lists are read by `sqlparser`.
//! Not here: `ALTER … SET PARALLELISM` and its kin (`scaling`).

use std::collections::BTreeMap;

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::alter::alter_relation;
use super::create_table::{TableExtras, table_extras};
use super::cursor::cursor_statement;
use super::database::database_statement;
use super::privilege::privilege_statement;
use super::role::role_statement;
use super::scaling;
use super::sequence::create_sequence;
use super::sink::sink_statement;
use super::subscribe::{copy_subscribe, subscribe};
use super::with_changes::unwrapped;
use super::{ExplainFormat, ExplainOptions, ObjectKind, Show, Statement};
use crate::error::Error;

/// A fault, with or without a place of its own.
pub(super) enum Fault {
    /// Found by `sqlparser`, or by its helpers: a place is in the text.
    Parser(ParserError),
    /// Understood, and refused.
    Ours(Error),
}

impl From<ParserError> for Fault {
    fn from(error: ParserError) -> Self {
        Self::Parser(error)
    }
}

pub(super) type Result<T> = std::result::Result<T, Fault>;

/// Reads one statement up to the end of the tokens.
pub(super) fn parse_statement(parser: &mut Parser<'_>) -> Result<Statement> {
    let statement = parse_body(parser)?;
    while parser.consume_token(&Token::SemiColon) {}
    if parser.peek_token_ref().token != Token::EOF {
        return Ok(parser.expected_ref("end of statement", parser.peek_token_ref())?);
    }
    Ok(statement)
}

pub(super) fn parse_body(parser: &mut Parser<'_>) -> Result<Statement> {
    if let Some(statement) = cursor_statement(parser)? {
        Ok(statement)
    } else if take(parser, &["SUBSCRIBE"]) {
        subscribe(parser).map(Statement::Subscribe)
    } else if let Some((subscribe, copy)) = copy_subscribe(parser)? {
        Ok(Statement::CopySubscribe { subscribe, copy })
    } else if take(parser, &["VERIFY", "MATERIALIZED", "VIEW"]) {
        let name = parser.parse_object_name(false)?;
        Ok(Statement::Verify { name })
    } else if take(parser, &["CREATE", "SOURCE"]) {
        create_source(parser)
    } else if take(parser, &["DROP", "SOURCE"]) {
        drop_source(parser)
    } else if let Some(statement) = sink_statement(parser)? {
        Ok(statement)
    } else if take(parser, &["CREATE", "SEQUENCE"]) {
        Ok(Statement::Pg(Box::new(create_sequence(parser)?)))
    } else if let Some(statement) = role_statement(parser)? {
        Ok(statement)
    } else if let Some(statement) = database_statement(parser)? {
        Ok(statement)
    } else if let Some(statement) = privilege_statement(parser)? {
        Ok(statement)
    } else if let Some(alter) = alter_relation(parser)? {
        Ok(Statement::AlterRelation(alter))
    } else if let Some(alter) = scaling::alter(parser)? {
        Ok(Statement::AlterScaling(alter))
    } else if take(parser, &["CANCEL", "RESCALE"]) {
        let id = scaling::number(parser)?;
        Ok(Statement::CancelRescale { id })
    } else if take(parser, &["CANCEL", "JOBS"]) || take(parser, &["CANCEL", "JOB"]) {
        let mut ids = vec![scaling::number(parser)?];
        while parser.consume_token(&Token::Comma) {
            ids.push(scaling::number(parser)?);
        }
        Ok(Statement::CancelJobs { ids })
    } else if take(parser, &["FLUSH"]) {
        Ok(Statement::Flush)
    } else if take(parser, &["WAIT"]) {
        Ok(Statement::Wait)
    } else if take(parser, &["REFRESH", "MATERIALIZED", "VIEW"]) {
        refresh(parser)
    } else if take(parser, &["SHOW", "CREATE"]) {
        let kind = object_kind(parser)?;
        let name = parser.parse_object_name(false)?;
        Ok(Statement::ShowCreate { kind, name })
    } else if take(parser, &["SHOW"]) {
        show(parser).map(Statement::Show)
    } else if take(parser, &["DESCRIBE"]) {
        let name = parser.parse_object_name(false)?;
        Ok(Statement::Describe { name })
    } else if take(parser, &["EXPLAIN"]) {
        explain(parser)
    } else {
        refuse_unknown_streaming(parser)?;
        match parser.parse_statement()? {
            ast::Statement::CreateTable(table) => {
                let extras = table_extras(parser)?;
                Ok(if extras == TableExtras::default() {
                    Statement::Pg(Box::new(ast::Statement::CreateTable(table)))
                } else {
                    let table = Box::new(table);
                    Statement::CreateTable { table, extras }
                })
            }
            ast::Statement::Query(query) => Ok(Statement::Pg(Box::new(unwrapped(query)?))),
            other => Ok(Statement::Pg(Box::new(other))),
        }
    }
}

fn refresh(parser: &mut Parser<'_>) -> Result<Statement> {
    take(parser, &["CONCURRENTLY"]);
    let name = parser.parse_object_name(false)?;
    if take(parser, &["WITH", "NO", "DATA"]) {
        return Err(Fault::Ours(Error::unsupported(
            "REFRESH MATERIALIZED VIEW WITH NO DATA",
            "a materialized view always has its rows",
        )));
    }
    take(parser, &["WITH", "DATA"]);
    Ok(Statement::Refresh { name })
}

fn create_source(parser: &mut Parser<'_>) -> Result<Statement> {
    let if_not_exists = take(parser, &["IF", "NOT", "EXISTS"]);
    let name = parser.parse_object_name(false)?;
    let (columns, constraints) = parser.parse_columns()?;
    if !constraints.is_empty() {
        return Err(Fault::Ours(Error::unsupported(
            "a constraint of a source",
            "declare the primary key of a table, and insert from the source's view",
        )));
    }
    parser.expect_keyword_is(Keyword::WITH)?;
    let options = with_options(parser)?;
    if take(parser, &["FORMAT"]) || take(parser, &["ROW", "FORMAT"]) {
        return Err(Fault::Ours(Error::unsupported(
            "FORMAT … ENCODE …",
            "the nexmark connector has no encoding; leave the clause out",
        )));
    }
    Ok(Statement::CreateSource {
        name,
        if_not_exists,
        columns,
        options,
    })
}

/// `(key = value, …)`: dotted keys, values as strings, numbers or words.
pub(super) fn with_options(parser: &mut Parser<'_>) -> Result<BTreeMap<String, String>> {
    parser.expect_token(&Token::LParen)?;
    let mut options = BTreeMap::new();
    if parser.consume_token(&Token::RParen) {
        return Ok(options);
    }
    loop {
        let key = option_key(parser)?;
        parser.expect_token(&Token::Eq)?;
        let value = option_value(parser)?;
        if options.insert(key.clone(), value).is_some() {
            return Err(Fault::Ours(Error::InvalidParameter {
                message: format!("option \"{key}\" specified more than once"),
            }));
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
        if parser.peek_token_ref().token == Token::RParen {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

pub(super) fn option_key(parser: &mut Parser<'_>) -> Result<String> {
    let mut key = String::new();
    loop {
        let token = parser.next_token();
        match token.token {
            Token::Word(word) => key.push_str(&word.value.to_lowercase()),
            Token::SingleQuotedString(text) => key.push_str(&text.to_lowercase()),
            _ => return Ok(parser.expected("an option name", token)?),
        }
        if !parser.consume_token(&Token::Period) {
            return Ok(key);
        }
        key.push('.');
    }
}

pub(super) fn option_value(parser: &mut Parser<'_>) -> Result<String> {
    let minus = parser.consume_token(&Token::Minus);
    let token = parser.next_token();
    let value = match token.token {
        Token::Number(digits, _) => digits,
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if !minus => text,
        Token::Word(word) if !minus => word.value,
        _ => return Ok(parser.expected("an option value", token)?),
    };
    Ok(if minus { format!("-{value}") } else { value })
}

fn drop_source(parser: &mut Parser<'_>) -> Result<Statement> {
    let if_exists = take(parser, &["IF", "EXISTS"]);
    let names = parser.parse_comma_separated(|parser| parser.parse_object_name(false))?;
    let cascade = take(parser, &["CASCADE"]);
    if !cascade {
        take(parser, &["RESTRICT"]);
    }
    Ok(Statement::DropRelations {
        kind: ObjectKind::Source,
        names,
        if_exists,
        cascade,
    })
}

fn object_kind(parser: &mut Parser<'_>) -> Result<ObjectKind> {
    if take(parser, &["MATERIALIZED", "VIEW"]) {
        Ok(ObjectKind::MaterializedView)
    } else if take(parser, &["VIEW"]) {
        Ok(ObjectKind::View)
    } else if take(parser, &["SOURCE"]) {
        Ok(ObjectKind::Source)
    } else if take(parser, &["TABLE"]) {
        Ok(ObjectKind::Table)
    } else if take(parser, &["SEQUENCE"]) {
        Ok(ObjectKind::Sequence)
    } else if take(parser, &["INDEX"]) {
        Ok(ObjectKind::Index)
    } else if take(parser, &["SINK"]) {
        Ok(ObjectKind::Sink)
    } else {
        let expected = "TABLE, VIEW, SOURCE, MATERIALIZED VIEW or SEQUENCE";
        Ok(parser.expected_ref(expected, parser.peek_token_ref())?)
    }
}

fn show(parser: &mut Parser<'_>) -> Result<Show> {
    for (words, show) in [
        (["COLUMNS"], Show::Columns as fn(_) -> _),
        (["INDEXES"], Show::Indexes),
    ] {
        if take(parser, &words) {
            parser.expect_keyword_is(Keyword::FROM)?;
            return Ok(show(parser.parse_object_name(false)?));
        }
    }
    let lists: [(&[&str], Show); 14] = [
        (&["JOBS"], Show::Jobs),
        (&["TABLES"], Show::Tables),
        (&["SOURCES"], Show::Sources),
        (&["SINKS"], Show::Sinks),
        (&["VIEWS"], Show::Views),
        (&["MATERIALIZED", "VIEWS"], Show::MaterializedViews),
        (&["RESCALES"], Show::Rescales),
        (&["SEQUENCES"], Show::Sequences),
        (&["SCHEMAS"], Show::Schemas),
        (&["DATABASES"], Show::Databases),
        (&["ALL"], Show::All),
        (&["TIME", "ZONE"], Show::Variable("timezone".to_owned())),
        (
            &["TRANSACTION", "ISOLATION", "LEVEL"],
            Show::Variable("transaction_isolation".to_owned()),
        ),
        (
            &["SESSION", "AUTHORIZATION"],
            Show::Variable("session_authorization".to_owned()),
        ),
    ];
    for (words, what) in lists {
        if take(parser, words) {
            return Ok(what);
        }
    }
    let name = parser.parse_object_name(false)?;
    let parts: Vec<String> = name.0.iter().map(|part| part.to_string()).collect();
    Ok(Show::Variable(parts.join(".").to_lowercase()))
}

fn explain(parser: &mut Parser<'_>) -> Result<Statement> {
    let mut options = ExplainOptions::default();
    if parser.peek_token_ref().token == Token::LParen && !is_query_in_parentheses(parser) {
        explain_options(parser, &mut options)?;
    } else {
        options.analyze = take(parser, &["ANALYZE"]);
        options.verbose = take(parser, &["VERBOSE"]);
    }
    if let Some(alter) = scaling::alter(parser)? {
        return Ok(Statement::ExplainAlterScaling { alter, options });
    }
    let job_kinds: [(&[&str], ObjectKind); 3] = [
        (&["MATERIALIZED", "VIEW"], ObjectKind::MaterializedView),
        (&["TABLE"], ObjectKind::Table),
        (&["INDEX"], ObjectKind::Index),
    ];
    if options.analyze
        && let Some((_, kind)) = job_kinds.into_iter().find(|(words, _)| take(parser, words))
    {
        let name = parser.parse_object_name(false)?;
        return Ok(Statement::ExplainJob { kind, name });
    }
    match parser.parse_statement()? {
        ast::Statement::Query(query) => Ok(Statement::ExplainQuery { query, options }),
        ast::Statement::CreateView(view) if view.materialized => {
            Ok(Statement::ExplainCreateMaterializedView {
                view: Box::new(view),
                options,
            })
        }
        _ => Err(Fault::Ours(Error::unsupported(
            "EXPLAIN of this statement",
            "EXPLAIN takes a query, CREATE MATERIALIZED VIEW, or ALTER … SET PARALLELISM",
        ))),
    }
}

fn is_query_in_parentheses(parser: &Parser<'_>) -> bool {
    match &parser.peek_nth_token_ref(1).token {
        Token::LParen => true,
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::SELECT | Keyword::WITH | Keyword::VALUES
        ),
        _ => false,
    }
}

/// `(ANALYZE, VERBOSE [TRUE | FALSE], FORMAT TEXT, …)`.
fn explain_options(parser: &mut Parser<'_>, options: &mut ExplainOptions) -> Result<()> {
    parser.expect_token(&Token::LParen)?;
    loop {
        let name = parser.parse_identifier()?.value.to_lowercase();
        let mut value = "true".to_owned();
        if !matches!(parser.peek_token_ref().token, Token::Comma | Token::RParen) {
            value = option_value(parser)?.to_lowercase();
        }
        let on = matches!(value.as_str(), "true" | "on" | "1");
        match name.as_str() {
            "analyze" => options.analyze = on,
            "verbose" => options.verbose = on,
            "format" if value == "text" => options.format = ExplainFormat::Text,
            "format" if value == "json" => options.format = ExplainFormat::Json,
            "format" => {
                return Err(Fault::Ours(Error::unsupported(
                    format!("EXPLAIN format {value}"),
                    "use FORMAT TEXT or JSON",
                )));
            }
            // PostgreSQL's other options only leave things out of, or add costs to, its output.
            "costs" | "settings" | "generic_plan" | "buffers" | "wal" | "timing" | "summary" => {}
            _ => {
                return Err(Fault::Ours(Error::InvalidParameter {
                    message: format!("unrecognized EXPLAIN option \"{name}\""),
                }));
            }
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(())
}

/// Streaming statements of other systems get a clear answer instead of a syntax error.
fn refuse_unknown_streaming(parser: &mut Parser<'_>) -> Result<()> {
    for verb in ["CREATE", "DROP", "ALTER"] {
        for object in ["SUBSCRIPTION", "CONNECTION"] {
            if take(parser, &[verb, object]) {
                return Err(Fault::Ours(Error::unsupported(
                    format!("{verb} {object}"),
                    "read the rows of a materialized view with SELECT",
                )));
            }
        }
    }
    Ok(())
}

/// Consumes these words if they come next, none of them otherwise. Words that `sqlparser` does
/// not know as keywords count too; quoted ones do not.
pub(super) fn take(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    let matches = follows(parser, words);
    if matches {
        for _ in words {
            parser.advance_token();
        }
    }
    matches
}

/// Whether these words come next; none of them is consumed.
pub(super) fn follows(parser: &Parser<'_>, words: &[&str]) -> bool {
    words.iter().enumerate().all(
        |(at, expected)| match &parser.peek_nth_token_ref(at).token {
            Token::Word(word) => {
                word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected)
            }
            _ => false,
        },
    )
}
