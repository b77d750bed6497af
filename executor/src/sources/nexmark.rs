//! The NEXMark generator as a source: people, auctions and bids of an online auction house.
//!
//! ```text
//!   event number   0  1  2  3  4  …  49  50  51 …   one stream for all sources of equal options
//!   event          P  A  A  A  B  …  B   P   A  …   a source keeps the events of its table
//! ```
//!
//! All randomness is seeded by the event number, and the first event is at a fixed time (2015-07-15
//! 00:00:00 UTC, as in RisingWave, unless `nexmark.base.time` says otherwise), so a restart goes on
//! with the very row that comes next. The offset, how many rows of its table the source has
//! produced, is a number in a state table.
//!
//! The source is paced by a clock: event `n` is due `n` gaps after the first one that this process
//! produces. Column names and options are RisingWave's.

use std::sync::Arc;
use std::time::Duration;

use ::nexmark::EventGenerator;
use ::nexmark::config::NexmarkConfig;
use ::nexmark::event::{Auction, Bid, Event, EventType, Person};
use arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use planner::dataflow::{NexmarkOptions, NexmarkTable};
use scaling::{Epoch, KeyGroup};
use storage::{StateTable, TableSchema};

use super::Clock;
use super::events::{EpochPart, NexmarkEvents, event_of_row};
use crate::change::{ChangeBatch, empty_key_group};
use crate::error::{Error, Result};
use crate::operator::{Barrier, Operator, Output};
use crate::operators::progress::Progress;
use crate::world;

/// Milliseconds from 1970 to 2015-07-15 00:00:00 UTC, the time of the first event.
pub(super) const BASE_TIME_DEFAULT: u64 = 1_436_918_400_000;
/// Most rows of a batch, unless `nexmark.max.chunk.size` says otherwise.
const CHUNK_ROWS_DEFAULT: usize = 1024;
/// Most rows of a batch that can be asked for.
const CHUNK_ROWS_MAX: u64 = 1 << 16;
/// Above this an option's value makes the generator's arithmetic overflow.
const OPTION_MAX: u64 = 1 << 32;

/// Produces one table of the generator, inserts only.
///
/// Output: the columns of `schema`, found by name; batches of one run.
pub struct Nexmark {
    // Fixed by the plan.
    config: Config,
    table: NexmarkTable,
    schema: SchemaRef,
    key_groups: u16,
    clock: Arc<dyn Clock>,
    /// Where the rows come from, if not from the generator.
    events: Option<Arc<NexmarkEvents>>,
    // How many rows were produced.
    offset: Progress,
    // Derived from the offset.
    generator: Option<EventGenerator>,
    pace: Option<Pace>,
    /// Rows noted as taken from the events.
    noted: u64,
}

/// What the options mean.
#[derive(Debug, Clone)]
struct Config {
    generator: NexmarkConfig,
    /// Events of all tables after which the stream ends.
    events: Option<u64>,
    /// Nanoseconds between two events.
    gap: u64,
    chunk_rows: usize,
}

/// Where the pacing begins: this event was due at this time.
#[derive(Debug, Clone, Copy)]
struct Pace {
    event: u64,
    time: Duration,
}

impl Nexmark {
    /// The source of one table of the generator.
    ///
    /// # Errors
    /// [`Error::SourceOption`] for an option that does not exist or does not fit; [`Error::Plan`]
    /// for a column that the table does not have.
    pub fn new(
        options: &NexmarkOptions,
        table: NexmarkTable,
        schema: SchemaRef,
        key_groups: u16,
        clock: Arc<dyn Clock>,
        events: Option<Arc<NexmarkEvents>>,
        offset: StateTable,
    ) -> Result<Self> {
        for field in schema.fields() {
            if !column_names(table).contains(&field.name().as_str()) {
                return Err(Error::Plan {
                    reason: format!("{table:?} of nexmark has no column \"{}\"", field.name()),
                });
            }
        }
        let mut config = Config::new(options)?;
        if let Some(events) = &events {
            let most = events.len();
            let wanted = config.events.map_or(most, |wanted| wanted.min(most));
            config.events = Some(wanted);
            events.expect(table, wanted);
        }
        Ok(Self {
            config,
            table,
            schema,
            key_groups,
            clock,
            events,
            offset: Progress::new(offset),
            generator: None,
            pace: None,
            noted: 0,
        })
    }

    /// The schemas of its state tables.
    #[must_use]
    pub fn table_schemas() -> Vec<TableSchema> {
        vec![Progress::table_schema()]
    }

