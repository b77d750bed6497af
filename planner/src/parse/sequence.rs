//! `CREATE SEQUENCE`, with its options in any order. `sqlparser` knows one order only.

use sqlparser::ast;
use sqlparser::ast::{Expr, SequenceOptions, UnaryOperator};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::streaming::{Result, take};

/// Reads what follows the two keywords.
pub(super) fn create_sequence(parser: &mut Parser<'_>) -> Result<ast::Statement> {
    let if_not_exists = take(parser, &["IF", "NOT", "EXISTS"]);
    let name = parser.parse_object_name(false)?;
    let (mut data_type, mut owned_by) = (None, None);
    let mut sequence_options = Vec::new();
    loop {
        sequence_options.push(if take(parser, &["AS"]) {
            data_type = Some(parser.parse_data_type()?);
            continue;
        } else if take(parser, &["OWNED", "BY"]) {
            owned_by = Some(parser.parse_object_name(false)?);
            continue;
        } else if take(parser, &["INCREMENT"]) {
            let by = take(parser, &["BY"]);
            SequenceOptions::IncrementBy(number(parser)?, by)
        } else if take(parser, &["MINVALUE"]) {
            SequenceOptions::MinValue(Some(number(parser)?))
        } else if take(parser, &["NO", "MINVALUE"]) {
            SequenceOptions::MinValue(None)
        } else if take(parser, &["MAXVALUE"]) {
            SequenceOptions::MaxValue(Some(number(parser)?))
        } else if take(parser, &["NO", "MAXVALUE"]) {
            SequenceOptions::MaxValue(None)
        } else if take(parser, &["START"]) {
            let with = take(parser, &["WITH"]);
            SequenceOptions::StartWith(number(parser)?, with)
        } else if take(parser, &["CACHE"]) {
            SequenceOptions::Cache(number(parser)?)
        } else if take(parser, &["CYCLE"]) {
            SequenceOptions::Cycle(true)
        } else if take(parser, &["NO", "CYCLE"]) {
            SequenceOptions::Cycle(false)
        } else {
            break;
        });
    }
    Ok(ast::Statement::CreateSequence {
        temporary: false,
        if_not_exists,
        name,
        data_type,
        sequence_options,
        owned_by,
    })
}

pub(super) fn number(parser: &mut Parser<'_>) -> std::result::Result<Expr, ParserError> {
    let minus = parser.consume_token(&Token::Minus);
    let number = Expr::Value(parser.parse_number_value()?);
    Ok(if minus {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(number),
        }
    } else {
        number
    })
}
