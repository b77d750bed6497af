//! Where in a statement the thing stands that an error names, so that clients can point at it.
//!
//! Names are resolved on the syntax tree, which does not keep every position. But what an error
//! names is written in the text, and as it is wrong there, its first place is the one meant.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::position::Positions;

/// What an error names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought<'a> {
    /// A name, perhaps with qualifiers: `a.b`.
    Name(&'a str),
    /// The value of a string literal.
    Literal(&'a str),
}

/// The first place of it in a text, in characters, counting from 1.
#[must_use]
pub fn locate(sql: &str, sought: Sought<'_>) -> Option<usize> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql)
        .tokenize_with_location()
        .ok()?;
    let at = match sought {
        Sought::Literal(value) => tokens.iter().position(|token| {
            matches!(&token.token,
                Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if text == value)
        })?,
        Sought::Name(name) => {
            let parts: Vec<&str> = name.split('.').collect();
            let find = |parts: &[&str]| (0..tokens.len()).find(|at| is_name(&tokens[*at..], parts));
            // What an error qualifies may stand without its qualifier.
            find(&parts).or_else(|| find(&parts[parts.len() - 1..]))?
        }
    };
    Some(Positions::new(sql).character(tokens[at].span.start))
}

/// Whether tokens start with this name.
fn is_name(tokens: &[TokenWithSpan], parts: &[&str]) -> bool {
    parts.iter().enumerate().all(|(at, part)| {
        let is_part = matches!(tokens.get(2 * at).map(|token| &token.token),
            Some(Token::Word(word)) if folded(word) == *part);
        let follows = at == 0
            || matches!(
                tokens.get(2 * at - 1).map(|token| &token.token),
                Some(Token::Period)
            );
        is_part && follows
    })
}

fn folded(word: &Word) -> String {
    match word.quote_style {
        Some(_) => word.value.clone(),
        None => word.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_and_literals() {
        let sql = "SELECT a, T.b, \"C\" FROM t\nWHERE x = 'a'";
        for (sought, at) in [
            (Sought::Name("a"), Some(8)),
            (Sought::Name("t.b"), Some(11)),
            (Sought::Name("C"), Some(16)),
            (Sought::Name("c"), None),
            (Sought::Name("u.x"), Some(33)),
            (Sought::Literal("a"), Some(37)),
            (Sought::Literal("b"), None),
        ] {
            assert_eq!(locate(sql, sought), at, "{sought:?}");
        }
    }
}
