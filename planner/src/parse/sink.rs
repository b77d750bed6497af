//! `CREATE SINK … INTO table` and `DROP SINK`, as RisingWave has them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, Ident, ObjectName, TableFactor, VisitMut, VisitorMut};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::streaming::{Fault, Result, take, with_options};
use super::{ObjectKind, Statement};
use crate::error::Error;

/// `CREATE SINK [IF NOT EXISTS] name INTO table [(column, …)] {FROM relation | AS query} [WITH (…)]`
#[derive(Clone, Debug)]
pub struct CreateSink {
    /// As written.
    pub name: ObjectName,
    /// Whether an existing one is left as it is.
    pub if_not_exists: bool,
    /// The table that it writes to, as written.
    pub table: ObjectName,
    /// The columns that it writes; empty: all, in their order.
    pub columns: Vec<Ident>,
    /// Text of the query whose changes flow.
    pub query: String,
    /// The `WITH` options; keys in lower case, values without quotes.
    pub options: BTreeMap<String, String>,
}

/// Reads one of these statements; `None`, with nothing consumed, if it is another.
pub(super) fn sink_statement(parser: &mut Parser<'_>) -> Result<Option<Statement>> {
    if take(parser, &["CREATE", "SINK"]) {
        return create(parser).map(Some);
    }
    if take(parser, &["DROP", "SINK"]) {
        let if_exists = take(parser, &["IF", "EXISTS"]);
        let names = parser.parse_comma_separated(|parser| parser.parse_object_name(false))?;
        let cascade = take(parser, &["CASCADE"]);
        if !cascade {
            take(parser, &["RESTRICT"]);
        }
        return Ok(Some(Statement::DropRelations {
            kind: ObjectKind::Sink,
            names,
            if_exists,
            cascade,
        }));
    }
    Ok(None)
}

fn create(parser: &mut Parser<'_>) -> Result<Statement> {
    let if_not_exists = take(parser, &["IF", "NOT", "EXISTS"]);
    let name = parser.parse_object_name(false)?;
    if !take(parser, &["INTO"]) {
        return Err(Fault::Ours(Error::unsupported(
            "CREATE SINK to another system",
            "use CREATE SINK … INTO table, and read its changes with SUBSCRIBE",
        )));
    }
    let table = parser.parse_object_name(false)?;
    let mut columns = Vec::new();
    if parser.consume_token(&Token::LParen) {
        columns = parser.parse_comma_separated(Parser::parse_identifier)?;
        parser.expect_token(&Token::RParen)?;
    }
    let mut options = BTreeMap::new();
    let query = if take(parser, &["FROM"]) {
        format!("SELECT * FROM {}", parser.parse_object_name(false)?)
    } else if take(parser, &["AS"]) {
        let mut query = parser.parse_query()?;
        let mut hints = Hints::default();
        let _ = query.visit(&mut hints);
        options.extend(hints.options);
        query.to_string()
    } else {
        return Ok(parser.expected_ref("FROM or AS", parser.peek_token_ref())?);
    };
    if take(parser, &["WITH"]) {
        options.extend(with_options(parser)?);
    }
    Ok(Statement::CreateSink(Box::new(CreateSink {
        name,
        if_not_exists,
        table,
        columns,
        query,
        options,
    })))
}

/// Takes `FROM t WITH (key = 'value')` from a query: behind a table `sqlparser` reads the options of
/// the statement as hints.
#[derive(Default)]
struct Hints {
    options: BTreeMap<String, String>,
}

impl VisitorMut for Hints {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { with_hints, .. } = factor else {
            return ControlFlow::Continue(());
        };
        for hint in std::mem::take(with_hints) {
            if let Expr::BinaryOp { left, op, right } = &hint
                && let (Expr::Identifier(name), BinaryOperator::Eq) = (&**left, op)
            {
                let value = match &**right {
                    Expr::Value(value) => value.clone().into_string(),
                    other => Some(other.to_string()),
                };
                let name = name.value.to_lowercase();
                self.options.insert(name, value.unwrap_or_default());
            }
        }
        ControlFlow::Continue(())
    }
}
