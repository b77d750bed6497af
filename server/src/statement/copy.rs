//! COPY from and to the client.
//!
//! `COPY t FROM STDIN` is all or nothing: records become columns as they come, a batch at a time,
//! and are written when the last one was good. What they may take meanwhile is bounded
//! (`copy_bytes_max`); beyond it the statement fails with 54000 and nothing is written.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder, new_empty_array};
use arrow::compute::{concat, concat_batches};
use pgwire::messages::data::{FORMAT_CODE_BINARY, FORMAT_CODE_TEXT};
use sqlparser::ast;
use sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Query,
};

use crate::access::privilege::Privileges;
use crate::catalog::{Column, Entry};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement::copy_binary::{self, Fields, RowSplitter};
use crate::statement::copy_format::{CopyFormat, CopyOptions, Record, Splitter, write_line};
use crate::statement::generated;
use crate::statement::insert::named_columns;
use crate::statement::rows::Rows;
use crate::statement::upsert::Clause;
use crate::statement::{Outcome, select_all};
use crate::wire::encode::RowEncoder;
use crate::wire::frame::{Expect, Format, Message};
use crate::wire::parameter;
use planner::values::input::parse_column;

/// Records that become columns together.
const BATCH_ROWS: usize = 8192;

/// A COPY that reads from the client.
pub struct CopyIn {
    entry: Arc<Entry>,
    targets: Vec<usize>,
    options: CopyOptions,
}

/// A COPY that writes to the client.
pub struct CopyOut {
    pub(crate) rows: Rows,
    pub(crate) options: CopyOptions,
}

impl Session {
    pub(crate) async fn copy(
        &mut self,
        source: &CopySource,
        to: bool,
        target: &CopyTarget,
        options: &[CopyOption],
        legacy: &[CopyLegacyOption],
    ) -> Result<Outcome> {
        let forced = forced_columns(options, legacy);
        let mut options = copy_options(options, legacy)?;
        check_target(target, to)?;
        if to {
            let query = self.copied_query(source)?;
            let rows = self.select(&query, Vec::new()).await?;
            let fields = rows.schema.fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
            options.force(&forced, to, &names)?;
            return Ok(Outcome::CopyOut(Box::new(CopyOut { rows, options })));
        }
        let CopySource::Table {
            table_name,
            columns,
        } = source
        else {
            return Err(Error::Syntax {
                message: "syntax error at or near \"FROM\"".to_owned(),
            });
        };
        let entry = self.writable(table_name, "copy to")?;
        self.check_privilege(&entry, Privileges::INSERT)?;
        let targets = if columns.is_empty() {
            let given = |at: &usize| entry.columns[*at].generated.is_none();
            (0..entry.columns.len()).filter(given).collect()
        } else {
            named_columns(
                &entry,
                columns
                    .iter()
                    .map(|ident| Ok(planner::names::identifier(ident))),
            )?
        };
        generated::check_copy(&entry, &targets)?;
        let names = targets.iter().map(|&at| entry.columns[at].name.as_str());
        options.force(&forced, to, &names.collect::<Vec<_>>())?;
        Ok(Outcome::CopyIn(Box::new(CopyIn {
            entry,
            targets,
            options,
        })))
    }

    /// How a COPY to the client writes its rows.
    ///
    /// # Errors
    /// Options that do not exist or contradict each other; another target.
    pub(crate) fn copy_to_options(&self, copy: &ast::Statement) -> Result<CopyOptions> {
        match copy {
            ast::Statement::Copy {
                to: true,
                target,
                options,
                legacy_options,
                ..
            } => {
                check_target(target, true)?;
                if let Some((force, _)) = forced_columns(options, legacy_options).first() {
                    return Err(Error::not_supported(format!(
                        "{force} in COPY (SUBSCRIBE ...) is not supported"
                    )));
                }
                copy_options(options, legacy_options)
            }
            _ => Err(Error::Internal("not a COPY TO".to_owned())),
        }
    }

