//! The disk fills up, or fails, while the server runs.

use tidewater_sqllogictest::Trouble;

use crate::{Session, check, fill, insert, server_on_disk, start_on};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_until_there_is_space() {
    let Some((mut server, disk)) = server_on_disk() else {
        return;
    };
    let session = Session::new(&server).await;
    fill(&session, 100).await;
    for round in 0..3 {
        let count = 100 + round * 10;
        disk.begin(Trouble::Full);
        for _ in 0..20 {
            let insert = format!("insert into t values ({count}, 0, 'x')");
            assert_eq!(session.code(&insert).await, "53100");
            check(&session, count).await;
        }
        let large = "insert into t select x, 0, 'x' from generate_series(1000, 50000) as s(x)";
        assert_eq!(session.code(large).await, "53100");
        check(&session, count).await;
        disk.end(Trouble::Full);
        let insert_one = format!("insert into t values ({count}, 0, 'x')");
        session.until_done(&insert_one, &["53100"]).await;
        // The jobs may be waiting to be started again.
        session.until_done("flush", &["53100"]).await;
        insert(&session, count + 1, 9).await;
        check(&session, count + 10).await;
    }
    server.kill();
    start_on(&mut server, &disk);
    check(&Session::new(&server).await, 130).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_need_space_too() {
    let Some((mut server, disk)) = server_on_disk() else {
        return;
    };
    let session = Session::new(&server).await;
    fill(&session, 100).await;
    disk.begin(Trouble::Full);
    for sql in [
        "create table u (a int)",
        "create materialized view w as select count(*) as n from t",
        "create view x as select 1 as one",
        "alter table t add column c int default 1",
        "comment on table t is 'full'",
    ] {
        assert_eq!(session.code(sql).await, "53100", "{sql}");
    }
    // Another session waits for nothing that was to be made.
    check(&Session::new(&server).await, 100).await;
    disk.end(Trouble::Full);
    session
        .until_done("create table u (a int)", &["53100"])
        .await;
    session
        .until_done(
            "create materialized view w as select count(*) as n from t",
            &["53100"],
        )
        .await;
    assert_eq!(session.rows("select n from w").await, ["100"]);
    server.kill();
    start_on(&mut server, &disk);
    let session = Session::new(&server).await;
    check(&session, 100).await;
    assert_eq!(session.rows("select n from w").await, ["100"]);
    assert_eq!(session.rows("select * from u").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_is_never_retried() {
    let Some((mut server, disk)) = server_on_disk() else {
        return;
    };
    let session = Session::new(&server).await;
    fill(&session, 100).await;
    disk.begin(Trouble::FailingSyncs);
    assert_eq!(
        session.code("insert into t values (100, 0, 'x')").await,
        "58030"
    );
    disk.end(Trouble::FailingSyncs);
    // The disk syncs again, but nobody knows what it has of what came before.
    for id in 101..106 {
        let insert_one = format!("insert into t values ({id}, 0, 'x')");
        assert_eq!(session.code(&insert_one).await, "58030");
    }
    assert_eq!(session.code("create table u (a int)").await, "58030");
    check(&Session::new(&server).await, 100).await;
    server.kill();
    start_on(&mut server, &disk);
    let session = Session::new(&server).await;
    // The write that was not acknowledged has happened, or not.
    let count: usize = session.rows("select count(*) from t").await[0]
        .parse()
        .expect("a number");
    assert!((100..=101).contains(&count), "{count} rows");
    check(&session, count).await;
    insert(&session, count, 10).await;
    check(&session, count + 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_no_write() {
    let Some((mut server, disk)) = server_on_disk() else {
        return;
    };
    let session = Session::new(&server).await;
    fill(&session, 100).await;
    disk.begin(Trouble::FailingWrites);
    for id in 100..105 {
        let insert_one = format!("insert into t values ({id}, 0, 'x')");
        assert_eq!(session.code(&insert_one).await, "58030");
        check(&Session::new(&server).await, 100).await;
    }
    disk.end(Trouble::FailingWrites);
    assert_eq!(
        session.code("insert into t values (105, 0, 'x')").await,
        "58030"
    );
    server.kill();
    start_on(&mut server, &disk);
    let session = Session::new(&server).await;
    let count: usize = session.rows("select count(*) from t").await[0]
        .parse()
        .expect("a number");
    assert!((100..=101).contains(&count), "{count} rows");
    check(&session, count).await;
}

/// A server that cannot make its directory, or read it, says so and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_a_bad_disk_is_refused() {
    let Some((mut server, disk)) = server_on_disk() else {
        return;
    };
    fill(&Session::new(&server).await, 100).await;
    for trouble in [Trouble::Full, Trouble::FailingWrites, Trouble::FailingSyncs] {
        server.kill();
        disk.begin(trouble);
        start_on(&mut server, &disk);
        if !server.listens() {
            let log = server.log();
            assert!(log.contains("ERROR"), "{trouble:?}: {log}");
            assert!(!log.contains("panicked"), "{trouble:?}: {log}");
        }
        disk.end(trouble);
        start_on(&mut server, &disk);
        check(&Session::new(&server).await, 100).await;
    }
}
