//! Batch queries: names of results, constants, defaults, parameters, kinds of faults.

use arrow::datatypes::DataType;
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use planner::values::{Fault, ValueError};
use planner::{Error, Statement};
use sqlparser::ast;

use crate::catalog::{one, query, test_session};

fn names(sql: &str) -> String {
    let plan = test_session().plan(&query(sql)).unwrap();
    let names: Vec<&str> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names.join(", ")
}

async fn rows(sql: &str) -> Result<String, Error> {
    let session = test_session();
    let batches = session.plan(&query(sql))?.collect(&session).await?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

#[test]
fn outputs_are_named_as_postgresql_names_them() {
    for (sql, expected) in [
        ("select 1", "?column?"),
        ("select a, t.b, a + b from t", "a, b, ?column?"),
        (
            "select count(*), count(a), sum(a), Max(b) from t",
            "count, count, sum, max",
        ),
        ("select a, a, a from t", "a, a, a"),
        ("select *, a from t", "a, b, c, a"),
        ("select a, * from t", "a, a, b, c"),
        (
            "select t.*, u.* from t join u on t.a = u.a",
            "a, b, c, a, d, e",
        ),
        (
            "select t.*, count(*) over (), u.* from t join u on t.a = u.a",
            "a, b, c, count, a, d, e",
        ),
        (
            "select a::text, '1'::int, a::bigint + 1 from t",
            "a, int4, ?column?",
        ),
        (
            "select case when true then a end, case when true then 1 else a end from t",
            "case, a",
        ),
        (
            "select coalesce(a, 1), nullif(a, 1), upper(c) from t",
            "coalesce, nullif, upper",
        ),
        (
            "select extract(year from date '2020-01-01'), date '2020-01-01'",
            "extract, date",
        ),
        (
            "select true, interval '1 day', null, 'x'",
            "bool, interval, ?column?, ?column?",
        ),
        (
            "select trim(c), substring(c, 1), position('x' in c) from t",
            "btrim, substring, position",
        ),
        (
            "select (a), -a, not true, a is null from t",
            "a, ?column?, ?column?, ?column?",
        ),
        (
            "select (select max(a) from t), exists (select 1)",
            "max, exists",
        ),
        ("select \"x\".\"A\" from (select 1 as \"A\") x", "A"),
        ("select count(*) as n, 1 as \"N\"", "n, N"),
        ("select count from (select count(*) from t) x", "count"),
        (
            "with x as (select a, sum(b) from t group by a) select sum from x",
            "sum",
        ),
        ("select a + 1 from t union all select b from t", "?column?"),
        ("values (1, 'x'), (2, 'y')", "column1, column2"),
        ("select * from generate_series(1, 3)", "generate_series"),
        ("select * from generate_series(1, 3) as g", "g"),
        ("select * from generate_series(1, 3) as g(n)", "n"),
        ("select x, y from tv", "x, y"),
        ("select * from dev.public.t", "a, b, c"),
        (
            "select id, name, price from p group by id",
            "id, name, price",
        ),
        ("select a from t group by a order by count(*)", "a"),
        (
            "select a, count(*) from t group by a having count(*) > 1 order by count(*) desc, a",
            "a, count",
        ),
        (
            "select date_trunc('day', now()) from t group by 1",
            "date_trunc",
        ),
        ("select distinct upper(c) from t order by upper(c)", "upper"),
    ] {
        assert_eq!(names(sql), expected, "{sql}");
    }
}

#[tokio::test]
async fn constants_are_computed_as_in_postgresql() {
    let table = rows("select 0.1 + 0.2 as x, 1 = 1.0 as y, 'a' || 1 as z, 7 / 2 as w")
        .await
        .unwrap();
    let expected = "\
+-----+------+----+---+
| x   | y    | z  | w |
+-----+------+----+---+
| 0.3 | true | a1 | 3 |
+-----+------+----+---+";
    assert_eq!(table, expected);
}

#[test]
fn whole_numbers_have_the_smallest_of_postgresqls_types() {
    for (sql, expected) in [
        ("1", DataType::Int32),
        ("-1", DataType::Int32),
        ("2147483647", DataType::Int32),
        ("2147483648", DataType::Int64),
        ("-2147483648", DataType::Int32),
        ("-(2147483648)", DataType::Int32),
        ("-2147483649", DataType::Int64),
        ("9223372036854775807", DataType::Int64),
        ("9223372036854775808", DataType::Decimal128(20, 0)),
        ("-9223372036854775808", DataType::Int64),
        ("99999999999999999999999", DataType::Decimal128(23, 0)),
        ("1.0", DataType::Decimal128(2, 1)),
        ("1 + 1", DataType::Int32),
        ("1 + 2147483648", DataType::Int64),
        ("7 % 2", DataType::Int32),
        ("1::smallint + 1::smallint", DataType::Int16),
        ("case when true then 1 else 2 end", DataType::Int32),
        ("coalesce(null, 1)", DataType::Int32),
        ("sum(1)", DataType::Int64),
        ("count(1)", DataType::Int64),
        ("avg(1)", DataType::Decimal256(62, 24)),
        ("avg(1.5)", DataType::Decimal256(62, 24)),
        ("avg(1.5::float8)", DataType::Float64),
        ("sum(1::smallint)", DataType::Int64),
        ("sum(1::bigint)", DataType::Decimal128(38, 0)),
        ("sum(1::real)", DataType::Float32),
        ("stddev(1::real)", DataType::Float64),
        ("(select 1)", DataType::Int32),
        ("row_number() over (order by 1)", DataType::UInt64),
    ] {
        let plan = test_session().plan(&query(&format!("select {sql}")));
        let schema = plan.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(*schema.schema().field(0).data_type(), expected, "{sql}");
    }
    let plan = test_session()
        .plan(&query("values (1), (2147483648)"))
        .unwrap();
    assert_eq!(*plan.schema().field(0).data_type(), DataType::Int64);
    let plan = test_session().plan(&query("select $1 + 1")).unwrap();
    assert_eq!(plan.parameter_types().unwrap(), [Some(DataType::Int32)]);
}

#[tokio::test]
async fn numbers_that_are_no_values_are_read_as_before() {
    let values = "(values (1, 'a'), (2, 'b'), (2, 'c'), (3, 'd'), (3, 'e')) v(n, x)";
    for (sql, expected) in [
        (
            format!("select n, count(*) from {values} group by 1 having count(*) > 1 order by 1 desc"),
            "3 | 2; 2 | 2",
        ),
        (
            format!("select x from {values} order by 1 desc limit 2 offset 1"),
            "d; c",
        ),
        (
            format!("select distinct on (n) n, x from {values} order by 1, 2"),
            "1 | a; 2 | b; 3 | d",
        ),
        (
            format!("select sum(n) over (order by x rows between 1 preceding and current row) from {values} order by x"),
            "1; 3; 4; 5; 6",
        ),
        (
            format!("select sum(n) over w from {values} window w as (order by x rows 1 preceding) order by x"),
            "1; 3; 4; 5; 6",
        ),
        (
            "with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) select n from r order by n".to_owned(),
            "1; 2; 3",
        ),
        (
            "select a[2], round(1.25, 1), substr('abcd', 2, 2), date '2020-01-01' + 1 from (select array[7, 8] as a) v".to_owned(),
            "8 | 1.3 | bc | 2020-01-02",
        ),
        (
            "select lag(n, 1, 0) over (order by n), nth_value(n, 2) over (order by n) from generate_series(1, 2) as g(n) order by 1".to_owned(),
            "0 | ; 1 | 2",
        ),
        (
            "select interval 3 day, 2 * 1.5, 5 % 3, abs(-3), 7 in (1, 7)".to_owned(),
            "3 days | 3.0 | 2 | 3 | true",
        ),
    ] {
        let table = rows(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
        let rows: Vec<String> = lines
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
                cells.join(" | ")
            })
            .collect();
        assert_eq!(rows.join("; "), expected, "{sql}");
    }
}

