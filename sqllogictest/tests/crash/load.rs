//! What clients do until the server is gone: writes, transactions, DDL, rescales, all at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater_sqllogictest::ServerProcess;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::model::{Accounts, Facts, NAMES, Rows, VIEWS, World};

/// What is watched, shared by the clients; each of them changes a part of its own.
pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Shared) -> std::sync::MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server is gone.
pub(crate) struct Gone;

/// A session; `None` if the server is gone.
pub(crate) async fn connect(server: &ServerProcess) -> Option<Client> {
    let (client, connection) = server.config().connect(NoTls).await.ok()?;
    // Ends with the server, or with the client.
    tokio::spawn(connection);
    Some(client)
}

/// Runs statements that must succeed as long as the server is there.
pub(crate) async fn run(client: &Client, sql: &str) -> Result<(), Gone> {
    match client.batch_execute(sql).await {
        Ok(()) => Ok(()),
        Err(error) => match error.as_db_error() {
            Some(answer) => panic!("{sql}: {answer:?}"),
            None => Err(Gone),
        },
    }
}

/// The rows of a query, sorted.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
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
    rows
}

/// Makes what the load works with, where it is not there.
pub(crate) async fn set_up(client: &Client) {
    let mut statements = vec![
        "create table if not exists t (id bigint primary key, g int, v bigint)".to_owned(),
        "create table if not exists names (g int, name varchar)".to_owned(),
        "create table if not exists a (n bigint, v bigint)".to_owned(),
        "create table if not exists b (n bigint, v bigint)".to_owned(),
        "create table if not exists bulk (n int, x int, filler varchar)".to_owned(),
        "create sequence if not exists s".to_owned(),
    ];
    if rows(client, "select 1 from pg_class where relname = 'names'")
        .await
        .is_empty()
    {
        let values = NAMES.map(|(g, name)| format!("({g}, '{name}')"));
        statements.push(format!("insert into names values {}", values.join(", ")));
    }
    statements.extend(VIEWS.iter().map(|(view, query, _)| {
        format!("create materialized view if not exists {view} as {query}")
    }));
    for sql in statements {
        let done = client.batch_execute(&sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// Everything at once, until the definitions have been made and dropped again or the server is gone.
pub(crate) async fn load(server: &ServerProcess, world: &Shared, seed: u64) {
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..5 {
        match connect(server).await {
            Some(client) => clients.push(client),
            None => return,
        }
    }
    let mut clients = clients.into_iter();
    let mut next = || clients.next().expect("five sessions");
    let random = |of: u64| StdRng::seed_from_u64(seed ^ of << 32);
    let (first, second) = (random(3), random(4));
    let writes = write(next(), Arc::clone(world), random(1), Arc::clone(&over));
    let transactions = transact(next(), Arc::clone(world), random(2), Arc::clone(&over));
    let background = [
        tokio::spawn(async move { drop(writes.await) }),
        tokio::spawn(async move { drop(transactions.await) }),
        tokio::spawn(rescale(next(), first, Arc::clone(&over))),
        tokio::spawn(rescale(next(), second, Arc::clone(&over))),
    ];
    // The server being gone is what everybody waits for.
    let _ = define(&next(), world).await;
    over.store(true, Ordering::Relaxed);
    for task in background {
        task.await.expect("a client that panics has found a fault");
    }
}

/// What a statement does to the rows of `t`.
type Change = Box<dyn FnOnce(&mut Rows) + Send>;

/// Inserts, updates and deletes rows of `t`.
async fn write(
    client: Client,
    world: Shared,
    mut random: StdRng,
    over: Arc<AtomicBool>,
) -> Result<(), Gone> {
    while !over.load(Ordering::Relaxed) {
        let first = lock(&world)
            .rows
            .now()
            .keys()
            .next_back()
            .map_or(0, |id| id + 1);
        let (sql, change): (String, Change) = match random.random_range(0..8) {
            0 => {
                let (g, by) = (random.random_range(0..7), random.random_range(1..100));
                let change = move |rows: &mut Rows| {
                    let of_group = rows.values_mut().filter(|(of, _)| *of == g);
                    of_group.for_each(|(_, v)| *v += by);
                };
                (
                    format!("update t set v = v + {by} where g = {g}"),
                    Box::new(change),
                )
            }
            1 => {
                let (from, to) = (
                    random.random_range(0..=first),
                    random.random_range(0..=first),
                );
                let change = move |rows: &mut Rows| rows.retain(|id, _| *id < from || *id > to);
                (
                    format!("delete from t where id between {from} and {to}"),
                    Box::new(change),
                )
            }
            _ => {
                let count = random.random_range(1..40);
                let new: Vec<(i64, (i64, i64))> = (first..first + count)
                    .map(|id| (id, (id % 7, random.random_range(-1000..1000))))
                    .collect();
                let values: Vec<String> = new
                    .iter()
                    .map(|(id, (g, v))| format!("({id}, {g}, {v})"))
                    .collect();
                let sql = format!("insert into t values {}", values.join(", "));
                (sql, Box::new(move |rows: &mut Rows| rows.extend(new)))
            }
        };
        lock(&world).rows.begin(change);
        run(&client, &sql).await?;
        lock(&world).rows.acknowledged();
    }
    Ok(())
}

/// Writes the same to `a` and `b`, in transactions of which some are rolled back.
async fn transact(
    client: Client,
    world: Shared,
    mut random: StdRng,
    over: Arc<AtomicBool>,
) -> Result<(), Gone> {
    while !over.load(Ordering::Relaxed) {
        let n = lock(&world).accounts.now().0.len() as i64;
        let v = random.random_range(0..1000);
        let sql = format!("insert into a values ({n}, {v}); insert into b values ({n}, {v})");
        if random.random_bool(0.2) {
            run(&client, &format!("begin; {sql}; rollback")).await?;
            continue;
        }
        run(&client, &format!("begin; {sql}")).await?;
        lock(&world).accounts.begin(move |(a, b): &mut Accounts| {
            a.insert(n, v);
            b.insert(n, v);
        });
        run(&client, "commit").await?;
        lock(&world).accounts.acknowledged();
    }
    Ok(())
}

/// Alters the parallelism of views and tables. Two clients do, so that one ends what the other began.
async fn rescale(client: Client, mut random: StdRng, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let relation = match random.random_range(0..6) {
            0 => "table t",
            1 => "materialized view named",
            2 => "materialized view counted",
            _ => "materialized view per_group",
        };
        let parallelism = random.random_range(1..5);
        let sql = format!("alter {relation} set parallelism = {parallelism}");
        match client.batch_execute(&sql).await {
            Ok(()) => {}
            // Another one has come in between.
            Err(error)
                if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
                    || error.code() == Some(&SqlState::QUERY_CANCELED) => {}
            Err(error) => match error.as_db_error() {
                Some(answer) => panic!("{sql}: {answer:?}"),
                None => return,
            },
        }
    }
}

/// Makes relations of every kind, changes them, and drops them; writes that are large.
async fn define(client: &Client, world: &Shared) -> Result<(), Gone> {
    // What a crash has left.
    for (name, sql) in [
        ("dv", "drop materialized view if exists dv"),
        ("extra", "drop materialized view if exists extra"),
        ("d_b", "drop index if exists d_b"),
        ("d", "drop table if exists d"),
    ] {
        step(client, world, sql, |facts| forget(facts, name)).await?;
    }
    let batch = lock(world)
        .facts
        .now()
        .keys()
        .filter_map(|key| key.strip_prefix("bulk ")?.parse::<i64>().ok())
        .max()
        .unwrap_or(0)
        + 1;
    let bulk = format!(
        "insert into bulk select {batch}, x, repeat('n', 100) || x from generate_series(1, 2000) as s(x)"
    );
    let unbulk = format!("delete from bulk where n < {batch}");
    step(
        client,
        world,
        "create materialized view extra as select g, count(*) as n from t group by g",
        |facts| know(facts, "extra", ""),
    )
    .await?;
    step(
        client,
        world,
        "create table d (a int primary key, c varchar)",
        |facts| {
            know(facts, "d", "a,c");
        },
    )
    .await?;
    step(
        client,
        world,
        "insert into d select x, 'c' || x from generate_series(1, 50) as s(x)",
        |facts| know(facts, "d rows", "50"),
    )
    .await?;
    step(client, world, &bulk, |facts| {
        know(facts, &format!("bulk {batch}"), "2000")
    })
    .await?;
    step(
        client,
        world,
        "alter table d add column b int default 7",
        |facts| know(facts, "d", "a,c,b"),
    )
    .await?;
    step(client, world, "create index d_b on d (b)", |facts| {
        know(facts, "d_b", "")
    })
    .await?;
    step(
        client,
        world,
        "create materialized view dv as select b, count(*) as n from d group by b",
        |facts| know(facts, "dv", ""),
    )
    .await?;
    step(client, world, &unbulk, |facts| {
        facts.retain(|key, _| !key.starts_with("bulk ") || *key == format!("bulk {batch}"))
    })
    .await?;
    step(client, world, "alter table d drop column c", |facts| {
        know(facts, "d", "a,b")
    })
    .await?;
    for _ in 0..40 {
        // Numbers are reserved by the dozen.
        let Ok(row) = client.query_one("select nextval('s')", &[]).await else {
            return Err(Gone);
        };
        let number: i64 = row.get(0);
        let mut world = lock(world);
        assert!(number > world.given, "number {number} comes again");
        world.given = number;
    }
    step(client, world, "drop index d_b", |facts| {
        forget(facts, "d_b")
    })
    .await?;
    step(client, world, "drop materialized view dv", |facts| {
        forget(facts, "dv")
    })
    .await?;
    step(client, world, "drop table d", |facts| forget(facts, "d")).await?;
    step(client, world, "drop materialized view extra", |facts| {
        forget(facts, "extra")
    })
    .await
}

fn know(facts: &mut Facts, key: &str, value: &str) {
    facts.insert(key.to_owned(), value.to_owned());
}

fn forget(facts: &mut Facts, key: &str) {
    facts.remove(key);
    if key == "d" {
        facts.remove("d rows");
    }
}

/// One statement of [`define`].
async fn step(
    client: &Client,
    world: &Shared,
    sql: &str,
    change: impl FnOnce(&mut Facts),
) -> Result<(), Gone> {
    lock(world).facts.begin(change);
    run(client, sql).await?;
    lock(world).facts.acknowledged();
    Ok(())
}
