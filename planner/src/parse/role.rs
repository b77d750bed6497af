//! Roles: `CREATE`, `ALTER` and `DROP` of `ROLE`, `USER` and `GROUP`, membership, and who a session
//! acts as. `sqlparser` knows a part of them only.
//! Not here: privileges on objects (`privilege`).

use std::ops::Range;

use sqlparser::ast::Ident;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Statement;
use super::position::Positions;
use super::streaming::{Fault, Result, follows, take};
use crate::error::Error;
use crate::names::identifier;

/// A role as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// By its name.
    Named(String),
    /// `CURRENT_USER` or `CURRENT_ROLE`
    Current,
    /// `SESSION_USER`
    Session,
    /// `PUBLIC`: everyone.
    Public,
}

impl RoleName {
    /// What an identifier means where a role is expected.
    #[must_use]
    pub fn of(ident: &Ident) -> RoleName {
        let name = identifier(ident);
        match name.as_str() {
            _ if ident.quote_style.is_some() => RoleName::Named(name),
            "current_user" | "current_role" => RoleName::Current,
            "session_user" => RoleName::Session,
            "public" => RoleName::Public,
            _ => RoleName::Named(name),
        }
    }
}

/// What is said of a role when it is created or altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleOption {
    /// `[NO]SUPERUSER`
    Superuser(bool),
    /// `[NO]CREATEDB`
    CreateDb(bool),
    /// `[NO]CREATEROLE`
    CreateRole(bool),
    /// `[NO]INHERIT`
    Inherit(bool),
    /// `[NO]LOGIN`
    Login(bool),
    /// `[NO]REPLICATION`
    Replication(bool),
    /// `[NO]BYPASSRLS`
    BypassRls(bool),
    /// `CONNECTION LIMIT n`; -1: none.
    ConnectionLimit(i32),
    /// `[ENCRYPTED] PASSWORD 'text'`; `None`: `NULL`.
    Password(Option<String>),
    /// `VALID UNTIL 'time'`, as written.
    ValidUntil(String),
    /// `IN ROLE role, …`: it becomes a member of them.
    InRoles(Vec<RoleName>),
    /// `ROLE role, …`: they become members of it.
    Members(Vec<RoleName>),
    /// `ADMIN role, …`: they become members that may add others.
    Admins(Vec<RoleName>),
}

/// A statement about roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleStatement {
    /// `CREATE {ROLE | USER | GROUP} name [WITH] option …`; a `USER` may log in.
    Create {
        /// Its name.
        name: RoleName,
        /// Whether an existing one is left as it is.
        if_not_exists: bool,
        /// In the order written, behind what the key word says.
        options: Vec<RoleOption>,
    },
    /// `ALTER {ROLE | USER | GROUP} name [WITH] option …`
    Alter {
        /// The role.
        name: RoleName,
        /// In the order written.
        options: Vec<RoleOption>,
    },
    /// `ALTER {ROLE | USER | GROUP} name RENAME TO name`
    Rename {
        /// The role.
        name: RoleName,
        /// What it is called from now on.
        new: RoleName,
    },
    /// `DROP {ROLE | USER | GROUP} [IF EXISTS] name, …`
    Drop {
        /// The roles.
        names: Vec<RoleName>,
        /// Whether missing ones are skipped.
        if_exists: bool,
    },
    /// `GRANT role, … TO role, … [WITH ADMIN OPTION]`
    Grant {
        /// Whose members they become.
        roles: Vec<RoleName>,
        /// The members.
        to: Vec<RoleName>,
        /// Whether they may add others.
        admin: bool,
    },
    /// `REVOKE [ADMIN OPTION FOR] role, … FROM role, …`
    Revoke {
        /// Whose members they are no longer.
        roles: Vec<RoleName>,
        /// The members.
        from: Vec<RoleName>,
        /// Whether they stay members.
        admin_only: bool,
    },
    /// `REASSIGN OWNED BY role, … TO role`
    Reassign {
        /// The owners of before.
        from: Vec<RoleName>,
        /// The new one.
        to: RoleName,
    },
    /// `DROP OWNED BY role, … [CASCADE | RESTRICT]`
    DropOwned {
        /// The owners.
        roles: Vec<RoleName>,
        /// Whether what depends on it goes, too.
        cascade: bool,
    },
    /// `SET ROLE {name | NONE}` or `RESET ROLE`; `None`: the session's own.
    SetRole(Option<String>),
    /// `SET SESSION AUTHORIZATION {name | DEFAULT}` or `RESET …`; `None`: who has logged in.
    SetSession(Option<String>),
}