#[tokio::test]
async fn integers_do_not_wrap_around() {
    for (sql, expected) in [
        ("select 2147483647 + 1", "integer out of range"),
        ("select -2147483648 - 1", "integer out of range"),
        ("select 65536 * 65536", "integer out of range"),
        ("select -2147483648 / -1", "integer out of range"),
        ("select -(-2147483648)", "integer out of range"),
        ("select 9223372036854775807 + 1", "bigint out of range"),
        ("select -9223372036854775808 - 1", "bigint out of range"),
        (
            "select 32767::smallint + 1::smallint",
            "smallint out of range",
        ),
        (
            "select -a from (values (1), (-2147483648)) v(a)",
            "integer out of range",
        ),
        (
            "select a + 1 from (select 2147483647 as a) v",
            "integer out of range",
        ),
        (
            "select sum(a * 2) from (values (1), (2147483647)) v(a)",
            "integer out of range",
        ),
        (
            "select * from (values (2147483647)) v(a) where a + 1 > 0",
            "integer out of range",
        ),
        (
            "with recursive r(n) as (select 1 union all select n * 1000 from r) select n from r",
            "integer out of range",
        ),
    ] {
        match rows(sql).await {
            Err(error @ (Error::OutOfRange { .. } | Error::DataFusion(_))) => {
                assert!(error.to_string().contains(expected), "{sql}: {error}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    let table = rows("select 2147483647 + 1::bigint, -7 / 2, -7 % 2, - 5 * 2 - 1")
        .await
        .unwrap();
    assert!(table.contains("| 2147483648 "), "{table}");
    assert!(
        table.contains("| -3 ") && table.contains("| -1 ") && table.contains("| -11 "),
        "{table}"
    );
}

#[tokio::test]
async fn faults_of_rows_have_their_kind() {
    assert!(matches!(
        rows("select 1 / 0").await,
        Err(Error::DivisionByZero)
    ));
    assert!(matches!(
        rows("select 'x'::int").await,
        Err(Error::Value(ValueError::InvalidText { .. }))
    ));
    assert!(matches!(
        rows("select 300000::bigint::smallint").await,
        Err(Error::Value(ValueError::Refused {
            fault: Fault::OutOfRange,
            ..
        }))
    ));
    assert!(matches!(
        rows("select x::int from (values ('1'), ('b')) v(x)").await,
        Err(Error::Value(ValueError::InvalidText { .. }))
    ));
    assert!(matches!(
        rows("select auction from bid").await,
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        rows("select true + interval '1 day'").await,
        Err(Error::TypeMismatch { .. } | Error::UndefinedFunction { .. })
    ));
    assert!(matches!(
        rows("select a from t, u").await,
        Err(Error::AmbiguousColumn { .. })
    ));
    assert!(matches!(
        rows("select * from t x, u x").await,
        Err(Error::DuplicateAlias { .. }
            | Error::AmbiguousColumn { .. }
            | Error::DuplicateColumn { .. })
    ));
}

#[test]
fn defaults_are_evaluated_into_their_type() {
    let session = test_session();
    let evaluate = |text: &str, data_type: &DataType, rows: usize| {
        let Statement::Pg(statement) = one(&format!("select {text}")) else {
            panic!()
        };
        let ast::Statement::Query(query) = *statement else {
            panic!()
        };
        let ast::SetExpr::Select(select) = *query.body else {
            panic!()
        };
        let ast::SelectItem::UnnamedExpr(expr) = &select.projection[0] else {
            panic!()
        };
        session.evaluate(expr, data_type, rows)
    };
    let values = evaluate("1 + 1", &DataType::Int16, 3).unwrap();
    assert_eq!((values.len(), values.data_type()), (3, &DataType::Int16));
    let random = evaluate("random()", &DataType::Float64, 2).unwrap();
    assert_ne!(random.slice(0, 1).to_data(), random.slice(1, 1).to_data());
    assert_eq!(evaluate("now()", &DataType::Date32, 0).unwrap().len(), 0);
    assert!(matches!(
        evaluate("nope", &DataType::Int16, 0),
        Err(Error::UndefinedColumn { .. })
    ));
    assert!(evaluate("'x'", &DataType::Int16, 1).is_err());
}

#[tokio::test]
async fn parameters_have_types_and_are_bound() {
    let session = test_session();
    let plan = session
        .plan(&query(
            "select a, $2 as two from t where a = $1 and c like $3",
        ))
        .unwrap();
    let types = plan.parameter_types().unwrap();
    assert_eq!(types.len(), 3);
    assert_eq!(types[0], Some(DataType::Int32));
    let values = vec![
        ScalarValue::Int32(Some(1)),
        ScalarValue::Utf8(Some("x".into())),
        ScalarValue::Utf8(None),
    ];
    let bound = plan.bind(values).unwrap();
    assert_eq!(bound.schema().field(1).data_type(), &DataType::Utf8);
    assert!(
        bound
            .collect(&session)
            .await
            .unwrap()
            .iter()
            .all(|batch| batch.num_rows() == 0)
    );
}

#[tokio::test]
async fn explain_shows_the_physical_plan() {
    let session = test_session();
    let plan = session.plan(&query("select a from t where a > 1")).unwrap();
    let lines = plan.explain(&session, false).await.unwrap();
    assert!(
        lines.iter().any(|line| line.contains("FilterExec")),
        "{lines:?}"
    );
}
