//! Loss of power: the server is killed at a crash point, and of its files only that is left which was
//! synced, or that and a part of the rest.
//!
//! Below the server's storage is a disk of ours (`src/disk`). Every other run tears what was not
//! synced; the others drop it.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::crash::{POINTS, VARIABLE};
use tidewater_sqllogictest::{Disk, Unsynced};

use crate::runs::{Database, count, plan};
use crate::seed;

/// Losses of power of one database, one after the other, each at one of these points and times.
async fn lose_power(losses: usize, seed: u64, points: &[(&str, usize)]) {
    let Some(disk) = Disk::new() else { return };
    let mut random = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    let mut database = Database::new().await;
    let root = database.server.data_dir();
    let variables = disk.variables(&root, true);
    let mut crashes = 0;
    for loss in 0..losses {
        let unsynced = [Unsynced::Dropped, Unsynced::Torn][loss % 2];
        let (point, nth) = points[random.random_range(0..points.len())];
        let armed = format!("{point}:{nth}");
        // Shown when a check fails.
        println!("{armed} {unsynced:?}");
        database.server.kill();
        disk.settle(&root);
        let mut variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        variables.push((VARIABLE, &armed));
        let crashed = database.run(&variables, random.random()).await;
        crashes += usize::from(crashed);
        disk.lose_power(&root, unsynced, &mut random);
        database.check().await;
    }
    println!("{losses} passed, 0 failed");
    println!(
        "{{\"layer\":\"power\",\"seed\":{seed},\"losses\":{losses},\"in_a_crash\":{crashes},\"seconds\":{}}}",
        started.elapsed().as_secs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_outlast_the_power() {
    // Where writes and checkpoints are under way, or done a moment ago.
    let points = POINTS.concat().into_iter();
    let points = points.filter(|point| {
        let parts = [
            "write",
            "transaction",
            "epoch",
            "wal",
            "checkpoint",
            "drop",
            "widen",
        ];
        parts.contains(&point.split('.').next().unwrap_or_default())
    });
    let points: Vec<_> = points.flat_map(|point| [(point, 1), (point, 2)]).collect();
    lose_power(6, seed(), &points).await;
}

/// Where a checkpoint is a table file, which is committed by a mark.
#[tokio::test(flavor = "multi_thread")]
async fn large_checkpoints_outlast_the_power() {
    let points = [("checkpoint.incoming", 1), ("checkpoint.taking_in", 2)];
    lose_power(3, seed(), &points).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make crash"]
async fn acknowledged_rows_outlast_many_losses_of_power() {
    let runs = plan(&count(seed()).await).into_iter();
    let points: Vec<_> = runs
        .filter(|run| !run.fresh)
        .map(|run| (run.point, run.nth))
        .collect();
    lose_power(100, seed(), &points).await;
}
