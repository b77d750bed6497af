//! SET and RESET.

use sqlparser::ast;
use sqlparser::ast::{Expr, ObjectName, Reset, Set, Value};

use crate::activity;
use crate::error::{Error, Result};
use crate::pg_catalog::relations::quoted;
use crate::session::{Session, lock};
use crate::settings::Settings;
use crate::statement::Outcome;

impl Session {
    pub(crate) fn set(&mut self, set: &Set) -> Result<Outcome> {
        match set {
            Set::SingleAssignment {
                variable, values, ..
            } => {
                let name = setting_name(variable)?;
                let is_path = name.eq_ignore_ascii_case("search_path");
                let text = if is_path { schema_text } else { value_text };
                let value = values
                    .iter()
                    .map(text)
                    .collect::<Result<Vec<_>>>()?
                    .join(", ");
                self.assign_setting(&name, &value, is_default(values))?;
            }
            Set::SetTimeZone { value, .. } => {
                let text = value_text(value)?;
                self.assign_setting("TimeZone", &text, is_default(std::slice::from_ref(value)))?;
            }
            Set::SetNames { charset_name, .. } => {
                self.assign_setting("client_encoding", &charset_name.value, false)?
            }
            Set::SetTransaction { modes, session, .. } => self.set_modes(modes, *session)?,
            _ => return Err(Error::not_supported("this form of SET is not supported")),
        }
        Ok(Outcome::Done("SET".to_owned()))
    }

    fn assign_setting(&mut self, name: &str, value: &str, to_default: bool) -> Result<()> {
        let report = if to_default {
            lock(&self.settings).reset(name)?
        } else {
            lock(&self.settings).set(name, value)?
        };
        self.report_settings(report);
        self.note_application_name();
        Ok(())
    }

    /// `pg_stat_activity` shows the name that the session has now.
    fn note_application_name(&self) {
        let name = self.settings().get("application_name").unwrap_or_default();
        activity::lock(&self.activity).application_name = name;
    }

    pub(crate) fn reset(&mut self, reset: &Reset) -> Result<Outcome> {
        match reset {
            Reset::ALL => {
                let reports = lock(&self.settings).reset_all();
                self.report_settings(reports);
            }
            Reset::ConfigurationParameter(name) => {
                let report = lock(&self.settings).reset(&setting_name(name)?)?;
                self.report_settings(report);
            }
        }
        self.note_application_name();
        Ok(Outcome::Done("RESET".to_owned()))
    }

    /// Tells the client of settings that it follows.
    pub(crate) fn report_settings(
        &mut self,
        changed: impl IntoIterator<Item = (&'static str, String)>,
    ) {
        for (name, value) in changed {
            self.client.outbox.parameter_status(name, &value);
        }
    }

    /// Goes back to settings of before; the client is told what differs.
    pub(crate) fn restore_settings(&mut self, before: Settings) {
        let now = self.settings();
        let reports: Vec<_> = before
            .reported()
            .into_iter()
            .zip(now.reported())
            .filter(|(b, n)| b != n)
            .map(|(b, _)| b)
            .collect();
        *lock(&self.settings) = before;
        self.report_settings(reports);
    }
}

fn setting_name(name: &ObjectName) -> Result<String> {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|ident| ident.value.clone())
        .collect();
    if parts.is_empty() {
        return Err(Error::Syntax {
            message: format!("improper name: {name}"),
        });
    }
    Ok(parts.join("."))
}

fn is_default(values: &[Expr]) -> bool {
    matches!(values, [Expr::Identifier(ident)] if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A name in a search path, quoted where it must be.
fn schema_text(value: &Expr) -> Result<String> {
    Ok(match value {
        Expr::Identifier(ident) => quoted(&planner::names::identifier(ident)),
        other => quoted(&value_text(other)?),
    })
}

/// The text of a value: a literal, a bare word, or a signed number.
fn value_text(value: &Expr) -> Result<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Ok(text.clone()),
            Value::Number(number, _) => Ok(number.to_string()),
            Value::Boolean(value) => Ok(value.to_string()),
            other => Err(Error::Syntax {
                message: format!("syntax error at or near \"{other}\""),
            }),
        },
        Expr::Identifier(ident) => Ok(ident.value.clone()),
        Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => Ok(format!("-{}", value_text(expr)?)),
        Expr::Interval(interval) => value_text(&interval.value),
        other => Err(Error::Syntax {
            message: format!("syntax error at or near \"{other}\""),
        }),
    }
}
