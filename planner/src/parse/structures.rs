//! Composite types: `struct<a int, b varchar>`, which `sqlparser` does not read in PostgreSQL's
//! dialect, as one quoted identifier; what it says is read by [`crate::named_types`]. And all fields of
//! a value, which [`crate::record_stars`] writes out. Maps and their types alike.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::position::Positions;

/// Puts each `struct<…>` and each `map(…)` that is a type in quotes.
pub(super) fn quote(sql: &str, tokens: &mut Vec<TokenWithSpan>, positions: &Positions) {
    let mut at = 0;
    while at + 1 < tokens.len() {
        let end = match tokens[at + 1].token {
            Token::Lt if is_word(&tokens[at], &["struct"]) => closing_bracket(&tokens[at + 1..]),
            Token::LParen if is_map_type(tokens, at) => closing_parenthesis(&tokens[at + 1..]),
            _ => None,
        };
        if let Some(end) = end {
            let last = at + 1 + end;
            let mut span = tokens[at].span;
            span.end = tokens[last].span.end;
            let text = &sql[positions.byte(span.start)..positions.byte(span.end)];
            let token = Token::make_word(text, Some('"'));
            tokens.splice(at..=last, [TokenWithSpan { token, span }]);
        }
        at += 1;
    }
}

/// `MAP {k: v}`, which `sqlparser` does not read in PostgreSQL's dialect, as `pg_map(k, v)`. What is out
/// of place becomes a token that the parser refuses.
pub(super) fn call_maps(tokens: &mut [TokenWithSpan]) {
    /// An open bracket.
    enum Open {
        /// That of a map; whether a key stands before what comes next.
        Map {
            has_key: bool,
        },
        Other,
    }
    let mut open = Vec::new();
    for at in 0..tokens.len() {
        match (&tokens[at].token, open.last_mut()) {
            (Token::LBrace, _) if at > 0 && is_word(&tokens[at - 1], &["map"]) => {
                tokens[at - 1].token = Token::make_word("pg_map", None);
                tokens[at].token = Token::LParen;
                open.push(Open::Map { has_key: false });
            }
            (Token::LBrace | Token::LParen | Token::LBracket, _) => open.push(Open::Other),
            (Token::Colon, Some(Open::Map { has_key })) if !*has_key => {
                *has_key = true;
                tokens[at].token = Token::Comma;
            }
            (Token::Comma, Some(Open::Map { has_key })) if *has_key => *has_key = false,
            (Token::Comma, Some(Open::Map { .. })) => tokens[at].token = Token::RBrace,
            (Token::RBrace, Some(Open::Map { has_key })) => {
                if *has_key || tokens[at - 1].token == Token::LParen {
                    tokens[at].token = Token::RParen;
                }
                open.pop();
            }
            (Token::RBrace | Token::RParen | Token::RBracket, _) => {
                open.pop();
            }
            _ => {}
        }
    }
}

/// `(c).*`, which `sqlparser` does not read in PostgreSQL's dialect, as `(c)."*"`.
pub(super) fn name_all_fields(tokens: &mut [TokenWithSpan]) {
    for at in 2..tokens.len() {
        let is_value = matches!(tokens[at - 2].token, Token::RParen | Token::RBracket);
        if is_value && tokens[at - 1].token == Token::Period && tokens[at].token == Token::Mul {
            tokens[at].token = Token::make_word("*", Some('"'));
        }
    }
}

fn is_word(token: &TokenWithSpan, words: &[&str]) -> bool {
    let Token::Word(word) = &token.token else {
        return false;
    };
    let is = |known: &&str| word.value.eq_ignore_ascii_case(known);
    word.quote_style.is_none() && words.iter().any(is)
}

/// Whether `map(` is the start of a type: the type of its keys follows, and a comma. A relation of this
/// name may have columns that are called so.
fn is_map_type(tokens: &[TokenWithSpan], at: usize) -> bool {
    const KEYS: [&str; 11] = [
        "varchar",
        "character",
        "text",
        "string",
        "int",
        "integer",
        "smallint",
        "bigint",
        "int2",
        "int4",
        "int8",
    ];
    const RELATIONS: [&str; 9] = [
        "into",
        "table",
        "exists",
        "on",
        "copy",
        "references",
        "from",
        "join",
        "update",
    ];
    let is_relation =
        at > 0 && (is_word(&tokens[at - 1], &RELATIONS) || tokens[at - 1].token == Token::Period);
    let is_key = |token| is_word(token, &KEYS);
    if is_relation || !is_word(&tokens[at], &["map"]) || !tokens.get(at + 2).is_some_and(is_key) {
        return false;
    }
    let mut rest = tokens[at + 3..].iter().map(|token| &token.token);
    let mut next = rest.next();
    if matches!(next, Some(Token::Word(word)) if word.value.eq_ignore_ascii_case("varying")) {
        next = rest.next();
    }
    if next == Some(&Token::LParen) {
        next = rest.nth(2);
    }
    next == Some(&Token::Comma)
}

/// Where the parenthesis closes that the tokens begin with.
fn closing_parenthesis(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut open = 0usize;
    tokens.iter().position(|token| {
        match token.token {
            Token::LParen => open += 1,
            Token::RParen => open -= 1,
            _ => {}
        }
        open == 0
    })
}

/// Where the bracket closes that the tokens begin with.
fn closing_bracket(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut open = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::Lt => open += 1,
            Token::Gt => open -= 1,
            Token::ShiftRight => open = open.checked_sub(2)?,
            Token::SemiColon | Token::EOF => return None,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}
