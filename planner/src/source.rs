//! `CREATE SOURCE`: what the options of a connector mean.
//!
//! The one connector is `nexmark`, with RisingWave's option and column names. A column list may
//! choose and reorder the stream's columns; its types must be the stream's.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use sqlparser::ast::ColumnDef;

use crate::catalog::NexmarkSource;
use crate::dataflow::{NexmarkOptions, NexmarkTable};
use crate::error::{Error, Result};
use crate::names::identifier;
use crate::types::{arrow_type, sql_name};

/// Nanoseconds between two events if the option is left out.
pub const MIN_EVENT_GAP_DEFAULT: u64 = 100_000;

/// Options of the generator that are passed on as they are.
const TUNING: &[&str] = &[
    "active.people",
    "in.flight.auctions",
    "out.of.order.group.size",
    "avg.person.byte.size",
    "avg.auction.byte.size",
    "avg.bid.byte.size",
    "hot.seller.ratio",
    "hot.auction.ratio",
    "hot.bidder.ratio",
    "hot.channel.ratio",
    "first.event.id",
    "first.event.number",
    "num.categories",
    "auction.id.lead",
    "person.id.lead",
    "person.proportion",
    "auction.proportion",
    "bid.proportion",
    "first.auction.id",
    "first.person.id",
    "first.category.id",
    "sine.approx.steps",
    "base.time",
    "max.chunk.size",
];

/// The source that a `CREATE SOURCE` describes, and its columns.
///
/// # Errors
/// [`Error::InvalidParameter`] for options that are missing, unknown or wrong,
/// [`Error::Unsupported`] for other connectors, and faults of the column list.
pub fn source_definition(
    columns: &[ColumnDef],
    options: &BTreeMap<String, String>,
) -> Result<(NexmarkSource, SchemaRef)> {
    match options
        .get("connector")
        .map(|name| name.to_lowercase())
        .as_deref()
    {
        Some("nexmark") => {}
        Some(other) => {
            return Err(Error::unsupported(
                format!("connector \"{other}\""),
                "the connector is 'nexmark'",
            ));
        }
        None => {
            return Err(Error::InvalidParameter {
                message: "option \"connector\" is missing".to_owned(),
            });
        }
    }
    let table = nexmark_table(options)?;
    let source = NexmarkSource {
        options: nexmark_options(options)?,
        table,
    };
    let schema = chosen_columns(&nexmark_schema(table), columns)?;
    Ok((source, schema))
}

fn nexmark_table(options: &BTreeMap<String, String>) -> Result<NexmarkTable> {
    let written = options
        .get("nexmark.table.type")
        .ok_or_else(|| Error::InvalidParameter {
            message: "option \"nexmark.table.type\" is missing".to_owned(),
        })?;
    match written.to_lowercase().as_str() {
        "person" => Ok(NexmarkTable::Person),
        "auction" => Ok(NexmarkTable::Auction),
        "bid" => Ok(NexmarkTable::Bid),
        _ => Err(invalid_value(
            "nexmark.table.type",
            written,
            "Person, Auction or Bid",
        )),
    }
}

fn nexmark_options(options: &BTreeMap<String, String>) -> Result<NexmarkOptions> {
    let mut result = NexmarkOptions {
        event_num: None,
        min_event_gap_in_ns: MIN_EVENT_GAP_DEFAULT,
        tuning: BTreeMap::new(),
    };
    for (key, value) in options {
        match key.as_str() {
            "connector" | "nexmark.table.type" => {}
            "nexmark.event.num" if value.trim() == "-1" => result.event_num = None,
            "nexmark.event.num" => result.event_num = Some(whole_number(key, value)?),
            "nexmark.min.event.gap.in.ns" => result.min_event_gap_in_ns = whole_number(key, value)?,
            // One generator, in event time: the other settings of these have no meaning here.
            "nexmark.split.num" if whole_number(key, value)? == 1 => {}
            "nexmark.split.num" => return Err(invalid_value(key, value, "1")),
            "nexmark.use.real.time" if value.eq_ignore_ascii_case("false") => {}
            "nexmark.use.real.time" => return Err(invalid_value(key, value, "false")),
            other => {
                let name = other
                    .strip_prefix("nexmark.")
                    .filter(|name| TUNING.contains(name));
                let Some(name) = name else {
                    return Err(Error::InvalidParameter {
                        message: format!("unrecognized option \"{other}\" of connector nexmark"),
                    });
                };
                result
                    .tuning
                    .insert(name.to_owned(), whole_number(key, value)?);
            }
        }
    }
    Ok(result)
}

fn whole_number(key: &str, value: &str) -> Result<u64> {
    value
        .trim()
        .parse()
        .map_err(|_| invalid_value(key, value, "a whole number, zero or more"))
}

fn invalid_value(key: &str, value: &str, expected: &str) -> Error {
    Error::InvalidParameter {
        message: format!("invalid value for option \"{key}\": \"{value}\" (expected {expected})"),
    }
}

/// All columns of one of the generator's streams. All nullable, as in every source.
#[must_use]
pub fn nexmark_schema(table: NexmarkTable) -> SchemaRef {
    let int = DataType::Int64;
    let text = DataType::Utf8;
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let columns = match table {
        NexmarkTable::Person => vec![
            ("id", int),
            ("name", text.clone()),
            ("email_address", text.clone()),
            ("credit_card", text.clone()),
            ("city", text.clone()),
            ("state", text.clone()),
            ("date_time", time),
            ("extra", text),
        ],
        NexmarkTable::Auction => vec![
            ("id", int.clone()),
            ("item_name", text.clone()),
            ("description", text.clone()),
            ("initial_bid", int.clone()),
            ("reserve", int.clone()),
            ("date_time", time.clone()),
            ("expires", time),
            ("seller", int.clone()),
            ("category", int),
            ("extra", text),
        ],
        NexmarkTable::Bid => vec![
            ("auction", int.clone()),
            ("bidder", int.clone()),
            ("price", int),
            ("channel", text.clone()),
            ("url", text.clone()),
            ("date_time", time),
            ("extra", text),
        ],
    };
    let fields = columns
        .into_iter()
        .map(|(name, data_type)| Field::new(name, data_type, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn chosen_columns(all: &SchemaRef, columns: &[ColumnDef]) -> Result<SchemaRef> {
    if columns.is_empty() {
        return Ok(Arc::clone(all));
    }
    let mut chosen: Vec<Field> = Vec::with_capacity(columns.len());
    for column in columns {
        let name = identifier(&column.name);
        if !column.options.is_empty() {
            return Err(Error::unsupported(
                format!("a constraint or default on column \"{name}\" of a source"),
                "leave it out",
            ));
        }
        let Ok(field) = all.field_with_name(&name) else {
            return Err(Error::UndefinedColumn { name });
        };
        if arrow_type(&column.data_type)? != *field.data_type() {
            let expected = sql_name(field.data_type());
            return Err(Error::TypeMismatch {
                message: format!("column \"{name}\" of the nexmark stream is of type {expected}"),
            });
        }
        if chosen.iter().any(|field| *field.name() == name) {
            return Err(Error::DuplicateColumn { name });
        }
        chosen.push(field.clone());
    }
    Ok(Arc::new(Schema::new(chosen)))
}
