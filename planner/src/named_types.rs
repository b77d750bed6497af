//! Types that users made, in statements: before a statement is planned, the names of its types become
//! what they mean.
//!
//! ```text
//!   '(1,x)'::pair ──resolve──► '(1,x)'::"composite(20001,20000,pair)<a integer,b text>"
//!   c struct<a int, b pair>  ──► c "struct<a integer,b composite(…)<…>>"
//!   m map(varchar, pair)     ──► m "map(text,composite(…)<…>)"
//! ```
//!
//! `sqlparser` reads a type of its own dialects only; so a structured type travels through it as one
//! quoted identifier, whose text is read here. It says all there is to know of the type: what is stored
//! with a resolved type needs no catalog.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast;
use sqlparser::ast::{ArrayElemTypeDef, Expr, Ident, ObjectName, VisitMut, VisitorMut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::names::{identifier, quoted_identifier};
use crate::types::{arrow_type, declared_type, sql_name, wrong_key};
use crate::values::map::{is_key, map_type};
use crate::values::record::{Record, TypeName};
use crate::values::types::SqlType;

/// How deep types may be nested.
const DEPTH_MAX: usize = 16;

/// Fields that a type may have: as many as a table has columns.
const FIELDS_MAX: usize = 1600;

/// Replaces the names of users' types in casts and literals by what they mean.
///
/// # Errors
/// Structured types that cannot be. Unknown names stay: planning finds them.
pub fn resolve<T: VisitMut>(node: &mut T, catalog: &dyn Catalog) -> Result<()> {
    let mut resolver = Resolver {
        catalog,
        fault: None,
    };
    let _ = node.visit(&mut resolver);
    resolver.fault.map_or(Ok(()), Err)
}

/// As [`resolve`], for a type.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_type(data_type: &mut ast::DataType, catalog: &dyn Catalog) -> Result<()> {
    if let ast::DataType::Array(
        ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::Parenthesis(element),
    ) = data_type
    {
        return resolve_type(element, catalog);
    }
    let ast::DataType::Custom(name, _) = &*data_type else {
        return Ok(());
    };
    let found = match structured(name) {
        Some(text) => Some(read(text, Some(catalog))?),
        None if is_known(data_type) => None,
        None => named(name, catalog),
    };
    if let Some(sql_type) = found {
        *data_type = written(&sql_type);
    }
    Ok(())
}

/// The structured type that a quoted identifier is the text of; `None` if it is a name.
pub(crate) fn read_structured(name: &ObjectName) -> Option<Result<SqlType>> {
    structured(name).map(|text| read(text, None))
}

/// A type as statements can have it, whatever the catalog holds.
#[must_use]
pub fn written(sql_type: &SqlType) -> ast::DataType {
    let name = Ident::with_quote('"', text_of(sql_type));
    ast::DataType::Custom(ObjectName::from(vec![name]), Vec::new())
}

fn text_of(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Array(element) => format!("{}[]", text_of(element)),
        SqlType::Record(record) => {
            let kind = match &record.named {
                Some(TypeName {
                    oid,
                    array_oid,
                    name,
                }) => format!("composite({oid},{array_oid},{})", quoted(name)),
                None => "struct".to_owned(),
            };
            let field =
                |(name, part): &(String, SqlType)| format!("{} {}", quoted(name), text_of(part));
            let fields: Vec<String> = record.fields.iter().map(field).collect();
            format!("{kind}<{}>", fields.join(","))
        }
        SqlType::Map(key, value) => format!("map({},{})", text_of(key), text_of(value)),
        other => other.to_string(),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn structured(name: &ObjectName) -> Option<&str> {
    let [part] = &name.0[..] else {
        return None;
    };
    let ident = part
        .as_ident()
        .filter(|ident| ident.quote_style.is_some())?;
    let text = ident.value.as_str();
    let is_structure = text.starts_with("composite(")
        || text.get(..6).is_some_and(|start| {
            start.eq_ignore_ascii_case("struct") && text.ends_with(['>', ']'])
        })
        || text
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("map(") && text.ends_with([')', ']']));
    is_structure.then_some(text)
}

/// Whether a name is that of a type that is there without the catalog.
fn is_known(data_type: &ast::DataType) -> bool {
    arrow_type(data_type).is_ok()
}

fn named(name: &ObjectName, catalog: &dyn Catalog) -> Option<SqlType> {
    let mut parts = name
        .0
        .iter()
        .rev()
        .map(|part| part.as_ident().map(identifier));
    let local = parts.next()??;
    let schema = parts.next().flatten();
    catalog.named_type(schema.as_deref(), &local)
}

struct Resolver<'a> {
    catalog: &'a dyn Catalog,
    /// Not what the visitor breaks with: each level of an expression would make room for it.
    fault: Option<Error>,
}

impl VisitorMut for Resolver<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let data_type = match expr {
            Expr::Cast { data_type, .. } => data_type,
            Expr::TypedString(typed) => &mut typed.data_type,
            _ => return ControlFlow::Continue(()),
        };
        match resolve_type(data_type, self.catalog) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.fault = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

/// Reads the text of a structured type.
fn read(text: &str, catalog: Option<&dyn Catalog>) -> Result<SqlType> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    let mut reader = Reader {
        parser: parser.map_err(|error| malformed(&error))?,
        closing: 0,
        catalog,
    };
    let sql_type = reader.sql_type(0)?;
    match reader.parser.peek_token().token {
        Token::EOF if reader.closing == 0 => Ok(sql_type),
        _ => Err(malformed(&ParserError::ParserError(text.to_owned()))),
    }
}

