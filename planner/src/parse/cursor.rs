//! Cursors and prepared statements: `DECLARE`, `FETCH`, `MOVE`, `CLOSE`, `PREPARE`, `EXECUTE`.
//!
//! Grammar: PostgreSQL manual, reference pages of these statements; `FETCH … WITH (timeout = t)`
//! is Materialize's.

use std::collections::BTreeMap;

use sqlparser::ast;
use sqlparser::ast::{Expr, Ident, Query};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Statement;
use super::streaming::{Fault, Result, parse_body, take, with_options};
use super::subscribe::{Subscribe, subscribe};
use crate::error::Error;

/// `DECLARE name [BINARY] [ASENSITIVE | INSENSITIVE] [[NO] SCROLL] CURSOR [{WITH | WITHOUT} HOLD]
/// FOR body`.
#[derive(Clone, Debug)]
pub struct Declare {
    /// The cursor.
    pub name: Ident,
    /// Whether its values are binary.
    pub binary: bool,
    /// Whether it shall go backwards.
    pub scroll: bool,
    /// Whether it outlives its transaction.
    pub hold: bool,
    /// What it reads.
    pub body: CursorBody,
}

/// What a cursor reads.
#[derive(Clone, Debug)]
pub enum CursorBody {
    /// The rows of a query.
    Query(Box<Query>),
    /// Changes, as they come.
    Subscribe(Subscribe),
}

/// `FETCH` or `MOVE [direction] [FROM | IN] cursor [WITH (options)]`.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The cursor.
    pub cursor: Ident,
    /// Which rows.
    pub direction: Direction,
    /// Whether the rows are returned, or only passed over.
    pub returns_rows: bool,
    /// The `WITH` options, not yet checked; keys in lower case.
    pub options: BTreeMap<String, String>,
}

/// Where a `FETCH` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The next so many rows: `NEXT`, `n`, `FORWARD n`.
    Forward(u64),
    /// All rows that are left: `ALL`, `FORWARD ALL`.
    ForwardAll,
    /// One row, so many rows from here; 0 is the present one.
    Relative(i64),
    /// One row, so many from the start, or from the end if negative.
    Absolute(i64),
    /// `LAST`
    Last,
    /// `PRIOR`, `BACKWARD …`, negative counts.
    Backward,
}

/// `PREPARE name [(types)] AS statement`.
#[derive(Clone, Debug)]
pub struct Prepare {
    /// The prepared statement.
    pub name: Ident,
    /// Types of its parameters, as far as given.
    pub types: Vec<ast::DataType>,
    /// What it does.
    pub statement: Box<Statement>,
}

/// `EXECUTE name [(values)]`.
#[derive(Clone, Debug)]
pub struct Execute {
    /// The prepared statement.
    pub name: Ident,
    /// Its parameters.
    pub values: Vec<Expr>,
}

/// Reads one of the statements of this file, or nothing.
pub(super) fn cursor_statement(parser: &mut Parser<'_>) -> Result<Option<Statement>> {
    Ok(Some(if take(parser, &["DECLARE"]) {
        Statement::Declare(declare(parser)?)
    } else if take(parser, &["FETCH"]) {
        Statement::Fetch(fetch(parser, true)?)
    } else if take(parser, &["MOVE"]) {
        Statement::Fetch(fetch(parser, false)?)
    } else if take(parser, &["CLOSE", "ALL"]) {
        Statement::CloseCursor { name: None }
    } else if take(parser, &["CLOSE"]) {
        let name = Some(parser.parse_identifier()?);
        Statement::CloseCursor { name }
    } else if take(parser, &["PREPARE"]) {
        Statement::Prepare(prepare(parser)?)
    } else if take(parser, &["EXECUTE"]) {
        Statement::Execute(execute(parser)?)
    } else {
        return Ok(None);
    }))
}

fn declare(parser: &mut Parser<'_>) -> Result<Declare> {
    let name = parser.parse_identifier()?;
    let (mut binary, mut scroll) = (false, false);
    while !take(parser, &["CURSOR"]) {
        if take(parser, &["BINARY"]) {
            binary = true;
        } else if take(parser, &["SCROLL"]) {
            scroll = true;
        } else if !(take(parser, &["NO", "SCROLL"])
            || take(parser, &["ASENSITIVE"])
            || take(parser, &["INSENSITIVE"]))
        {
            return Ok(parser.expected_ref("CURSOR", parser.peek_token_ref())?);
        }
    }
    let hold = take(parser, &["WITH", "HOLD"]);
    if !hold {
        take(parser, &["WITHOUT", "HOLD"]);
    }
    parser.expect_keyword_is(Keyword::FOR)?;
    let body = if take(parser, &["SUBSCRIBE"]) {
        CursorBody::Subscribe(subscribe(parser)?)
    } else {
        CursorBody::Query(parser.parse_query()?)
    };
    Ok(Declare {
        name,
        binary,
        scroll,
        hold,
        body,
    })
}

