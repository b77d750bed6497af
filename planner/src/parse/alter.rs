//! `ALTER … RENAME TO`, `OWNER TO` and `SET SCHEMA`, for relations of all kinds; `ALTER SEQUENCE … RESTART`.
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
}

/// Reads one of these statements; `None`, with nothing consumed, if it is another.
pub(super) fn alter_relation(parser: &mut Parser<'_>) -> Result<Option<AlterRelation>> {
    Ok(parser.maybe_parse(whole)?)
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
