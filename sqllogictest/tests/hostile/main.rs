//! Clients that break the protocol, or stop in the middle of it, against the real server.
//!
//! Throughout, a probe asks from a session of its own and must be answered. Afterwards the server has
//! the sessions, descriptors and memory that it had before, and has met no panic.

#![allow(clippy::print_stdout, reason = "the figures of the run")]

mod bytes;
mod connections;
mod statements;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidewater_sqllogictest::ServerProcess;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// For what is to happen in the end, on a machine however slow.
const PATIENCE: Duration = Duration::from_secs(90);
/// Memory that allocators keep for the next time, in KiB.
const MEMORY_KEPT_KIB: u64 = 128 << 10;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    from_environment("SEED").unwrap_or(1)
}

/// A server that is watched while it is ill-treated.
struct Victim {
    server: ServerProcess,
    client: Client,
    probe: JoinHandle<u64>,
    over: Arc<AtomicBool>,
    slowest: Arc<AtomicU64>,
    before: Use,
}

/// What a process has of the system.
#[derive(Debug, Clone, Copy)]
struct Use {
    descriptors: usize,
    resident_kib: u64,
    mapped_kib: u64,
}

impl Use {
    fn of(pid: u32) -> Use {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("our own child");
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            number.expect("a number of KiB")
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("our own child");
        Use {
            descriptors: descriptors.count(),
            resident_kib: kib("VmRSS:"),
            mapped_kib: kib("VmSize:"),
        }
    }
}

async fn connect(server: &ServerProcess) -> Client {
    let connected = server.config().connect(NoTls).await;
    let (client, connection) = connected.expect("a listening server");
    tokio::spawn(connection);
    client
}

impl Victim {
    async fn new() -> Victim {
        let server = ServerProcess::start_with(&[("TIDEWATER_CONNECTIONS_MAX", "700")]);
        let client = connect(&server).await;
        let made = client
            .batch_execute(
                "create table t (a int primary key, b varchar);
                 insert into t select x, repeat('b', 100) from generate_series(1, 2000) as s(x);
                 create materialized view v as select a % 10 as g, count(*) as n from t group by a % 10",
            )
            .await;
        made.expect("a table and a view");
        let over = Arc::new(AtomicBool::new(false));
        let slowest = Arc::default();
        let probe = tokio::spawn(probe(
            connect(&server).await,
            Arc::clone(&over),
            Arc::clone(&slowest),
        ));
        let before = Use::of(server.pid());
        Victim {
            server,
            client,
            probe,
            over,
            slowest,
            before,
        }
    }

    async fn value(&self, sql: &str) -> String {
        let row = self
            .client
            .query_one(&format!("select ({sql})::varchar"), &[])
            .await;
        let row = row.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        row.get(0)
    }

    /// Waits until the sessions of others are gone, and compares what the server has then.
    async fn recover(&self) {
        let started = Instant::now();
        let sessions = "select count(*) from pg_stat_activity where pid is not null";
        loop {
            let now = Use::of(self.server.pid());
            let sessions = self.value(sessions).await;
            // Storage may open and close some files meanwhile.
            let is_over = sessions == "2" && now.descriptors <= self.before.descriptors + 8;
            if is_over && now.resident_kib <= self.before.resident_kib + MEMORY_KEPT_KIB {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{sessions} sessions, {now:?}, before {:?}",
                self.before
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The end of the test: what holds after any of them.
    async fn check(self, what: &str, cases: usize) {
        self.recover().await;
        assert_eq!(
            self.value("select count(*) || ' ' || sum(a) from t").await,
            "2000 2001000"
        );
        assert_eq!(self.value("select sum(n) from v").await, "2000");
        self.over.store(true, Ordering::Relaxed);
        let answers = self.probe.await.expect("the probe is answered");
        let log = self.server.log();
        let panic = log
            .lines()
            .find(|line| line.contains("panicked") || line.contains("ended by"));
        assert_eq!(panic, None);
        println!("{cases} passed, 0 failed");
        println!(
            "{{\"layer\":\"hostile\",\"what\":\"{what}\",\"seed\":{},\"cases\":{cases},\"probe_answers\":{answers},\"probe_slowest_ms\":{}}}",
            seed(),
            self.slowest.load(Ordering::Relaxed)
        );
    }
}

/// Asks until it is over; how often it was answered.
async fn probe(client: Client, over: Arc<AtomicBool>, slowest: Arc<AtomicU64>) -> u64 {
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, client.query_one("select 1 + 1", &[])).await;
        let answer = answer
            .expect("the probe waits too long")
            .expect("an answer");
        assert_eq!(answer.get::<_, i32>(0), 2);
        answers += 1;
        slowest.fetch_max(asked.elapsed().as_millis() as u64, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answers
}
