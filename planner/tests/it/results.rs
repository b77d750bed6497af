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
        let mut different = String::new();
        for sql in QUERIES {
            let query = query(sql);
            let plan = plan_view(&session, &query, &[], planner::Emit::Immediately)
                .await
                .map_err(|error| different.push_str(&format!("{sql}: {error}\n")));
            let Ok(plan) = plan else { continue };
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
            if view != expected {
                let plan = plan.explain().join("\n");
                different.push_str(&format!("{sql}\n{view:?}\n{expected:?}\n{plan}\n"));
            }
        }
        assert!(different.is_empty(), "seed {seed}\n{different}");
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
    "select t.a, t.b, u.d from t left join u on t.a = u.a",
    "select t.a, t.b, u.d from t left join u on t.a = u.a and t.b < u.d",
    "select t.c, u.d, u.e from t right join u on t.a = u.a + 1",
    "select t.a, t.b, u.a as ua, u.d from t full join u on t.a = u.a",
    "select t.a, t.b, u.a as ua, u.d from t full join u on t.a = u.a and t.b <> u.d",
    "select coalesce(t.a, u.a) as k, count(*), sum(t.b) as s, sum(u.d) as r from t full join u on t.a = u.a group by 1",
    "select t.a, p.name, u.d from t left join p on t.b = p.id left join u on u.a = t.a",
    "select t.a, u.d from t, u",
    "select t.a, u.d from t cross join u where t.a < u.d",
    "select t.a, u.d from t join u on t.a < u.a and t.b + 1 < u.d",
    "select t.a, u.d from t left join u on t.a < u.a and t.b > u.d",
    "select t.a, u.d from t join u on t.a is not distinct from u.a",
    "select a, b from t where a in (select a from u)",
    "select a, b from t where a in (select a from u where u.d > t.b)",
    "select a, b from t where a not in (select a from u where a is not null)",
    "select a, b from t where a not in (select a from u)",
    "select a, b from t where b not in (select a from u where d > 100)",
    "select a, b from t where exists (select 1 from u where u.a = t.a and u.d > t.b)",
    "select a, b from t where not exists (select 1 from u where u.a = t.a)",
    "select a, b from t where exists (select 1 from u where u.d > 2) and b > 1",
    "select a, b from t where exists (select 1 from u where u.a = t.a) or b > 4",
    "select a, b from t where a = any (select a from u)",
    "select a, b from t where b >= all (select d from u where d is not null)",
    "select a, (select max(d) from u) as m from t",
    "select a, b from t where b > (select avg(d) from u)",
    "select a, (select count(*) from u where u.a = t.a) as n from t",
    "select a, b from t where b = (select max(d) from u where u.a = t.a)",
    "select a, b, (select sum(d) from u where u.a = t.a) from t where a > (select min(a) from u)",
    "select t.a, x.m from t, lateral (select max(d) as m from u where u.a = t.a) x",
    "select t.a, x.d from t join lateral (select d from u where u.a = t.a) x on true",
    "select a from t intersect select a from u",
    "select a, b from t except select a, d from u",
    "select a, stddev(b), var_pop(b), corr(a, b) from t group by a",
    "select stddev(b), bool_and(b > 2), bit_or(b) from t where a > 100",
    "select a, string_agg(c, ',' order by c) as s from t group by a",
    "select a, first_value(b order by b) as x, last_value(b order by b) as y, count(*) from t group by a",
    "select a, median(b), approx_distinct(c), bool_or(b > 3) filter (where b is not null) as z from t group by a",
    "select percentile_cont(0.5) within group (order by b) as m from t",
    "select string_agg(c, ',' order by c) as s from t where a > 100",
    "select a, b, count(*) from t group by rollup (a, b)",
    "select a, b, c, sum(b), grouping(a) as ga, grouping(c) as gc from t group by cube (a, b, c)",
    "select a, b, count(*), min(c) from t group by grouping sets ((a), (b), ())",
    "select a, b, count(*) from t group by grouping sets ((a), (a), (b, a))",
    "select a, b, count(distinct c) as n, string_agg(c, '' order by c) as s from t group by rollup (a, b)",
    "select a, c, stddev(b) from t group by a, cube (c)",
    "select a, b, rank() over (partition by a order by b) as r from t",
    "select a, b, c, sum(b) over (partition by a) as s, count(*) over (partition by a) as n from t",
    "select id, name, price, row_number() over (order by price, id) as n, lag(id, 1, 0) over (order by price, id) as l from p",
    "select id, sum(price) over (order by id rows between 2 preceding and current row) as s from p",
    "select id, name, avg(price) over (partition by name order by id) as m, first_value(id) over (partition by name order by id) as f from p",
    "select id, name, rank() over (partition by name order by price) as r, dense_rank() over (partition by name order by price desc) as d, ntile(3) over (order by id) as t from p",
    "select * from (select id, name, row_number() over (partition by name order by price, id) as n from p) x where n <= 2",
    "select id + 1 as x from (select id, row_number() over (partition by name order by price desc, id) as n from p) y where n = 1 and id > 0",
    "select id, price from p order by price desc, id limit 3",
    "select id from p order by price, id limit 2 offset 3",
    "select id * 2 as x from (select id from p order by id desc limit 5) y where id > 1",
    "select distinct on (name) name, id, price from p order by name, price desc, id",
    "select a, unnest(make_array(b, b + 1)) as x from t",
    "select x, count(*) from (select unnest(make_array(a, b)) as x from t) s group by x",
    "select a, sum(b) over (partition by a % 2 order by b, c, a range between unbounded preceding and current row) as s from t",
];