    /// The rows that COPY TO sends: a query, or a table's columns.
    fn copied_query(&self, source: &CopySource) -> Result<Query> {
        let (table_name, columns) = match source {
            CopySource::Query(query) => return Ok(Query::clone(query)),
            CopySource::Table {
                table_name,
                columns,
            } => (table_name, columns),
        };
        let mut query = select_all(table_name.clone())?;
        if let ast::SetExpr::Select(select) = &mut *query.body
            && !columns.is_empty()
        {
            let column = |ident: &ast::Ident| {
                ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(ident.clone()))
            };
            select.projection = columns.iter().map(column).collect();
        }
        Ok(query)
    }

    /// Reads the client's rows and writes them; gives the command tag.
    pub(crate) async fn copy_in(&mut self, copy: CopyIn) -> Result<String> {
        let format = format_code(&copy.options);
        self.client.outbox.copy_in(copy.targets.len(), format);
        self.client.flush().await?;
        let mut loader = Loader::new(self, &copy);
        let interrupt = self.interrupt.clone();
        loop {
            match interrupt
                .guard(self.client.message(Expect::CopyData))
                .await?
            {
                Message::CopyData(bytes) => {
                    loader.push(&bytes)?;
                    if loader.pending >= BATCH_ROWS {
                        self.load_batch(&copy, &mut loader).await?;
                    }
                }
                Message::CopyDone => break,
                Message::CopyFail(reason) => return Err(Error::CopyFailed(reason)),
                _terminated => return Err(Error::ClientGone),
            }
        }
        loader.finish()?;
        self.load_batch(&copy, &mut loader).await?;
        let rows = concat_batches(&copy.entry.schema(), &loader.batches)?;
        let count = rows.num_rows();
        match Clause::of_table(&copy.entry) {
            None => self.add_rows(&copy.entry, rows).await?,
            Some(clause) => {
                let entry = Arc::clone(&copy.entry);
                self.upsert(&entry, rows, &clause, None, Vec::new()).await?;
            }
        }
        Ok(format!("COPY {count}"))
    }

    /// Turns the records read so far into columns.
    async fn load_batch(&mut self, copy: &CopyIn, loader: &mut Loader) -> Result<()> {
        let (columns, lines) = loader.take_columns()?;
        let count = lines.len();
        if count == 0 {
            return Ok(());
        }
        let batch = self
            .complete(&copy.entry, columns, count)
            .await
            .map_err(|error| {
                in_copy(
                    error,
                    format!("COPY {}, line {}", copy.entry.name, lines[count - 1]),
                )
            })?;
        loader.keep(batch)
    }

    /// Sends the rows; gives the command tag.
    pub(crate) async fn copy_out(&mut self, mut copy: CopyOut) -> Result<String> {
        let width = copy.rows.schema.fields().len();
        self.client
            .outbox
            .copy_out(width, format_code(&copy.options));
        let is_binary = copy.options.format == CopyFormat::Binary;
        let format = if is_binary {
            Format::Binary
        } else {
            Format::Text
        };
        let formats = vec![format; width];
        let (mut line, mut scratch) = (Vec::new(), String::new());
        if is_binary {
            self.client
                .outbox
                .copy_data(|bytes| bytes.extend_from_slice(&copy_binary::header()));
        }
        if copy.options.header {
            let names: Vec<Option<String>> = copy
                .rows
                .schema
                .fields()
                .iter()
                .map(|field| Some(field.name().clone()))
                .collect();
            let plain = CopyOptions {
                force_quote: Vec::new(),
                ..copy.options.clone()
            };
            write_line(&plain, &names, &mut line);
            self.client
                .outbox
                .copy_data(|bytes| bytes.extend_from_slice(&line));
        }
        let mut sent = 0usize;
        let interrupt = self.interrupt.clone();
        while let Some(batch) = self.next_batch(&mut copy.rows).await? {
            let encoder = RowEncoder::new(&batch, &formats, self.style())?;
            for row in 0..encoder.rows() {
                if is_binary {
                    encoder.write_copy_row(row, &mut scratch, &mut self.client.outbox);
                } else {
                    let fields: Vec<Option<String>> =
                        (0..width).map(|column| encoder.text(column, row)).collect();
                    line.clear();
                    write_line(&copy.options, &fields, &mut line);
                    self.client
                        .outbox
                        .copy_data(|bytes| bytes.extend_from_slice(&line));
                }
                interrupt.guard(self.client.flush_if_full()).await?;
                sent += 1;
            }
        }
        if is_binary {
            self.client
                .outbox
                .copy_data(|bytes| bytes.extend_from_slice(&copy_binary::TRAILER));
        }
        self.client.outbox.copy_done();
        Ok(format!("COPY {sent}"))
    }
}

fn check_target(target: &CopyTarget, to: bool) -> Result<()> {
    match (target, to) {
        (CopyTarget::Stdin, false) | (CopyTarget::Stdout, true) => Ok(()),
        _ => Err(Error::unsupported(
            "COPY with a file or program of the server is not supported",
            "Use COPY ... FROM STDIN or TO STDOUT; psql's \\copy reads and writes files of the client.",
        )),
    }
}

