//! Functions that users write in SQL: `CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS $$ SELECT a + 1 $$`.
//!
//! ```text
//!   f(x) ──before names are resolved──► ((x)::int + 1)::int
//! ```
//!
//! A body is one expression, of the parameters alone. It takes the place of each call, so that it is
//! planned as a part of the query and costs no call. What a name means in a body is found in the query
//! that calls it. A view keeps the bodies that it was made with; that is the catalog's affair.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};
use sqlparser::ast;
use sqlparser::ast::{
    CaseWhen, CastKind, CreateFunctionBody, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    FunctionCalledOnNull, FunctionReturnType, GroupByExpr, SelectItem, SetExpr, TableFactor, Value,
    VisitMut, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::names::identifier;
use crate::parse::{Statement, parse};
use crate::types::arrow_type;
use crate::values::types::SqlType;

/// Functions within functions that are followed.
const DEPTH_MAX: usize = 32;

/// A function of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlFunction {
    /// Its name within its schema.
    pub name: String,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// SQL name of the type of its result.
    pub returns: String,
    /// SQL text of the expression.
    pub body: String,
    /// Whether the result is NULL if an argument is.
    pub is_strict: bool,
    /// `i`, `s` or `v`, as it was declared.
    pub volatility: char,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name; without one it is `$n` alone.
    pub name: Option<String>,
    /// SQL name of its type.
    pub data_type: String,
}

impl SqlFunction {
    /// What a `CREATE FUNCTION` defines.
    ///
    /// # Errors
    /// Languages, types and bodies that are not offered.
    pub fn of(create: &ast::CreateFunction) -> Result<Self> {
        let language = create.language.as_ref().map(identifier);
        if let Some(other) = language.as_deref().filter(|name| *name != "sql") {
            return Err(Error::unsupported(
                format!("a function in language {other}"),
                "write it in LANGUAGE sql",
            ));
        }
        let name = create.name.0.last().and_then(|part| part.as_ident());
        let mut parameters = Vec::new();
        for arg in create.args.iter().flatten() {
            let is_plain = matches!(arg.mode, None | Some(ast::ArgMode::In));
            if !is_plain || arg.default_expr.is_some() {
                return Err(Error::unsupported(
                    "a parameter with OUT, INOUT, VARIADIC or DEFAULT",
                    "give the function parameters of type IN alone",
                ));
            }
            arrow_type(&arg.data_type)?;
            parameters.push(Parameter {
                name: arg.name.as_ref().map(identifier),
                data_type: arg.data_type.to_string(),
            });
        }
        let returns = match &create.return_type {
            Some(FunctionReturnType::DataType(data_type)) => data_type,
            Some(FunctionReturnType::SetOf(_)) => {
                return Err(Error::unsupported(
                    "a function that returns rows",
                    "create a view, or return one value",
                ));
            }
            None => {
                return Err(Error::InvalidDefinition {
                    message: "function result type must be specified".to_owned(),
                });
            }
        };
        arrow_type(returns)?;
        let volatility = match create.behavior {
            Some(ast::FunctionBehavior::Immutable) => 'i',
            Some(ast::FunctionBehavior::Stable) => 's',
            _ => 'v',
        };
        let strict = [
            FunctionCalledOnNull::Strict,
            FunctionCalledOnNull::ReturnsNullOnNullInput,
        ];
        Ok(Self {
            name: name.map(identifier).unwrap_or_default(),
            parameters,
            returns: returns.to_string(),
            body: body(create)?.to_string(),
            is_strict: create
                .called_on_null
                .as_ref()
                .is_some_and(|on| strict.contains(on)),
            volatility,
        })
    }

    /// Its name with the types of its parameters.
    #[must_use]
    pub fn signature(&self) -> String {
        let types = self
            .parameters
            .iter()
            .map(|parameter| type_name(&parameter.data_type));
        format!("{}({})", self.name, types.collect::<Vec<_>>().join(", "))
    }

    /// Whether it takes arguments of these types, as they are written.
    #[must_use]
    pub fn takes(&self, types: &[ast::DataType]) -> bool {
        let given = types.iter().map(shown);
        let own = self
            .parameters
            .iter()
            .map(|parameter| type_name(&parameter.data_type));
        given.eq(own)
    }

