//! Statements that are deep, wide or long: they run, or are refused as too complex; the process goes on.

use tokio_postgres::error::SqlState;

use crate::{Victim, connect};

/// Statements that grow with `n`.
fn statements(n: usize) -> Vec<(&'static str, String)> {
    let nested = |open: &str, core: &str, close: &str| {
        format!("select {}{core}{}", open.repeat(n), close.repeat(n))
    };
    let chain = |link: &str| format!("select 1{}", link.repeat(n));
    let list = |item: fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    vec![
        ("parentheses", nested("(", "1", ")")),
        ("subqueries", nested("(select ", "1", ")")),
        ("calls", nested("abs(", "1", ")")),
        ("case", nested("case when true then ", "1", " end")),
        ("arrays", nested("array[", "1", "]")),
        ("not", nested("not ", "true", "")),
        ("minus", nested("- ", "1", "")),
        ("casts", chain("::int")),
        ("plus", chain(" + 1")),
        ("and", format!("select true{}", " and true".repeat(n))),
        (
            "or",
            format!("select a from t where a = 0{}", " or a = 1".repeat(n)),
        ),
        (
            "concatenation",
            format!("select 'a'{}", " || 'a'".repeat(n)),
        ),
        ("union", chain(" union all select 1")),
        ("in", format!("select 7 in ({})", list(|n| n.to_string()))),
        (
            "values",
            format!(
                "select count(*) from (values {}) as v",
                list(|n| format!("({n})"))
            ),
        ),
        (
            "columns",
            format!("select {}", list(|n| format!("{n} as c{n}"))),
        ),
        (
            "joins",
            format!(
                "select count(*) from {}",
                list(|n| format!("(select 1) as j{n}"))
            ),
        ),
        (
            "with",
            format!(
                "with {} select 1",
                list(|n| format!("w{n} as (select {n})"))
            ),
        ),
        (
            "comment",
            format!("select {} 1 {}", "/*".repeat(n), "*/".repeat(n)),
        ),
        ("text", format!("select length('{}')", "x".repeat(n))),
        ("name", format!("select 1 as \"{}\"", "x".repeat(n))),
        (
            "json",
            format!("select '{}{}'::jsonb is null", "[".repeat(n), "]".repeat(n)),
        ),
        ("statements", "select 1;".repeat(n)),
        ("semicolons", ";".repeat(n)),
        ("open", format!("select {}", "(".repeat(n))),
        ("quotes", "'".repeat(2 * n + 1)),
        ("dollars", "$".repeat(n)),
        (
            "view",
            format!(
                "create view deep as select {}1{}",
                "(".repeat(n),
                ")".repeat(n)
            ),
        ),
    ]
}

/// All of them, of so many links each.
async fn try_all(victim: &Victim, sizes: &[usize]) -> usize {
    let mut cases = 0;
    for &size in sizes {
        for (what, sql) in statements(size) {
            if sql.len() > 15 << 20 {
                continue; // Longer than a statement may be.
            }
            if ["joins", "with", "values", "in", "statements"].contains(&what) && size > 10_000 {
                continue; // Minutes, in a build for tests.
            }
            cases += 1;
            let Err(error) = victim.client.simple_query(&sql).await else {
                continue;
            };
            let code = error
                .code()
                .unwrap_or_else(|| panic!("{what} of {size}: {error:?}"));
            let refused = [
                SqlState::STATEMENT_TOO_COMPLEX,
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                SqlState::TOO_MANY_COLUMNS,
                SqlState::SYNTAX_ERROR,
                SqlState::FEATURE_NOT_SUPPORTED,
                SqlState::NAME_TOO_LONG,
                SqlState::INVALID_TEXT_REPRESENTATION,
            ];
            assert!(refused.contains(code), "{what} of {size}: {error:?}");
        }
        victim
            .client
            .batch_execute("drop view if exists deep")
            .await
            .expect("dropped");
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_and_long_statements_end_no_process() {
    let victim = Victim::new().await;
    let mut cases = try_all(&victim, &[10, 3_000]).await;
    // Up to the longest that there may be.
    for megabytes in [1, 15] {
        let sql = format!("select length('{}')", "x".repeat(megabytes << 20));
        let answer = victim.client.simple_query(&sql).await;
        assert!(answer.is_ok(), "{megabytes} MiB: {answer:?}");
        cases += 1;
    }
    // A longer one ends its connection, maybe before its client has read why.
    let longer = connect(&victim.server).await;
    let sql = format!("select length('{}')", "x".repeat(17 << 20));
    assert!(longer.simple_query(&sql).await.is_err());
    cases += 1;
    victim.check("statements", cases).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make hostile"]
async fn very_deep_and_long_statements_end_no_process() {
    let victim = Victim::new().await;
    let cases = try_all(&victim, &[30_000]).await;
    victim.check("large statements", cases).await;
}
