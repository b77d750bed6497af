//! The limit: one thread that computes the last answer of a query over columns in memory, by hand.
//!
//! No SQL, no changes to earlier answers, no epochs, nothing durable. Rows are kept as a view would
//! keep them, so that what is computed is not optimised away.

use arrow::array::{ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use executor::sources::NexmarkEvents;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use planner::dataflow::NexmarkTable::{Auction, Bid, Person};

const SECOND: i64 = 1_000_000;

/// Answers a query; the number of rows of its answer. `None` for queries without such a loop.
pub(super) fn answer(query: &str, events: &NexmarkEvents) -> Option<usize> {
    Some(match query {
        "q0" => pass(events, |price| price as f64),
        "q1" => pass(events, |price| 0.908 * price as f64),
        "q2" => filter(events),
        "q4" => average_of_maxima(events),
        "q5" => hot_items(events),
        "q7" => highest_bids(events),
        "q8" => new_users(events),
        _ => return None,
    })
}

fn integers<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    values::<Int64Type>(batch, name)
}

fn times<'a>(batch: &'a RecordBatch, name: &str) -> &'a [i64] {
    values::<TimestampMicrosecondType>(batch, name)
}

fn values<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> &'a [T::Native] {
    let column = batch.column_by_name(name);
    let column = column.expect("the events have this column");
    column.as_primitive::<T>().values()
}

fn pass(events: &NexmarkEvents, price_of: impl Fn(i64) -> f64) -> usize {
    let mut rows = Vec::new();
    for bids in events.table(Bid) {
        let (auction, bidder) = (integers(bids, "auction"), integers(bids, "bidder"));
        let (price, time) = (integers(bids, "price"), times(bids, "date_time"));
        let row = |row: usize| (auction[row], bidder[row], price_of(price[row]), time[row]);
        rows.extend((0..bids.num_rows()).map(row));
    }
    std::hint::black_box(&rows).len()
}

fn filter(events: &NexmarkEvents) -> usize {
    let mut rows = Vec::new();
    for bids in events.table(Bid) {
        let (auction, price) = (integers(bids, "auction"), integers(bids, "price"));
        let wanted = |auction: i64| matches!(auction, 1007 | 1020 | 2001 | 2019 | 2087);
        let kept = auction.iter().zip(price).filter(|(a, _)| wanted(**a));
        rows.extend(kept);
    }
    std::hint::black_box(&rows).len()
}

fn average_of_maxima(events: &NexmarkEvents) -> usize {
    struct Open {
        begin: i64,
        end: i64,
        category: i64,
        price: Option<i64>,
    }
    let mut auctions = HashMap::new();
    for batch in events.table(Auction) {
        let (id, category) = (integers(batch, "id"), integers(batch, "category"));
        let (begin, end) = (times(batch, "date_time"), times(batch, "expires"));
        for row in 0..batch.num_rows() {
            let open = Open {
                begin: begin[row],
                end: end[row],
                category: category[row],
                price: None,
            };
            auctions.insert(id[row], open);
        }
    }
    for bids in events.table(Bid) {
        let (auction, price) = (integers(bids, "auction"), integers(bids, "price"));
        let time = times(bids, "date_time");
        for row in 0..bids.num_rows() {
            if let Some(open) = auctions.get_mut(&auction[row])
                && (open.begin..=open.end).contains(&time[row])
            {
                open.price = open.price.max(Some(price[row]));
            }
        }
    }
    let mut averages: HashMap<i64, (i64, i64)> = HashMap::new();
    for open in auctions.values() {
        if let Some(price) = open.price {
            let (sum, count) = averages.entry(open.category).or_default();
            *sum += price;
            *count += 1;
        }
    }
    std::hint::black_box(&averages).len()
}

fn hot_items(events: &NexmarkEvents) -> usize {
    const SLIDE: i64 = 2 * SECOND;
    const WINDOWS: i64 = 5;
    let mut counts: HashMap<(i64, i64), i64> = HashMap::new();
    for bids in events.table(Bid) {
        let (auction, time) = (integers(bids, "auction"), times(bids, "date_time"));
        for row in 0..bids.num_rows() {
            let last = time[row].div_euclid(SLIDE);
            for window in last - WINDOWS + 1..=last {
                *counts.entry((window, auction[row])).or_default() += 1;
            }
        }
    }
    let mut most: HashMap<i64, i64> = HashMap::new();
    for ((window, _), count) in &counts {
        let most = most.entry(*window).or_default();
        *most = (*most).max(*count);
    }
    let hot = counts.iter().filter(|((w, _), count)| most[w] == **count);
    std::hint::black_box(hot.collect::<Vec<_>>()).len()
}

fn highest_bids(events: &NexmarkEvents) -> usize {
    const WINDOW: i64 = 10 * SECOND;
    /// Highest price, and who bid it for what and when.
    type Highest = (i64, Vec<[i64; 3]>);
    let mut highest: HashMap<i64, Highest> = HashMap::new();
    for bids in events.table(Bid) {
        let (auction, bidder) = (integers(bids, "auction"), integers(bids, "bidder"));
        let (price, time) = (integers(bids, "price"), times(bids, "date_time"));
        for row in 0..bids.num_rows() {
            let (most, rows) = highest.entry(time[row].div_euclid(WINDOW)).or_default();
            if price[row] < *most {
                continue;
            }
            if price[row] > *most {
                *most = price[row];
                rows.clear();
            }
            rows.push([auction[row], bidder[row], time[row]]);
        }
    }
    let rows = highest.values().map(|(_, rows)| rows.len()).sum();
    std::hint::black_box(&highest);
    rows
}

fn new_users(events: &NexmarkEvents) -> usize {
    const WINDOW: i64 = 10 * SECOND;
    let mut people = HashMap::new();
    for batch in events.table(Person) {
        let (id, time) = (integers(batch, "id"), times(batch, "date_time"));
        let name = batch
            .column_by_name("name")
            .map(|names| names.as_string::<i32>());
        let name = name.expect("people have names");
        for row in 0..batch.num_rows() {
            let key = (id[row], time[row].div_euclid(WINDOW));
            if let Entry::Vacant(entry) = people.entry(key) {
                entry.insert(name.value(row));
            }
        }
    }
    let mut found = HashSet::new();
    for batch in events.table(Auction) {
        let (seller, time) = (integers(batch, "seller"), times(batch, "date_time"));
        for row in 0..batch.num_rows() {
            let key = (seller[row], time[row].div_euclid(WINDOW));
            if let Some(name) = people.get(&key) {
                found.insert((key, *name));
            }
        }
    }
    std::hint::black_box(&found).len()
}