    /// Whether a parameter or the result is of a user's type of this oid, or made of it.
    #[must_use]
    pub fn uses_type(&self, oid: u32) -> bool {
        let parameters = self.parameters.iter().map(|p| &p.data_type);
        parameters.chain([&self.returns]).any(|written| {
            arrow_type_of(written).is_ok_and(|arrow| SqlType::of(&arrow).is_made_of(oid))
        })
    }

    /// A call with NULLs, whose type and faults are those of every call.
    ///
    /// # Errors
    /// If the text of the function cannot be read.
    pub fn example(&self) -> Result<Expr> {
        let nulls = self.parameters.iter().map(|_| Expr::value(Value::Null));
        self.call(nulls.collect())
    }

    /// The expression that a call means.
    fn call(&self, args: Vec<Expr>) -> Result<Expr> {
        let types = self.parameters.iter().map(|p| data_type(&p.data_type));
        let types = types.collect::<Result<Vec<_>>>()?;
        let args: Vec<Expr> = args
            .into_iter()
            .zip(types)
            .map(|(arg, data_type)| nested(cast(nested(arg), data_type)))
            .collect();
        let mut body = expression(&self.body)?;
        let visited = body.visit(&mut Arguments {
            function: self,
            args: &args,
        });
        debug_assert!(visited.is_continue(), "the visitor never breaks");
        let mut result = cast(nested(body), data_type(&self.returns)?);
        if self.is_strict && !args.is_empty() {
            let is_null = |arg: &Expr| Expr::IsNull(Box::new(arg.clone()));
            let any = args
                .iter()
                .map(is_null)
                .reduce(|any, is_null| Expr::BinaryOp {
                    left: Box::new(any),
                    op: ast::BinaryOperator::Or,
                    right: Box::new(is_null),
                });
            result = Expr::Case {
                case_token: ast::helpers::attached_token::AttachedToken::empty(),
                end_token: ast::helpers::attached_token::AttachedToken::empty(),
                operand: None,
                conditions: any
                    .into_iter()
                    .map(|condition| CaseWhen {
                        condition,
                        result: Expr::value(Value::Null),
                    })
                    .collect(),
                else_result: Some(Box::new(result)),
            };
        }
        Ok(nested(result))
    }
}

/// A written type, as PostgreSQL names it.
#[must_use]
pub fn shown(data_type: &ast::DataType) -> String {
    type_name(&data_type.to_string())
}

/// The Arrow type of a written type.
///
/// # Errors
/// If there is no such type.
pub fn arrow_type_of(written: &str) -> Result<arrow::datatypes::DataType> {
    arrow_type(&data_type(written)?)
}

/// PostgreSQL's name of a type without its modifier.
#[must_use]
pub fn type_name(written: &str) -> String {
    arrow_type_of(written).map_or_else(
        |_| written.to_lowercase(),
        |arrow| SqlType::of(&arrow).base_name(),
    )
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn cast(expr: Expr, data_type: ast::DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

fn unreadable() -> Error {
    Error::InvalidDefinition {
        message: "the stored text of a function cannot be read".to_owned(),
    }
}

fn data_type(written: &str) -> Result<ast::DataType> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(written);
    parser
        .and_then(|mut parser| parser.parse_data_type())
        .map_err(|_| unreadable())
}

fn expression(written: &str) -> Result<Expr> {
    let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(written);
    parser
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|_| unreadable())
}

/// The expression of a body.
fn body(create: &ast::CreateFunction) -> Result<Expr> {
    let refused = || {
        Error::unsupported(
            "a function body other than one expression",
            "write AS $$ SELECT expression $$ or RETURN expression, and read tables in a view",
        )
    };
    let text = match &create.function_body {
        Some(CreateFunctionBody::Return(expr) | CreateFunctionBody::AsReturnExpr(expr)) => {
            return without_tables(expr.clone()).ok_or_else(refused);
        }
        Some(
            CreateFunctionBody::AsBeforeOptions { body, .. }
            | CreateFunctionBody::AsAfterOptions(body),
        ) => match body {
            Expr::Value(value) => {
                value
                    .value
                    .clone()
                    .into_string()
                    .or_else(|| match &value.value {
                        Value::DollarQuotedString(text) => Some(text.value.clone()),
                        _ => None,
                    })
            }
            _ => None,
        },
        Some(_) => None,
        None => {
            return Err(Error::InvalidDefinition {
                message: "no function body specified".to_owned(),
            });
        }
    };
    let text = text.ok_or_else(refused)?;
    let mut statements = parse(&text)?;
    let Some(Statement::Pg(statement)) = statements.pop().map(|parsed| parsed.statement) else {
        return Err(refused());
    };
    let ast::Statement::Query(query) = *statement else {
        return Err(refused());
    };
    let is_plain = statements.is_empty()
        && query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none();
    let SetExpr::Select(mut select) = *query.body else {
        return Err(refused());
    };
    let groups = match &select.group_by {
        GroupByExpr::Expressions(groups, _) => !groups.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let expr = match (select.projection.pop(), select.projection.len()) {
        (Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }), 0)
            if is_plain
                && select.from.is_empty()
                && select.selection.is_none()
                && select.having.is_none()
                && !groups =>
        {
            Some(expr)
        }
        _ => None,
    };
    expr.and_then(without_tables).ok_or_else(refused)
}

