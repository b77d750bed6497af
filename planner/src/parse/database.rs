//! `CREATE`, `ALTER … RENAME TO` and `DROP DATABASE`.

use sqlparser::ast::Ident;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Statement;
use super::streaming::{Result, option_value, take};

/// A statement about a database as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseStatement {
    /// `CREATE DATABASE [IF NOT EXISTS] name [WITH] [option [=] value] …`
    Create {
        /// Its name.
        name: Ident,
        /// Whether an existing one is left as it is.
        if_not_exists: bool,
        /// The options, as written: names in lower case.
        options: Vec<(String, String)>,
    },
    /// `ALTER DATABASE name RENAME TO name`
    Rename {
        /// Its name.
        name: Ident,
        /// The new one.
        to: Ident,
    },
    /// `DROP DATABASE [IF EXISTS] name [[WITH] (FORCE)]`
    Drop {
        /// Its name.
        name: Ident,
        /// Whether a missing one is skipped.
        if_exists: bool,
        /// Whether sessions in it are ended.
        force: bool,
    },
}

/// Reads one of these statements; `None`, with nothing consumed, if it is another.
pub(super) fn database_statement(parser: &mut Parser<'_>) -> Result<Option<Statement>> {
    let statement = if take(parser, &["CREATE", "DATABASE"]) {
        create(parser)?
    } else if take(parser, &["DROP", "DATABASE"]) {
        let if_exists = take(parser, &["IF", "EXISTS"]);
        let name = parser.parse_identifier()?;
        take(parser, &["WITH"]);
        let force = parser.consume_token(&Token::LParen);
        if force {
            if !take(parser, &["FORCE"]) {
                return Ok(parser.expected_ref("FORCE", parser.peek_token_ref())?);
            }
            parser.expect_token(&Token::RParen)?;
        }
        DatabaseStatement::Drop {
            name,
            if_exists,
            force,
        }
    } else {
        let rename = parser.maybe_parse(|parser| {
            if !take(parser, &["ALTER", "DATABASE"]) {
                return parser.expected_ref("ALTER", parser.peek_token_ref());
            }
            let name = parser.parse_identifier()?;
            if !take(parser, &["RENAME", "TO"]) {
                return parser.expected_ref("RENAME TO", parser.peek_token_ref());
            }
            let to = parser.parse_identifier()?;
            Ok(DatabaseStatement::Rename { name, to })
        })?;
        match rename {
            Some(rename) => rename,
            None => return Ok(None),
        }
    };
    Ok(Some(Statement::Database(statement)))
}

fn create(parser: &mut Parser<'_>) -> Result<DatabaseStatement> {
    let if_not_exists = take(parser, &["IF", "NOT", "EXISTS"]);
    let name = parser.parse_identifier()?;
    take(parser, &["WITH"]);
    let mut options = Vec::new();
    while let Token::Word(word) = &parser.peek_token_ref().token {
        let mut option = word.value.to_lowercase();
        parser.advance_token();
        if option == "connection" && take(parser, &["LIMIT"]) {
            option.push_str(" limit");
        }
        let _ = parser.consume_token(&Token::Eq);
        let value = match &parser.peek_token_ref().token {
            // A role's name may be quoted.
            Token::Word(word) if option == "owner" => {
                let value = crate::names::identifier(&Ident {
                    value: word.value.clone(),
                    quote_style: word.quote_style,
                    span: sqlparser::tokenizer::Span::empty(),
                });
                parser.advance_token();
                value
            }
            _ => option_value(parser)?,
        };
        options.push((option, value));
    }
    Ok(DatabaseStatement::Create {
        name,
        if_not_exists,
        options,
    })
}
