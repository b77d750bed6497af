//! A barrier that an executor does not pass.

use std::sync::Arc;
use std::task::{Context, Waker};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use executor::BarrierWait;

use crate::create_table;
use crate::stop::engine_with_stop;

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn it_is_known_which_executor_a_barrier_waits_for() {
    let (engine, stop) = engine_with_stop().await;
    create_table(&engine, "create table t (a bigint)").await;
    stop.set(true);
    let column = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let row = RecordBatch::try_from_iter([("a", column)]).unwrap();
    let mut write = Box::pin(engine.write(1, row, vec![1]));
    let mut is_written = false;
    let (first, others) = loop {
        // It may wait for an executor, or have been put into the log.
        let mut context = Context::from_waker(Waker::noop());
        is_written = is_written || write.as_mut().poll(&mut context).is_ready();
        let barriers = engine.observe().await.unwrap().barriers;
        let waits = barriers
            .into_iter()
            .filter_map(|wait| match wait.waits_for {
                BarrierWait::Executor {
                    job,
                    fragment,
                    executor,
                    behind,
                } => Some((job, fragment, executor, behind)),
                BarrierWait::Checkpoint => None,
            });
        let (first, others): (Vec<_>, Vec<_>) = waits.partition(|wait| wait.3.is_empty());
        // Barriers that came before the row go through.
        if !first.is_empty() && !others.is_empty() {
            break (first, others);
        }
        tokio::task::yield_now().await;
    };
    let [(job, fragment, executor, _)] = first[..] else {
        panic!("only one has the row: {first:?}");
    };
    assert_eq!((job, fragment), (1, Some(0)));
    assert!(others.iter().all(|wait| wait.3 == [executor]), "{others:?}");
    stop.set(false);
    engine.flush().await.unwrap();
    assert_eq!(engine.snapshot().tables[&1].rows(), 1);
}
