//! Refuses statements whose tree would be too deep, before anything recursive sees them.
//!
//! `sqlparser` and DataFusion build, clone, visit and drop trees recursively, so that a flat
//! `1 + 1 + … + 1` of some thousand terms ends the process by stack overflow. The guard reads
//! tokens only. It bounds the depth of the tree from above:
//!
//! ```text
//!   depth(level) = operators of the level + 1 + the deepest level nested in it
//! ```
//!
//! where a level is what stands between two brackets, and a comma starts a new one, unless it is
//! the comma of a `FROM` list, which is a join. So a long `VALUES` or `IN` list passes, and a
//! long chain of joins, set operations, casts or `OR`s does not.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{Error, Result};

/// Most operations along one path of a statement's tree. Chosen so that parsing, planning and
/// dropping stay within a stack of 2 MiB in a debug build.
pub const DEPTH_MAX: usize = 500;

/// A set operation or join costs more stack than an operator: it becomes several plan nodes.
const RELATION_COST: usize = 4;

/// What stands between two brackets, up to now.
#[derive(Default)]
struct Level {
    /// Operators since the last comma.
    operators: usize,
    /// Deepest nested level since the last comma.
    nested: usize,
    /// Deepest part before the last comma.
    deepest: usize,
    /// Whether a comma here separates relations.
    in_from: bool,
}

impl Level {
    fn end_part(&mut self) {
        self.deepest = self.deepest.max(self.operators + self.nested);
        self.operators = 0;
        self.nested = 0;
    }
}

/// Checks the tokens of one statement.
///
/// # Errors
/// [`Error::TooComplex`].
pub(crate) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut open: Vec<Level> = Vec::new();
    let mut level = Level::default();
    let mut previous = Keyword::NoKeyword;
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket => {
                // A subscript or call chain deepens the tree although its brackets close again.
                level.operators += usize::from(token.token == Token::LBracket);
                open.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket => {
                level.end_part();
                let depth = level.deepest + 1;
                level = open.pop().unwrap_or_default();
                level.nested = level.nested.max(depth);
            }
            Token::Comma if !level.in_from => level.end_part(),
            Token::Comma => level.operators += RELATION_COST,
            // IS DISTINCT FROM
            Token::Word(word) if word.keyword == Keyword::FROM && previous == Keyword::DISTINCT => {
            }
            Token::Word(word) if word.quote_style.is_none() => count_word(word.keyword, &mut level),
            other => level.operators += usize::from(is_operator(other)),
        }
        previous = match &token.token {
            Token::Word(word) => word.keyword,
            _ => Keyword::NoKeyword,
        };
        if open.len() + level.operators + level.nested > DEPTH_MAX {
            return Err(Error::TooComplex { limit: DEPTH_MAX });
        }
    }
    Ok(())
}

fn count_word(keyword: Keyword, level: &mut Level) {
    match keyword {
        Keyword::AND
        | Keyword::OR
        | Keyword::NOT
        | Keyword::IS
        | Keyword::LIKE
        | Keyword::ILIKE
        | Keyword::SIMILAR
        | Keyword::BETWEEN
        | Keyword::IN
        | Keyword::COLLATE
        | Keyword::AT
        | Keyword::CASE => level.operators += 1,
        Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
            level.in_from = false;
            level.operators += RELATION_COST;
        }
        Keyword::JOIN => level.operators += RELATION_COST,
        Keyword::FROM | Keyword::USING => level.in_from = true,
        Keyword::SELECT
        | Keyword::WHERE
        | Keyword::GROUP
        | Keyword::HAVING
        | Keyword::ORDER
        | Keyword::WINDOW
        | Keyword::VALUES
        | Keyword::SET
        | Keyword::RETURNING => level.in_from = false,
        _ => {}
    }
}

/// Every token that may join or wrap expressions. Whatever is not known to be harmless counts.
fn is_operator(token: &Token) -> bool {
    !matches!(
        token,
        Token::EOF
            | Token::Word(_)
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::Whitespace(_)
            | Token::Comma
            | Token::Period
            | Token::SemiColon
            | Token::Placeholder(_)
    )
}
