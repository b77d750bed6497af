//! `ALTER … RENAME TO`, `OWNER TO` and `SET SCHEMA`, for relations of all kinds; `ALTER SEQUENCE … RESTART`;
//! `ALTER MATERIALIZED VIEW … SET BACKFILL_RATE_LIMIT`.
//! Not here: what changes who works for a relation (`scaling`).

use sqlparser::ast::{Expr, Ident, ObjectName};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::ObjectKind;
use super::role::{RoleName, role_name};
use super::sequence::number;
use super::streaming::{Result, follows, take};

/// `ALTER kind [IF EXISTS] name change`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterRelation {
    /// What the user says it is; `TABLE` may be any, as in PostgreSQL.
    pub kind: ObjectKind,
    /// Whether a missing one is skipped.
    pub if_exists: bool,
    /// As written.
    pub name: ObjectName,
    /// What shall change.
    pub change: RelationChange,
}

/// A change of a relation that leaves its rows as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationChange {
    /// `RENAME TO name`
    Rename(Ident),
    /// `OWNER TO role`
    Owner(RoleName),
    /// `SET SCHEMA schema`
    Schema(Ident),
    /// `RESTART [[WITH] number]`, of a sequence
    Restart(Option<Box<Expr>>),
    /// `SET BACKFILL_RATE_LIMIT {= | TO} value`, of a materialized view; the value as written
    BackfillRateLimit(String),
}

/// Reads one of these statements; `None`, with nothing consumed, if it is another.
pub(super) fn alter_relation(parser: &mut Parser<'_>) -> Result<Option<AlterRelation>> {
    let alter = parser.maybe_parse(whole)?;
    let change = alter.as_ref().map(|alter| &alter.change);
    if matches!(change, Some(RelationChange::BackfillRateLimit(value)) if value.is_empty()) {
        return Ok(parser.expected_ref("a number or DEFAULT", parser.peek_token_ref())?);
    }
    Ok(alter)
}

fn whole(parser: &mut Parser<'_>) -> std::result::Result<AlterRelation, ParserError> {
    let kinds: [(&[&str], ObjectKind); 7] = [
        (&["ALTER", "SINK"], ObjectKind::Sink),
        (
            &["ALTER", "MATERIALIZED", "VIEW"],
            ObjectKind::MaterializedView,
        ),
        (&["ALTER", "SOURCE"], ObjectKind::Source),
        (&["ALTER", "TABLE"], ObjectKind::Table),
        (&["ALTER", "VIEW"], ObjectKind::View),
        (&["ALTER", "SEQUENCE"], ObjectKind::Sequence),
        (&["ALTER", "INDEX"], ObjectKind::Index),
    ];
    let Some((_, kind)) = kinds.into_iter().find(|(words, _)| take(parser, words)) else {
        return parser.expected_ref("ALTER", parser.peek_token_ref());
    };
    let if_exists = take(parser, &["IF", "EXISTS"]);
    let name = parser.parse_object_name(false)?;
    let change = if take(parser, &["RENAME", "TO"]) {
        RelationChange::Rename(parser.parse_identifier()?)
    } else if follows(parser, &["OWNER", "TO"]) {
        take(parser, &["OWNER", "TO"]);
        RelationChange::Owner(role_name(parser)?)
    } else if take(parser, &["SET", "SCHEMA"]) {
        RelationChange::Schema(parser.parse_identifier()?)
    } else if kind == ObjectKind::Sequence && take(parser, &["RESTART"]) {
        let is_given = take(parser, &["WITH"]) || parser.peek_token_ref().token != Token::EOF;
        let number = is_given.then(|| number(parser).map(Box::new)).transpose()?;
        RelationChange::Restart(number)
    } else if kind == ObjectKind::MaterializedView && take(parser, &["SET", "BACKFILL_RATE_LIMIT"])
    {
        RelationChange::BackfillRateLimit(value(parser))
    } else {
        return parser.expected_ref("RENAME TO, OWNER TO or SET SCHEMA", parser.peek_token_ref());
    };
    Ok(AlterRelation {
        kind,
        if_exists,
        name,
        change,
    })
}

/// `[= | TO] value`, up to the end of the statement; empty if there is none.
fn value(parser: &mut Parser<'_>) -> String {
    if !parser.consume_token(&Token::Eq) {
        take(parser, &["TO"]);
    }
    let mut written = String::new();
    loop {
        match parser.peek_token_ref().token.clone() {
            Token::EOF | Token::SemiColon => return written,
            Token::SingleQuotedString(text) => written.push_str(&text),
            token => written.push_str(&token.to_string()),
        }
        parser.advance_token();
    }
}
