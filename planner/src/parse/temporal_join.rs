//! `FOR SYSTEM_TIME AS OF PROCTIME()` behind a relation. `sqlparser` does not read it in PostgreSQL's dialect, so the
//! tokens become `WITH ORDINALITY`, which stands behind functions alone ([`crate::temporal_join`]).

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::position::Positions;
use crate::error::{Error, Result};

/// Replaces the words of a statement.
pub(super) fn replace(tokens: &mut Vec<TokenWithSpan>, positions: &Positions) -> Result<()> {
    let mut at = 0;
    while at < tokens.len() {
        let rest = &tokens[at..];
        if at > 0 && starts_with(rest, &["with", "ordinality"]) && !is_end_of_call(&tokens[at - 1])
        {
            return Err(Error::Syntax {
                message: "syntax error at or near \"WITH\"".to_owned(),
                position: positions.character(tokens[at].span.start),
            });
        }
        if starts_with(rest, &["for", "system_time", "as", "of"]) {
            if !starts_with(&rest[4..], &["proctime", "(", ")"]) {
                return Err(Error::unsupported(
                    "FOR SYSTEM_TIME AS OF a time",
                    "write FOR SYSTEM_TIME AS OF PROCTIME(), or ASOF JOIN with a condition on times",
                ));
            }
            tokens[at].token = Token::make_keyword("WITH");
            tokens[at + 1].token = Token::make_keyword("ORDINALITY");
            tokens.drain(at + 2..at + 7);
        }
        at += 1;
    }
    Ok(())
}

fn is_end_of_call(token: &TokenWithSpan) -> bool {
    token.token == Token::RParen
}

fn starts_with(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    let is = |token: &TokenWithSpan, word: &str| match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        other => other.to_string() == word,
    };
    tokens.len() >= words.len()
        && tokens
            .iter()
            .zip(words)
            .all(|(token, word)| is(token, word))
}
