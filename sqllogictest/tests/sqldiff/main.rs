//! Random SQL: after every change each view holds what its query returns, and what PostgreSQL
//! returns if there is one.
//!
//! ```text
//!   10 random queries ─► views ─► random changes, ALTER … SET PARALLELISM ─► view = query = PostgreSQL
//!                                        └──────── 4 times ◄───────┘
//! ```
//!
//! `QUERIES=n` says how many queries (0 goes on until one fails; without it as many as half a minute allows), `SEED=n` where to begin,
//! `SLT_POSTGRES` holds the connection string of a PostgreSQL. A failing query is made smaller for
//! as long as it fails, and printed with the statements that lead there.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "tests may")]

mod query;

use std::env;
use std::time::{Duration, Instant};

use query::{Query, TABLES, Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqllogictest_runner::DBOutput;
use tidewater_sqllogictest::{Client, Dialect, ServerProcess};
use tokio_postgres::Config;

/// How long it goes on without being told.
const TIME: Duration = Duration::from_secs(30);
/// Queries that are views at the same time.
const VIEWS: usize = 10;
/// Changes that each of them sees.
const ROUNDS: usize = 4;

/// What a run of one query came to.
enum Outcome {
    Equal,
    /// Refused with words, or wrong for PostgreSQL too.
    Refused,
    Different(String),
}

struct World {
    ours: Client,
    postgres: Option<Client>,
    /// Statements since the tables were empty.
    history: Vec<String>,
}

#[test]
fn views_hold_what_their_queries_return() {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let queries = number("QUERIES");
    let started = Instant::now();
    let first = number("SEED").unwrap_or(1);
    // What is waited for are epochs.
    let interval = queries.map_or("100ms", |_| "10ms");
    let server = ServerProcess::start_with(&[("TIDEWATER_BARRIER_INTERVAL", interval)]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::open(&server.config()).await;
        let (mut done, mut refused) = (0, 0);
        for seed in first.. {
            let is_enough = match queries {
                None => started.elapsed() >= TIME,
                Some(0) => false,
                Some(queries) => done >= queries,
            };
            if is_enough {
                break;
            }
            refused += world.play(seed).await;
            done += VIEWS as u64;
            println!("seed {seed}: {done} queries, {refused} refused");
        }
    });
}

impl World {
    async fn open(config: &Config) -> Self {
        let ours = Client::connect(config, Dialect::Tidewater).await.unwrap();
        let postgres = match env::var("SLT_POSTGRES") {
            Ok(text) if !text.is_empty() => {
                let config: Config = text.parse().unwrap();
                let client = Client::connect(&config, Dialect::PostgreSql).await.unwrap();
                for sql in [
                    "DROP SCHEMA IF EXISTS sqldiff CASCADE",
                    "CREATE SCHEMA sqldiff",
                    "SET search_path = sqldiff",
                ] {
                    client.execute(sql).await.unwrap();
                }
                Some(client)
            }
            _ => None,
        };
        let mut world = Self {
            ours,
            postgres,
            history: Vec::new(),
        };
        for (name, columns) in TABLES {
            let columns: Vec<String> = columns
                .iter()
                .map(|(name, type_)| format!("{name} {}", type_.sql()))
                .collect();
            world
                .both(&format!("CREATE TABLE {name} ({})", columns.join(", ")))
                .await;
        }
        world
    }

    /// The queries of one seed; how many were refused.
    async fn play(&mut self, seed: u64) -> usize {
        let mut random = StdRng::seed_from_u64(seed);
        for (name, _) in TABLES {
            self.both(&format!("DELETE FROM {name}")).await;
        }
        self.history.clear();
        for _ in 0..3 {
            let change = change(&mut random);
            self.both(&change).await;
        }
        let queries: Vec<Query> = (0..VIEWS).map(|_| Query::random(&mut random)).collect();
        let mut live = Vec::new();
        for (at, query) in queries.iter().enumerate() {
            match self.create(&format!("v{at}"), query).await {
                Outcome::Equal => live.push(at),
                Outcome::Refused => {}
                Outcome::Different(reason) => self.fail(seed, query, &reason).await,
            }
        }
        for _ in 0..ROUNDS {
            for &at in &live {
                if random.random_range(0..3) == 0 {
                    let parallelism = random.random_range(1..4);
                    let alter =
                        format!("ALTER MATERIALIZED VIEW v{at} SET PARALLELISM = {parallelism}");
                    self.ours.execute(&alter).await.unwrap();
                }
            }
            let change = change(&mut random);
            self.both(&change).await;
            for &at in &live {
                if let Outcome::Different(reason) =
                    self.compare(&format!("v{at}"), &queries[at]).await
                {
                    self.fail(seed, &queries[at], &reason).await;
                }
            }
        }
        for at in &live {
            self.ours
                .execute(&format!("DROP MATERIALIZED VIEW v{at}"))
                .await
                .unwrap();
        }
        VIEWS - live.len()
    }

