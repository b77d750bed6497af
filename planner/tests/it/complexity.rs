//! Long chains and deep nesting end in an error, not in the end of the process. Test threads have
//! stacks of 2 MiB, as the worker threads of a runtime do.

use planner::complexity::DEPTH_MAX;
use planner::{Error, parse};

use crate::catalog::{plan, query, test_session};

fn is_refused(sql: &str) -> bool {
    matches!(parse(sql), Err(Error::TooComplex { .. }))
}

#[test]
fn long_and_deep_statements_are_refused() {
    assert!(is_refused(&format!("select 1{}", " + 1".repeat(10_000))));
    assert!(is_refused(&format!(
        "select {}1{}",
        "(".repeat(10_000),
        ")".repeat(10_000)
    )));
    assert!(is_refused(&format!(
        "select 1{}",
        " union all select 1".repeat(5_000)
    )));
    assert!(is_refused(&format!(
        "select true{}",
        " or true".repeat(10_000)
    )));
    assert!(is_refused(&format!("select 1{}", "::int".repeat(10_000))));
    assert!(is_refused(&format!("select {}1", "- ".repeat(10_000))));
    assert!(is_refused(&format!("select {}true", "not ".repeat(10_000))));
    assert!(is_refused(&format!(
        "select * from t{}",
        ", t".repeat(5_000)
    )));
    assert!(is_refused(&format!(
        "select * from t{}",
        " join t using (a)".repeat(5_000)
    )));
    assert!(is_refused(&format!("select a{}", "[1]".repeat(10_000))));
    assert!(is_refused(&format!(
        "select {}1{}",
        "abs(".repeat(10_000),
        ")".repeat(10_000)
    )));
    assert!(is_refused(&format!(
        "select {}1{}",
        "case when true then ".repeat(10_000),
        " end".repeat(10_000)
    )));
    assert!(is_refused(&format!(
        "create materialized view v as select 1{}",
        " + 1".repeat(10_000)
    )));
    assert!(is_refused(&format!(
        "explain select 1{}",
        " + 1".repeat(10_000)
    )));
    assert!(is_refused(&format!(
        "select {}1",
        "(select ".repeat(10_000)
    )));
    assert!(is_refused(&"(".repeat(100_000)));
}

#[test]
fn wide_statements_pass() {
    let rows = vec!["(-1, 1 + 1, 'x')"; 10_000].join(", ");
    assert!(parse(&format!("insert into t values {rows}")).is_ok());
    let list = vec!["1"; 10_000].join(", ");
    assert!(parse(&format!("select * from t where a in ({list})")).is_ok());
    let items = vec!["a + b * 2"; 1_000].join(", ");
    assert!(parse(&format!("select {items} from t")).is_ok());
    assert!(parse(&format!("select a is distinct from b, {items} from t")).is_ok());
    assert!(parse(&"select 1; ".repeat(5_000)).is_ok());
    assert_eq!(
        parse(&format!("select '{}'", "+ ".repeat(100_000)))
            .unwrap()
            .len(),
        1
    );
}

/// The longest chains that pass the guard are parsed, planned both ways, run and dropped.
#[tokio::test]
async fn what_passes_the_guard_can_be_planned() {
    let n = DEPTH_MAX - 20;
    for sql in [
        format!("select a{} as x from t", " + b".repeat(n)),
        format!("select a from t where a = 0{}", " or a = b".repeat(n / 2)),
        format!("select a{} as x from t", "::bigint::int".repeat(n / 2)),
        format!(
            "select a from t{}",
            " union all select b from t".repeat(n / 4)
        ),
        format!("select a from t where {} (a = 1)", "not ".repeat(100)),
        format!("select {}a{} as x from t", "(".repeat(100), ")".repeat(100)),
        format!("select c{} as x from t", " || c".repeat(n)),
    ] {
        plan(&sql).await.unwrap();
        let session = test_session();
        let batch = session.plan(&query(&sql)).unwrap();
        batch.collect(&session).await.unwrap();
    }
}

#[tokio::test]
async fn long_chains_of_joins_can_be_planned() {
    let tables: Vec<String> = (0..24).map(|at| format!("t t{at}")).collect();
    let equal: Vec<String> = (1..24)
        .map(|at| format!("t{at}.a = t{}.a", at - 1))
        .collect();
    let sql = format!(
        "select t0.a from {} where {}",
        tables.join(", "),
        equal.join(" and ")
    );
    plan(&sql).await.unwrap();
}