/// Reads one of these statements; `None`, with nothing consumed, if it is another.
pub(super) fn role_statement(parser: &mut Parser<'_>) -> Result<Option<Statement>> {
    for kind in ["ROLE", "USER", "GROUP"] {
        if follows(parser, &["CREATE", "USER", "MAPPING"]) {
            return Ok(None);
        }
        if take(parser, &["CREATE", kind]) {
            return create(parser, kind == "USER").map(|role| Some(Statement::Role(role)));
        }
        if take(parser, &["ALTER", kind]) {
            return alter(parser).map(|role| Some(Statement::Role(role)));
        }
        if take(parser, &["DROP", kind]) {
            let if_exists = take(parser, &["IF", "EXISTS"]);
            let names = role_names(parser)?;
            let drop = RoleStatement::Drop { names, if_exists };
            return Ok(Some(Statement::Role(drop)));
        }
    }
    if take(parser, &["REASSIGN", "OWNED", "BY"]) {
        let from = role_names(parser)?;
        parser.expect_keyword_is(sqlparser::keywords::Keyword::TO)?;
        let to = role_name(parser)?;
        return Ok(Some(Statement::Role(RoleStatement::Reassign { from, to })));
    }
    if take(parser, &["DROP", "OWNED", "BY"]) {
        let roles = role_names(parser)?;
        let cascade = take(parser, &["CASCADE"]);
        if !cascade {
            take(parser, &["RESTRICT"]);
        }
        let drop = RoleStatement::DropOwned { roles, cascade };
        return Ok(Some(Statement::Role(drop)));
    }
    Ok(acting(parser)?.map(Statement::Role))
}