/// Records on their way to columns.
struct Loader {
    entry: Arc<Entry>,
    targets: Vec<usize>,
    zone: Tz,
    bytes_max: usize,
    records: Records,
    lines: Vec<u64>,
    pending: usize,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

/// What was read and is not a column yet, one entry a target.
enum Records {
    Text {
        splitter: Splitter,
        texts: Vec<StringBuilder>,
    },
    Binary {
        splitter: RowSplitter,
        values: Vec<Vec<ArrayRef>>,
    },
}

impl Loader {
    fn new(session: &Session, copy: &CopyIn) -> Loader {
        Loader {
            entry: Arc::clone(&copy.entry),
            targets: copy.targets.clone(),
            zone: session.style().zone,
            bytes_max: session.shared.config.copy_bytes_max,
            records: match copy.options.format {
                CopyFormat::Binary => Records::Binary {
                    splitter: RowSplitter::new(copy.targets.len()),
                    values: vec![Vec::new(); copy.targets.len()],
                },
                CopyFormat::Text | CopyFormat::Csv => Records::Text {
                    splitter: Splitter::new(copy.options.clone()),
                    texts: copy.targets.iter().map(|_| StringBuilder::new()).collect(),
                },
            },
            lines: Vec::new(),
            pending: 0,
            batches: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let (entry, targets, zone) = (&self.entry, &self.targets, self.zone);
        let lines = &mut self.lines;
        let pushed = match &mut self.records {
            Records::Text { splitter, texts } => {
                let mut take = |record: Record| append(entry, targets, texts, lines, record);
                let pushed = splitter.push(bytes, &mut take);
                pushed.map_err(|error| in_copy(error, at_line(entry, splitter.line())))
            }
            Records::Binary { splitter, values } => {
                let mut row = splitter.rows();
                let pushed = splitter.push(bytes, |fields| {
                    row += 1;
                    lines.push(row);
                    decode(entry, targets, zone, values, &fields, row)
                });
                pushed.map_err(|error| in_copy(error, at_line(entry, splitter.rows())))
            }
        };
        self.pending = self.lines.len();
        pushed
    }

    fn finish(&mut self) -> Result<()> {
        let (entry, targets) = (&self.entry, &self.targets);
        let lines = &mut self.lines;
        let finished = match &mut self.records {
            Records::Text { splitter, texts } => {
                let mut take = |record: Record| append(entry, targets, texts, lines, record);
                let finished = splitter.finish(&mut take);
                finished.map_err(|error| in_copy(error, at_line(entry, splitter.line())))
            }
            Records::Binary { splitter, .. } => splitter
                .finish()
                .map_err(|error| in_copy(error, at_line(entry, splitter.rows()))),
        };
        self.pending = self.lines.len();
        finished
    }

    /// One column for each of the table's that the records fill, and the lines of the rows.
    fn take_columns(&mut self) -> Result<(Vec<Option<ArrayRef>>, Vec<u64>)> {
        let lines = std::mem::take(&mut self.lines);
        self.pending = 0;
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.entry.columns.len()];
        for (at, &target) in self.targets.iter().enumerate() {
            let column = &self.entry.columns[target];
            let values = match &mut self.records {
                Records::Text { texts, .. } => {
                    let texts = texts[at].finish();
                    parse_column(&texts, &column.sql_type, self.zone).map_err(|bad| {
                        let (line, value) = (lines[bad.row], texts.value(bad.row));
                        in_copy(
                            bad.error.into(),
                            format!(
                                "COPY {}, line {line}, column {}: \"{value}\"",
                                self.entry.name, column.name
                            ),
                        )
                    })?
                }
                Records::Binary { values, .. } => joined(column, std::mem::take(&mut values[at]))?,
            };
            columns[target] = Some(values);
        }
        Ok((columns, lines))
    }