    /// The generator, in front of the row of number `offset` of this table.
    fn generator_at(&mut self, offset: u64) -> EventGenerator {
        match self.generator.take() {
            Some(generator) if generator.offset() == offset => generator,
            _ => EventGenerator::new(self.config.generator.clone())
                .with_type_filter(event_type(self.table))
                .with_offset(offset),
        }
    }

    /// The number of the first event that may not be produced yet.
    fn end(&mut self, next: u64) -> u64 {
        let last = self.config.events.unwrap_or(u64::MAX);
        if self.config.gap == 0 {
            return last;
        }
        let now = self.clock.now();
        let pace = *self.pace.get_or_insert(Pace {
            event: next,
            time: now,
        });
        let passed = now.saturating_sub(pace.time).as_nanos() / u128::from(self.config.gap);
        let due = u128::from(pace.event) + passed + 1;
        last.min(u64::try_from(due).unwrap_or(u64::MAX))
    }
}

impl Nexmark {
    /// Pushes rows that were generated beforehand.
    fn poll_events(&mut self, key_group: KeyGroup, offset: u64, out: &mut Output) -> Result<bool> {
        let end = self.end(event_of_row(self.table, offset));
        let Some(events) = &self.events else {
            return Ok(false);
        };
        let Some(rows) = events.take(self.table, offset, end) else {
            return Ok(false);
        };
        self.offset
            .advance(&[(key_group, rows.num_rows() as u64)])?;
        let rows = with_columns(&rows, &self.schema)?;
        out.push(ChangeBatch::unkeyed(rows, None));
        Ok(true)
    }

    /// Notes what the epoch took from the events.
    fn note(&mut self, epoch: Epoch) {
        let key_group = empty_key_group(self.key_groups);
        let (Some(events), Some(pace)) = (&self.events, self.pace) else {
            return;
        };
        if !self.offset.owns(key_group) {
            return;
        }
        let offset = self.offset.get(&[key_group])[0];
        if offset == self.noted {
            return;
        }
        let (table, gap, now) = (self.table, self.config.gap, self.clock.now());
        let due = |row: u64| {
            let later = event_of_row(table, row).saturating_sub(pace.event) * gap;
            let ago = now.saturating_sub(pace.time + Duration::from_nanos(later));
            (world::now() - ago).into_std()
        };
        events.note(EpochPart {
            epoch,
            rows: offset - self.noted,
            first_due: due(self.noted),
            last_due: due(offset - 1),
        });
        self.noted = offset;
    }
}

impl Operator for Nexmark {
    fn on_batch(&mut self, _input: usize, _batch: ChangeBatch, _out: &mut Output) -> Result<()> {
        unreachable!("a source has no input");
    }

    fn on_barrier(&mut self, barrier: &Barrier, _out: &mut Output) -> Result<()> {
        self.note(barrier.epoch);
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.offset.table()]
    }

    fn poll(&mut self, out: &mut Output) -> Result<bool> {
        let key_group = empty_key_group(self.key_groups);
        if !self.offset.owns(key_group) {
            return Ok(false);
        }
        let offset = self.offset.get(&[key_group])[0];
        if self.events.is_some() {
            return self.poll_events(key_group, offset, out);
        }
        let mut generator = self.generator_at(offset);
        let end = self.end(generator.global_offset());
        let mut columns = Columns::new(self.table, self.config.chunk_rows);
        let mut rows = 0;
        while rows < self.config.chunk_rows && generator.global_offset() < end {
            let Some(event) = generator.next() else { break };
            columns.append(event);
            rows += 1;
        }
        self.generator = Some(generator);
        if rows == 0 {
            return Ok(false);
        }
        out.push(ChangeBatch::unkeyed(columns.finish(&self.schema)?, None));
        self.offset.advance(&[(key_group, rows as u64)])?;
        Ok(true)
    }
}