fn malformed(error: &ParserError) -> Error {
    let (ParserError::TokenizerError(text) | ParserError::ParserError(text)) = error else {
        return Error::TooComplex { limit: DEPTH_MAX };
    };
    // Places in it are not those of the statement.
    let text = text.split(" at Line").next().unwrap_or(text);
    Error::InvalidDefinition {
        message: format!("invalid structured type: {text}"),
    }
}

struct Reader<'a> {
    parser: Parser<'a>,
    /// Closing brackets that were read as a part of `>>`.
    closing: usize,
    catalog: Option<&'a dyn Catalog>,
}

impl Reader<'_> {
    fn sql_type(&mut self, depth: usize) -> Result<SqlType> {
        if depth > DEPTH_MAX {
            return Err(Error::TooComplex { limit: DEPTH_MAX });
        }
        let named = match self.structure() {
            Some("map") => {
                let map = self.map(depth)?;
                return self.with_dimensions(map);
            }
            Some("composite") => Some(Some(self.type_name()?)),
            Some(_) => Some(None),
            None => None,
        };
        let Some(named) = named else {
            let parsed = self.parser.parse_data_type();
            let mut data_type = parsed.map_err(|error| malformed(&error))?;
            if let Some(catalog) = self.catalog {
                resolve_type(&mut data_type, catalog)?;
            }
            let arrow = arrow_type(&data_type)?;
            return Ok(declared_type(&data_type, &arrow));
        };
        let fields = self.fields(depth)?;
        self.with_dimensions(SqlType::Record(Record { named, fields }))
    }

    /// An array of a type, for each pair of brackets that follows.
    fn with_dimensions(&mut self, mut sql_type: SqlType) -> Result<SqlType> {
        while self.closing == 0 && self.parser.consume_token(&Token::LBracket) {
            self.expect(&Token::RBracket)?;
            sql_type = SqlType::Array(Box::new(sql_type));
        }
        Ok(sql_type)
    }

    /// The word that a structured type begins with, if one comes.
    fn structure(&mut self) -> Option<&'static str> {
        let Token::Word(word) = self.parser.peek_token().token else {
            return None;
        };
        let known = ["struct", "composite", "map"];
        let found = known
            .into_iter()
            .find(|known| word.quote_style.is_none() && word.value.eq_ignore_ascii_case(known))?;
        let follows = if found == "struct" {
            Token::Lt
        } else {
            Token::LParen
        };
        if self.parser.peek_nth_token(1).token != follows {
            return None;
        }
        self.parser.next_token();
        Some(found)
    }

    /// `(key, value)`; lengths of texts are not kept.
    fn map(&mut self, depth: usize) -> Result<SqlType> {
        self.expect(&Token::LParen)?;
        let key = self.sql_type(depth + 1)?.arrow();
        self.expect(&Token::Comma)?;
        let value = self.sql_type(depth + 1)?.arrow();
        self.expect(&Token::RParen)?;
        if !is_key(&key) {
            return Err(wrong_key(&sql_name(&key)));
        }
        Ok(SqlType::of(&map_type(key, value)))
    }

    /// `(oid, oid of arrays, name)`
    fn type_name(&mut self) -> Result<TypeName> {
        self.expect(&Token::LParen)?;
        let oid = self.number()?;
        self.expect(&Token::Comma)?;
        let array_oid = self.number()?;
        self.expect(&Token::Comma)?;
        let name = self.name()?;
        self.expect(&Token::RParen)?;
        Ok(TypeName {
            oid,
            array_oid,
            name,
        })
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<(String, SqlType)>> {
        self.expect(&Token::Lt)?;
        let mut fields: Vec<(String, SqlType)> = Vec::new();
        loop {
            let name = self.name()?;
            fields.push((name, self.sql_type(depth + 1)?));
            if self.closing > 0 {
                self.closing -= 1;
                break;
            }
            match self.parser.next_token().token {
                Token::Comma => {}
                Token::Gt => break,
                Token::ShiftRight => {
                    self.closing += 1;
                    break;
                }
                other => return Err(malformed(&ParserError::ParserError(other.to_string()))),
            }
        }
        check_fields(fields.iter().map(|(name, _)| name.as_str()))?;
        Ok(fields)
    }

    fn name(&mut self) -> Result<String> {
        let ident = self.parser.parse_identifier();
        Ok(identifier(&ident.map_err(|error| malformed(&error))?))
    }

    fn number(&mut self) -> Result<u32> {
        let number = self.parser.parse_literal_uint();
        let number = number.map_err(|error| malformed(&error))?;
        u32::try_from(number)
            .map_err(|error| malformed(&ParserError::ParserError(error.to_string())))
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        let found = self.parser.expect_token(token);
        found.map(|_| ()).map_err(|error| malformed(&error))
    }
}

/// Refuses fields of one name, and too many.
///
/// # Errors
/// [`Error::DuplicateColumn`], [`Error::InvalidDefinition`].
pub fn check_fields<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::DuplicateColumn {
                name: name.to_owned(),
            });
        }
    }
    if seen.len() > FIELDS_MAX {
        return Err(Error::InvalidDefinition {
            message: format!("composite types can have at most {FIELDS_MAX} fields"),
        });
    }
    Ok(())
}

/// How a type's name is written: with its schema unless that is `public`.
#[must_use]
pub fn reference(schema: &str, name: &str) -> String {
    match schema {
        "public" => quoted_identifier(name),
        _ => format!("{}.{}", quoted_identifier(schema), quoted_identifier(name)),
    }
}
