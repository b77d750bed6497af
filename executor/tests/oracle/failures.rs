//! Jobs that fail: alone, wherever they are, and again and again.

use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use executor::{
    Error, FaultInjector, FaultSite, FaultStep, JobState, RescaleOptions, RescaleSummary, Result,
};
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use storage::CatalogChange;
use tokio::sync::mpsc;

use crate::database::Database;
use crate::{Table, tables};

/// All steps at which an executor may fail.
const STEPS: [FaultStep; 8] = [
    FaultStep::Rows,
    FaultStep::Polled,
    FaultStep::Barrier { durable: false },
    FaultStep::Barrier { durable: true },
    FaultStep::Committed { durable: false },
    FaultStep::Committed { durable: true },
    FaultStep::StateSent,
    FaultStep::StateInstalled,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Error,
    Panic,
}

/// The `nth` time that an executor of `job` comes to `step` it fails.
fn once(job: u32, step: FaultStep, nth: i64, kind: Kind) -> FaultInjector {
    let left = AtomicI64::new(nth);
    Arc::new(move |site| {
        let is_it = site.job == job && site.step == step;
        if is_it && left.fetch_sub(1, Ordering::SeqCst) == 1 {
            return fail(site, kind);
        }
        Ok(())
    })
}

/// Whenever an executor of `job` comes to `step` it fails, durable or not.
fn always(job: u32, step: FaultStep) -> FaultInjector {
    Arc::new(
        move |site| match site.job == job && is_like(site.step, step) {
            true => fail(site, Kind::Error),
            false => Ok(()),
        },
    )
}

fn is_like(one: FaultStep, other: FaultStep) -> bool {
    discriminant(&one) == discriminant(&other)
}

fn fail(site: FaultSite, kind: Kind) -> Result<()> {
    if kind == Kind::Panic {
        panic!("injected at {site:?}");
    }
    Err(Error::Plan {
        reason: "injected".to_owned(),
    })
}

/// Lets `job` fail once, somewhere.
pub(crate) fn random(job: u32, rng: &mut StdRng) -> FaultInjector {
    let step = STEPS[rng.random_range(0..STEPS.len())];
    let kind = if rng.random_bool(0.5) {
        Kind::Error
    } else {
        Kind::Panic
    };
    once(job, step, rng.random_range(1..6), kind)
}

/// A database with changing tables, and views: `agg` on a table, `top` on that; `words` and `both`
/// have nothing to do with either.
struct World {
    database: Database,
    tables: Vec<Table>,
    rng: StdRng,
    agg: u32,
    top: u32,
    words: u32,
    both: u32,
}

impl World {
    async fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut database = Database::new(u64::MAX).await;
        let tables = tables(&mut database, &mut rng).await;
        let mut create = async |sql| database.create(sql, 2).await.unwrap();
        let agg = "create materialized view agg as
            select t.a, count(*) as n, sum(x) as s from t join u on t.a = u.a group by t.a";
        let agg = create(agg).await;
        let top = "create materialized view top as select max(n) as n, count(*) as k from agg";
        let top = create(top).await;
        let words = create("create materialized view words as select distinct c from t").await;
        let both = "create materialized view both as select a from t union all select a from u";
        let both = create(both).await;
        let mut world = World {
            database,
            tables,
            rng,
            agg,
            top,
            words,
            both,
        };
        world.write(20).await;
        world.database.engine().flush().await.unwrap();
        world
    }

    fn inject(&self, fault: Option<FaultInjector>) {
        self.database.engine().inject_faults(fault);
    }

    async fn write(&mut self, times: usize) {
        for _ in 0..times {
            let table = &mut self.tables[self.rng.random_range(0..2)];
            let (batch, weights) = table.change(&mut self.rng);
            let written = self.database.engine().write(table.id, batch, weights);
            written.await.unwrap();
        }
    }

    async fn rescale(&self, job: u32, parallelism: usize) -> Result<RescaleSummary> {
        let (progress, _) = mpsc::unbounded_channel();
        let catalog = Box::new(|_| CatalogChange::default());
        let options = RescaleOptions::to_parallelism(parallelism);
        let engine = self.database.engine();
        engine.rescale(job, options, catalog, progress).await
    }

    /// Writes, and lets epochs pass, until `agg` has been started again so many times.
    async fn until_restarted(&mut self, times: u64) {
        let engine = self.database.engine().clone();
        let restarts = || {
            let jobs = engine.jobs().into_iter();
            jobs.filter(|job| job.id == self.agg)
                .map(|job| job.restarts)
                .sum::<u64>()
        };
        let mut rounds = 0;
        while restarts() < times {
            self.database.engine().flush().await.unwrap();
            let table = &mut self.tables[rounds % 2];
            let (batch, weights) = table.change(&mut self.rng);
            engine.write(table.id, batch, weights).await.unwrap();
            rounds += 1;
            assert!(rounds < 20_000, "{:#?}", engine.jobs());
        }
    }

    /// Nothing has failed but `agg` and its readers: not in any epoch up to now.
    fn assert_alone(&self) {
        for job in self.database.engine().jobs() {
            let failed = [self.agg, self.top].contains(&job.id);
            assert!(
                failed || job.restarts == 0 && job.failure.is_none(),
                "{job:?}"
            );
        }
    }

    async fn finish(mut self) {
        self.inject(None);
        self.write(5).await;
        self.database.engine().flush().await.unwrap();
        self.database.settle().await;
        self.write(5).await;
        self.database.engine().flush().await.unwrap();
        self.database.check().await;
        for job in self.database.engine().jobs() {
            assert_eq!(job.state, JobState::Running, "{job:?}");
        }
        self.database.engine().shutdown().await.unwrap();
    }
}

