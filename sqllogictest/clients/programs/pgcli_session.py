"""pgcli: what it asks for its completion, and how it prints results."""

import psycopg
from pgcli.pgexecute import PGExecute

import report
from report import show


def main():
    executor = PGExecute(report.DATABASE, report.USER, "", report.HOST, report.PORT)
    for sql in (
        "create table person (id integer primary key, name varchar(10) default 'x')",
        "create view named as select name from person",
        "insert into person values (1, 'Ann'), (2, null)",
        "select * from person order by id",
    ):
        run(executor, sql)
    show("search path", list(executor.search_path()))
    for name, found in (
        ("tables", executor.tables()), ("views", executor.views()), ("columns", executor.table_columns()),
        ("view columns", executor.view_columns()),
    ):
        show(name, sorted(tuple(row) for row in found if row[0] == "public"))
    show("schemas", "public" in executor.schemata())
    show("databases", report.DATABASE in executor.databases())
    show("foreign keys", [k for k in executor.foreignkeys()])
    show("functions", len([f for f in executor.functions() if f.schema_name == "public"]))
    show("datatypes", [t for t in executor.datatypes() if t[0] == "public"])
    show("casing", len(list(executor.casing())) > 0)
    try:
        run(executor, "select * from nothing")
    except psycopg.Error as error:
        show("error", error.sqlstate)
    run(executor, "drop view named")
    run(executor, "drop table person")


def run(executor, sql):
    for title, rows, headers, status, _, success, _ in executor.run(sql):
        rows = [list(row) for row in rows] if rows is not None and not isinstance(rows, str) else None
        show(sql[:40], (title, rows, headers and list(headers), str(status).splitlines()[:1], success))


main()
