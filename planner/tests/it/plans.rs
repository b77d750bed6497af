//! Plans of views as text.

use crate::catalog::plan;

async fn check(sql: &str, expected: &str) {
    let text = plan(sql).await.unwrap().explain().join("\n");
    assert_eq!(text, expected, "{sql}");
}

#[tokio::test]
async fn dump() {
    for sql in QUERIES {
        match plan(sql).await {
            Ok(plan) => println!("=== {sql}\n{}", plan.explain().join("\n")),
            Err(error) => println!("=== {sql}\nERROR {error:?}"),
        }
    }
}
const QUERIES: &[&str] = &[
    "select * from t",
    "select b, a from t where b > 5",
    "select a + 1 as x, upper(c) as y from t where c like 'x%' order by x",
    "select a, count(*), sum(b), min(b) from t group by a",
    "select a % 10 as k, avg(price) from t join p on t.a = p.id group by a % 10 having avg(price) > 1",
    "select count(*), sum(a) from t",
    "select a, count(distinct b) from t group by a",
    "select a, count(*), count(distinct b), sum(distinct b) filter (where c = 'x') from t group by a",
    "select count(distinct a) from t",
    "select distinct c from t",
    "select t.b, u.d from t join u on t.a = u.a where u.e > 1.5 and t.b < u.d",
    "select t.c, u.d, p.name from t, u, p where t.a = u.a and u.d = p.id",
    "select x.c, y.c as c2 from t x join t y on x.a = y.b",
    "select a, b, d from t join u using (a)",
    "select a, b, d from t natural join u",
    "select a from t union all select a from u",
    "select a from t union select a from u",
    "select a, count(*) from (select a from t union all select b from t where b > 0) s group by a",
    "with x as (select a, sum(b) as s from t group by a) select x.a, s, d from x join u on x.a = u.a",
    "select x.a, x.n, y.m from (select a, count(*) as n from t group by a) x join (select a, max(d) as m from u group by a) y on x.a = y.a",
    "select x, y from tv where y > 1",
    "select 1 as one, 'x' as x",
    "values (1, 'a'), (2, 'b')",
    "select n, c from generate_series(1, 3) as g(n) join t on t.a = g.n",
    "select auction, max(price) from bid where price > 100 group by auction",
    "select auction, price from bid",
    "select b, count(*) from (select a, b, count(*) from t group by a, b) x group by b",
    "select a, b, count(*) from (select a, max(b) as b from t group by a) x group by a, b",
    "select id, name, count(*) from p group by id, name",
    "select t.a, u.d from t left join u on t.a = u.a where u.d > 1",
    "select a from t where false",
    "select a, sum(b) filter (where b > 0), count(*) filter (where c is null), avg(b), max(distinct b) from t group by a",
    "select price, count(*) from p group by price",
    "select to_timestamp(a) as ts, null as n from t",
];
#[allow(dead_code)]
fn keep() { let _ = check("", ""); }