impl Config {
    fn new(options: &NexmarkOptions) -> Result<Self> {
        let mut config = Self {
            generator: NexmarkConfig {
                base_time: BASE_TIME_DEFAULT,
                ..NexmarkConfig::default()
            },
            events: options.event_num,
            gap: options.min_event_gap_in_ns,
            chunk_rows: CHUNK_ROWS_DEFAULT,
        };
        for (name, &value) in &options.tuning {
            config.set(name, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: u64) -> Result<()> {
        let generator = &mut self.generator;
        let (field, least) = match name {
            "max.chunk.size" => {
                self.chunk_rows = in_range(name, value, 1, CHUNK_ROWS_MAX)? as usize;
                return Ok(());
            }
            "base.time" => {
                // Whatever the generator adds, microseconds stay within 64 bits.
                generator.base_time = in_range(name, value, 0, i64::MAX as u64 / 2000)?;
                return Ok(());
            }
            "split.num" => {
                // A source is one executor: splits would only cut the same stream.
                in_range(name, value, 1, OPTION_MAX)?;
                return Ok(());
            }
            "active.people" => (&mut generator.active_people, 1),
            "in.flight.auctions" => (&mut generator.in_flight_auctions, 0),
            "out.of.order.group.size" => (&mut generator.out_of_order_group_size, 1),
            "avg.person.byte.size" => (&mut generator.avg_person_byte_size, 0),
            "avg.auction.byte.size" => (&mut generator.avg_auction_byte_size, 0),
            "avg.bid.byte.size" => (&mut generator.avg_bid_byte_size, 0),
            "hot.seller.ratio" => (&mut generator.hot_seller_ratio, 1),
            "hot.auction.ratio" => (&mut generator.hot_auction_ratio, 1),
            "hot.bidder.ratio" => (&mut generator.hot_bidder_ratio, 1),
            "hot.channel.ratio" => (&mut generator.hot_channel_ratio, 1),
            "first.event.id" => (&mut generator.first_event_id, 0),
            "first.event.number" => (&mut generator.first_event_number, 0),
            "num.categories" => (&mut generator.num_categories, 1),
            "auction.id.lead" => (&mut generator.auction_id_lead, 0),
            "person.id.lead" => (&mut generator.person_id_lead, 0),
            "person.proportion" => (&mut generator.person_proportion, 1),
            "auction.proportion" => (&mut generator.auction_proportion, 1),
            "bid.proportion" => (&mut generator.bid_proportion, 1),
            "first.auction.id" => (&mut generator.first_auction_id, 0),
            "first.person.id" => (&mut generator.first_person_id, 0),
            "first.category.id" => (&mut generator.first_category_id, 0),
            "sine.approx.steps" => (&mut generator.sine_approx_steps, 1),
            _ => {
                return Err(Error::SourceOption {
                    option: format!("nexmark.{name}"),
                    reason: "there is no such option".into(),
                });
            }
        };
        *field = in_range(name, value, least, OPTION_MAX)? as usize;
        Ok(())
    }
}

fn in_range(name: &str, value: u64, least: u64, greatest: u64) -> Result<u64> {
    if (least..=greatest).contains(&value) {
        return Ok(value);
    }
    Err(Error::SourceOption {
        option: format!("nexmark.{name}"),
        reason: format!("{value} is not between {least} and {greatest}"),
    })
}

pub(super) fn event_type(table: NexmarkTable) -> EventType {
    match table {
        NexmarkTable::Person => EventType::Person,
        NexmarkTable::Auction => EventType::Auction,
        NexmarkTable::Bid => EventType::Bid,
    }
}

/// The columns of a table, in the order in which [`Columns`] builds them.
fn column_names(table: NexmarkTable) -> &'static [&'static str] {
    match table {
        NexmarkTable::Person => &[
            "id",
            "name",
            "email_address",
            "credit_card",
            "city",
            "state",
            "date_time",
            "extra",
        ],
        NexmarkTable::Auction => &[
            "id",
            "item_name",
            "description",
            "initial_bid",
            "reserve",
            "date_time",
            "expires",
            "seller",
            "category",
            "extra",
        ],
        NexmarkTable::Bid => &[
            "auction",
            "bidder",
            "price",
            "channel",
            "url",
            "date_time",
            "extra",
        ],
    }
}

/// Builders for all columns of a table.
pub(super) struct Columns {
    table: NexmarkTable,
    builders: Vec<Builder>,
}

enum Builder {
    Integer(Int64Builder),
    Text(StringBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    fn integer(&mut self, value: usize) {
        match self {
            Self::Integer(builder) => builder.append_value(value as i64),
            _ => unreachable!("the column is not an integer"),
        }
    }

    fn text(&mut self, value: &str) {
        match self {
            Self::Text(builder) => builder.append_value(value),
            _ => unreachable!("the column is not text"),
        }
    }

    /// Appends milliseconds since 1970.
    fn time(&mut self, value: u64) {
        match self {
            Self::Time(builder) => builder.append_value(value as i64 * 1000),
            _ => unreachable!("the column is not a time"),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
        }
    }
}

impl Columns {
    pub(super) fn new(table: NexmarkTable, rows: usize) -> Self {
        let builders = column_names(table)
            .iter()
            .map(|name| match *name {
                "id" | "initial_bid" | "reserve" | "seller" | "category" | "auction" | "bidder"
                | "price" => Builder::Integer(Int64Builder::with_capacity(rows)),
                "date_time" | "expires" => {
                    Builder::Time(TimestampMicrosecondBuilder::with_capacity(rows))
                }
                _ => Builder::Text(StringBuilder::with_capacity(rows, rows * 16)),
            })
            .collect();
        Self { table, builders }
    }