fn without_tables(mut expr: Expr) -> Option<Expr> {
    expr.visit(&mut Tables).is_continue().then_some(expr)
}

/// Stops at a table.
struct Tables;

impl VisitorMut for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// Puts arguments in the place of parameters.
struct Arguments<'a> {
    function: &'a SqlFunction,
    args: &'a [Expr],
}

impl VisitorMut for Arguments<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let named = |name: &str| {
            let mut parameters = self.function.parameters.iter();
            parameters.position(|parameter| parameter.name.as_deref() == Some(name))
        };
        let at = match expr {
            Expr::Identifier(name) => named(&identifier(name)),
            Expr::CompoundIdentifier(parts) => match &parts[..] {
                [function, name] if identifier(function) == self.function.name => {
                    named(&identifier(name))
                }
                _ => None,
            },
            Expr::Value(value) => match &value.value {
                Value::Placeholder(number) => {
                    let number = number
                        .strip_prefix('$')
                        .and_then(|n| n.parse::<usize>().ok());
                    number.and_then(|number| number.checked_sub(1))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(arg) = at.and_then(|at| self.args.get(at)) {
            *expr = arg.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Puts bodies in the place of calls.
///
/// # Errors
/// Calls that have no end.
pub(crate) fn inline<T: VisitMut>(
    node: &mut T,
    catalog: &dyn Catalog,
) -> std::result::Result<(), DataFusionError> {
    let visited = node.visit(&mut Calls { catalog, depth: 0 });
    match visited {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(DataFusionError::External(Box::new(error))),
    }
}

struct Calls<'a> {
    catalog: &'a dyn Catalog,
    /// Bodies that this one is inside of.
    depth: usize,
}

impl VisitorMut for Calls<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.expanded(expr) {
            Ok(Some(body)) => {
                *expr = body;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Calls<'_> {
    fn expanded(&self, expr: &Expr) -> Result<Option<Expr>> {
        let Expr::Function(call) = expr else {
            return Ok(None);
        };
        let names: Option<Vec<String>> = call
            .name
            .0
            .iter()
            .map(|part| part.as_ident().map(identifier))
            .collect();
        let (schema, name) = match names.as_deref() {
            Some([name]) => (None, name),
            Some([schema, name]) => (Some(schema.as_str()), name),
            _ => return Ok(None),
        };
        let args = match &call.args {
            FunctionArguments::None => Vec::new(),
            FunctionArguments::List(list) => list.args.clone(),
            FunctionArguments::Subquery(_) => return Ok(None),
        };
        let Some(function) = self.catalog.function(schema, name, args.len()) else {
            return Ok(None);
        };
        if call.over.is_some() || call.filter.is_some() {
            return Err(Error::InvalidParameter {
                message: format!("{name} is not an aggregate function"),
            });
        }
        if self.depth >= DEPTH_MAX {
            return Err(Error::TooComplex { limit: DEPTH_MAX });
        }
        let args = args.into_iter().map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Ok(value),
            _ => Err(Error::unsupported(
                "a call of a function by names of parameters",
                "write the arguments in their order",
            )),
        });
        // What a body calls is found before arguments take their places: they have been visited.
        let mut inner = SqlFunction::clone(&function);
        let mut body = expression(&inner.body)?;
        let within = Calls {
            catalog: self.catalog,
            depth: self.depth + 1,
        };
        if let ControlFlow::Break(error) = body.visit(&mut { within }) {
            return Err(error);
        }
        inner.body = body.to_string();
        inner.call(args.collect::<Result<_>>()?).map(Some)
    }
}
