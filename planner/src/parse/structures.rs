//! Composite types: `struct<a int, b varchar>`, which `sqlparser` does not read in PostgreSQL's
//! dialect, as one quoted identifier; what it says is read by [`crate::named_types`]. And all fields of
//! a value, which [`crate::record_stars`] writes out.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::position::Positions;

/// Puts each `struct<…>` in quotes.
pub(super) fn quote(sql: &str, tokens: &mut Vec<TokenWithSpan>, positions: &Positions) {
    let is_struct = |token: &TokenWithSpan| match &token.token {
        Token::Word(word) => {
            word.quote_style.is_none() && word.value.eq_ignore_ascii_case("struct")
        }
        _ => false,
    };
    let mut at = 0;
    while at + 1 < tokens.len() {
        if is_struct(&tokens[at])
            && tokens[at + 1].token == Token::Lt
            && let Some(end) = closing_bracket(&tokens[at + 1..])
        {
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

/// `(c).*`, which `sqlparser` does not read in PostgreSQL's dialect, as `(c)."*"`.
pub(super) fn name_all_fields(tokens: &mut [TokenWithSpan]) {
    for at in 2..tokens.len() {
        let is_value = matches!(tokens[at - 2].token, Token::RParen | Token::RBracket);
        if is_value && tokens[at - 1].token == Token::Period && tokens[at].token == Token::Mul {
            tokens[at].token = Token::make_word("*", Some('"'));
        }
    }
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