    pub(super) fn append(&mut self, event: Event) {
        match event {
            Event::Person(person) => self.append_person(&person),
            Event::Auction(auction) => self.append_auction(&auction),
            Event::Bid(bid) => self.append_bid(&bid),
        }
    }

    fn append_person(&mut self, person: &Person) {
        let columns = &mut self.builders;
        columns[0].integer(person.id);
        columns[1].text(&person.name);
        columns[2].text(&person.email_address);
        columns[3].text(&person.credit_card);
        columns[4].text(&person.city);
        columns[5].text(&person.state);
        columns[6].time(person.date_time);
        columns[7].text(&person.extra);
    }

    fn append_auction(&mut self, auction: &Auction) {
        let columns = &mut self.builders;
        columns[0].integer(auction.id);
        columns[1].text(&auction.item_name);
        columns[2].text(&auction.description);
        columns[3].integer(auction.initial_bid);
        columns[4].integer(auction.reserve);
        columns[5].time(auction.date_time);
        columns[6].time(auction.expires);
        columns[7].integer(auction.seller);
        columns[8].integer(auction.category);
        columns[9].text(&auction.extra);
    }

    fn append_bid(&mut self, bid: &Bid) {
        let columns = &mut self.builders;
        columns[0].integer(bid.auction);
        columns[1].integer(bid.bidder);
        columns[2].integer(bid.price);
        columns[3].text(&bid.channel);
        columns[4].text(&bid.url);
        columns[5].time(bid.date_time);
        columns[6].text(&bid.extra);
    }