/// `SET ROLE`, `SET SESSION AUTHORIZATION`, and `RESET` of them.
fn acting(parser: &mut Parser<'_>) -> Result<Option<RoleStatement>> {
    if take(parser, &["RESET", "ROLE"]) {
        return Ok(Some(RoleStatement::SetRole(None)));
    }
    if take(parser, &["RESET", "SESSION", "AUTHORIZATION"]) {
        return Ok(Some(RoleStatement::SetSession(None)));
    }
    for scope in [&["SET"][..], &["SET", "SESSION"], &["SET", "LOCAL"]] {
        let with = |words: &[&'static str]| [scope, words].concat();
        if take(parser, &with(&["ROLE"])) {
            return Ok(Some(RoleStatement::SetRole(name_or(parser, "NONE")?)));
        }
        if take(parser, &with(&["SESSION", "AUTHORIZATION"])) {
            return Ok(Some(RoleStatement::SetSession(name_or(parser, "DEFAULT")?)));
        }
    }
    Ok(None)
}

/// A name, also as a string; or the word for none.
fn name_or(parser: &mut Parser<'_>, none: &str) -> Result<Option<String>> {
    if !parser.consume_token(&Token::Eq) {
        take(parser, &["TO"]);
    }
    if take(parser, &[none]) {
        return Ok(None);
    }
    if let Token::SingleQuotedString(name) = &parser.peek_token_ref().token {
        let name = name.clone();
        parser.advance_token();
        return Ok(Some(name));
    }
    Ok(Some(identifier(&parser.parse_identifier()?)))
}

pub(super) fn role_name(parser: &mut Parser<'_>) -> std::result::Result<RoleName, ParserError> {
    Ok(RoleName::of(&parser.parse_identifier()?))
}

pub(super) fn role_names(
    parser: &mut Parser<'_>,
) -> std::result::Result<Vec<RoleName>, ParserError> {
    parser.parse_comma_separated(role_name)
}

fn create(parser: &mut Parser<'_>, is_user: bool) -> Result<RoleStatement> {
    let if_not_exists = take(parser, &["IF", "NOT", "EXISTS"]);
    let name = role_name(parser)?;
    let mut options = vec![RoleOption::Login(is_user)];
    options.extend(role_options(parser)?);
    Ok(RoleStatement::Create {
        name,
        if_not_exists,
        options,
    })
}

fn alter(parser: &mut Parser<'_>) -> Result<RoleStatement> {
    let name = role_name(parser)?;
    if take(parser, &["RENAME", "TO"]) {
        let new = role_name(parser)?;
        return Ok(RoleStatement::Rename { name, new });
    }
    if take(parser, &["ADD", "USER"]) {
        let (roles, to) = (vec![name], role_names(parser)?);
        let admin = false;
        return Ok(RoleStatement::Grant { roles, to, admin });
    }
    if take(parser, &["DROP", "USER"]) {
        return Ok(RoleStatement::Revoke {
            roles: vec![name],
            from: role_names(parser)?,
            admin_only: false,
        });
    }
    if ["SET", "RESET", "IN"]
        .iter()
        .any(|word| follows(parser, &[word]))
    {
        return Err(Fault::Ours(Error::unsupported(
            "a setting of a role",
            "set it in each session, or in the client's connection options",
        )));
    }
    let options = role_options(parser)?;
    Ok(RoleStatement::Alter { name, options })
}

/// `[WITH] option …` to the end of the statement; no option twice.
fn role_options(parser: &mut Parser<'_>) -> Result<Vec<RoleOption>> {
    take(parser, &["WITH"]);
    let mut options: Vec<RoleOption> = Vec::new();
    while let Some(option) = role_option(parser)? {
        let kind = std::mem::discriminant(&option);
        if options.iter().any(|o| std::mem::discriminant(o) == kind) {
            let conflict = ParserError::ParserError("conflicting or redundant options".to_owned());
            return Err(Fault::Parser(conflict));
        }
        options.push(option);
    }
    Ok(options)
}

fn role_option(parser: &mut Parser<'_>) -> Result<Option<RoleOption>> {
    type Flag = fn(bool) -> RoleOption;
    let flags: [(&str, &str, Flag); 7] = [
        ("SUPERUSER", "NOSUPERUSER", RoleOption::Superuser),
        ("CREATEDB", "NOCREATEDB", RoleOption::CreateDb),
        ("CREATEROLE", "NOCREATEROLE", RoleOption::CreateRole),
        ("INHERIT", "NOINHERIT", RoleOption::Inherit),
        ("LOGIN", "NOLOGIN", RoleOption::Login),
        ("REPLICATION", "NOREPLICATION", RoleOption::Replication),
        ("BYPASSRLS", "NOBYPASSRLS", RoleOption::BypassRls),
    ];
    for (on, off, option) in flags {
        if take(parser, &[on]) {
            return Ok(Some(option(true)));
        }
        if take(parser, &[off]) {
            return Ok(Some(option(false)));
        }
    }
    Ok(Some(if take(parser, &["CONNECTION", "LIMIT"]) {
        let minus = parser.consume_token(&Token::Minus);
        let limit = parser.parse_literal_uint()?;
        match i32::try_from(limit) {
            Ok(limit) if !minus => RoleOption::ConnectionLimit(limit),
            Ok(1) => RoleOption::ConnectionLimit(-1),
            _ => {
                return Err(Fault::Ours(Error::InvalidParameter {
                    message: format!("invalid connection limit: {limit}"),
                }));
            }
        }
    } else if take(parser, &["PASSWORD"]) || take(parser, &["ENCRYPTED", "PASSWORD"]) {
        let none = take(parser, &["NULL"]);
        RoleOption::Password(if none { None } else { Some(text(parser)?) })
    } else if take(parser, &["VALID", "UNTIL"]) {
        RoleOption::ValidUntil(text(parser)?)
    } else if take(parser, &["IN", "ROLE"]) || take(parser, &["IN", "GROUP"]) {
        RoleOption::InRoles(role_names(parser)?)
    } else if take(parser, &["ROLE"]) || take(parser, &["USER"]) {
        RoleOption::Members(role_names(parser)?)
    } else if take(parser, &["ADMIN"]) {
        RoleOption::Admins(role_names(parser)?)
    } else {
        return Ok(None);
    }))
}

fn text(parser: &mut Parser<'_>) -> Result<String> {
    let token = parser.next_token();
    match token.token {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => Ok(text),
        Token::DollarQuotedString(text) => Ok(text.value),
        _ => Ok(parser.expected("a string", token)?),
    }
}

/// Where the passwords of a statement about roles stand in the whole text, in bytes.
pub(super) fn secrets(tokens: &[TokenWithSpan], positions: &Positions) -> Vec<Range<usize>> {
    let is_word = |token: Option<&TokenWithSpan>, words: &[&str]| {
        matches!(token.map(|token| &token.token), Some(Token::Word(word))
            if words.iter().any(|expected| word.value.eq_ignore_ascii_case(expected)))
    };
    if !is_word(tokens.first(), &["CREATE", "ALTER"])
        || !is_word(tokens.get(1), &["ROLE", "USER", "GROUP"])
    {
        return Vec::new();
    }
    let password = |pair: &&[TokenWithSpan]| is_word(pair.first(), &["PASSWORD"]);
    let range = |pair: &[TokenWithSpan]| {
        let span = pair[1].span;
        positions.byte(span.start)..positions.byte(span.end)
    };
    tokens.windows(2).filter(password).map(range).collect()
}