fn fetch(parser: &mut Parser<'_>, returns_rows: bool) -> Result<Fetch> {
    let direction = direction(parser)?;
    if !take(parser, &["FROM"]) {
        take(parser, &["IN"]);
    }
    let cursor = parser.parse_identifier()?;
    let options = if take(parser, &["WITH"]) {
        with_options(parser)?
    } else {
        BTreeMap::new()
    };
    Ok(Fetch {
        cursor,
        direction,
        returns_rows,
        options,
    })
}

fn direction(parser: &mut Parser<'_>) -> Result<Direction> {
    // A cursor may be called `next`: a word is a direction only if something follows it.
    if matches!(
        parser.peek_nth_token_ref(1).token,
        Token::EOF | Token::SemiColon
    ) {
        return Ok(Direction::Forward(1));
    }
    Ok(if take(parser, &["NEXT"]) {
        Direction::Forward(1)
    } else if take(parser, &["PRIOR"]) {
        Direction::Backward
    } else if take(parser, &["FIRST"]) {
        Direction::Absolute(1)
    } else if take(parser, &["LAST"]) {
        Direction::Last
    } else if take(parser, &["ABSOLUTE"]) {
        Direction::Absolute(signed(parser)?)
    } else if take(parser, &["RELATIVE"]) {
        Direction::Relative(signed(parser)?)
    } else if take(parser, &["BACKWARD"]) {
        if !take(parser, &["ALL"]) && starts_number(parser) {
            signed(parser)?;
        }
        Direction::Backward
    } else {
        take(parser, &["FORWARD"]);
        if take(parser, &["ALL"]) {
            Direction::ForwardAll
        } else if starts_number(parser) {
            let count = signed(parser)?;
            u64::try_from(count).map_or(Direction::Backward, Direction::Forward)
        } else {
            Direction::Forward(1)
        }
    })
}

fn starts_number(parser: &Parser<'_>) -> bool {
    matches!(
        parser.peek_token_ref().token,
        Token::Number(..) | Token::Minus | Token::Plus
    )
}

fn signed(parser: &mut Parser<'_>) -> Result<i64> {
    let minus = parser.consume_token(&Token::Minus);
    let _plus = !minus && parser.consume_token(&Token::Plus);
    let token = parser.next_token();
    let number = match &token.token {
        Token::Number(digits, _) => digits.parse::<i64>().ok(),
        _ => None,
    };
    match number {
        Some(number) if minus => Ok(-number),
        Some(number) => Ok(number),
        None => Ok(parser.expected("a whole number", token)?),
    }
}

fn prepare(parser: &mut Parser<'_>) -> Result<Prepare> {
    let name = parser.parse_identifier()?;
    let mut types = Vec::new();
    if parser.consume_token(&Token::LParen) {
        types = parser.parse_comma_separated(Parser::parse_data_type)?;
        parser.expect_token(&Token::RParen)?;
    }
    parser.expect_keyword_is(Keyword::AS)?;
    let statement = Box::new(parse_body(parser)?);
    let can_be_prepared = matches!(
        &*statement,
        Statement::Pg(pg) if matches!(
            **pg,
            ast::Statement::Query(_)
                | ast::Statement::Insert(_)
                | ast::Statement::Update(_)
                | ast::Statement::Delete(_)
        )
    );
    if !can_be_prepared {
        return Err(Fault::Ours(Error::unsupported(
            "PREPARE of this statement",
            "PREPARE takes SELECT, VALUES, INSERT, UPDATE and DELETE",
        )));
    }
    Ok(Prepare {
        name,
        types,
        statement,
    })
}

fn execute(parser: &mut Parser<'_>) -> Result<Execute> {
    let name = parser.parse_identifier()?;
    let mut values = Vec::new();
    if parser.consume_token(&Token::LParen) && !parser.consume_token(&Token::RParen) {
        values = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RParen)?;
    }
    Ok(Execute { name, values })
}
