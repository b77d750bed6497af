//! `SUBSCRIBE`: the rows of a relation or query, then its changes as they happen.
//!
//! Grammar: Materialize's, `SUBSCRIBE [TO] {name | (query)} [WITH (options)] [AS OF epoch]
//! [UP TO epoch]`, the clauses in any order. It stands alone, in a cursor (`cursor.rs`), and in
//! `COPY (SUBSCRIBE …) TO STDOUT`.

use std::collections::BTreeMap;

use sqlparser::ast;
use sqlparser::ast::{ObjectName, Query};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::scaling::number;
use super::streaming::{Fault, Result, follows, option_key, option_value, take};
use crate::error::Error;

/// `SUBSCRIBE …`
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// What it reads.
    pub of: Subscribed,
    /// The `WITH` options, not yet checked; keys in lower case.
    pub options: BTreeMap<String, String>,
    /// The epoch whose rows the reader has already.
    pub as_of: Option<u64>,
    /// The first epoch that the reader does not want.
    pub up_to: Option<u64>,
}

/// What a `SUBSCRIBE` reads.
#[derive(Clone, Debug)]
pub enum Subscribed {
    /// A relation, as written.
    Relation(ObjectName),
    /// A query.
    Query(Box<Query>),
}

/// Reads what follows the keyword.
pub(super) fn subscribe(parser: &mut Parser<'_>) -> Result<Subscribe> {
    take(parser, &["TO"]);
    let of = if parser.consume_token(&Token::LParen) {
        let query = parser.parse_query()?;
        parser.expect_token(&Token::RParen)?;
        Subscribed::Query(query)
    } else {
        Subscribed::Relation(parser.parse_object_name(false)?)
    };
    let mut subscribe = Subscribe {
        of,
        options: BTreeMap::new(),
        as_of: None,
        up_to: None,
    };
    loop {
        if subscribe.options.is_empty() && take(parser, &["WITH"]) {
            subscribe.options = options(parser)?;
        } else if subscribe.as_of.is_none() && take(parser, &["AS", "OF"]) {
            subscribe.as_of = Some(number(parser)?);
        } else if subscribe.up_to.is_none() && take(parser, &["UP", "TO"]) {
            subscribe.up_to = Some(number(parser)?);
        } else if follows(parser, &["ENVELOPE"]) || follows(parser, &["WITHIN"]) {
            return Err(Fault::Ours(Error::unsupported(
                "ENVELOPE and WITHIN of SUBSCRIBE",
                "rows come with their weights, epoch by epoch",
            )));
        } else {
            return Ok(subscribe);
        }
    }
}

/// `(name [= value], …)`; without a value it is `true`.
fn options(parser: &mut Parser<'_>) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    parser.expect_token(&Token::LParen)?;
    loop {
        let name = option_key(parser)?;
        let value = if parser.consume_token(&Token::Eq) {
            option_value(parser)?
        } else {
            "true".to_owned()
        };
        options.insert(name, value);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

/// `COPY (SUBSCRIBE …) TO …` as the subscription and the COPY of a relation in its place; nothing
/// if it is another statement.
pub(super) fn copy_subscribe(
    parser: &mut Parser<'_>,
) -> Result<Option<(Subscribe, Box<ast::Statement>)>> {
    let is_one = follows(parser, &["COPY"])
        && parser.peek_nth_token_ref(1).token == Token::LParen
        && matches!(&parser.peek_nth_token_ref(2).token,
            Token::Word(word) if word.value.eq_ignore_ascii_case("SUBSCRIBE"));
    if !is_one {
        return Ok(None);
    }
    let copy = parser.next_token();
    parser.advance_token();
    parser.advance_token();
    let subscribe = subscribe(parser)?;
    let end = parser.expect_token(&Token::RParen)?;
    let relation = TokenWithSpan::new(Token::make_word("changes", None), end.span);
    let mut tokens = vec![copy, relation];
    while tokens.last().is_some_and(|last| last.token != Token::EOF) {
        tokens.push(parser.next_token());
    }
    let mut rest = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
    let statement = rest.parse_statement()?;
    if rest.peek_token_ref().token != Token::EOF {
        return Ok(rest.expected_ref("end of statement", rest.peek_token_ref())?);
    }
    match &statement {
        ast::Statement::Copy { to: true, .. } => Ok(Some((subscribe, Box::new(statement)))),
        _ => Ok(rest.expected_ref("TO", &end)?),
    }
}
