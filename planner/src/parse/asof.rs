//! `ASOF JOIN` and `ASOF LEFT JOIN`, RisingWave's. `sqlparser` reads `ASOF JOIN` as another system has it, so
//! the tokens become words that PostgreSQL has no use for: `SEMI JOIN` and `ANTI JOIN`
//! ([`crate::asof_join`]).

use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Replaces the words of a statement.
pub(super) fn replace(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if is(tokens.get(at), "asof") {
            let is_left = is(tokens.get(at + 1), "left");
            let is_inner = is(tokens.get(at + 1), "inner");
            let is_outer = is_left && is(tokens.get(at + 2), "outer");
            let between = usize::from(is_left || is_inner) + usize::from(is_outer);
            if is(tokens.get(at + 1 + between), "join") {
                tokens[at].token = Token::make_keyword(if is_left { "ANTI" } else { "SEMI" });
                tokens.drain(at + 1..at + 1 + between);
            }
        }
        at += 1;
    }
}

fn is(token: Option<&TokenWithSpan>, word: &str) -> bool {
    match token.map(|token| &token.token) {
        Some(Token::Word(found)) => {
            found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
        }
        _ => false,
    }
}