    fn keep(&mut self, batch: RecordBatch) -> Result<()> {
        self.bytes += batch.get_array_memory_size();
        if self.bytes > self.bytes_max {
            return Err(Error::LimitExceeded {
                message: format!(
                    "COPY takes more than copy_bytes_max ({} bytes)",
                    self.bytes_max
                ),
                hint: Some(
                    "Load the rows in several statements, or raise copy_bytes_max.".to_owned(),
                ),
            });
        }
        self.batches.push(batch);
        Ok(())
    }
}

fn append(
    entry: &Entry,
    targets: &[usize],
    texts: &mut [StringBuilder],
    lines: &mut Vec<u64>,
    record: Record,
) -> Result<()> {
    if let Some(missing) = targets.get(record.fields.len()) {
        // An empty line is a record of one empty field.
        let message = format!(
            "missing data for column \"{}\"",
            entry.columns[*missing].name
        );
        return Err(Error::CopyFormat { message });
    }
    if record.fields.len() > targets.len() {
        return Err(Error::CopyFormat {
            message: "extra data after last expected column".to_owned(),
        });
    }
    for (text, field) in texts.iter_mut().zip(record.fields) {
        text.append_option(field);
    }
    lines.push(record.line);
    Ok(())
}

/// Reads the fields of a binary row.
fn decode(
    entry: &Entry,
    targets: &[usize],
    zone: Tz,
    values: &mut [Vec<ArrayRef>],
    fields: &Fields,
    line: u64,
) -> Result<()> {
    for ((values, field), &target) in values.iter_mut().zip(fields).zip(targets) {
        let column = &entry.columns[target];
        let value = parameter::decode(field.as_ref(), Format::Binary, &column.sql_type, zone);
        let value = value.map_err(|error| {
            let context = format!("COPY {}, line {line}, column {}", entry.name, column.name);
            in_copy(error, context)
        })?;
        values.push(value);
    }
    Ok(())
}

/// Values of one row each, as a column.
fn joined(column: &Column, values: Vec<ArrayRef>) -> Result<ArrayRef> {
    let parts: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    Ok(match parts.is_empty() {
        true => new_empty_array(&column.sql_type.arrow()),
        false => concat(&parts)?,
    })
}

fn at_line(entry: &Entry, line: u64) -> String {
    format!("COPY {}, line {line}", entry.name)
}

/// The format code of the protocol.
fn format_code(options: &CopyOptions) -> i16 {
    match options.format {
        CopyFormat::Text | CopyFormat::Csv => FORMAT_CODE_TEXT,
        CopyFormat::Binary => FORMAT_CODE_BINARY,
    }
}

fn in_copy(error: Error, context: String) -> Error {
    match error {
        already @ Error::InCopy { .. } => already,
        source => Error::InCopy {
            source: Box::new(source),
            context,
        },
    }
}

fn copy_options(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<CopyOptions> {
    let format = format_of(options, legacy)?;
    let mut result = CopyOptions::new(format);
    let mut escape = None;
    for option in options {
        match option {
            CopyOption::Format(_)
            | CopyOption::Freeze(false)
            | CopyOption::ForceQuote(_)
            | CopyOption::ForceNotNull(_)
            | CopyOption::ForceNull(_) => {}
            CopyOption::Delimiter(c) => result.delimiter = one_byte(*c, "delimiter")?,
            CopyOption::Null(text) => result.null.clone_from(text),
            CopyOption::Header(header) => result.header = *header,
            CopyOption::Quote(c) => result.quote = one_byte(*c, "quote")?,
            CopyOption::Escape(c) => escape = Some(one_byte(*c, "escape")?),
            CopyOption::Encoding(name)
                if name.eq_ignore_ascii_case("utf8") || name.eq_ignore_ascii_case("utf-8") => {}
            other => {
                return Err(Error::not_supported(format!(
                    "COPY option {other} is not supported"
                )));
            }
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Delimiter(c) => result.delimiter = one_byte(*c, "delimiter")?,
            CopyLegacyOption::Null(text) => result.null.clone_from(text),
            CopyLegacyOption::Header => result.header = true,
            CopyLegacyOption::Binary => {}
            CopyLegacyOption::Csv(csv) => {
                for option in csv {
                    match option {
                        CopyLegacyCsvOption::Header => result.header = true,
                        CopyLegacyCsvOption::Quote(c) => result.quote = one_byte(*c, "quote")?,
                        CopyLegacyCsvOption::Escape(c) => escape = Some(one_byte(*c, "escape")?),
                        CopyLegacyCsvOption::ForceQuote(_)
                        | CopyLegacyCsvOption::ForceNotNull(_) => {}
                    }
                }
            }
            other => {
                return Err(Error::not_supported(format!(
                    "COPY option {other} is not supported"
                )));
            }
        }
    }
    result.escape = escape.unwrap_or(result.quote);
    check_options(&result)?;
    Ok(result)
}

/// What is forced on columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Force {
    Quote,
    NotNull,
    Null,
}

impl std::fmt::Display for Force {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Force::Quote => "FORCE_QUOTE",
            Force::NotNull => "FORCE_NOT_NULL",
            Force::Null => "FORCE_NULL",
        })
    }
}

