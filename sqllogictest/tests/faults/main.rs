//! The real server on a disk that fills up, fails, or gives back other bytes than were written.
//!
//! What must be seen: a clear error with its SQLSTATE, or a refusal to start; never an answer that
//! is short or altered; reads meanwhile; and that it goes on once the cause is gone.

#![allow(clippy::print_stdout, reason = "the figures of the run")]

mod bytes;
mod directories;
mod disk;

use std::time::{Duration, Instant};

use tidewater_sqllogictest::{Disk, ServerProcess};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// For what is to happen in the end, on a machine however slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Many checkpoints in a short time.
const SETTINGS: [(&str, &str); 2] = [
    ("TIDEWATER_BARRIER_INTERVAL", "20ms"),
    ("TIDEWATER_CHECKPOINT_INTERVAL", "100ms"),
];

/// A session.
struct Session {
    client: Client,
}

impl Session {
    async fn new(server: &ServerProcess) -> Session {
        assert!(server.listens(), "{}", server.log());
        let connected = server.config().connect(NoTls).await;
        let (client, connection) = connected.expect("a listening server");
        tokio::spawn(connection);
        Session { client }
    }

    async fn run(&self, sql: &str) {
        let done = self.client.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The SQLSTATE of a statement's error; empty if it succeeds.
    async fn code(&self, sql: &str) -> String {
        match self.client.batch_execute(sql).await {
            Ok(()) => String::new(),
            Err(error) => match error.code() {
                Some(code) => code.code().to_owned(),
                None => panic!("{sql}: the connection is gone: {error:?}"),
            },
        }
    }

    /// The rows of a query, sorted, or the SQLSTATE.
    async fn try_rows(&self, sql: &str) -> Result<Vec<String>, String> {
        let messages = match self.client.simple_query(sql).await {
            Ok(messages) => messages,
            Err(error) => match error.code() {
                Some(code) => return Err(code.code().to_owned()),
                None => panic!("{sql}: the connection is gone: {error:?}"),
            },
        };
        let mut rows: Vec<String> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let cells = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
                    Some(cells.collect::<Vec<_>>().join("|"))
                }
                _ => None,
            })
            .collect();
        rows.sort();
        Ok(rows)
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.try_rows(sql).await;
        rows.unwrap_or_else(|code| panic!("{sql}: {code}"))
    }

    /// Tries a statement until it succeeds; every other answer must have one of these codes.
    async fn until_done(&self, sql: &str, codes: &[&str]) {
        let started = Instant::now();
        loop {
            let code = self.code(sql).await;
            if code.is_empty() {
                return;
            }
            assert!(codes.contains(&code.as_str()), "{sql}: {code}");
            assert!(started.elapsed() < PATIENCE, "{sql}: still {code}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A server whose data is on a disk that can be troubled; `None` if there can be none.
fn server_on_disk() -> Option<(ServerProcess, Disk)> {
    let disk = Disk::new()?;
    let mut server = ServerProcess::start();
    start_on(&mut server, &disk);
    Some((server, disk))
}

fn start_on(server: &mut ServerProcess, disk: &Disk) {
    let of_disk = disk.variables(&server.data_dir(), false);
    let of_disk = of_disk.iter().map(|(name, value)| (*name, value.as_str()));
    let variables: Vec<(&str, &str)> = SETTINGS.into_iter().chain(of_disk).collect();
    server.restart_with(&variables);
}

/// A table of `count` rows and a view of it.
async fn fill(session: &Session, count: usize) {
    session
        .run("create table t (id bigint primary key, g int, filler varchar)")
        .await;
    session
        .run(
            "create materialized view v as select g, count(*) as n, sum(id) as s from t group by g",
        )
        .await;
    insert(session, 0, count).await;
}

async fn insert(session: &Session, first: usize, count: usize) {
    let last = first + count - 1;
    session
        .run(&format!(
            "insert into t select x, x % 10, repeat('f', 50) || x from generate_series({first}, {last}) as s(x)"
        ))
        .await;
    // Seen by all sessions.
    session.run("flush").await;
}

/// That the table has the rows of these ids, each once, and the view agrees.
async fn check(session: &Session, count: usize) {
    let found = session
        .rows("select count(*), count(distinct id), max(id) from t")
        .await;
    assert_eq!(found, [format!("{count}|{count}|{}", count - 1)]);
    let view = session.rows("select * from v").await;
    let query = "select g, count(*) as n, sum(id) as s from t group by g";
    assert_eq!(view, session.rows(query).await);
}
