//! What `sqlparser` does not know of event time: `WATERMARK FOR` in the column list of tables and
//! sources, and `EMIT ON WINDOW CLOSE` behind the query of a view. Both are RisingWave's.
//!
//! They are taken out of the tokens before the statement is read.

use std::time::Duration;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use sqlparser::ast::{Expr, Ident};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::streaming::{Fault, Result, take, with_options};
use crate::error::Error;

/// `WATERMARK FOR column AS expr [WITH (idle_timeout = interval)]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkClause {
    /// The column.
    pub column: Ident,
    /// The watermark that each row makes.
    pub expr: Expr,
    /// After which time without rows the watermark goes on with the clock.
    pub idle_timeout: Option<Duration>,
}

/// When the rows of a view come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// As soon as they are known, to be corrected later.
    #[default]
    Immediately,
    /// When no later row can change them: `EMIT ON WINDOW CLOSE`.
    OnWindowClose,
}

/// Takes `EMIT ON WINDOW CLOSE` from the end of a statement.
pub(super) fn take_emit(tokens: &mut Vec<TokenWithSpan>) -> Emit {
    const WORDS: [&str; 4] = ["emit", "on", "window", "close"];
    let Some(start) = tokens.len().checked_sub(WORDS.len()).filter(|&at| at > 0) else {
        return Emit::Immediately;
    };
    if !are(&tokens[start..], &WORDS) {
        return Emit::Immediately;
    }
    tokens.truncate(start);
    Emit::OnWindowClose
}

/// Takes `WATERMARK FOR …` from the column list of a `CREATE TABLE` or `CREATE SOURCE`, with its
/// comma.
///
/// # Errors
/// If it is not well formed.
pub(super) fn take_watermark(tokens: &mut Vec<TokenWithSpan>) -> Result<Option<WatermarkClause>> {
    if !creates_rows(tokens) {
        return Ok(None);
    }
    let mut depth = 0_usize;
    let mut found: Option<usize> = None;
    for at in 0..tokens.len() {
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        let begins = matches!(tokens[at].token, Token::Comma | Token::LParen) && depth == 1;
        if begins && are(&tokens[at + 1..], &["watermark", "for"]) {
            found = Some(at + 1);
            break;
        }
    }
    let Some(start) = found else {
        return Ok(None);
    };
    let mut depth = 1_usize;
    let mut end = start;
    while end < tokens.len() {
        match tokens[end].token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && tokens[end].token == Token::Comma) {
            break;
        }
        end += 1;
    }
    let clause: Vec<_> = tokens[start + 2..end].to_vec();
    // With the comma in front of it, or else the one behind it.
    if tokens[start - 1].token == Token::Comma {
        tokens.drain(start - 1..end);
    } else {
        let comma = tokens
            .get(end)
            .is_some_and(|next| next.token == Token::Comma);
        tokens.drain(start..end + usize::from(comma));
    }
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(clause);
    let column = parser.parse_identifier()?;
    parser.expect_keyword_is(Keyword::AS)?;
    let expr = parser.parse_expr()?;
    let mut idle_timeout = None;
    if take(&mut parser, &["WITH"]) {
        for (option, value) in with_options(&mut parser)? {
            if option != "idle_timeout" {
                return Err(Fault::Ours(Error::InvalidParameter {
                    message: format!("unrecognized option \"{option}\" of a watermark"),
                }));
            }
            idle_timeout = Some(positive(&value).ok_or_else(|| {
                Fault::Ours(Error::InvalidParameter {
                    message: format!(
                        "invalid value for option \"idle_timeout\": \"{value}\" (expected an interval such as 1 minute)"
                    ),
                })
            })?);
        }
    }
    parser.expect_token(&Token::EOF)?;
    Ok(Some(WatermarkClause {
        column,
        expr,
        idle_timeout,
    }))
}

/// An interval of a fixed length that is not zero.
fn positive(text: &str) -> Option<Duration> {
    let interval = parse_interval_month_day_nano(text).ok()?;
    if interval.months != 0 || interval.days != 0 {
        return None;
    }
    let length = Duration::from_nanos(interval.nanoseconds.try_into().ok()?);
    (!length.is_zero()).then_some(length)
}

fn creates_rows(tokens: &[TokenWithSpan]) -> bool {
    are(tokens, &["create", "table"]) || are(tokens, &["create", "source"])
}

/// Whether tokens begin with these words, without quotes.
fn are(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    tokens.len() >= words.len()
        && tokens
            .iter()
            .zip(words)
            .all(|(token, expected)| match &token.token {
                Token::Word(word) => {
                    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected)
                }
                _ => false,
            })
}