/// The columns that options force something on; `*` is all of them.
fn forced_columns<'a>(
    options: &'a [CopyOption],
    legacy: &'a [CopyLegacyOption],
) -> Vec<(Force, &'a [ast::Ident])> {
    let mut forced: Vec<(Force, &[ast::Ident])> = Vec::new();
    for option in options {
        match option {
            CopyOption::ForceQuote(columns) => forced.push((Force::Quote, columns)),
            CopyOption::ForceNotNull(columns) => forced.push((Force::NotNull, columns)),
            CopyOption::ForceNull(columns) => forced.push((Force::Null, columns)),
            _ => {}
        }
    }
    for option in legacy {
        let CopyLegacyOption::Csv(options) = option else {
            continue;
        };
        for option in options {
            match option {
                CopyLegacyCsvOption::ForceQuote(columns) => forced.push((Force::Quote, columns)),
                CopyLegacyCsvOption::ForceNotNull(columns) => {
                    forced.push((Force::NotNull, columns));
                }
                _ => {}
            }
        }
    }
    forced
}

impl CopyOptions {
    /// Sets what is forced, for these columns. Rules: PostgreSQL manual, COPY.
    fn force(&mut self, forced: &[(Force, &[ast::Ident])], to: bool, names: &[&str]) -> Result<()> {
        for (force, columns) in forced {
            let words = force.to_string().to_lowercase().replace('_', " ");
            if self.format != CopyFormat::Csv {
                return Err(Error::not_supported(format!(
                    "COPY {words} available only in CSV mode"
                )));
            }
            if to != (*force == Force::Quote) {
                let direction = if to { "FROM" } else { "TO" };
                return Err(Error::not_supported(format!(
                    "COPY {words} only available using COPY {direction}"
                )));
            }
            let mut flags = vec![false; names.len()];
            for column in *columns {
                let name = planner::names::identifier(column);
                match names.iter().position(|known| *known == name) {
                    Some(at) => flags[at] = true,
                    None if name == "*" => flags.fill(true),
                    None => {
                        return Err(Error::InvalidColumnReference {
                            message: format!("{force} column \"{name}\" not referenced by COPY"),
                            detail: format!("Its columns are {}.", names.join(", ")),
                        });
                    }
                }
            }
            *match force {
                Force::Quote => &mut self.force_quote,
                Force::NotNull => &mut self.force_not_null,
                Force::Null => &mut self.force_null,
            } = flags;
        }
        Ok(())
    }
}

fn format_of(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<CopyFormat> {
    if legacy
        .iter()
        .any(|option| matches!(option, CopyLegacyOption::Csv(_)))
    {
        return Ok(CopyFormat::Csv);
    }
    if legacy
        .iter()
        .any(|option| matches!(option, CopyLegacyOption::Binary))
    {
        return Ok(CopyFormat::Binary);
    }
    let format = options.iter().find_map(|option| match option {
        CopyOption::Format(name) => Some(planner::names::identifier(name)),
        _ => None,
    });
    match format.as_deref() {
        None | Some("text") => Ok(CopyFormat::Text),
        Some("csv") => Ok(CopyFormat::Csv),
        Some("binary") => Ok(CopyFormat::Binary),
        Some(other) => Err(Error::InvalidValue {
            message: format!("COPY format \"{other}\" not recognized"),
            hint: Some("Use FORMAT csv, text or binary.".to_owned()),
        }),
    }
}

fn one_byte(c: char, what: &str) -> Result<u8> {
    u8::try_from(c)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| Error::InvalidValue {
            message: format!("COPY {what} must be a single one-byte character"),
            hint: None,
        })
}

fn check_options(options: &CopyOptions) -> Result<()> {
    let invalid = |message: &str| {
        Err(Error::InvalidValue {
            message: message.to_owned(),
            hint: None,
        })
    };
    if options.format == CopyFormat::Binary && *options != CopyOptions::new(CopyFormat::Binary) {
        return Err(Error::Syntax {
            message: "cannot specify HEADER, DELIMITER, NULL, QUOTE or ESCAPE in BINARY mode"
                .to_owned(),
        });
    }
    if matches!(options.delimiter, b'\n' | b'\r') || options.null.contains(['\n', '\r']) {
        return invalid(
            "COPY delimiter and null representation cannot be newline or carriage return",
        );
    }
    if options.format == CopyFormat::Csv && options.delimiter == options.quote {
        return invalid("COPY delimiter and quote must be different");
    }
    if options.format == CopyFormat::Text
        && (options.delimiter == b'\\' || options.delimiter.is_ascii_alphanumeric())
    {
        return invalid("COPY delimiter cannot be a backslash, letter or digit in text format");
    }
    Ok(())
}