/// The steps that every job comes to.
fn common_steps() -> impl Iterator<Item = FaultStep> {
    let rare = [
        FaultStep::Polled,
        FaultStep::StateSent,
        FaultStep::StateInstalled,
    ];
    STEPS.into_iter().filter(move |step| !rare.contains(step))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_fails_alone() {
    for (seed, step) in common_steps().enumerate() {
        for kind in [Kind::Error, Kind::Panic] {
            let mut world = World::new(seed as u64).await;
            world.inject(Some(once(world.agg, step, 3, kind)));
            world.until_restarted(1).await;
            world.assert_alone();
            let jobs = world.database.engine().jobs();
            let agg = jobs.iter().find(|job| job.id == world.agg).unwrap();
            let reason = agg.failure.clone().unwrap();
            assert!(reason.contains("injected"), "{reason}");
            world.finish().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_on_while_a_view_fails_again_and_again() {
    let mut world = World::new(1).await;
    world.inject(Some(always(
        world.agg,
        FaultStep::Barrier { durable: false },
    )));
    world.until_restarted(1).await;
    for parallelism in [4, 1, 3] {
        world.write(5).await;
        let before = world.database.engine().snapshot();
        let visible = world.database.engine().flush().await.unwrap();
        assert!(visible > before.epoch);
        let snapshot = world.database.engine().snapshot();
        let stale: Vec<u32> = snapshot.stale.keys().copied().collect();
        assert_eq!(stale, [world.agg, world.top]);
        let scaled = world.rescale(world.words, parallelism).await.unwrap();
        assert_eq!(scaled.to, parallelism);
    }
    world.until_restarted(6).await;
    world.assert_alone();
    // What needs it to run is refused, in words.
    let refused = world.rescale(world.agg, 3).await;
    assert!(
        matches!(refused, Err(Error::Restarting { .. })),
        "{refused:?}"
    );
    let refused = world.rescale(world.top, 3).await;
    assert!(
        matches!(refused, Err(Error::Restarting { .. })),
        "{refused:?}"
    );
    let on_it = "create materialized view on_it as select s from agg";
    let refused = world.database.create(on_it, 2).await;
    assert!(
        matches!(refused, Err(Error::Restarting { .. })),
        "{refused:?}"
    );
    let in_use = world.database.drop(world.agg).await;
    assert!(matches!(in_use, Err(Error::JobInUse { .. })), "{in_use:?}");
    world.database.check().await;
    // It can be dropped at any time, and leaves nothing.
    world.database.drop(world.top).await.unwrap();
    world.database.drop(world.agg).await.unwrap();
    let snapshot = world.database.engine().snapshot();
    assert!(snapshot.stale.is_empty() && !snapshot.tables.contains_key(&world.agg));
    world.database.crash(1).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_fails_while_it_is_rescaled() {
    for step in [FaultStep::StateSent, FaultStep::StateInstalled] {
        for kind in [Kind::Error, Kind::Panic] {
            let mut world = World::new(2).await;
            world.inject(Some(once(world.agg, step, 5, kind)));
            let failed = world.rescale(world.agg, 4).await;
            assert!(matches!(failed, Err(Error::JobFailed { .. })), "{failed:?}");
            let known = world.database.engine().observe().await.unwrap().rescales;
            assert_eq!(known.last().unwrap().state.name(), "failed");
            world.until_restarted(1).await;
            world.database.settle().await;
            world.assert_alone();
            assert_eq!(world.rescale(world.agg, 4).await.unwrap().from, 2);
            world.finish().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_fails_while_others_are_rescaled() {
    for (seed, step) in common_steps().enumerate() {
        let mut world = World::new(seed as u64).await;
        let (t, agg) = (world.tables[0].id, world.agg);
        world.inject(Some(once(agg, step, 4, Kind::Panic)));
        let writes = async {
            let engine = world.database.engine().clone();
            for _ in 0..20 {
                engine.flush().await.unwrap();
            }
        };
        // The table that it reads, a view that has nothing to do with it, and its reader.
        let (_, table, other, reader) = tokio::join!(
            writes,
            world.rescale(t, 4),
            world.rescale(world.both, 3),
            world.rescale(world.top, 3),
        );
        assert_eq!(table.unwrap().to, 4);
        assert_eq!(other.unwrap().to, 3);
        assert!(
            matches!(
                reader,
                Ok(_) | Err(Error::JobFailed { .. } | Error::Restarting { .. })
            ),
            "{reader:?}"
        );
        world.until_restarted(1).await;
        world.assert_alone();
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_fails() {
    let steps = [
        FaultStep::Polled,
        FaultStep::Rows,
        FaultStep::Barrier { durable: false },
        FaultStep::Committed { durable: false },
    ];
    for step in steps {
        let mut world = World::new(3).await;
        // A view that is being created is not started again: there is nothing of it.
        let next = world.both + 1;
        world.inject(Some(always(next, step)));
        let sql = "create materialized view late as select a, sum(b) as s from t group by a";
        let failed = world.database.create(sql, 3).await;
        assert!(matches!(failed, Err(Error::JobFailed { .. })), "{failed:?}");
        world.database.engine().flush().await.unwrap();
        assert_eq!(world.database.engine().jobs().len(), 9);
        world.write(3).await;
        world.database.create(sql, 3).await.unwrap();
        // One that is there is, as often as it takes.
        let (agg, again) = (world.agg, always(world.agg, step));
        let first = AtomicBool::new(true);
        world.inject(Some(Arc::new(move |site: FaultSite| {
            if site.job == agg
                && site.step == FaultStep::Rows
                && first.swap(false, Ordering::SeqCst)
            {
                return fail(site, Kind::Error);
            }
            again(site)
        })));
        world.until_restarted(3).await;
        world.assert_alone();
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_brings_back_what_had_failed() {
    for seed in 0..4 {
        let mut world = World::new(seed).await;
        world.inject(Some(always(world.agg, FaultStep::Rows)));
        world.until_restarted(2).await;
        // Checkpoints were taken without it.
        let failed_at = *world
            .database
            .engine()
            .snapshot()
            .stale
            .values()
            .min()
            .unwrap();
        let committed = || world.database.committed();
        while committed() <= failed_at {
            world.database.engine().flush().await.unwrap();
        }
        world.write(5).await;
        world.database.crash(seed).await;
        let snapshot = world.database.engine().snapshot();
        // Its rows of then are worth nothing beside those of now.
        for view in [world.agg, world.top] {
            let is_there = snapshot.tables.contains_key(&view);
            assert_ne!(snapshot.stale.contains_key(&view), is_there);
        }
        world.write(5).await;
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_takes_all_with_it_and_what_had_failed_comes_back_too() {
    for seed in 0..4 {
        let mut world = World::new(seed).await;
        let (agg, t) = (world.agg, world.tables[0].id);
        world.inject(Some(always(agg, FaultStep::Rows)));
        world.until_restarted(1 + seed).await;
        let both = once(t, FaultStep::Rows, 2, Kind::Panic);
        let failing = always(agg, FaultStep::Rows);
        world.inject(Some(Arc::new(move |site| failing(site).and(both(site)))));
        world.write(8).await;
        for _ in 0..20 {
            world.database.engine().flush().await.unwrap();
        }
        world.finish().await;
    }
}
