//! `GRANT` and `REVOKE` of privileges, `ALTER DEFAULT PRIVILEGES`, and owners of schemas and of the
//! database. Membership in roles (`role`) starts with the same words, and is told from here.

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::Statement;
use super::role::{RoleName, RoleStatement, role_name, role_names};
use super::streaming::{Fault, Result, take};
use crate::error::Error;
use crate::names::identifier;

/// What privileges are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantKind {
    /// Tables, views, materialized views and sources.
    Table,
    /// Sequences.
    Sequence,
    /// Schemas.
    Schema,
    /// The database.
    Database,
}

/// The objects of a `GRANT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantObjects {
    /// By their names.
    Named(Vec<ObjectName>),
    /// `ALL TABLES IN SCHEMA schema, …` and the like.
    AllIn(Vec<Ident>),
}

/// Whether privileges are given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantAction {
    /// `GRANT … [WITH GRANT OPTION]`
    Grant {
        /// Whether they may be passed on.
        with_option: bool,
    },
    /// `REVOKE [GRANT OPTION FOR] … [CASCADE]`
    Revoke {
        /// Whether only the right to pass them on is taken.
        option_only: bool,
        /// Whether what was passed on is taken, too.
        cascade: bool,
    },
}

/// Privileges given or taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Which, in lower case; `None`: all.
    pub privileges: Option<Vec<String>>,
    /// What on.
    pub kind: GrantKind,
    /// Given or taken.
    pub action: GrantAction,
    /// To or from whom.
    pub roles: Vec<RoleName>,
}

/// `GRANT privileges ON objects TO roles`, or `REVOKE … FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which privileges, and for whom.
    pub granted: Granted,
    /// On which objects.
    pub objects: GrantObjects,
}

/// `ALTER DEFAULT PRIVILEGES [FOR ROLE role, …] [IN SCHEMA schema, …] {GRANT | REVOKE} …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPrivileges {
    /// Of what these roles create; empty: the current role.
    pub of: Vec<RoleName>,
    /// Only in these schemas; empty: in all.
    pub schemas: Vec<Ident>,
    /// What is granted, and to whom.
    pub granted: Granted,
}

/// `ALTER {SCHEMA | DATABASE} name OWNER TO role`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterOwner {
    /// [`GrantKind::Schema`] or [`GrantKind::Database`].
    pub kind: GrantKind,
    /// Its name.
    pub name: Ident,
    /// The new owner.
    pub owner: RoleName,
}

/// Reads one of these statements; `None`, with nothing consumed, if it is another.
pub(super) fn privilege_statement(parser: &mut Parser<'_>) -> Result<Option<Statement>> {
    if take(parser, &["GRANT"]) {
        return grant(parser).map(Some);
    }
    if take(parser, &["REVOKE"]) {
        return revoke(parser).map(Some);
    }
    if take(parser, &["ALTER", "DEFAULT", "PRIVILEGES"]) {
        return default_privileges(parser).map(Some);
    }
    for (word, kind) in [
        ("SCHEMA", GrantKind::Schema),
        ("DATABASE", GrantKind::Database),
    ] {
        let alter = parser.maybe_parse(|parser| {
            if !take(parser, &["ALTER", word]) {
                return parser.expected_ref("ALTER", parser.peek_token_ref());
            }
            let name = parser.parse_identifier()?;
            parser.expect_keywords(&[Keyword::OWNER, Keyword::TO])?;
            let owner = role_name(parser)?;
            Ok(AlterOwner { kind, name, owner })
        })?;
        if let Some(alter) = alter {
            return Ok(Some(Statement::AlterOwner(alter)));
        }
    }
    Ok(None)
}

fn grant(parser: &mut Parser<'_>) -> Result<Statement> {
    let words = words(parser)?;
    if !take(parser, &["ON"]) {
        let roles = named(words);
        parser.expect_keyword_is(Keyword::TO)?;
        let to = role_names(parser)?;
        let admin = take(parser, &["WITH", "ADMIN", "OPTION"]);
        granted_by(parser)?;
        let grant = RoleStatement::Grant { roles, to, admin };
        return Ok(Statement::Role(grant));
    }
    let (kind, objects) = objects(parser)?;
    parser.expect_keyword_is(Keyword::TO)?;
    let roles = grantees(parser)?;
    let with_option = take(parser, &["WITH", "GRANT", "OPTION"]);
    granted_by(parser)?;
    let granted = Granted {
        privileges: privileges(words),
        kind,
        action: GrantAction::Grant { with_option },
        roles,
    };
    Ok(Statement::Grant(Grant { granted, objects }))
}

fn revoke(parser: &mut Parser<'_>) -> Result<Statement> {
    let admin_only = take(parser, &["ADMIN", "OPTION", "FOR"]);
    let option_only = !admin_only && take(parser, &["GRANT", "OPTION", "FOR"]);
    let words = words(parser)?;
    if !take(parser, &["ON"]) {
        let roles = named(words);
        parser.expect_keyword_is(Keyword::FROM)?;
        let from = role_names(parser)?;
        granted_by(parser)?;
        cascade(parser);
        return Ok(Statement::Role(RoleStatement::Revoke {
            roles,
            from,
            admin_only,
        }));
    }
    let (kind, objects) = objects(parser)?;
    parser.expect_keyword_is(Keyword::FROM)?;
    let roles = grantees(parser)?;
    granted_by(parser)?;
    let cascade = cascade(parser);
    let granted = Granted {
        privileges: privileges(words),
        kind,
        action: GrantAction::Revoke {
            option_only,
            cascade,
        },
        roles,
    };
    Ok(Statement::Grant(Grant { granted, objects }))
}

