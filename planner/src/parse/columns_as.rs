//! Two clauses that `sqlparser` does not read.
//!
//! | written | becomes |
//! | --- | --- |
//! | `CREATE TABLE t (a, b) AS query` | columns of the type [`AS_QUERIED`], which nobody can write |
//! | `INSERT INTO t (…) OVERRIDING SYSTEM VALUE …` | `INSERT OVERWRITE INTO t (…) …`, which PostgreSQL does not have |

use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::position::Positions;
use crate::error::{Error, Result};

/// The type of a column whose type is that of a query's column.
pub(crate) const AS_QUERIED: &str = "as queried";

/// Gives the columns of `CREATE TABLE t (a, b) AS` a type.
pub(super) fn type_columns(tokens: &mut Vec<TokenWithSpan>) {
    let Some(open) = after_name(tokens) else {
        return;
    };
    let mut at = open + 1;
    let mut names = Vec::new();
    while let Some(Token::Word(_)) = tokens.get(at).map(|token| &token.token) {
        names.push(at);
        match tokens.get(at + 1).map(|token| &token.token) {
            Some(Token::Comma) => at += 2,
            Some(Token::RParen) if is(tokens.get(at + 2), "as") => break,
            _ => return,
        }
    }
    let ends = tokens.get(at + 1).map(|token| &token.token) == Some(&Token::RParen);
    if !ends || names.is_empty() {
        return;
    }
    for name in names.into_iter().rev() {
        let mut data_type = tokens[name].clone();
        data_type.token = Token::Word(Word {
            value: AS_QUERIED.to_owned(),
            quote_style: Some('"'),
            keyword: sqlparser::keywords::Keyword::NoKeyword,
        });
        tokens.insert(name + 1, data_type);
    }
}

/// The bracket behind `CREATE TABLE [IF NOT EXISTS] name`.
fn after_name(tokens: &[TokenWithSpan]) -> Option<usize> {
    let is_create = is(tokens.first(), "create");
    let table = (1..3).find(|&at| is(tokens.get(at), "table"))?;
    let is_conditional = is(tokens.get(table + 1), "if") && is(tokens.get(table + 3), "exists");
    let mut at = table + 1 + if is_conditional { 3 } else { 0 };
    let token = |at: usize| tokens.get(at).map(|token| &token.token);
    while let (Some(Token::Word(_)), Some(Token::Period)) = (token(at), token(at + 1)) {
        at += 2;
    }
    let is_list =
        matches!(token(at), Some(Token::Word(_))) && token(at + 1) == Some(&Token::LParen);
    (is_create && is_list).then_some(at + 1)
}

/// Moves `OVERRIDING SYSTEM VALUE`.
pub(super) fn move_overriding(
    tokens: &mut Vec<TokenWithSpan>,
    positions: &Positions,
) -> Result<()> {
    let Some(insert) = tokens.iter().position(|token| is(Some(token), "insert")) else {
        return Ok(());
    };
    if is(tokens.get(insert + 1), "overwrite") {
        return Err(Error::Syntax {
            message: "syntax error at or near \"OVERWRITE\"".to_owned(),
            position: positions.character(tokens[insert + 1].span.start),
        });
    }
    let clause = (insert..tokens.len())
        .find(|&at| is(tokens.get(at), "overriding") && is(tokens.get(at + 2), "value"));
    let Some(clause) = clause else {
        return Ok(());
    };
    if !is(tokens.get(clause + 1), "system") {
        return Err(Error::unsupported(
            "OVERRIDING USER VALUE",
            "leave the identity columns out, or write DEFAULT",
        ));
    }
    let mut mark = tokens[clause].clone();
    mark.token = Token::make_keyword("OVERWRITE");
    tokens.drain(clause..clause + 3);
    tokens.insert(insert + 1, mark);
    Ok(())
}

fn is(token: Option<&TokenWithSpan>, word: &str) -> bool {
    match token.map(|token| &token.token) {
        Some(Token::Word(found)) => {
            found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
        }
        _ => false,
    }
}
