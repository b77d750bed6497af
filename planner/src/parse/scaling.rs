//! `ALTER … SET PARALLELISM`, `MOVE KEY GROUP` and `REBALANCE`.
//!
//! ```text
//!   ALTER {MATERIALIZED VIEW | TABLE | SOURCE} [IF EXISTS] name
//!     { SET PARALLELISM {= | TO} value | MOVE KEY GROUP k TO EXECUTOR e | REBALANCE }
//!     [WITH (key = value, …)]
//! ```

use std::collections::BTreeMap;

use sqlparser::ast::ObjectName;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::streaming::{Fault, Result, follows, take, with_options};
use super::{AlterScaling, ObjectKind, Parallelism, ScalingChange};
use crate::error::Error;

/// What stands in front of the change.
struct Head {
    kind: ObjectKind,
    if_exists: bool,
    name: ObjectName,
}

/// Reads one of these statements, or refuses another `ALTER` that `sqlparser` cannot read.
/// `None`, with nothing consumed, if the statement is not for us.
pub(super) fn alter(parser: &mut Parser<'_>) -> Result<Option<AlterScaling>> {
    let ours = parser.maybe_parse(|parser| {
        let head = head(parser)?;
        let words: [&[&str]; 3] = [&["SET", "PARALLELISM"], &["MOVE"], &["REBALANCE"]];
        if words.into_iter().any(|words| follows(parser, words)) {
            return Ok(head);
        }
        parser.expected_ref("SET PARALLELISM", parser.peek_token_ref())
    })?;
    let Some(Head {
        kind,
        if_exists,
        name,
    }) = ours
    else {
        return refuse_other(parser);
    };
    let change = change(parser)?;
    let options = if take(parser, &["WITH"]) {
        with_options(parser)?
    } else {
        BTreeMap::new()
    };
    Ok(Some(AlterScaling {
        kind,
        if_exists,
        name,
        change,
        options,
    }))
}

fn head(parser: &mut Parser<'_>) -> std::result::Result<Head, ParserError> {
    let kinds: [(&[&str], ObjectKind); 4] = [
        (&["ALTER", "SINK"], ObjectKind::Sink),
        (
            &["ALTER", "MATERIALIZED", "VIEW"],
            ObjectKind::MaterializedView,
        ),
        (&["ALTER", "SOURCE"], ObjectKind::Source),
        (&["ALTER", "TABLE"], ObjectKind::Table),
    ];
    let Some((_, kind)) = kinds.into_iter().find(|(words, _)| take(parser, words)) else {
        return parser.expected_ref("ALTER", parser.peek_token_ref());
    };
    Ok(Head {
        kind,
        if_exists: take(parser, &["IF", "EXISTS"]),
        name: parser.parse_object_name(false)?,
    })
}

/// Other changes of tables are PostgreSQL's; of ours there are none.
fn refuse_other(parser: &mut Parser<'_>) -> Result<Option<AlterScaling>> {
    let ours = [&["ALTER", "MATERIALIZED", "VIEW"][..], &["ALTER", "SOURCE"]];
    if !ours.into_iter().any(|words| follows(parser, words)) {
        return Ok(None);
    }
    let Head { kind, .. } = head(parser)?;
    if ["SET", "RENAME", "OWNER"]
        .into_iter()
        .any(|word| take(parser, &[word]))
    {
        return Err(Fault::Ours(Error::unsupported(
            format!("this ALTER of a {kind}"),
            format!("a {kind} can change its parallelism: SET PARALLELISM = n"),
        )));
    }
    Ok(parser.expected_ref("SET PARALLELISM", parser.peek_token_ref())?)
}

fn change(parser: &mut Parser<'_>) -> Result<ScalingChange> {
    if take(parser, &["SET", "PARALLELISM"]) {
        parallelism(parser).map(ScalingChange::Parallelism)
    } else if take(parser, &["REBALANCE"]) {
        Ok(ScalingChange::Rebalance)
    } else {
        expect(parser, &["MOVE", "KEY", "GROUP"])?;
        let key_group = number(parser)?;
        expect(parser, &["TO", "EXECUTOR"])?;
        let executor = number(parser)?;
        Ok(ScalingChange::MoveKeyGroup {
            key_group,
            executor,
        })
    }
}

/// `[= | TO] value`; the value is what stands up to `WITH` or the end.
fn parallelism(parser: &mut Parser<'_>) -> Result<Parallelism> {
    if !parser.consume_token(&Token::Eq) {
        take(parser, &["TO"]);
    }
    let mut written = String::new();
    while !follows(parser, &["WITH"]) {
        match parser.peek_token_ref().token.clone() {
            Token::EOF => break,
            Token::SingleQuotedString(text) => written.push_str(&text),
            token => written.push_str(&token.to_string()),
        }
        parser.advance_token();
    }
    if written.is_empty() {
        return Ok(parser.expected_ref("a number or ADAPTIVE", parser.peek_token_ref())?);
    }
    Ok(match written.parse::<i64>() {
        Ok(number) => Parallelism::Fixed(number),
        Err(_) if written.eq_ignore_ascii_case("adaptive") => Parallelism::Adaptive,
        Err(_) => Parallelism::Invalid(written),
    })
}

/// A whole number without a sign.
pub(super) fn number(parser: &mut Parser<'_>) -> Result<u64> {
    Ok(parser.parse_literal_uint()?)
}

fn expect(parser: &mut Parser<'_>, words: &[&str]) -> Result<()> {
    for word in words {
        if !take(parser, &[word]) {
            return Ok(parser.expected_ref(word, parser.peek_token_ref())?);
        }
    }
    Ok(())
}