    async fn both(&mut self, sql: &str) {
        self.history.push(sql.to_owned());
        self.ours.execute(sql).await.unwrap();
        if let Some(postgres) = &self.postgres {
            postgres.execute(sql).await.unwrap();
        }
    }

    async fn create(&self, name: &str, query: &Query) -> Outcome {
        let created = self
            .ours
            .execute(&format!("CREATE MATERIALIZED VIEW {name} AS {query}"))
            .await;
        let Err(error) = created else {
            return self.compare(name, query).await;
        };
        let error = error.to_string();
        // The second one can only come of making a query smaller.
        if ["0A000", "42803"].iter().any(|code| error.contains(code)) {
            return Outcome::Refused;
        }
        match &self.postgres {
            Some(postgres) if postgres.execute(&query.to_string()).await.is_err() => {
                Outcome::Refused
            }
            _ => Outcome::Different(error),
        }
    }

    async fn compare(&self, name: &str, query: &Query) -> Outcome {
        let view = rows(&self.ours, &format!("SELECT * FROM {name}")).await;
        let batch = rows(&self.ours, &query.to_string()).await;
        if view != batch {
            return Outcome::Different(format!("view  {view:?}\nquery {batch:?}"));
        }
        if let Some(postgres) = &self.postgres {
            let theirs = rows(postgres, &query.to_string()).await;
            // Of types that PostgreSQL does not compare: `integer[]` with `bigint[]`.
            let is_refused = theirs.iter().any(|row| row.starts_with("error 42"));
            if view != theirs && !is_refused {
                return Outcome::Different(format!("view  {view:?}\nPostgreSQL {theirs:?}"));
            }
        }
        Outcome::Equal
    }

    /// Makes the query smaller for as long as it fails, and panics with the smallest.
    async fn fail(&mut self, seed: u64, query: &Query, reason: &str) {
        let history = std::mem::take(&mut self.history);
        let mut smallest = (query.clone(), reason.to_owned());
        let mut tries = 0;
        'smaller: loop {
            for candidate in smallest.0.smaller() {
                tries += 1;
                if tries > 400 {
                    break 'smaller;
                }
                if let Outcome::Different(reason) = self.replay(&candidate, &history).await {
                    smallest = (candidate, reason);
                    continue 'smaller;
                }
            }
            break;
        }
        panic!(
            "seed {seed}\n{query}\n{reason}\n\nsmallest: {}\n{}\n\nafter\n{};",
            smallest.0,
            smallest.1,
            history.join(";\n")
        );
    }

    /// A query over the same changes from the beginning.
    async fn replay(&mut self, query: &Query, history: &[String]) -> Outcome {
        for (name, _) in TABLES {
            self.both(&format!("DELETE FROM {name}")).await;
        }
        let name = "smaller";
        let mut outcome = self.create(name, query).await;
        let exists = !matches!(outcome, Outcome::Refused);
        for change in history {
            if !matches!(outcome, Outcome::Equal) {
                break;
            }
            self.both(change).await;
            outcome = self.compare(name, query).await;
        }
        if exists {
            let drop = format!("DROP MATERIALIZED VIEW IF EXISTS {name}");
            self.ours.execute(&drop).await.unwrap();
        }
        outcome
    }
}

/// Sorted rows as text; an error as one row.
async fn rows(client: &Client, sql: &str) -> Vec<String> {
    match client.execute(sql).await {
        Ok(DBOutput::Rows { rows, .. }) => {
            let mut rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
            rows.sort();
            rows
        }
        Ok(_) => Vec::new(),
        Err(error) => vec![format!("error {error}")],
    }
}

/// A random statement that changes rows.
fn change(random: &mut StdRng) -> String {
    let (name, columns) = TABLES[random.random_range(0..TABLES.len())];
    match random.random_range(0..6) {
        0 => format!(
            "DELETE FROM {name} WHERE {} % 3 = {}",
            columns[0].0,
            random.random_range(0..3)
        ),
        1 => {
            let (column, type_) = columns[random.random_range(1..columns.len())];
            format!(
                "UPDATE {name} SET {column} = {} WHERE {} % 4 = {}",
                value(random, type_),
                columns[0].0,
                random.random_range(0..4)
            )
        }
        _ => {
            let rows: Vec<String> = (0..random.random_range(1..9))
                .map(|_| {
                    let values = columns.iter().map(|(_, type_)| value(random, *type_));
                    format!("({})", values.collect::<Vec<_>>().join(", "))
                })
                .collect();
            format!("INSERT INTO {name} VALUES {}", rows.join(", "))
        }
    }
}

fn value(random: &mut StdRng, type_: Type) -> String {
    if random.random_range(0..6) == 0 {
        return "NULL".to_owned();
    }
    type_.value(random)
}
