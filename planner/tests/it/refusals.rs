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
            "in a SELECT over the view",
        ),
        (
            "select now()",
            "now() in a materialized view",
            "in a SELECT over the view",
        ),
        (
            "select current_date - date '2020-01-01' from t",
            "current_date() in",
            "SELECT over the view",
        ),
        (
            "select a from t left join u using (a)",
            "a LEFT JOIN",
            "an inner JOIN",
        ),
        (
            "select u.a from t right join u using (a)",
            "a RIGHT JOIN",
            "an inner JOIN",
        ),
        (
            "select t.a from t full join u on t.a = u.a",
            "a FULL JOIN",
            "an inner JOIN",
        ),
        (
            "select b, d from t, u",
            "a join without an equality",
            "a.x = b.y",
        ),
        (
            "select b, d from t cross join u",
            "a join without an equality",
            "a.x = b.y",
        ),
        (
            "select b, d from t join u on t.a < u.a",
            "a join without an equality",
            "a.x = b.y",
        ),
        (
            "select a from t where a in (select a from u)",
            "IN (subquery)",
            "as a join",
        ),
        (
            "select a from t where exists (select 1 from u where u.a = t.a)",
            "EXISTS (subquery)",
            "as a join",
        ),
        (
            "select a, (select max(d) from u) from t",
            "a scalar subquery",
            "as a join",
        ),
        (
            "select a from t where a = any (select a from u)",
            "",
            "as a join",
        ),
        (
            "select a from t order by a limit 3",
            "LIMIT",
            "SELECT over the view",
        ),
        ("select a from t limit 3", "LIMIT", "SELECT over the view"),
        ("select a from t offset 3", "LIMIT", "SELECT over the view"),
        (
            "select a, row_number() over (order by a) from t",
            "a window function",
            "GROUP BY",
        ),
        (
            "select sum(a) over (partition by b) from t",
            "a window function",
            "GROUP BY",
        ),
        (
            "select stddev(a) from t",
            "aggregate stddev()",
            "count, sum, avg, min and max",
        ),
        (
            "select string_agg(c, ',') from t",
            "aggregate string_agg()",
            "count, sum, avg, min and max",
        ),
        (
            "select array_agg(a) from t",
            "aggregate array_agg()",
            "count, sum, avg, min and max",
        ),
        (
            "select a, b, count(*) from t group by rollup (a, b)",
            "GROUPING SETS",
            "one view per grouping",
        ),
        (
            "select a, b, count(*) from t group by grouping sets ((a), (b))",
            "GROUPING SETS",
            "one view per grouping",
        ),
        (
            "select count(distinct (a, b)) from t",
            "a column of type",
            "cast it",
        ),
        (
            "select distinct on (a) a, b from t order by a, b",
            "DISTINCT ON",
            "GROUP BY",
        ),
        (
            "select a from t intersect select a from u",
            "a semi join (INTERSECT)",
            "an inner JOIN",
        ),
        (
            "select a from t except select a from u",
            "an anti join (EXCEPT)",
            "an inner JOIN",
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
        ("select struct(a, b) from t", "a column of type", "cast it"),
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
        ("select t.nope from t", "column \"t.nope\" does not exist"),
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
