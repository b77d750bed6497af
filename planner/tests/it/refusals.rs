//! What cannot be maintained is refused, with words that help; and other faults have their kind.

use planner::Error;

use crate::catalog::plan_error;

#[tokio::test]
async fn what_cannot_be_maintained_is_refused_with_a_hint() {
    for (sql, expected, expected_hint) in [
        (
            "select random() from t",
            "random() in a materialized view",
            "DEFAULT",
        ),
        (
            "select a from t where random() < 0.5",
            "random() in a materialized view",
            "DEFAULT",
        ),
        (
            "select uuid(), a from t",
            "uuid() in a materialized view",
            "DEFAULT",
        ),
        (
            "select now(), a from t",
            "now() in a materialized view",
            "ts > now() - interval",
        ),
        (
            "select now()",
            "now() in a materialized view",
            "ts > now() - interval",
        ),
        (
            "select current_date - date '2020-01-01' from t",
            "now() in a materialized view",
            "ts > now() - interval",
        ),
        (
            "with recursive r as (select 1 as n union all select n + 1 from r where n < 5) select n from r",
            "WITH RECURSIVE",
            "unroll",
        ),
        (
            "with recursive r as (select a as n from t union all select n + 1 from r where n < 5) select n from r",
            "WITH RECURSIVE",
            "unroll",
        ),
        (
            "select relname from pg_class",
            "a continuous view over system table \"pg_class\"",
            "SELECT",
        ),
        (
            "select a from t where a = $1",
            "parameter $1",
            "into the statement",
        ),
        (
            "select * from generate_series(1, 2000000)",
            "a constant relation of more than 1000000 rows",
            "into a table",
        ),
        (
            "select a, (select d from u) from t",
            "a scalar subquery that might have more than one row",
            "LIMIT 1",
        ),
    ] {
        match plan_error(sql).await {
            Error::Unsupported { what, hint } => {
                assert!(what.contains(expected), "{sql}: {what}");
                assert!(hint.contains(expected_hint), "{sql}: {hint}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn other_faults_have_their_kind() {
    for (sql, expected) in [
        ("select nope from t", "column \"nope\" does not exist"),
        ("select t.nope from t", "column t.nope does not exist"),
        (
            "select a from nowhere",
            "relation \"nowhere\" does not exist",
        ),
        (
            "select a from public.nowhere",
            "relation \"public.nowhere\" does not exist",
        ),
        (
            "select a from strange.t",
            "schema \"strange\" does not exist",
        ),
        (
            "select a from other.public.t",
            "cross-database references are not implemented: \"other.public.t\"",
        ),
        ("select nope(a) from t", "function nope does not exist"),
        ("select * from nope(1)", "function nope does not exist"),
        (
            "select a from t join u on t.a = u.a",
            "column reference \"a\" is ambiguous",
        ),
        (
            "select a, b, count(*) from t group by a",
            "column \"t.b\" must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        (
            "select a, count(*) from t where count(*) > 1 group by a",
            "",
        ),
        (
            "select a as x, b as x from t",
            "column \"x\" specified more than once",
        ),
        (
            "select 1, 2",
            "column \"?column?\" specified more than once",
        ),
        (
            "select count(*), count(a) from t",
            "column \"count\" specified more than once",
        ),
        (
            "select * from t join u on t.a = u.a",
            "column \"a\" specified more than once",
        ),
        (
            "select a::strange from t",
            "type \"strange\" does not exist",
        ),
    ] {
        let error = plan_error(sql).await;
        assert!(!matches!(error, Error::DataFusion(_)), "{sql}: {error:?}");
        assert!(error.to_string().contains(expected), "{sql}: {error}");
    }
}
