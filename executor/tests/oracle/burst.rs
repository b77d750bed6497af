//! A burst of writes many times larger than what channels and queues hold.

use std::sync::Arc;
use std::task::{Context, Waker};

use arrow::array::{ArrayRef, RecordBatch, StringArray};

use crate::create_table;
use crate::stop::engine_with_stop;

/// Bytes of one write, which is one row.
const WRITE_BYTES: usize = 8 << 20;
/// Writes of the burst: ten times what may wait.
const WRITES: usize = 80;
/// What may wait: a queue of 64 MB, and in each channel what it has credit for behind one write.
const BOUND: u64 = 96 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_burst_waits_in_front_of_the_queue() {
    let (engine, stop) = engine_with_stop().await;
    create_table(&engine, "create table t (a varchar)").await;
    stop.set(true);
    let column = Arc::new(StringArray::from(vec!["x".repeat(WRITE_BYTES)])) as ArrayRef;
    let row = RecordBatch::try_from_iter([("a", column)]).unwrap();
    let mut writes: Vec<_> = (0..WRITES)
        .map(|_| Box::pin(engine.write(1, row.clone(), vec![1])))
        .collect();
    // Each write goes as far as it can.
    let mut most = 0;
    for _ in 0..10 {
        writes.retain_mut(|write| {
            let mut context = Context::from_waker(Waker::noop());
            write.as_mut().poll(&mut context).is_pending()
        });
        most = most.max(engine.observe().await.unwrap().queued_bytes);
    }
    assert!(!writes.is_empty(), "some wait");
    assert!(most > 32 << 20, "{most} bytes waited");
    assert!(most < BOUND, "{most} bytes waited");
    stop.set(false);
    for write in writes {
        write.await.unwrap();
    }
    assert_eq!(engine.flush().await.map(|_| ()).ok(), Some(()));
    assert_eq!(engine.snapshot().tables[&1].rows(), WRITES as u64);
}