fn default_privileges(parser: &mut Parser<'_>) -> Result<Statement> {
    let (mut of, mut schemas) = (Vec::new(), Vec::new());
    loop {
        if take(parser, &["FOR", "ROLE"]) || take(parser, &["FOR", "USER"]) {
            of = role_names(parser)?;
        } else if take(parser, &["IN", "SCHEMA"]) {
            schemas = parser.parse_comma_separated(Parser::parse_identifier)?;
        } else {
            break;
        }
    }
    let is_grant = take(parser, &["GRANT"]);
    if !is_grant {
        parser.expect_keyword_is(Keyword::REVOKE)?;
    }
    let option_only = !is_grant && take(parser, &["GRANT", "OPTION", "FOR"]);
    let words = words(parser)?;
    parser.expect_keyword_is(Keyword::ON)?;
    let kind = if take(parser, &["TABLES"]) {
        GrantKind::Table
    } else if take(parser, &["SEQUENCES"]) {
        GrantKind::Sequence
    } else if take(parser, &["SCHEMAS"]) {
        GrantKind::Schema
    } else {
        return Err(Fault::Ours(Error::unsupported(
            "a default privilege on this kind of object",
            "there are default privileges on tables, sequences and schemas",
        )));
    };
    let link = if is_grant { Keyword::TO } else { Keyword::FROM };
    parser.expect_keyword_is(link)?;
    let roles = grantees(parser)?;
    let action = if is_grant {
        let with_option = take(parser, &["WITH", "GRANT", "OPTION"]);
        GrantAction::Grant { with_option }
    } else {
        let cascade = cascade(parser);
        GrantAction::Revoke {
            option_only,
            cascade,
        }
    };
    Ok(Statement::DefaultPrivileges(DefaultPrivileges {
        of,
        schemas,
        granted: Granted {
            privileges: privileges(words),
            kind,
            action,
            roles,
        },
    }))
}

/// Privileges or roles: what it is shows behind them.
fn words(parser: &mut Parser<'_>) -> Result<Vec<Ident>> {
    let words = parser.parse_comma_separated(Parser::parse_identifier)?;
    if parser.peek_token_ref().token == Token::LParen {
        return Err(Fault::Ours(Error::unsupported(
            "a privilege on columns",
            "create a view of those columns, and grant on that",
        )));
    }
    if let [all] = &words[..]
        && is_all(all)
    {
        take(parser, &["PRIVILEGES"]);
    }
    Ok(words)
}

fn is_all(word: &Ident) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case("all")
}

fn named(words: Vec<Ident>) -> Vec<RoleName> {
    words.iter().map(RoleName::of).collect()
}

fn privileges(words: Vec<Ident>) -> Option<Vec<String>> {
    match &words[..] {
        [all] if is_all(all) => None,
        words => Some(words.iter().map(identifier).collect()),
    }
}

fn objects(parser: &mut Parser<'_>) -> Result<(GrantKind, GrantObjects)> {
    for (plural, kind) in [
        ("TABLES", GrantKind::Table),
        ("SEQUENCES", GrantKind::Sequence),
    ] {
        if take(parser, &["ALL", plural, "IN", "SCHEMA"]) {
            let schemas = parser.parse_comma_separated(Parser::parse_identifier)?;
            return Ok((kind, GrantObjects::AllIn(schemas)));
        }
    }
    let kinds = [
        ("TABLE", GrantKind::Table),
        ("SEQUENCE", GrantKind::Sequence),
        ("SCHEMA", GrantKind::Schema),
        ("DATABASE", GrantKind::Database),
    ];
    let found = kinds.into_iter().find(|(word, _)| take(parser, &[word]));
    let kind = found.map_or(GrantKind::Table, |(_, kind)| kind);
    let others = [
        "FUNCTION",
        "PROCEDURE",
        "ROUTINE",
        "TYPE",
        "DOMAIN",
        "LANGUAGE",
        "FOREIGN",
        "TABLESPACE",
        "PARAMETER",
        "LARGE",
        "ALL",
    ];
    if found.is_none() && others.iter().any(|word| take(parser, &[word])) {
        return Err(Fault::Ours(Error::unsupported(
            "a privilege on this kind of object",
            "there are privileges on tables, views, sequences, schemas and the database",
        )));
    }
    let names = parser.parse_comma_separated(|parser| parser.parse_object_name(false))?;
    Ok((kind, GrantObjects::Named(names)))
}

fn grantees(parser: &mut Parser<'_>) -> Result<Vec<RoleName>> {
    Ok(parser.parse_comma_separated(|parser| {
        take(parser, &["GROUP"]);
        role_name(parser)
    })?)
}

fn granted_by(parser: &mut Parser<'_>) -> Result<()> {
    if take(parser, &["GRANTED", "BY"]) {
        return Err(Fault::Ours(Error::unsupported(
            "GRANTED BY",
            "the owner grants, or who holds the grant option",
        )));
    }
    Ok(())
}

fn cascade(parser: &mut Parser<'_>) -> bool {
    let cascade = take(parser, &["CASCADE"]);
    if !cascade {
        take(parser, &["RESTRICT"]);
    }
    cascade
}
