//! CREATE SEQUENCE, ALTER SEQUENCE … RESTART, and the sequences of `serial` and identity columns.

use planner::table::{Identity as PlannedIdentity, OwnSequence};
use sqlparser::ast;
use sqlparser::ast::{ObjectName, SequenceOptions};

use crate::catalog::{Catalog, Entry, Identity, Kind};
use crate::error::{Error, Result};
use crate::pg_catalog::relations::quoted;
use crate::sequence::{Sequence, definition};
use crate::session::Session;
use crate::statement::Outcome;
use crate::statement::ddl::NewName;
use planner::values::types::SqlType;

impl Session {
    pub(crate) async fn create_sequence(
        &mut self,
        text: &str,
        statement: &ast::Statement,
    ) -> Result<Outcome> {
        let ast::Statement::CreateSequence {
            temporary,
            if_not_exists,
            name,
            data_type,
            sequence_options,
            owned_by,
        } = statement
        else {
            return Err(Error::Internal("not a CREATE SEQUENCE".to_owned()));
        };
        if *temporary || owned_by.as_ref().is_some_and(|owner| !is_none(owner)) {
            return Err(Error::unsupported(
                "a temporary or owned sequence is not supported",
                "A column of type serial has a sequence of its own.",
            ));
        }
        let sql_type = match data_type {
            None => SqlType::Int8,
            Some(data_type) => SqlType::of(&planner::types::arrow_type(data_type)?),
        };
        let sequence = sequence(sql_type, sequence_options)?;
        let _ddl = self.lock_ddl().await?;
        if let Some(name) = self.new_name(name, *if_not_exists)? {
            let entry = self.new_entry(name, Kind::Sequence(sequence), Vec::new(), text);
            self.add_without_job(entry).await?;
        }
        Outcome::done("CREATE SEQUENCE")
    }

    /// Lets a sequence begin again, with a number or with its first one.
    pub(crate) fn restart_sequence(&self, entry: &Entry, number: Option<&ast::Expr>) -> Result<()> {
        let sequence = definition(entry)?;
        let number = number.map(whole).transpose()?.unwrap_or(sequence.start);
        if number < sequence.min {
            return Err(invalid(&format!(
                "RESTART value ({number}) cannot be less than MINVALUE ({})",
                sequence.min
            )));
        }
        if number > sequence.max {
            return Err(invalid(&format!(
                "RESTART value ({number}) cannot be greater than MAXVALUE ({})",
                sequence.max
            )));
        }
        self.shared.sequences.set(entry, number, false)
    }

    /// The sequence of a column of a new table, which takes its values from it.
    pub(crate) fn own_sequence(
        &self,
        table: &mut Entry,
        column: usize,
        own: &OwnSequence,
    ) -> Result<Entry> {
        let mut sequence = sequence(table.columns[column].sql_type.clone(), &own.options)?;
        sequence.owner = Some((table.id, column));
        let base = format!("{}_{}_seq", table.name, table.columns[column].name);
        let name = free_name(&self.shared.catalog.read(), &table.schema_name, &base);
        table.columns[column].identity = own.identity.map(|identity| match identity {
            PlannedIdentity::Always => Identity::Always,
            PlannedIdentity::ByDefault => Identity::ByDefault,
        });
        let text = format!("CREATE SEQUENCE {} AS {}", quoted(&name), sequence.sql_type);
        let name = NewName {
            schema: table.schema_name.clone(),
            local: name,
        };
        let sequence = self.new_entry(name, Kind::Sequence(sequence), Vec::new(), &text);
        let default = format!("nextval('{}'::regclass)", sequence.reference());
        table.columns[column].default = Some(default);
        Ok(sequence)
    }
}

fn is_none(owner: &ObjectName) -> bool {
    owner.to_string().eq_ignore_ascii_case("none")
}

fn free_name(catalog: &Catalog, schema: &str, base: &str) -> String {
    let mut name = base.to_owned();
    let mut number = 0;
    while catalog.find(schema, &name).is_some() {
        number += 1;
        name = format!("{base}{number}");
    }
    name
}

/// What the options of a sequence mean. Rules: PostgreSQL manual, CREATE SEQUENCE.
fn sequence(sql_type: SqlType, options: &[SequenceOptions]) -> Result<Sequence> {
    let (least, greatest) = match sql_type {
        SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::Int8 => (i64::MIN, i64::MAX),
        _ => {
            return Err(invalid(
                "sequence type must be smallint, integer, or bigint",
            ));
        }
    };
    let (mut increment, mut start) = (1, None);
    let (mut min, mut max) = (None, None);
    for option in options {
        match option {
            SequenceOptions::IncrementBy(value, _) => increment = whole(value)?,
            SequenceOptions::MinValue(value) => min = value.as_ref().map(whole).transpose()?,
            SequenceOptions::MaxValue(value) => max = value.as_ref().map(whole).transpose()?,
            SequenceOptions::StartWith(value, _) => start = Some(whole(value)?),
            // How many numbers are reserved at once is ours.
            SequenceOptions::Cache(_) | SequenceOptions::Cycle(false) => {}
            SequenceOptions::Cycle(true) => {
                return Err(Error::unsupported(
                    "a sequence that cycles is not supported",
                    "Leave CYCLE out, or use the remainder of a division.",
                ));
            }
        }
    }
    if increment == 0 {
        return Err(invalid("INCREMENT must not be zero"));
    }
    let up = increment > 0;
    let min = min.unwrap_or(if up { 1 } else { least });
    let max = max.unwrap_or(if up { greatest } else { -1 });
    let start = start.unwrap_or(if up { min } else { max });
    if min < least || max > greatest {
        return Err(invalid(&format!(
            "bounds of the sequence are out of range for sequence data type {sql_type}"
        )));
    }
    if min >= max {
        return Err(invalid(&format!(
            "MINVALUE ({min}) must be less than MAXVALUE ({max})"
        )));
    }
    if start < min {
        return Err(invalid(&format!(
            "START value ({start}) cannot be less than MINVALUE ({min})"
        )));
    }
    if start > max {
        return Err(invalid(&format!(
            "START value ({start}) cannot be greater than MAXVALUE ({max})"
        )));
    }
    Ok(Sequence {
        sql_type,
        start,
        increment,
        min,
        max,
        owner: None,
    })
}

fn whole(value: &ast::Expr) -> Result<i64> {
    let text = value.to_string().replace(' ', "");
    text.parse()
        .map_err(|_| invalid(&format!("\"{value}\" is not a whole number")))
}

fn invalid(message: &str) -> Error {
    Error::InvalidValue {
        message: message.to_owned(),
        hint: None,
    }
}