    /// The columns that `schema` names, in its order and types.
    pub(super) fn finish(mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let built: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let names = column_names(self.table).iter().copied();
        with_columns(&RecordBatch::try_from_iter(names.zip(built))?, schema)
    }
}

/// The columns that `schema` names, in its order and types: none, if only rows are counted.
fn with_columns(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = rows.column_by_name(field.name());
        let column = column.expect("the source checked the names");
        columns.push(if column.data_type() == field.data_type() {
            Arc::clone(column)
        } else {
            cast(column, field.data_type())?
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::Ordering;

    use planner::dataflow::{Fragment, Node};
    use planner::source::nexmark_schema;
    use scaling::KeyGroup;
    use storage::PartitionState;

    use super::*;
    use crate::operators::testing::{ManualClock, context, schema};
    use crate::pipeline::{Context, Pipeline};

    fn options(event_num: Option<u64>, gap: u64) -> NexmarkOptions {
        NexmarkOptions {
            event_num,
            min_event_gap_in_ns: gap,
            tuning: BTreeMap::new(),
        }
    }

    fn source(
        options: &NexmarkOptions,
        table: NexmarkTable,
        schema: SchemaRef,
        context: &Context,
    ) -> Result<Pipeline> {
        let root = Node::Nexmark {
            options: options.clone(),
            table,
            schema,
        };
        let fragment = Fragment {
            root,
            inputs: Vec::new(),
        };
        Pipeline::build(&fragment, 1, 0, (0..4).map(KeyGroup), context)
    }

    /// The text of all rows a source produces until it has none.
    fn drain(source: &mut Pipeline) -> Vec<String> {
        let mut out = Output::new();
        while source.poll(&mut out).unwrap() {}
        out.drain()
            .flat_map(|b| b.to_text().lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn the_three_sources_share_one_stream_of_events() {
        let options = options(Some(500), 0);
        let mut rows = 0;
        for table in [
            NexmarkTable::Person,
            NexmarkTable::Auction,
            NexmarkTable::Bid,
        ] {
            let mut source = source(&options, table, nexmark_schema(table), &context()).unwrap();
            rows += drain(&mut source).len();
        }
        assert_eq!(rows, 500);
        let table = NexmarkTable::Person;
        let mut people = source(&options, table, nexmark_schema(table), &context()).unwrap();
        let people = drain(&mut people);
        assert_eq!(people.len(), 10, "one event in fifty");
        assert!(
            people[0].starts_with("+1 | 1000 | vicky noris | yplkvgz@qbxfg.com | 7878 5821 1864 2539 | cheyenne | az | 2015-07-15T00:00:00 | "),
            "{}",
            people[0]
        );
    }

    #[test]
    fn a_restart_goes_on_with_the_next_row() {
        let table = NexmarkTable::Bid;
        let options = options(Some(10_000), 0);
        let columns = nexmark_schema(table);
        let whole = drain(&mut source(&options, table, columns.clone(), &context()).unwrap());
        assert_eq!(whole.len(), 9200);

        let mut first = source(&options, table, columns.clone(), &context()).unwrap();
        let mut out = Output::new();
        for _ in 0..3 {
            assert!(first.poll(&mut out).unwrap());
        }
        let rows: usize = out.batches().iter().map(ChangeBatch::num_rows).sum();
        assert_eq!(rows, 3 * CHUNK_ROWS_DEFAULT);
        let state = first.tables()[0]
            .extract(KeyGroup(0))
            .unwrap()
            .encode()
            .unwrap();
        assert!(
            !first.poll(&mut out).unwrap(),
            "without its offset it stays silent"
        );
        let mut second = source(&options, table, columns, &context()).unwrap();
        let state = PartitionState::decode(&state).unwrap();
        second.tables()[0].install(KeyGroup(0), state).unwrap();
        assert_eq!(drain(&mut second), whole[rows..]);
    }

    #[test]
    fn events_come_when_they_are_due() {
        let clock = Arc::new(ManualClock::default());
        let context = Context {
            clock: clock.clone(),
            ..context()
        };
        let table = NexmarkTable::Bid;
        let options = options(None, 1000);
        let mut bids = source(&options, table, nexmark_schema(table), &context).unwrap();
        // The first bid is event 4; the pacing starts with it.
        assert_eq!(drain(&mut bids).len(), 1);
        clock.nanoseconds.store(9_999, Ordering::Relaxed);
        assert_eq!(drain(&mut bids).len(), 9);
        clock.nanoseconds.store(50_000, Ordering::Relaxed);
        assert_eq!(drain(&mut bids).len(), 37, "events 50 to 53 are no bids");
    }

    #[test]
    fn columns_are_found_by_name_and_cast() {
        use arrow::datatypes::DataType;
        let columns = schema(&[("price", DataType::Int32), ("auction", DataType::Utf8)]);
        let mut bids =
            source(&options(Some(6), 0), NexmarkTable::Bid, columns, &context()).unwrap();
        let rows = drain(&mut bids);
        assert_eq!(rows.len(), 2);
        assert!(rows[0].ends_with(" | 1000"), "{}", rows[0]);
        let columns = schema(&[("seller", DataType::Int64)]);
        let refused = source(&options(None, 0), NexmarkTable::Bid, columns, &context());
        assert!(matches!(refused, Err(Error::Plan { .. })));
    }

    #[test]
    fn options_that_do_not_fit_are_named() {
        for (name, value, message) in [
            (
                "hot.auction.ratio",
                0,
                "invalid value for option \"nexmark.hot.auction.ratio\": 0 is not between 1 and 4294967296",
            ),
            (
                "max.chunk.size",
                0,
                "invalid value for option \"nexmark.max.chunk.size\": 0 is not between 1 and 65536",
            ),
            (
                "colour",
                1,
                "invalid value for option \"nexmark.colour\": there is no such option",
            ),
        ] {
            let tuning = BTreeMap::from([(name.to_owned(), value)]);
            let options = NexmarkOptions {
                tuning,
                ..options(None, 0)
            };
            let table = NexmarkTable::Bid;
            let error = source(&options, table, nexmark_schema(table), &context())
                .err()
                .unwrap();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn options_shape_the_stream() {
        let tuning = [
            ("bid.proportion", 1),
            ("max.chunk.size", 7),
            ("base.time", 0),
        ];
        let tuning = tuning.map(|(name, value)| (name.to_owned(), value)).into();
        let options = NexmarkOptions {
            tuning,
            ..options(Some(50), 0)
        };
        let table = NexmarkTable::Bid;
        let mut bids = source(&options, table, nexmark_schema(table), &context()).unwrap();
        let mut out = Output::new();
        assert!(bids.poll(&mut out).unwrap());
        assert_eq!(out.batches()[0].num_rows(), 7);
        assert!(out.batches()[0].to_text().contains("1970-01-01T00:00:00"));
        assert_eq!(drain(&mut bids).len(), 3, "one event in five");
    }
}
