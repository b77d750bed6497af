//! Views hold what their queries return: each plan, evaluated naively over random rows, against
//! the batch engine.

use std::sync::Arc;

use arrow::compute::concat_batches;
use planner::batch::{Settings, session};
use planner::{RelationId, plan_view};

use crate::catalog::{TestCatalog, catalog, query};
use crate::interpret::{text, view_rows};

/// Tables of random small numbers, with duplicates and NULLs.
async fn filled(seed: u64, rows: usize) -> TestCatalog {
    let mut state = seed;
    let mut next = |below: u64| {
        // A linear congruential generator: the same seed, the same rows.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut values = |columns: &[&str], rows: usize, keyed: bool| {
        let rows: Vec<String> = (0..rows)
            .map(|row| {
                let values = columns.iter().enumerate().map(|(at, kind)| {
                    let number = next(7);
                    match *kind {
                        _ if keyed && at == 0 => format!("{row}"),
                        _ if number == 6 && !keyed => format!("null::{kind}"),
                        "text" => format!("'x{number}'"),
                        other => format!("{number}::{other}"),
                    }
                });
                format!("({})", values.collect::<Vec<_>>().join(", "))
            })
            .collect();
        rows.join(", ")
    };
    let t = values(&["int", "int", "text"], rows, false);
    let u = values(&["int", "bigint", "double precision"], rows, false);
    let p = values(&["int", "text", "numeric(10,2)"], rows, true);
    let mut catalog = catalog();
    for (name, rows) in [("t", t), ("u", u), ("p", p)] {
        let session = session(Arc::new(catalog.clone()), &Settings::default());
        let batches = session
            .plan(&query(&format!("values {rows}")))
            .unwrap()
            .collect(&session)
            .await
            .unwrap();
        catalog.fill(name, &batches);
    }
    catalog
}

#[tokio::test]
async fn views_hold_what_their_queries_return() {
    for seed in 1..=6 {
        let catalog = filled(seed, if seed == 1 { 1 } else { 25 }).await;
        let session = session(Arc::new(catalog.clone()), &Settings::default());
        for sql in QUERIES {
            let query = query(sql);
            let plan = plan_view(&session, &query, &[])
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            let relation = |id: RelationId| catalog.all_rows(id);
            let view = view_rows(&plan.dataflow, &relation);
            let batches = session
                .plan(&query)
                .unwrap()
                .collect(&session)
                .await
                .unwrap();
            let expected = match batches.first() {
                Some(first) => text(&concat_batches(&first.schema(), &batches).unwrap()),
                None => Vec::new(),
            };
            assert_eq!(view, expected, "{sql}\n{}", plan.explain().join("\n"));
        }
    }
}

#[tokio::test]
async fn plans_are_the_same_each_time() {
    for sql in QUERIES {
        let first = crate::catalog::plan(sql).await.unwrap().explain();
        for _ in 0..3 {
            assert_eq!(
                crate::catalog::plan(sql).await.unwrap().explain(),
                first,
                "{sql}"
            );
        }
    }
}

const QUERIES: &[&str] = &[
    "select * from t",
    "select b, a + 1 as x, a * 2.5 as y, upper(c) as z, c || a as w from t where b > 2 or c is null",
    "select a, count(*), count(b) as n, sum(b), avg(b), min(b), max(c) from t group by a",
    "select count(*), sum(a), min(c), avg(b) from t",
    "select count(*), sum(a), count(distinct a) as d from t where a > 100",
    "select count(*) + 1 as x from t having count(*) > 3",
    "select a % 3 as k, sum(b) + 1 as s from t group by a % 3 having sum(b) > 2",
    "select a, count(distinct b) from t group by a",
    "select a, sum(distinct b), count(distinct b), max(distinct b) from t group by a",
    "select a, count(distinct a), count(*) as n from t group by a",
    "select a, count(*) as n, count(distinct b) as d, sum(b), count(distinct c) as e, sum(distinct b) filter (where c = 'x1') as f from t group by a",
    "select count(distinct a) as x, count(distinct b) as y from t",
    "select count(distinct a) filter (where b > 1) as x from t",
    "select a, count(distinct b) filter (where b > 3) as x from t group by a",
    "select a, sum(b) filter (where c = 'x1') as x, count(*) filter (where b > 2) as y from t group by a",
    "select distinct a, c from t",
    "select distinct a % 2 as x from t where a is not null",
    "select t.b, u.d from t join u on t.a = u.a",
    "select t.b, u.d from t join u on t.a = u.a and t.b < u.d where u.e > 1.5",
    "select t.c, u.d, p.name from t, u, p where t.a = u.a and u.d = p.id and p.price > 1",
    "select x.c, y.b from t x join t y on x.a = y.b",
    "select x.c, y.b from t x join t y on x.a = y.b + 1 and x.b % 2 = y.a % 2",
    "select a, b, d from t join u using (a)",
    "select a, b, d from t natural join u",
    "select a from t union all select a from u union all select b from t",
    "select a from t union select a from u",
    "select a, d from u union all select a, b from t",
    "select a, count(*) from (select a from t union all select b from t where b > 0) s group by a",
    "select s.a, t.b from (select a from u union all select d from u) s join t on s.a = t.a",
    "with x as (select a, sum(b) as s from t group by a) select x.a, s, d from x join u on x.a = u.a",
    "with x as (select a, sum(b) as s from t group by a) select x.a, y.s from x join x y on x.a = y.s",
    "select x.a, x.n, y.m from (select a, count(*) as n from t group by a) x join (select a, max(d) as m from u group by a) y on x.a = y.a",
    "select x.a, y.m from (select a, b, count(*) as n from t group by a, b) x join (select a, d, max(e) as m from u group by a, d) y on x.b = y.d and x.a = y.a",
    "select b, n, count(*) from (select a, b, count(*) as n from t group by a, b) x group by b, n",
    "select a, b, count(*) from (select a, max(b) as b from t group by a) x group by a, b",
    "select x, y from tv where y > 1",
    "select y, count(*) from tv group by y",
    "select 1 as one, 'x' as x",
    "values (1, 'a'), (2, 'b'), (1, 'a')",
    "select n, c from generate_series(1, 3) as g(n) join t on t.a = g.n",
    "select * from generate_series(1, 3) where generate_series > 1",
    "select id, name, price, count(*) from p group by id",
    "select name, sum(price), avg(price), max(price) from p group by name",
    "select p.id, t.b from p join t on p.id = t.a",
    "select t.a, u.d from t left join u on t.a = u.a where u.d > 1",
    "select a from t where false",
    "select count(*) from t where false",
    "select case when e > 0.5 then e else 0.5 end as x, coalesce(e, 1.5) as y from u",
    "select e from u where e between 0.5 and 2.5 or e in (4.0, 5.0)",
    "select a, b from t order by a desc",
    "select extract(year from date '2020-01-01' + a) as y, count(*) from t group by 1",
    "select (select_a + 1) as x from (select a as select_a, a as other from t) s where other = select_a",
    "select coalesce(a, 0) as k, count(*) from t group by coalesce(a, 0)",
    "select t.a, count(*) from t join u on t.a = u.a group by t.a",
    "select u.d, t.a, count(*) from t join u on t.a = u.a group by t.a, u.d",
    "select distinct t.a from t join u on t.a = u.a join p on p.id = t.a",
    "select x.a from (select distinct a, b from t) x join (select distinct a, d from u) y on x.a = y.a and x.b = y.d",
    "select null as n, a from t",
];
