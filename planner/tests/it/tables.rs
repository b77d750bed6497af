//! `CREATE TABLE` and `CREATE SOURCE`.

use planner::explain::explain;
use planner::source::source_definition;
use planner::types::sql_name;
use planner::{Error, Result, Statement, TableDefinition, plan_table};
use sqlparser::ast;

use crate::catalog::{one, query, test_session};

fn table(sql: &str) -> Result<TableDefinition> {
    let Statement::Pg(statement) = one(sql) else {
        panic!("{sql}")
    };
    let ast::Statement::CreateTable(create) = *statement else {
        panic!("{sql}")
    };
    TableDefinition::from_ast(&create)
}

#[test]
fn columns_defaults_and_keys() {
    let table = table(
        "create table t (\"Id\" bigint, b text not null default 'x' || 'y', c numeric null, d int default 1, primary key (d, \"Id\"))",
    )
    .unwrap();
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let default = column
                .default
                .as_ref()
                .map(|expr| format!(" default {expr}"));
            format!(
                "{} {}{}{}",
                column.name,
                sql_name(&column.data_type),
                if column.not_null { " not null" } else { "" },
                default.unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "Id bigint not null",
            "b character varying not null default 'x' || 'y'",
            "c numeric",
            "d integer not null default 1"
        ]
    );
    assert_eq!(table.primary_key, [3, 0]);
    let text = explain(&plan_table(&table).unwrap(), &|_| None).join("\n");
    assert_eq!(
        text,
        "\
view (Id bigint, b character varying, c numeric, d integer), stream key (d, Id), append-only: no
fragment 0, one executor
  Dml
fragment 1
  input 0: fragment 0 (Id, b, c, d), hash (d, Id)
  Materialize: key (d, Id)
    Input 0
  state: Materialize rows (Id, b, c, d), key (d, Id)"
    );
}

#[test]
fn tables_without_key_are_routed_by_all_columns() {
    let text = explain(
        &plan_table(&table("create table t (a int, b int)").unwrap()).unwrap(),
        &|_| None,
    );
    assert_eq!(text[4], "  input 0: fragment 0 (a, b), hash (a, b)");
    assert_eq!(text[5], "  Materialize: 2 columns, no key");
}

#[test]
fn definitions_that_are_refused() {
    for (sql, expected) in [
        (
            "create table t (a int unique)",
            "a UNIQUE constraint is not supported",
        ),
        (
            "create table t (a int check (a > 0))",
            "a CHECK constraint is not supported",
        ),
        (
            "create table t (a int references u)",
            "a FOREIGN KEY constraint is not supported",
        ),
        (
            "create table t (a int, unique (a))",
            "a UNIQUE constraint is not supported",
        ),
        (
            "create table t (a int, foreign key (a) references u (a))",
            "a FOREIGN KEY constraint is not supported",
        ),
        (
            "create table t (a int primary key, b int primary key)",
            "multiple primary keys for one table are not allowed",
        ),
        (
            "create table t (a int, primary key (b))",
            "column \"b\" does not exist",
        ),
        (
            "create table t (a int, A int)",
            "column \"a\" specified more than once",
        ),
        (
            "create table t (a text generated always as identity)",
            "identity column type must be smallint, integer, or bigint",
        ),
        ("create table t (a json)", "type json is not supported"),
        (
            "create table t ()",
            "a table without columns is not supported",
        ),
    ] {
        assert_eq!(table(sql).unwrap_err().to_string(), expected, "{sql}");
    }
}

#[test]
fn tables_as_queries_take_their_columns() {
    let session = test_session();
    let plan = session
        .plan(&query("select a, count(*) from t group by a"))
        .unwrap();
    let Statement::Pg(statement) = one("create table x as select 1") else {
        panic!()
    };
    let ast::Statement::CreateTable(create) = *statement else {
        panic!()
    };
    let table = TableDefinition::from_query(&create, plan.schema()).unwrap();
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["a", "count"]);
}

#[test]
fn sources() {
    let of = |sql: &str| {
        let Statement::CreateSource {
            columns, options, ..
        } = one(sql)
        else {
            panic!("{sql}")
        };
        source_definition(&columns, &options)
    };
    let (source, schema) = of("create source s with (connector = 'nexmark', nexmark.table.type = 'Auction', nexmark.event.num = 10, nexmark.active.people = 7)").unwrap();
    assert_eq!(source.options.event_num, Some(10));
    assert_eq!(source.options.min_event_gap_in_ns, 100_000);
    assert_eq!(source.options.tuning["active.people"], 7);
    assert_eq!(schema.fields().len(), 10);
    let (_, schema) = of("create source s (price bigint, auction bigint) with (connector = 'nexmark', nexmark.table.type = 'bid', nexmark.event.num = -1)").unwrap();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["price", "auction"]);
    for (options, expected) in [
        (
            "nexmark.table.type = 'Bid'",
            "option \"connector\" is missing",
        ),
        (
            "connector = 'kafka'",
            "connector \"kafka\" is not supported",
        ),
        (
            "connector = 'nexmark'",
            "option \"nexmark.table.type\" is missing",
        ),
        (
            "connector = 'nexmark', nexmark.table.type = 'Cat'",
            "invalid value for option \"nexmark.table.type\": \"Cat\"",
        ),
        (
            "connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.event.num = 'x'",
            "invalid value for option \"nexmark.event.num\": \"x\"",
        ),
        (
            "connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.event.num = -2",
            "invalid value for option \"nexmark.event.num\": \"-2\"",
        ),
        (
            "connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.nope = 1",
            "unrecognized option \"nexmark.nope\"",
        ),
    ] {
        let error = of(&format!("create source s with ({options})")).unwrap_err();
        assert!(error.to_string().contains(expected), "{options}: {error}");
    }
    for (columns, expected) in [
        ("nope int", "column \"nope\" does not exist"),
        (
            "price int",
            "column \"price\" of the nexmark stream is of type bigint",
        ),
        (
            "price bigint primary key",
            "a constraint or default on column \"price\" of a source is not supported",
        ),
        (
            "price bigint, price bigint",
            "column \"price\" specified more than once",
        ),
    ] {
        let sql = format!(
            "create source s ({columns}) with (connector = 'nexmark', nexmark.table.type = 'Bid')"
        );
        assert_eq!(of(&sql).unwrap_err().to_string(), expected, "{columns}");
    }
    assert!(matches!(
        planner::parse("create source s with (a = 1, a = 2)"),
        Err(Error::InvalidParameter { .. })
    ));
}
